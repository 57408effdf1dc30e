"""The colours of a dogfight, for pictures and for the page that plays replays."""

from __future__ import annotations

Colour = tuple[int, int, int]

SPACE = (11, 16, 28)
GRID = (22, 30, 48)
STAR = (74, 88, 116)
PANEL = (17, 24, 39)
LINE = (38, 49, 72)
INK = (229, 234, 243)
SOFT_INK = (142, 155, 180)
TRACK = (39, 50, 73)
TEAMS = ((86, 180, 233), (240, 150, 30))
"""Sky blue and orange (after Okabe and Ito's palette): told apart in every common colour blindness."""
LIGHT = ((190, 227, 250), (255, 214, 150))
"""The teams' bullets."""
HEALTHY = (94, 214, 160)
HURT = (244, 208, 63)
DYING = (238, 92, 92)
POWER = (168, 138, 240)
WRECK = (104, 114, 134)
FLAME = (255, 190, 92)
EMBER = (255, 244, 214)
"""Core of a flame, a flash, a spark."""


def health_colour(share: float) -> Colour:
    """Green, yellow, red by the share of health that is left; the bar's length says it too."""
    return HEALTHY if share > 0.6 else HURT if share > 0.3 else DYING
