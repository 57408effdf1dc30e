"""The colours and names that the map, the panel and the keyboard walk share."""

from __future__ import annotations

Colour = tuple[int, int, int]

WHITE = (255, 255, 255)
INK = (31, 41, 55)
SOFT_INK = (107, 114, 128)
FAINT = (226, 230, 236)
PANEL = (250, 251, 252)
LEFT = (217, 72, 65)
RIGHT = (37, 99, 190)
GOOD = (22, 140, 84)
WARN = (202, 118, 9)
FOUND_GREY = (156, 163, 175)
OUTSIDE = (233, 236, 241)
FLOOR = WHITE
GRID = (241, 243, 246)
WALL = (51, 61, 76)
OBSTACLE = (176, 184, 196)
TRAIL = (79, 93, 117)
HEAD = (252, 211, 165)
HAIR = (90, 66, 50)
DISTRACTOR = (125, 132, 145)
BUMP = (202, 60, 9)

CLASS_COLOURS: dict[str, Colour] = {
    "telephone": (124, 58, 190),
    "siren": (214, 51, 108),
    "alarm": (224, 122, 20),
    "horn": (176, 132, 8),
    "knock": (139, 94, 60),
    "footsteps": (99, 110, 60),
    "bird": (34, 150, 94),
    "water": (14, 138, 179),
    "rotor": (84, 96, 122),
    "music box": (190, 68, 160),
    "speech": (20, 110, 110),
}
_SPARE = tuple(CLASS_COLOURS.values())


def pretty(name: str) -> str:
    """A class name as people read it: underscores become spaces, `running_water` stays two words."""
    return name.replace("_", " ").replace("-", " ").strip() or "sound"


def class_colour(name: str) -> Colour:
    """The colour of a sound class; unknown names (a user's files) get a stable one of the same palette."""
    text = pretty(name).lower()
    for key, colour in CLASS_COLOURS.items():
        if key in text:
            return colour
    # Not hash(): it is salted per process, and a class must keep its colour between runs.
    return _SPARE[sum(ord(c) * (i + 1) for i, c in enumerate(text)) % len(_SPARE)]
