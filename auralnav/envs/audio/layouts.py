"""Random floor plans to get lost in: L-shapes, bent corridors, two rooms with a door, boxes as obstacles.

Boxes keep 0.8 m from walls and from each other and stay out of doorways, so that every passage stays
walkable; a flood fill checks that no free space is cut off.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit
from numpy.typing import NDArray

from auralnav.envs.audio.geometry import (
    Floats,
    FloorPlan,
    contains_points,
    inside,
    point_segment_distance2,
    segment_free,
)
from auralnav.errors import RoomError

KINDS = ("l", "corridor", "two_rooms")
MAX_OBSTACLES = 3
BODY = 0.2  # metres; the body for which all free space must be connected
WALL = 0.2  # metres; thickness of the wall between two rooms
GAP = 0.8  # metres; the least passage beside a box
_TRIES = 60

# an outline, and doorways to keep free as rectangles (x0, y0, x1, y1)
Outline = tuple[Floats, list[tuple[float, float, float, float]]]


def _l(rng: np.random.Generator) -> Outline:
    """A rectangle of 6–12 m less a corner, leaving arms of at least 2.2 m."""
    width, depth = rng.uniform(6.0, 12.0), rng.uniform(6.0, 12.0)
    x, y = rng.uniform(2.2, 0.6 * width), rng.uniform(2.2, 0.6 * depth)
    return np.array([(0, 0), (width, 0), (width, y), (x, y), (x, depth), (0, depth)]), []


def _corridor(rng: np.random.Generator) -> Outline:
    """A corridor 2.2–2.8 m wide with two bends, in the form of a U or a Z, on 8–12 × 7–10 m."""
    width, depth, w = rng.uniform(8.0, 12.0), rng.uniform(7.0, 10.0), rng.uniform(2.2, 2.8)
    if rng.random() < 0.5:
        u_shape = [(0, 0), (width, 0), (width, depth), (width - w, depth)]
        return np.array([*u_shape, (width - w, w), (w, w), (w, depth), (0, depth)]), []
    x = rng.uniform(1.0, width - w - 1.0)
    z_shape = [(0, 0), (x + w, 0), (x + w, depth - w), (width, depth - w)]
    return np.array([*z_shape, (width, depth), (x, depth), (x, w), (0, w)]), []


def _two_rooms(rng: np.random.Generator) -> Outline:
    """Two rooms side by side on 8–12 × 6–9 m, a wall of 0.2 m between them with a door of 1.2–1.8 m.

    One simple polygon: the wall is a pair of notches, one from each side, with the door between them.
    """
    width, depth, door = rng.uniform(8.0, 12.0), rng.uniform(6.0, 9.0), rng.uniform(1.2, 1.8)
    x = rng.uniform(3.0, width - 3.0 - WALL)
    low = rng.uniform(0.6, depth - door - 0.6)
    high = low + door
    below = [(x, 0), (x, low), (x + WALL, low), (x + WALL, 0)]
    above = [(x + WALL, depth), (x + WALL, high), (x, high), (x, depth)]
    return np.array([(0, 0), *below, (width, 0), (width, depth), *above, (0, depth)]), [
        (x - GAP, low, x + WALL + GAP, high)
    ]


_OUTLINES: dict[str, Callable[[np.random.Generator], Outline]] = {
    "l": _l,
    "corridor": _corridor,
    "two_rooms": _two_rooms,
}


@njit(cache=True, nogil=True)
def _flood(segments: Floats, points: Floats, free: NDArray[np.bool_], ny: int, clearance: float) -> bool:
    """Whether the ``free`` [n] grid points (``ny`` a row) are one part for a disc of radius ``clearance``."""
    total = free.shape[0]
    first = -1
    for i in range(total):
        if free[i]:
            first = i
            break
    if first < 0:
        return False
    seen = np.zeros(total, dtype=np.bool_)
    stack = np.empty(total, dtype=np.int64)
    stack[0], seen[first], used = first, True, 1
    while used > 0:
        used -= 1
        here = stack[used]
        for step in (-ny, ny, -1, 1):
            there = here + step
            if there < 0 or there >= total or (abs(step) == 1 and there // ny != here // ny):
                continue
            if free[there] and not seen[there]:
                if segment_free(
                    segments, points[here, 0], points[here, 1], points[there, 0], points[there, 1], clearance
                ):
                    seen[there] = True
                    stack[used] = there
                    used += 1
    return bool(np.all(seen == free))


def connected(plan: FloorPlan, clearance: float = BODY, cell: float = 0.1) -> bool:
    """Whether a disc of radius ``clearance`` [m] gets from anywhere to anywhere, on a grid of ``cell`` [m].

    False also when it fits nowhere.
    """
    x0, y0, x1, y1 = plan.bounds
    xs, ys = np.arange(x0 + cell / 2, x1, cell), np.arange(y0 + cell / 2, y1, cell)
    points = np.ascontiguousarray(np.stack(np.meshgrid(xs, ys, indexing="ij"), -1).reshape(-1, 2))
    free = contains_points(plan.segments, points, clearance)
    return _flood(plan.segments, points, free, len(ys), clearance)


def _box(rng: np.random.Generator, bounds: tuple[float, float, float, float], largest: float) -> Floats:
    """A rectangle of 0.4 m to ``largest`` a side, turned at random, somewhere in ``bounds``."""
    half = rng.uniform(0.4, largest, 2) / 2.0
    angle = rng.uniform(0.0, np.pi / 2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = rng.uniform(bounds[:2], bounds[2:])
    return centre + (np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * half) @ turn.T


@njit(cache=True, nogil=True)
def _apart(segments: Floats, box: Floats, gap: float) -> bool:
    """Whether ``box`` [4, 2] lies in free space, ``gap`` [m] from every wall."""
    if not inside(segments, box[0, 0], box[0, 1]):
        return False
    for i in range(4):
        a, b = box[i], box[(i + 1) % 4]
        if not segment_free(segments, a[0], a[1], b[0], b[1], gap):
            return False
        for s in range(segments.shape[0]):  # a wall's end in the middle of the box, far from its sides
            if point_segment_distance2(segments[s, 0], segments[s, 1], a[0], a[1], b[0], b[1]) < gap * gap:
                return False
    return True


def _furnish(
    rng: np.random.Generator, outline: Outline, height: float, boxes: int, largest: float
) -> FloorPlan | None:
    """The outline with ``boxes`` obstacles, or None when they did not fit."""
    plan = FloorPlan(outline[0], (), height)
    while len(plan.obstacles) < boxes:
        for _ in range(_TRIES):
            box = _box(rng, plan.bounds, largest)
            low, high = box.min(axis=0), box.max(axis=0)
            blocks = any(
                low[0] < x1 and high[0] > x0 and low[1] < y1 and high[1] > y0 for x0, y0, x1, y1 in outline[1]
            )
            if not blocks and _apart(plan.segments, box, GAP):
                plan = FloorPlan(outline[0], (*plan.obstacles, box), height)
                break
        else:
            return None
    return plan


def _turned(rng: np.random.Generator, outline: Outline) -> Outline:
    """The outline mirrored at random in x, in y and in the diagonal, its corner kept at the origin."""
    corners, doors = outline[0].copy(), np.array(outline[1], dtype=np.float64).reshape(-1, 2, 2)
    for axis in (0, 1):
        if rng.random() < 0.5:
            size = corners[:, axis].max()
            corners[:, axis] = size - corners[:, axis]
            doors[:, :, axis] = size - doors[:, ::-1, axis]
    if rng.random() < 0.5:
        corners, doors = corners[:, ::-1], doors[:, :, ::-1]
    return np.ascontiguousarray(corners), [
        (float(d[0, 0]), float(d[0, 1]), float(d[1, 0]), float(d[1, 1])) for d in doors
    ]


def sample_layout(kind: str, rng: np.random.Generator, num_obstacles: int = 0) -> FloorPlan:
    """A random floor plan, 6–12 m a side and 2.4–3.5 m high, its corner at the origin.

    ``kind``: l, corridor, two_rooms, or random (one of them). ``num_obstacles``: 0–3 boxes of 0.4–1.2 m
    (corridors: 0.6 m), at least 0.8 m from walls and each other: a disc of radius 0.2 m gets everywhere.

    Raises RoomError for another kind or number, or when the boxes do not fit.
    """
    if kind != "random" and kind not in KINDS:
        raise RoomError(f"there is no layout {kind!r}; choose one of {', '.join((*KINDS, 'random'))}")
    if not 0 <= num_obstacles <= MAX_OBSTACLES:
        raise RoomError(f"num_obstacles is {num_obstacles}; choose 0 to {MAX_OBSTACLES}")
    if kind == "random":
        kind = KINDS[int(rng.integers(len(KINDS)))]
    height = float(rng.uniform(2.4, 3.5))
    for _ in range(_TRIES):
        outline = _turned(rng, _OUTLINES[kind](rng))
        plan = _furnish(rng, outline, height, num_obstacles, 0.6 if kind == "corridor" else 1.2)
        if plan is not None and connected(plan):
            return plan
    raise RoomError(f"{num_obstacles} boxes did not fit into a {kind} layout; ask for fewer obstacles")
