"""The top view of a scene as a picture: room, obstacles, sources, trail and the agent with its two ears.

All is drawn at twice the size and reduced, which smooths every edge; the room is drawn once an episode.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from auralnav.envs.audio import palette
from auralnav.envs.audio.geometry import FloorPlan
from auralnav.envs.audio.panel import draw_panel, draw_panel_background
from auralnav.envs.fonts import font

SCALE = 2

_background: tuple[Any, Image.Image, Image.Image] | None = None


class MapView:
    """Metres to pixels of the enlarged picture: the plan centred in the map part with a margin.

    Args:
        bounds: x0, y0, x1, y1 of the plan in metres.
        width, height: size of the map part in (enlarged) pixels.
    """

    def __init__(self, bounds: tuple[float, float, float, float], width: int, height: int) -> None:
        x0, y0, x1, y1 = bounds
        margin = 0.06 * min(width, height)
        self.scale = min(
            (width - 2 * margin) / max(x1 - x0, 1e-6), (height - 2 * margin) / max(y1 - y0, 1e-6)
        )
        self.x = width / 2 - self.scale * (x0 + x1) / 2
        self.y = height / 2 + self.scale * (y0 + y1) / 2
        self.unit = min(width, height) / 640.0

    def __call__(self, points: Any) -> np.ndarray:
        """Points [..., 2] in metres to pixels [..., 2] (y up becomes y down)."""
        points = np.asarray(points, dtype=np.float64)
        return np.stack([self.x + self.scale * points[..., 0], self.y - self.scale * points[..., 1]], axis=-1)


def _polygon(points: np.ndarray) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in points]


def _draw_room(plan: FloorPlan, width: int, height: int, panel: int) -> tuple[Image.Image, Image.Image]:
    """Floor, grid, walls, obstacles, scale bar and the empty panel; and the mask of all that is not floor."""
    picture = Image.new("RGB", (width, height), palette.OUTSIDE)
    view = MapView(plan.bounds, width - panel, height)
    u = view.unit
    outline = _polygon(view(plan.boundary))
    floor = Image.new("RGB", (width, height), palette.FLOOR)
    grid = ImageDraw.Draw(floor)
    x0, y0, x1, y1 = plan.bounds
    for x in range(int(np.floor(x0)), int(np.ceil(x1)) + 1):
        grid.line(_polygon(view([(x, y0), (x, y1)])), fill=palette.GRID, width=round(1.5 * u))
    for y in range(int(np.floor(y0)), int(np.ceil(y1)) + 1):
        grid.line(_polygon(view([(x0, y), (x1, y)])), fill=palette.GRID, width=round(1.5 * u))
    mask = Image.new("L", (width, height), 0)
    ImageDraw.Draw(mask).polygon(outline, fill=255)
    shadow = [(x + 5 * u, y + 7 * u) for x, y in outline]
    draw = ImageDraw.Draw(picture, "RGBA")
    draw.polygon(shadow, fill=(*palette.INK, 28))
    picture.paste(floor, mask=mask)
    for obstacle in plan.obstacles:
        corners = _polygon(view(obstacle))
        draw.polygon([(x + 3 * u, y + 4 * u) for x, y in corners], fill=(*palette.INK, 40))
        draw.polygon(corners, fill=palette.OBSTACLE)
        draw.line([*corners, corners[0]], fill=palette.WALL, width=round(2 * u), joint="curve")
    draw.line([*outline, outline[0], outline[1]], fill=palette.WALL, width=round(6 * u), joint="curve")
    # The scale bar lies below the room, or over its lower edge when the room fills the height.
    x, y = 16 * u, height - 13 * u
    draw.line((x, y, x + view.scale, y), fill=palette.SOFT_INK, width=round(2.5 * u))
    draw.text((x + view.scale + 8 * u, y), "1 m", fill=palette.SOFT_INK, font=font(round(13 * u)), anchor="lm")
    if panel:
        draw_panel_background(picture, width - panel, height / 640.0)
    # Walls count as outside: a found radius drawn over one is cut at its inner face.
    ImageDraw.Draw(mask).line([*outline, outline[0], outline[1]], fill=0, width=round(6 * u), joint="curve")
    return picture, ImageChops.invert(mask)


def _room(plan: FloorPlan, width: int, height: int, panel: int) -> tuple[Image.Image, Image.Image]:
    """The static picture and the mask of what is not floor: drawn once for a plan and size, then kept."""
    global _background
    outlines = tuple(outline.tobytes() for outline in plan.obstacles)
    key = (np.asarray(plan.boundary, dtype=np.float64).tobytes(), outlines, width, height, panel)
    if _background is None or _background[0] != key:
        _background = (key, *_draw_room(plan, width, height, panel))
    return _background[1], _background[2]


def _label(draw: ImageDraw.ImageDraw, view: MapView, at: np.ndarray, words: str, colour: Any) -> None:
    """A name in a white pill centred under `at` (pixels), kept inside the map."""
    u = view.unit
    typeface = font(round(13 * u))
    half = draw.textlength(words, font=typeface) / 2 + 7 * u
    x = float(np.clip(at[0], half + 4 * u, 2 * map_centre(view) - half))
    y = at[1] + 25 * u if at[1] < view.unit * 640 - 50 * u else at[1] - 25 * u
    draw.rounded_rectangle((x - half, y - 10 * u, x + half, y + 10 * u), 10 * u, fill=(*palette.WHITE, 225))
    draw.text((x, y), words, fill=colour, font=typeface, anchor="mm")


def map_centre(view: MapView) -> float:
    """Middle of the (square) map from left to right, in pixels."""
    return view.unit * 640.0 / 2


def _draw_discs(
    picture: Image.Image, room: Image.Image, outside: Image.Image, view: MapView, scene: dict[str, Any]
) -> None:
    """Found radius and sound rings of each source, cut at the walls (nobody is found through a wall)."""
    draw = ImageDraw.Draw(picture, "RGBA")
    u, r = view.unit, scene["found_radius"] * view.scale
    sources = np.asarray(scene["sources"], dtype=np.float64).reshape(-1, 2)
    found = np.asarray(scene["found"], dtype=bool)
    phase = (scene["step"] % 4) / 4.0
    for (x, y), done, name in zip(view(sources), found, scene["classes"], strict=False):
        colour = palette.FOUND_GREY if done else palette.class_colour(name)
        disc = (x - r, y - r, x + r, y + r)
        draw.ellipse(disc, fill=(*colour, 26), outline=(*colour, 150), width=round(1.6 * u))
        for ring in range(0 if done else 3):
            reach = (0.25 + (ring + phase) / 3.6) * r
            tint = (*colour, int(130 * (1.0 - (ring + phase) / 3.2)))
            draw.ellipse((x - reach, y - reach, x + reach, y + reach), outline=tint, width=round(2 * u))
        _cut(picture, room, outside, disc)


def _cut(
    picture: Image.Image, room: Image.Image, outside: Image.Image, box: tuple[float, float, float, float]
) -> None:
    """Restore walls and what lies beyond them inside `box`, over which something was drawn."""
    corner = (max(0, int(box[0]) - 2), max(0, int(box[1]) - 2))
    whole = (*corner, min(picture.width, int(box[2]) + 3), min(picture.height, int(box[3]) + 3))
    picture.paste(room.crop(whole), corner, outside.crop(whole))


def _draw_beam(
    picture: Image.Image, room: Image.Image, outside: Image.Image, view: MapView, pose: Any
) -> None:
    """Where the agent faces, as a beam that ends at the walls."""
    draw = ImageDraw.Draw(picture, "RGBA")
    x, y = view(np.asarray(pose[:2]))
    degrees = -np.degrees(float(pose[2]))
    for reach, alpha in ((62 * view.unit, 45), (48 * view.unit, 70)):
        box = (x - reach, y - reach, x + reach, y + reach)
        draw.pieslice(box, degrees - 24, degrees + 24, fill=(245, 165, 40, alpha))
    reach = 62 * view.unit
    _cut(picture, room, outside, (x - reach, y - reach, x + reach, y + reach))


def _draw_sources(draw: ImageDraw.ImageDraw, view: MapView, scene: dict[str, Any]) -> None:
    """A dot with a loudspeaker and a name for each source; found ones grey with a tick."""
    u = view.unit
    sources = np.asarray(scene["sources"], dtype=np.float64).reshape(-1, 2)
    found = np.asarray(scene["found"], dtype=bool)
    for point, done, name in zip(view(sources), found, scene["classes"], strict=False):
        colour = palette.FOUND_GREY if done else palette.class_colour(name)
        x, y = point
        dot = 11 * u
        draw.ellipse(
            (x - dot, y - dot, x + dot, y + dot), fill=colour, outline=palette.WHITE, width=round(2 * u)
        )
        if done:
            tick = [(x - 5 * u, y), (x - 1.3 * u, y + 4 * u), (x + 5.5 * u, y - 4.5 * u)]
            draw.line(tick, fill=palette.WHITE, width=round(2.6 * u), joint="curve")
        else:  # A little loudspeaker: box and cone.
            draw.rectangle((x - 6 * u, y - 2.4 * u, x - 2 * u, y + 2.4 * u), fill=palette.WHITE)
            cone = [(x - 2.5 * u, y - 2.4 * u), (x + 3.5 * u, y - 6 * u), (x + 3.5 * u, y + 6 * u)]
            draw.polygon([*cone, (x - 2.5 * u, y + 2.4 * u)], fill=palette.WHITE)
        _label(draw, view, point, palette.pretty(name), colour)


def _draw_distractors(draw: ImageDraw.ImageDraw, view: MapView, scene: dict[str, Any]) -> None:
    """Sounds that must not be approached: a crossed square, never greyed."""
    u = view.unit
    names = list(scene.get("distractor_classes", ()))
    places = np.asarray(scene.get("distractors", ()), dtype=np.float64).reshape(-1, 2)
    for index, (x, y) in enumerate(view(places)):
        r = 10 * u
        draw.rounded_rectangle(
            (x - r, y - r, x + r, y + r), 4 * u, fill=palette.DISTRACTOR, outline=palette.WHITE, width=round(2 * u)
        )
        for sign in (-1, 1):
            line = (x - 5 * u, y - sign * 5 * u, x + 5 * u, y + sign * 5 * u)
            draw.line(line, fill=palette.WHITE, width=round(2.4 * u))
        name = palette.pretty(names[index]) if index < len(names) else "sound"
        _label(draw, view, np.array([x, y]), f"distractor: {name}", palette.DISTRACTOR)


def _draw_trail(draw: ImageDraw.ImageDraw, view: MapView, trail: np.ndarray) -> None:
    """The way walked, older parts paler, with a dot at the start."""
    u = view.unit
    if trail.shape[0] == 0:
        return
    points = view(trail)
    count = len(points) - 1
    for i in range(count):
        if np.abs(points[i + 1] - points[i]).max() > 0.5:
            alpha = 70 + int(150 * (i + 1) / count)
            draw.line([tuple(points[i]), tuple(points[i + 1])], fill=(*palette.TRAIL, alpha), width=round(3 * u))
    for i, (x, y) in enumerate(points):
        r = (5 if i == 0 else 2.2) * u
        draw.ellipse(
            (x - r, y - r, x + r, y + r),
            fill=(*palette.TRAIL, 200) if i else palette.WHITE,
            outline=palette.TRAIL,
            width=round((2 if i == 0 else 1) * u),
        )


def _draw_agent(draw: ImageDraw.ImageDraw, view: MapView, pose: Any, bumped: bool) -> None:
    """Head from above: hair, nose, left ear red and right ear blue (the panel's colours)."""
    x, y = view(np.asarray(pose[:2]))
    theta = float(pose[2])
    u, r = view.unit, 17 * view.unit
    ahead = np.array([np.cos(theta), -np.sin(theta)])
    left = np.array([-np.sin(theta), -np.cos(theta)])
    at = np.array([x, y])

    def place(forward: float, side: float) -> tuple[float, float]:
        point = at + forward * ahead + side * left
        return float(point[0]), float(point[1])

    degrees = -np.degrees(theta)
    if bumped:
        ring = r + 13 * u
        draw.ellipse((x - ring, y - ring, x + ring, y + ring), outline=(*palette.BUMP, 220), width=round(3 * u))
    for side, colour in ((1.0, palette.LEFT), (-1.0, palette.RIGHT)):
        ex, ey = place(-0.05 * r, side * 1.18 * r)
        e = 7 * u
        draw.ellipse(
            (ex - e, ey - e, ex + e, ey + e), fill=colour, outline=palette.WHITE, width=round(1.5 * u)
        )
    nose = [place(1.5 * r, 0), place(0.8 * r, 0.42 * r), place(0.8 * r, -0.42 * r)]
    draw.polygon(nose, fill=palette.HEAD)
    draw.line([nose[1], nose[0], nose[2]], fill=palette.INK, width=round(2 * u), joint="curve")
    draw.ellipse((x - r, y - r, x + r, y + r), fill=palette.HEAD, outline=palette.INK, width=round(2 * u))
    inner = r - 2 * u
    draw.chord((x - inner, y - inner, x + inner, y + inner), degrees + 75, degrees + 285, fill=palette.HAIR)


def _draw_banner(draw: ImageDraw.ImageDraw, view: MapView, words: str, colour: Any) -> None:
    u = view.unit
    typeface = font(round(20 * u))
    half = draw.textlength(words, font=typeface) / 2 + 18 * u
    x, y = map_centre(view), 30 * u
    draw.rounded_rectangle((x - half, y - 18 * u, x + half, y + 18 * u), 18 * u, fill=(*colour, 235))
    draw.text((x, y), words, fill=palette.WHITE, font=typeface, anchor="mm")


def draw_scene(scene: dict[str, Any], size: tuple[int, int] = (960, 640)) -> np.ndarray:
    """Draw a scene (what `AudioEnv.scene()` returns) from above.

    Args:
        scene: plan (boundary [V, 2], obstacles), agent (x, y, θ) in metres and radians, sources [K, 2],
            found [K], classes, trail [T, 2], audio [2, N], step, horizon, found_radius, distractors [D, 2],
            fs, bumped.
        size: width and height of the picture in pixels. The map is a square on the left; what is wider is the
            panel, which is left out when there is no room for it.

    Returns:
        uint8 [height, width, 3].
    """
    width, height = size[0] * SCALE, size[1] * SCALE
    panel = width - height if width - height >= 0.25 * height else 0
    room, outside = _room(scene["plan"], width, height, panel)
    picture = room.copy()
    view = MapView(scene["plan"].bounds, width - panel, height)
    draw = ImageDraw.Draw(picture, "RGBA")
    found = np.asarray(scene["found"], dtype=bool)
    _draw_discs(picture, room, outside, view, scene)
    _draw_beam(picture, room, outside, view, scene["agent"])
    _draw_sources(draw, view, scene)
    _draw_distractors(draw, view, scene)
    _draw_trail(draw, view, np.asarray(scene["trail"], dtype=np.float64).reshape(-1, 2))
    _draw_agent(draw, view, scene["agent"], bool(scene.get("bumped", False)))
    if found.size and found.all():
        _draw_banner(draw, view, "found them all!" if found.size > 1 else "found it!", palette.GOOD)
    if panel:
        draw_panel(picture, scene, width - panel, height / 640.0)
    return np.asarray(picture.reduce(SCALE))
