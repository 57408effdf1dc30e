"""The shortest tour that touches every found disc: the yardstick of SPL.

A geodesic disc is all that lies within ``radius`` of a source along the floor. The way to the last disc of
an order is exactly the distance less the radius; on the others the touch point is chosen from samples of
the rim by dynamic programming along the order, then slid along the rim until that stops helping. Rims are
arcs: around the source as far as it sees, and around each corner with what is left of the radius there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from auralnav.envs.audio.geodesic import Geodesics, best_corner, point_distance, reach_from, reaches_from
from auralnav.envs.audio.geometry import Floats, inside, visible
from auralnav.errors import RoomError

MAX_DISCS = 6
_SAMPLES = 40  # touch points a full circle
_NEAR = 1.02  # orders whose sampled tour is within 2 % of the best are refined
_FINEST = 2e-3  # radians; where sliding stops

Ints = NDArray[np.int64]


@njit(cache=True, nogil=True)
def _length(
    segments: Floats, corners: Floats, lengths: Floats, px: float, py: float, qx: float, qy: float
) -> float:
    """Geodesic length [m] between two points of which nothing is known yet."""
    if corners.shape[0] == 0 or visible(segments, px, py, qx, qy):
        return math.sqrt((px - qx) ** 2 + (py - qy) ** 2)
    reach = reach_from(segments, corners, lengths, qx, qy)
    return point_distance(segments, corners, reach, px, py, qx, qy)


@njit(cache=True, nogil=True)
def _place(sample: Floats, angle: float) -> None:
    sample[3] = angle
    sample[4] = sample[0] + sample[2] * math.cos(angle)
    sample[5] = sample[1] + sample[2] * math.sin(angle)


@njit(cache=True, nogil=True)
def _entry(
    segments: Floats,
    corners: Floats,
    centre: Floats,
    target: Floats,
    target_reach: Floats,
    radius: float,
    sample: Floats,
) -> None:
    """Writes into ``sample`` [6] where the shortest path from ``target`` [2] enters ``centre``'s disc."""
    x, y, left = centre[0], centre[1], radius
    reach = target_reach.copy()
    while True:
        tx, ty = target[0], target[1]
        if corners.shape[0] > 0 and not visible(segments, x, y, tx, ty):
            corner = best_corner(segments, corners, reach, x, y)
            if corner < 0:
                break
            tx, ty = corners[corner, 0], corners[corner, 1]
            reach[corner] = np.inf  # or, standing there, it would be its own next corner
        way = math.sqrt((tx - x) ** 2 + (ty - y) ** 2)
        if way >= left or (tx == target[0] and ty == target[1]):
            break
        x, y, left = tx, ty, left - way
    sample[0], sample[1], sample[2] = x, y, left
    _place(sample, math.atan2(ty - y, tx - x))


@njit(cache=True, nogil=True)
def _rims(
    segments: Floats,
    corners: Floats,
    start: Floats,
    start_reach: Floats,
    centres: Floats,
    reach: Floats,
    radius: float,
    circle: int,
) -> tuple[Floats, Ints]:
    """Touch points (arc's x, y, radius, angle, point's x, y) [M, 6]; each disc's first row [K + 1].

    Includes where the shortest paths from the start and from the other centres enter, so that no disc is
    missed whose rim is open only at a narrow door.
    """
    count, bends = centres.shape[0], corners.shape[0]
    rows = np.empty((count * (circle * (bends + 1) + count + 1), 6))
    first = np.zeros(count + 1, dtype=np.int64)
    used = 0
    for i in range(count):
        for arc in range(-1, bends):
            left = radius if arc < 0 else radius - reach[i, arc]
            if left <= 0.0:
                continue
            points = max(8, math.ceil(circle * left / radius))
            for p in range(points):
                row = rows[used]
                row[0] = centres[i, 0] if arc < 0 else corners[arc, 0]
                row[1] = centres[i, 1] if arc < 0 else corners[arc, 1]
                row[2] = left
                _place(row, 2.0 * math.pi * p / points)
                if inside(segments, row[4], row[5]) and visible(segments, row[0], row[1], row[4], row[5]):
                    used += 1
        _entry(segments, corners, centres[i], start, start_reach, radius, rows[used])
        used += 1
        for j in range(count):
            between = point_distance(
                segments, corners, reach[j], centres[i, 0], centres[i, 1], centres[j, 0], centres[j, 1]
            )
            if j != i and radius < between < np.inf:
                _entry(segments, corners, centres[i], centres[j], reach[j], radius, rows[used])
                used += 1
        first[i + 1] = used
    return rows[:used], first


@njit(cache=True, nogil=True)
def _next_order(order: Ints) -> bool:
    """Turns ``order`` into its successor among the permutations; False after the last."""
    i = order.shape[0] - 2
    while i >= 0 and order[i] >= order[i + 1]:
        i -= 1
    if i < 0:
        return False
    j = order.shape[0] - 1
    while order[j] <= order[i]:
        j -= 1
    order[i], order[j] = order[j], order[i]
    order[i + 1 :] = order[i + 1 :][::-1].copy()
    return True


@njit(cache=True, nogil=True)
def _best_touches(
    order: Ints, first: Ints, from_start: Floats, to_disc: Floats, cross: Floats
) -> tuple[float, Ints]:
    """Dynamic programming along one order: (length [m], the chosen row for each disc but the last)."""
    count, rows = order.shape[0], from_start.shape[0]
    cost = from_start.copy()
    came = np.zeros((count, rows), dtype=np.int64)
    for k in range(1, count - 1):
        before, now = order[k - 1], order[k]
        for b in range(first[now], first[now + 1]):
            best = np.inf
            for a in range(first[before], first[before + 1]):
                total = cost[a] + cross[a, b]
                if total < best:
                    best = total
                    came[k, b] = a
            cost[b] = best
    before, last = order[count - 2], order[count - 1]
    best, end = np.inf, first[before]
    for a in range(first[before], first[before + 1]):
        total = cost[a] + to_disc[a, last]
        if total < best:
            best, end = total, a
    chosen = np.empty(count - 1, dtype=np.int64)
    for k in range(count - 2, -1, -1):
        chosen[k] = end
        end = came[k, end]
    return best, chosen


@njit(cache=True, nogil=True)
def _slide(
    segments: Floats,
    corners: Floats,
    lengths: Floats,
    start: Floats,
    last: Floats,
    last_reach: Floats,
    radius: float,
    touches: Floats,
    delta: float,
) -> float:
    """Slides ``touches`` [m, 6] along their arcs, one by one, by shrinking steps; the tour's length [m]."""
    count = touches.shape[0]
    legs = np.empty(count + 1)
    trial = np.empty(6)
    for k in range(count + 1):
        px, py = (start[0], start[1]) if k == 0 else (touches[k - 1, 4], touches[k - 1, 5])
        if k == count:
            reached = point_distance(segments, corners, last_reach, px, py, last[0], last[1])
            legs[k] = max(0.0, reached - radius)
        else:
            legs[k] = _length(segments, corners, lengths, px, py, touches[k, 4], touches[k, 5])
    while delta > _FINEST:
        better = False
        for k in range(count):
            px, py = (start[0], start[1]) if k == 0 else (touches[k - 1, 4], touches[k - 1, 5])
            for sign in (-1.0, 1.0):
                trial[:] = touches[k]
                _place(trial, touches[k, 3] + sign * delta)
                x, y = trial[4], trial[5]
                if not (inside(segments, x, y) and visible(segments, trial[0], trial[1], x, y)):
                    continue
                to = _length(segments, corners, lengths, px, py, x, y)
                if k == count - 1:
                    on = point_distance(segments, corners, last_reach, x, y, last[0], last[1])
                    on = max(0.0, on - radius)
                else:
                    on = _length(segments, corners, lengths, x, y, touches[k + 1, 4], touches[k + 1, 5])
                if to + on < legs[k] + legs[k + 1] - 1e-9:
                    legs[k], legs[k + 1] = to, on
                    touches[k] = trial
                    better = True
        if not better:
            delta *= 0.5
    return legs.sum()


@njit(cache=True, nogil=True)
def _shortest(
    segments: Floats,
    corners: Floats,
    lengths: Floats,
    start: Floats,
    centres: Floats,
    radius: float,
    circle: int,
) -> float:
    """``touching_tour_length`` for discs none of which holds the start, at least two."""
    count = centres.shape[0]
    start_reach = reach_from(segments, corners, lengths, start[0], start[1])
    reach = reaches_from(segments, corners, lengths, centres)
    rows, first = _rims(segments, corners, start, start_reach, centres, reach, radius, circle)
    total = rows.shape[0]
    from_start, to_disc = np.empty(total), np.empty((total, count))
    for a in range(total):
        x, y = rows[a, 4], rows[a, 5]
        from_start[a] = point_distance(segments, corners, start_reach, x, y, start[0], start[1])
        for j in range(count):
            way = point_distance(segments, corners, reach[j], x, y, centres[j, 0], centres[j, 1])
            to_disc[a, j] = max(0.0, way - radius)
    cross = np.zeros((total, total))
    if count > 2:
        for i in range(1, count):
            for b in range(first[i], first[i + 1]):
                x, y = rows[b, 4], rows[b, 5]
                own = reach_from(segments, corners, lengths, x, y)
                for a in range(first[i]):
                    way = point_distance(segments, corners, own, rows[a, 4], rows[a, 5], x, y)
                    cross[a, b] = way
                    cross[b, a] = way
    order = np.arange(count)
    sampled = np.inf
    while True:
        sampled = min(sampled, _best_touches(order, first, from_start, to_disc, cross)[0])
        if not _next_order(order):
            break
    best = sampled
    order = np.arange(count)
    while True:
        length, chosen = _best_touches(order, first, from_start, to_disc, cross)
        if length <= sampled * _NEAR:
            touches = rows[chosen]
            last = order[count - 1]
            delta = math.pi / circle
            slid = _slide(
                segments, corners, lengths, start, centres[last], reach[last], radius, touches, delta
            )
            best = min(best, slid)
        if not _next_order(order):
            break
    return best


def touching_tour_length(
    geo: Geodesics, start: Sequence[float] | Floats, centres: ArrayLike, radius: float
) -> float:
    """Length [m] of the shortest path from ``start`` [2] that touches every found disc.

    ``centres`` [K, 2], K ≤ 6; nearness is geodesic. Discs that hold the start cost nothing; 0 for none. Not
    more than 0.5 % above the optimum, and exact for one disc. inf when a source cannot be reached. Raises
    RoomError for more than 6 sources.
    """
    points = np.ascontiguousarray(centres, dtype=np.float64).reshape(-1, 2)
    if len(points) > MAX_DISCS:
        raise RoomError(f"tours touch {MAX_DISCS} discs at most, not {len(points)}; use fewer sources")
    origin = np.array([float(start[0]), float(start[1])])
    away = geo.distances(origin[None], points)[0]
    points = points[away > radius]
    if len(points) == 0:
        return 0.0
    if len(points) == 1 or not np.isfinite(away).all():
        return float(away.max()) - radius
    return float(_shortest(geo.segments, geo.corners, geo.lengths, origin, points, float(radius), _SAMPLES))
