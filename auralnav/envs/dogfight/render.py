"""A dogfight as a picture: the torus seen from above, ships, bullets, hits and wrecks, and a panel beside it.

All is drawn at twice the size and reduced, which smooths every edge. What lies near an edge of the torus is drawn at
the opposite edge too.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from auralnav.envs.dogfight import palette
from auralnav.envs.dogfight.layout import BOOST, REVERSE
from auralnav.envs.dogfight.render_panel import PANEL_SHARE, draw_panel
from auralnav.envs.dogfight.scene import FLASH_SECONDS, Scene
from auralnav.envs.fonts import font

SCALE = 2
SIZE = (1120, 720)
"""Default width and height in pixels: a square map, and the panel."""

WRECK_SECONDS = 2.5
BLAST_SECONDS = 0.9
GRID_CELLS = 8

HULL = np.array([[1.75, 0.0], [-1.15, 1.0], [-0.6, 0.0], [-1.15, -1.0]])
"""A ship that faces right, in radii of its circle."""


class Painter:
    """Draws on the torus in units of the world, as often as an edge asks for.

    Args:
        picture: the square picture of the whole torus.
        size: side of the torus, units.
        centre: what stands in the middle, units.
    """

    def __init__(self, picture: Image.Image, size: float, centre: np.ndarray) -> None:
        self.draw = ImageDraw.Draw(picture, "RGBA")
        self.scale = picture.width / size
        self.size = size
        self.corner = np.asarray(centre, dtype=float) - size / 2
        self.unit = picture.width / 720.0

    def copies(self, place: np.ndarray, reach: float) -> Iterator[np.ndarray]:
        """Where a point [2] of the torus lies in the picture [2] (pixels), once for each edge within `reach` units."""
        x, y = (np.asarray(place, dtype=float) - self.corner) % self.size
        for shift_x in self._shifts(x, reach):
            for shift_y in self._shifts(y, reach):
                yield np.array([x + shift_x, y + shift_y]) * self.scale

    def _shifts(self, value: float, reach: float) -> tuple[float, ...]:
        more = (self.size,) if value < reach else ()
        less = (-self.size,) if value > self.size - reach else ()
        return (0.0, *more, *less)

    def shape(
        self, place: np.ndarray, points: np.ndarray, fill: tuple[int, ...], edge: tuple[int, ...] | None = None
    ) -> None:
        """A polygon of `points` [P, 2], in units about `place`."""
        for at in self.copies(place, float(np.abs(points).max()) + 2):
            corners = _pixels(at + points * self.scale)
            self.draw.polygon(corners, fill=fill)
            if edge is not None:
                self.draw.line([*corners, *corners[:2]], fill=edge, width=round(1.2 * self.unit), joint="curve")

    def line(
        self, place: np.ndarray, start: np.ndarray, end: np.ndarray, fill: tuple[int, ...], width: float
    ) -> None:
        """A line between two points [2], in units about `place`; its width in pixels of a map of 720."""
        reach = float(max(np.abs(start).max(), np.abs(end).max())) + 4
        for at in self.copies(place, reach):
            ends = _pixels(np.stack([at + start * self.scale, at + end * self.scale]))
            self.draw.line(ends, fill=fill, width=max(1, round(width * self.unit)))

    def disc(
        self, place: np.ndarray, radius: float, fill: tuple[int, ...] | None, edge: tuple[int, ...] | None = None,
        width: float = 1.5,
    ) -> None:  # fmt: skip
        """A disc or ring of `radius` units."""
        for at in self.copies(place, radius + 4):
            box = _pixels(np.stack([at - radius * self.scale, at + radius * self.scale]))
            self.draw.ellipse(box, fill=fill, outline=edge, width=max(1, round(width * self.unit)))

    def rectangle(self, left: float, top: float, width: float, height: float, fill: tuple[int, ...]) -> None:
        """A rectangle in pixels of the picture."""
        box = _pixels(np.array([[left, top], [left + width, top + height]]))
        self.draw.rectangle(box, fill=fill)


def _pixels(points: np.ndarray) -> list[int]:
    """Points [P, 2] as x, y, x, y, … in whole pixels: Pillow would round towards 0, and so unlike at each edge."""
    return np.floor(points).astype(int).ravel().tolist()


def draw_scene(scene: Scene, size: tuple[int, int] = SIZE, follow: int | None = None) -> np.ndarray:
    """Draw a scene from above.

    Args:
        scene: the moment to draw.
        size: width and height of the picture in pixels. The map is a square on the left, as high as the picture;
            what is wider is the panel, which is left out where there is no room for it.
        follow: a ship to keep in the middle of the map, or None for the world's own edges.

    Returns:
        uint8 [height, width, 3].
    """
    width, height = size[0] * SCALE, size[1] * SCALE
    side = min(width, height)
    world = scene.arena.size
    centre = np.full(2, world / 2) if follow is None else scene.position[follow]
    view = _sky(side)
    if follow is not None:
        shift = np.rint((world / 2 - centre) * side / world).astype(int)
        view = ImageChops.offset(view, int(shift[0]), int(shift[1]))
    view = view.copy()
    paint = Painter(view, world, centre)
    for index in np.flatnonzero(scene.dead_for >= 0):
        _draw_wreck(paint, scene, int(index))
    for index in range(len(scene.bullet_age)):
        _draw_bullet(paint, scene, index)
    alive = np.flatnonzero(scene.dead_for < 0)
    for index in alive:
        _draw_ship(paint, scene, int(index))
    for index in range(len(scene.hit_age)):
        _draw_hit(paint, scene, index)
    for index in alive:
        _draw_bars(paint, scene, int(index))
    if scene.result:
        _draw_banner(paint, view.width, scene)
    picture = Image.new("RGB", (width, height), palette.PANEL)
    picture.paste(view, (0, 0))
    if width - side >= PANEL_SHARE * height:
        draw_panel(picture, scene, side, height / 720.0)
    return np.asarray(picture.reduce(SCALE))


def star_places() -> np.ndarray:
    """Where the stars of the background stand, and how large: [S, 3], each number in 0..1."""
    return np.random.default_rng(7).random((70, 3))


@lru_cache(maxsize=4)
def _sky(side: int) -> Image.Image:
    """Space with its grid and stars, which meet at the edges: drawn once for a size."""
    picture = Image.new("RGB", (side, side), palette.SPACE)
    draw = ImageDraw.Draw(picture)
    for cell in range(GRID_CELLS):
        at = cell * side / GRID_CELLS
        draw.line((at, 0, at, side), fill=palette.GRID, width=max(1, round(side / 720)))
        draw.line((0, at, side, at), fill=palette.GRID, width=max(1, round(side / 720)))
    for x, y, size in star_places():
        r = side / 720 * (0.4 + 0.8 * size)
        draw.ellipse((x * side - r, y * side - r, x * side + r, y * side + r), fill=palette.STAR)
    return picture


def _turned(points: np.ndarray, angle: float) -> np.ndarray:
    """Points [P, 2] turned clockwise as seen (y is down)."""
    cos, sin = np.cos(angle), np.sin(angle)
    return points @ np.array([[cos, sin], [-sin, cos]])


def _draw_ship(paint: Painter, scene: Scene, ship: int) -> None:
    """Flame, hull and glow of a living ship."""
    place, angle, radius = scene.position[ship], scene.attitude[ship], scene.arena.radius
    colour = palette.TEAMS[scene.team[ship]]
    power, _, _ = (int(choice) for choice in scene.action[ship])
    paint.disc(place, 2.1 * radius, (*colour, 16))
    if scene.power[ship] > 0:
        _draw_flame(paint, place, angle, radius, power, scene.tick)
    paint.shape(place, _turned(HULL * radius * 1.15, angle), (*colour, 255), (*palette.INK, 210))
    recent = (scene.bullet_owner == ship) & (scene.bullet_age < 0.06)
    if recent.any():
        paint.disc(place + _turned(HULL[:1] * radius * 1.3, angle)[0], 0.5 * radius, (*palette.EMBER, 235))


def _draw_flame(paint: Painter, place: np.ndarray, angle: float, radius: float, power: int, tick: float) -> None:
    """Thrust: a long flame when boosting, a short one when coasting, two jets ahead in reverse."""
    flicker = 1.0 + 0.12 * np.sin(2.1 * tick)
    if power == REVERSE:
        for side in (-1.0, 1.0):
            jet = np.array([[0.55, 0.45 * side], [1.55 * flicker, 0.95 * side], [0.75, 0.85 * side]])
            paint.shape(place, _turned(jet * radius, angle), (*palette.FLAME, 190))
        return
    length = (2.6 if power == BOOST else 0.75) * flicker
    for share, colour in ((1.0, (*palette.FLAME, 200)), (0.55, (*palette.EMBER, 235))):
        wide = 0.52 * share if power == BOOST else 0.34 * share
        flame = np.array([[-0.75, wide], [-0.75 - length * share, 0.0], [-0.75, -wide]])
        paint.shape(place, _turned(flame * radius, angle), colour)


def _draw_bullet(paint: Painter, scene: Scene, index: int) -> None:
    """A bright dot with a trail that fades, never longer than the bullet has flown."""
    place, velocity = scene.bullet_position[index], scene.bullet_velocity[index]
    colour = palette.LIGHT[scene.team[scene.bullet_owner[index]]]
    length = min(scene.bullet_age[index], 0.09)
    parts = 6
    for part in range(parts, 0, -1):
        start, end = -velocity * length * part / parts, -velocity * length * (part - 1) / parts
        paint.line(place, start, end, (*colour, round(170 * (1 - (part - 1) / parts) ** 1.6)), 1.7)
    paint.disc(place, 2.6, (*colour, 255))


def _draw_hit(paint: Painter, scene: Scene, index: int) -> None:
    """A ring that grows, and sparks."""
    place, share = scene.hit_position[index], scene.hit_age[index] / FLASH_SECONDS
    colour = palette.LIGHT[scene.team[scene.hit_owner[index]]]
    paint.disc(place, 3 + 15 * share, None, (*colour, round(230 * (1 - share))), 1.8)
    if share < 0.25:
        paint.disc(place, 6 * (1 - share), (*palette.EMBER, 230))
    for spark in range(6):
        way = np.array([np.cos(spark * 1.047 + place[0]), np.sin(spark * 1.047 + place[0])])
        flame = (*palette.FLAME, round(220 * (1 - share)))
        paint.line(place, way * (5 + 18 * share), way * (8 + 22 * share), flame, 1.4)


def _draw_wreck(paint: Painter, scene: Scene, ship: int) -> None:
    """A blast, and a grey hull that fades."""
    place, age = scene.position[ship], scene.dead_for[ship]
    radius, colour = scene.arena.radius, palette.TEAMS[scene.team[ship]]
    if age < BLAST_SECONDS:
        share = age / BLAST_SECONDS
        fade = 1 - share
        paint.disc(place, radius * (1 + 4.5 * share**0.5), (*palette.FLAME, round(120 * fade**2)))
        paint.disc(place, radius * (1 + 6.0 * share**0.6), None, (*colour, round(235 * fade)), 2.4)
        for spark in range(11):
            angle = spark * 2.4 + ship
            way = np.array([np.cos(angle), np.sin(angle)]) * radius * (1 + 0.35 * (spark % 4))
            paint.line(place, way * (1 + 3 * share), way * (1.5 + 4 * share), (*palette.EMBER, round(230 * fade)), 1.6)
    if age < WRECK_SECONDS:
        alpha = round(200 * (1 - age / WRECK_SECONDS))
        hull = _turned(HULL * radius * 1.15, scene.attitude[ship])
        paint.shape(place, hull, (*palette.WRECK, alpha // 2), (*palette.WRECK, alpha))


def _draw_bars(paint: Painter, scene: Scene, ship: int) -> None:
    """Number, health and power under a ship, upright whichever way it faces."""
    place, u = scene.position[ship], paint.unit
    health = scene.health[ship] / scene.arena.max_health
    power = scene.power[ship] / scene.arena.max_power
    for x, y in paint.copies(place, 4 * scene.arena.radius):
        left, top = x - 14 * u, y + 2.3 * scene.arena.radius * paint.scale
        rows = ((health, 3.2, palette.health_colour(health)), (power, 2.0, palette.POWER))
        for share, thick, colour in rows:
            paint.rectangle(left, top, 28 * u, thick * u, (*palette.TRACK, 200))
            if share > 0:
                paint.rectangle(left, top, 28 * u * share, thick * u, colour)
            top += (thick + 1.2) * u
        paint.draw.text(
            (left - 4 * u, top - 4.5 * u),
            str(ship + 1),
            fill=palette.LIGHT[scene.team[ship]],
            font=font(round(11 * u)),
            anchor="rm",
        )


def _draw_banner(paint: Painter, side: int, scene: Scene) -> None:
    u, typeface = paint.unit, font(round(26 * paint.unit))
    half = paint.draw.textlength(scene.result, font=typeface) / 2 + 26 * u
    x, y = side / 2, 44 * u
    box = (x - half, y - 24 * u, x + half, y + 24 * u)
    paint.draw.rounded_rectangle(box, 24 * u, fill=(*palette.PANEL, 235), outline=palette.LINE, width=round(1.5 * u))
    paint.draw.text((x, y), scene.result, fill=palette.INK, font=typeface, anchor="mm")
