"""Floor plans: a simple polygon with polygonal obstacles, and the kernels that ask it questions.

Walls are the rows (x0, y0, x1, y1) of ``FloorPlan.segments``, outline first, then the obstacles. The kernels
take that array and plain floats, so that other compiled code can call them; nothing in them allocates on the
common path.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from auralnav.envs.acoustics.polygon import signed_area
from auralnav.errors import RoomError

Floats = NDArray[np.float64]

EPS = 1e-9  # metres; a touch closer than this is a touch, not a crossing
MIN_AREA = 0.25  # square metres; smaller than this nothing can stand in a room
_TRIES = 2_000


@njit(cache=True, nogil=True)
def point_segment_distance2(px: float, py: float, ax: float, ay: float, bx: float, by: float) -> float:
    """Squared distance [m²] from point p to segment ab."""
    ex, ey = bx - ax, by - ay
    fx, fy = px - ax, py - ay
    dot, length2 = fx * ex + fy * ey, ex * ex + ey * ey
    if dot > 0.0 and length2 > 0.0:
        t = min(dot / length2, 1.0)
        fx -= t * ex
        fy -= t * ey
    return fx * fx + fy * fy


@njit(cache=True, nogil=True)
def wall_distance(segments: Floats, px: float, py: float) -> float:
    """Distance [m] from p to the nearest wall of ``segments`` [S, 4]."""
    best = np.inf
    for s in range(segments.shape[0]):
        d2 = point_segment_distance2(px, py, segments[s, 0], segments[s, 1], segments[s, 2], segments[s, 3])
        best = min(best, d2)
    return math.sqrt(best)


@njit(cache=True, nogil=True)
def inside(segments: Floats, px: float, py: float) -> bool:
    """Whether p lies in free space (even-odd rule over outline and obstacles); undecided on the walls."""
    odd = False
    for s in range(segments.shape[0]):
        ay, by = segments[s, 1], segments[s, 3]
        if (ay > py) != (by > py):
            ax, bx = segments[s, 0], segments[s, 2]
            if px < ax + (py - ay) / (by - ay) * (bx - ax):
                odd = not odd
    return odd


@njit(cache=True, nogil=True)
def _pieces_inside(segments: Floats, ax: float, ay: float, bx: float, by: float) -> bool:
    """Cuts ab at every wall end that lies on it and asks each piece's middle: free or along a wall?"""
    count = segments.shape[0]
    dx, dy = bx - ax, by - ay
    length2 = dx * dx + dy * dy
    cuts = np.empty(2 * count + 2)
    cuts[0], cuts[1], used = 0.0, 1.0, 2
    for s in range(count):
        for end in range(2):
            fx, fy = segments[s, 2 * end] - ax, segments[s, 2 * end + 1] - ay
            side, t = dx * fy - dy * fx, (dx * fx + dy * fy) / length2
            if side * side <= EPS * EPS * length2 and 0.0 < t < 1.0:
                cuts[used] = t
                used += 1
    ordered = np.sort(cuts[:used])
    for i in range(used - 1):
        if (ordered[i + 1] - ordered[i]) ** 2 * length2 <= 4.0 * EPS * EPS:
            continue
        t = 0.5 * (ordered[i] + ordered[i + 1])
        mx, my = ax + t * dx, ay + t * dy
        if not inside(segments, mx, my) and wall_distance(segments, mx, my) > EPS:
            return False
    return True


@njit(cache=True, nogil=True)
def _misses_box(
    wall: Floats, ax: float, ay: float, bx: float, by: float, margin: float
) -> bool:
    """Whether ``wall`` [4] lies on one side of the box around a and b that is ``margin`` [m] wider."""
    cx, cy, ex, ey = wall[0], wall[1], wall[2], wall[3]
    x_lo, x_hi = min(ax, bx) - margin, max(ax, bx) + margin
    y_lo, y_hi = min(ay, by) - margin, max(ay, by) + margin
    return (
        (cx < x_lo and ex < x_lo)
        or (cx > x_hi and ex > x_hi)
        or (cy < y_lo and ey < y_lo)
        or (cy > y_hi and ey > y_hi)
    )


@njit(cache=True, nogil=True)
def _sides(
    wall: Floats, ax: float, ay: float, bx: float, by: float
) -> tuple[float, float, float, float]:
    """Where the ends c and e of ``wall`` [4] lie against the line ab, and a and b against the wall's line.

    Twice the signed areas [m²] of the triangles abc, abe, cea and ceb.
    """
    cx, cy, ex, ey = wall[0], wall[1], wall[2], wall[3]
    dx, dy, wx, wy = bx - ax, by - ay, ex - cx, ey - cy
    return (
        dx * (cy - ay) - dy * (cx - ax),
        dx * (ey - ay) - dy * (ex - ax),
        wx * (ay - cy) - wy * (ax - cx),
        wx * (by - cy) - wy * (bx - cx),
    )


@njit(cache=True, nogil=True)
def visible(segments: Floats, ax: float, ay: float, bx: float, by: float) -> bool:
    """Whether the straight line from a to b stays in closed free space; it may graze corners and walls.

    a and b must lie in free space or on a wall.
    """
    dx, dy = bx - ax, by - ay
    length2 = dx * dx + dy * dy
    if length2 <= EPS * EPS:
        return True
    tol = EPS * EPS * length2
    touch_a, touch_b, touch = False, False, False
    for s in range(segments.shape[0]):
        if _misses_box(segments[s], ax, ay, bx, by, EPS):
            continue
        cx, cy, ex, ey = segments[s, 0], segments[s, 1], segments[s, 2], segments[s, 3]
        side_c, side_e, side_a, side_b = _sides(segments[s], ax, ay, bx, by)
        c_on, e_on = side_c * side_c <= tol, side_e * side_e <= tol
        wall_tol = EPS * EPS * ((ex - cx) ** 2 + (ey - cy) ** 2)
        a_on, b_on = side_a * side_a <= wall_tol, side_b * side_b <= wall_tol
        if not (c_on or e_on or a_on or b_on):
            if (side_c > 0.0) != (side_e > 0.0) and (side_a > 0.0) != (side_b > 0.0):
                return False
            continue
        # a wall's line passes through an end, or ab's line through a wall's end: are they really in touch?
        if a_on and point_segment_distance2(ax, ay, cx, cy, ex, ey) <= EPS * EPS:
            touch_a = True
        if b_on and point_segment_distance2(bx, by, cx, cy, ex, ey) <= EPS * EPS:
            touch_b = True
        if c_on and EPS * EPS < ((cx - ax) * dx + (cy - ay) * dy) / math.sqrt(length2):
            touch = touch or (cx - bx) * dx + (cy - by) * dy < -EPS * math.sqrt(length2)
        if e_on and EPS * EPS < ((ex - ax) * dx + (ey - ay) * dy) / math.sqrt(length2):
            touch = touch or (ex - bx) * dx + (ey - by) * dy < -EPS * math.sqrt(length2)
    # one end on a wall is harmless: from the free end, free space cannot be left without a crossing
    if touch or (touch_a and touch_b):
        return _pieces_inside(segments, ax, ay, bx, by)
    return True


@njit(cache=True)
def segment_free(segments: Floats, ax: float, ay: float, bx: float, by: float, clearance: float) -> bool:
    """Whether a disc of radius ``clearance`` [m] moves straight from a to b without touching a wall.

    a must lie in free space. A gap of exactly ``clearance`` is free.
    """
    if clearance <= 0.0:
        return visible(segments, ax, ay, bx, by)
    limit = max(clearance - EPS, 0.0)
    limit2 = limit * limit
    for s in range(segments.shape[0]):
        if _misses_box(segments[s], ax, ay, bx, by, clearance):
            continue
        cx, cy, ex, ey = segments[s, 0], segments[s, 1], segments[s, 2], segments[s, 3]
        side_c, side_e, side_a, side_b = _sides(segments[s], ax, ay, bx, by)
        if side_c * side_e < 0.0 and side_a * side_b < 0.0:
            return False
        # two segments that do not cross are nearest at an end of one of them
        if (
            point_segment_distance2(bx, by, cx, cy, ex, ey) < limit2
            or point_segment_distance2(ax, ay, cx, cy, ex, ey) < limit2
            or point_segment_distance2(cx, cy, ax, ay, bx, by) < limit2
            or point_segment_distance2(ex, ey, ax, ay, bx, by) < limit2
        ):
            return False
    return True


@njit(cache=True, nogil=True)
def contains_points(segments: Floats, points: Floats, clearance: float) -> NDArray[np.bool_]:
    """For ``points`` [P, 2]: in free space and at least ``clearance`` [m] from every wall? bool [P]."""
    out = np.empty(points.shape[0], dtype=np.bool_)
    for i in range(points.shape[0]):
        px, py = points[i, 0], points[i, 1]
        gap = wall_distance(segments, px, py)
        out[i] = gap <= EPS if clearance <= 0.0 else False
        if not out[i] and gap >= clearance - EPS:
            out[i] = inside(segments, px, py)
    return out


def _edges(polygon: Floats) -> Floats:
    return np.ascontiguousarray(np.concatenate([polygon, np.roll(polygon, -1, axis=0)], axis=1))


def _turns(polygon: Floats) -> Floats:
    """Sine of the turn at each vertex: positive for a left turn, zero on a straight wall."""
    before = polygon - np.roll(polygon, 1, axis=0)
    after = np.roll(polygon, -1, axis=0) - polygon
    cross = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    return cross / (np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1))


@njit(cache=True, nogil=True)
def _gap2(a: Floats, b: Floats) -> float:
    """Squared distance between two walls (rows of four), zero when they cross."""
    side_c, side_e, side_a, side_b = _sides(b, a[0], a[1], a[2], a[3])
    if side_c * side_e < 0.0 and side_a * side_b < 0.0:
        return 0.0
    ends = min(
        point_segment_distance2(a[0], a[1], b[0], b[1], b[2], b[3]),
        point_segment_distance2(a[2], a[3], b[0], b[1], b[2], b[3]),
    )
    others = min(
        point_segment_distance2(b[0], b[1], a[0], a[1], a[2], a[3]),
        point_segment_distance2(b[2], b[3], a[0], a[1], a[2], a[3]),
    )
    return min(ends, others)


@njit(cache=True, nogil=True)
def _simple(edges: Floats) -> bool:
    """Whether the closed chain ``edges`` [V, 4] neither crosses, touches nor folds back on itself."""
    count = edges.shape[0]
    for i in range(count):
        for j in range(i + 1, count):
            if j == i + 1 or (i == 0 and j == count - 1):
                first, second = (i, j) if j == i + 1 else (j, i)
                far, near = edges[second], edges[first]
                if point_segment_distance2(far[2], far[3], near[0], near[1], near[2], near[3]) <= EPS * EPS:
                    return False
                if point_segment_distance2(near[0], near[1], far[0], far[1], far[2], far[3]) <= EPS * EPS:
                    return False
            elif _gap2(edges[i], edges[j]) <= EPS * EPS:
                return False
    return True


@njit(cache=True, nogil=True)
def chains_touch(a: Floats, b: Floats, gap: float) -> bool:
    """Whether any wall of ``a`` [n, 4] comes within ``gap`` [m] of one of ``b`` [m, 4]."""
    for i in range(a.shape[0]):
        for j in range(b.shape[0]):
            if _gap2(a[i], b[j]) <= gap * gap:
                return True
    return False


def _checked_polygon(vertices: ArrayLike, name: str, min_area: float) -> Floats:
    polygon = np.ascontiguousarray(vertices, dtype=np.float64)
    if polygon.ndim != 2 or polygon.shape[1] != 2 or len(polygon) < 3:
        raise RoomError(f"{name} has shape {polygon.shape}; give at least 3 corners as an array [V, 2]")
    if not np.isfinite(polygon).all():
        raise RoomError(f"{name} has a corner that is not finite; give every corner in metres")
    if np.min(np.linalg.norm(polygon - np.roll(polygon, -1, axis=0), axis=1)) < 1e-6:
        raise RoomError(f"{name} has two equal corners in a row; remove one (the outline closes by itself)")
    if not _simple(_edges(polygon)):
        raise RoomError(f"{name} crosses or touches itself; list its corners in order around the outline")
    area = signed_area(polygon)
    if abs(area) < min_area:
        raise RoomError(f"{name} has an area of {abs(area):.3g} m²; make it at least {min_area:g} m²")
    return polygon if area > 0.0 else np.ascontiguousarray(polygon[::-1])


@dataclass(frozen=True, eq=False)
class FloorPlan:
    """A room seen from above.

    boundary: float64 [V, 2] in metres, a simple polygon; stored counter-clockwise, whichever way it is given.
    obstacles: polygons float64 [W, 2] strictly inside the boundary and apart from each other; stored
    counter-clockwise. height: metres, floor to ceiling.

    Raises RoomError for an outline that crosses itself or is smaller than 0.25 m², obstacles that touch a
    wall or each other, and a height that is not positive.
    """

    boundary: Floats
    obstacles: tuple[Floats, ...] = ()
    height: float = 3.0

    def __post_init__(self) -> None:
        boundary = _checked_polygon(self.boundary, "the room's outline", MIN_AREA)
        obstacles = tuple(_checked_polygon(o, f"obstacle {i}", 1e-6) for i, o in enumerate(self.obstacles))
        if not (math.isfinite(self.height) and self.height > 0.0):
            raise RoomError(f"the room's height is {self.height}; give a positive height in metres")
        chains = [_edges(boundary)] + [_edges(o) for o in obstacles]
        for i, obstacle in enumerate(obstacles):
            x, y = float(obstacle[0, 0]), float(obstacle[0, 1])
            if not inside(chains[0], x, y) or chains_touch(chains[0], chains[i + 1], EPS):
                raise RoomError(f"obstacle {i} touches or leaves the room's outline; move it inside")
            for j in range(i):
                other = chains[j + 1]
                nested = inside(other, x, y) or inside(chains[i + 1], other[0, 0], other[0, 1])
                if nested or chains_touch(other, chains[i + 1], EPS):
                    raise RoomError(f"obstacles {j} and {i} touch; move them apart or merge them into one")
        object.__setattr__(self, "boundary", boundary)
        object.__setattr__(self, "obstacles", obstacles)
        object.__setattr__(self, "height", float(self.height))

    @classmethod
    def shoebox(cls, width: float, depth: float, height: float = 3.0) -> FloorPlan:
        """The rectangle [0, width] × [0, depth], in metres. Raises RoomError for sides not positive."""
        if not (math.isfinite(width) and math.isfinite(depth) and width > 0.0 and depth > 0.0):
            raise RoomError(f"the room is {width} × {depth} m; give positive sides in metres")
        corners = np.array([[0.0, 0.0], [width, 0.0], [width, depth], [0.0, depth]])
        if not (min(width, depth) >= math.sqrt(MIN_AREA) and 0.0 < height < math.inf):
            return cls(corners, (), height)
        # A rectangle needs no check of a polygon, which would be a good part of a reset.
        plan = object.__new__(cls)
        plan.__dict__.update(
            boundary=corners,
            obstacles=(),
            height=float(height),
            segments=_edges(corners),
            bounds=(0.0, 0.0, float(width), float(depth)),
            reflex_corners=np.empty((0, 2)),
        )
        return plan

    @cached_property
    def segments(self) -> Floats:
        """Every wall as (x0, y0, x1, y1): float64 [S, 4], outline first."""
        return np.ascontiguousarray(np.concatenate([_edges(p) for p in (self.boundary, *self.obstacles)]))

    @cached_property
    def reflex_corners(self) -> Floats:
        """Corners around which shortest paths bend: float64 [C, 2]."""
        corners = [self.boundary[_turns(self.boundary) < -1e-9]]
        corners += [o[_turns(o) > 1e-9] for o in self.obstacles]
        return np.ascontiguousarray(np.concatenate(corners))

    @cached_property
    def convex(self) -> bool:
        """Whether every point of the room sees every other."""
        return len(self.reflex_corners) == 0

    @cached_property
    def bounds(self) -> tuple[float, float, float, float]:
        """(x_min, y_min, x_max, y_max) in metres."""
        low, high = self.boundary.min(axis=0), self.boundary.max(axis=0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])

    @cached_property
    def area(self) -> float:
        """Free floor in m²: the outline less the obstacles."""
        return signed_area(self.boundary) - sum(signed_area(o) for o in self.obstacles)

    def contains(self, points: ArrayLike, clearance: float = 0.0) -> NDArray[np.bool_]:
        """For ``points`` [P, 2]: in free space, at least ``clearance`` metres from every wall? bool [P]."""
        return contains_points(self.segments, np.ascontiguousarray(points, dtype=np.float64), clearance)

    def segment_free(self, a: Sequence[float], b: Sequence[float], clearance: float) -> bool:
        """Whether a disc of radius ``clearance`` [m] moves straight from a to b and touches no wall."""
        return segment_free(self.segments, a[0], a[1], b[0], b[1], clearance)

    def visible(self, a: Sequence[float], b: Sequence[float]) -> bool:
        """Whether a sees b, both in free space or on a wall; grazing a corner counts as visible."""
        return visible(self.segments, a[0], a[1], b[0], b[1])

    def sample_point(self, rng: np.random.Generator, clearance: float) -> Floats:
        """A point [2], uniform over free space at least ``clearance`` metres from every wall.

        Raises RoomError when 2 000 tries find no such point.
        """
        x0, y0, x1, y1 = self.bounds
        for _ in range(_TRIES):
            x = x0 + (x1 - x0) * rng.random()
            y = y0 + (y1 - y0) * rng.random()
            if wall_distance(self.segments, x, y) >= clearance and inside(self.segments, x, y):
                return np.array([x, y])
        raise RoomError(
            f"no point of the {x1 - x0:.2f} × {y1 - y0:.2f} m room is {clearance:g} m from every wall; "
            "make the room larger, the clearance smaller or the obstacles fewer"
        )
