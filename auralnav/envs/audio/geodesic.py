"""Shortest paths on a floor plan: a visibility graph over the corners that bend them.

In the plane with polygonal walls a shortest path is a chain of straight lines between its ends and reflex
corners (Lozano-Pérez and Wesley 1979). Corner-to-corner lengths are computed once; a target then needs its
lengths from every corner once ("reach" [C]), and a point asks only which corners it sees, best total first.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from auralnav.envs.audio.geometry import Floats, FloorPlan, visible
from auralnav.errors import RoomError


@njit(cache=True, nogil=True)
def corner_graph(segments: Floats, corners: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Floyd–Warshall over the corners [C, 2]: lengths [C, C] in metres (inf: no way), next corner [C, C]."""
    count = corners.shape[0]
    lengths = np.full((count, count), np.inf)
    first = np.full((count, count), -1, dtype=np.int64)
    for i in range(count):
        lengths[i, i] = 0.0
        first[i, i] = i
        for j in range(i):
            if visible(segments, corners[i, 0], corners[i, 1], corners[j, 0], corners[j, 1]):
                length = math.hypot(corners[i, 0] - corners[j, 0], corners[i, 1] - corners[j, 1])
                lengths[i, j] = lengths[j, i] = length
                first[i, j], first[j, i] = j, i
    for k in range(count):
        for i in range(count):
            for j in range(count):
                through = lengths[i, k] + lengths[k, j]
                if through < lengths[i, j]:
                    lengths[i, j] = through
                    first[i, j] = first[i, k]
    return lengths, first


@njit(cache=True, nogil=True)
def reach_from(segments: Floats, corners: Floats, lengths: Floats, qx: float, qy: float) -> Floats:
    """Geodesic length [m] from point q to each corner: float64 [C]."""
    count = corners.shape[0]
    reach = np.full(count, np.inf)
    for k in range(count):
        if visible(segments, qx, qy, corners[k, 0], corners[k, 1]):
            dx, dy = qx - corners[k, 0], qy - corners[k, 1]
            seen = math.sqrt(dx * dx + dy * dy)
            for c in range(count):
                reach[c] = min(reach[c], seen + lengths[k, c])
    return reach


@njit(cache=True, nogil=True)
def reaches_from(segments: Floats, corners: Floats, lengths: Floats, targets: Floats) -> Floats:
    """``reach_from`` for each of ``targets`` [K, 2]: float64 [K, C]."""
    reach = np.empty((targets.shape[0], corners.shape[0]))
    for i in range(targets.shape[0]):
        reach[i] = reach_from(segments, corners, lengths, targets[i, 0], targets[i, 1])
    return reach


@njit(cache=True, nogil=True)
def best_corner(segments: Floats, corners: Floats, reach: Floats, px: float, py: float) -> int:
    """The corner in p's sight with the shortest way on to the target of ``reach`` [C]; −1: none in sight."""
    count = corners.shape[0]
    tried = np.zeros(count, dtype=np.bool_)
    for _ in range(count):
        best, nearest = np.inf, -1
        for c in range(count):
            if not tried[c]:
                dx, dy = px - corners[c, 0], py - corners[c, 1]
                total = math.sqrt(dx * dx + dy * dy) + reach[c]
                if total < best:
                    best, nearest = total, c
        if nearest < 0 or visible(segments, px, py, corners[nearest, 0], corners[nearest, 1]):
            return nearest
        tried[nearest] = True
    return -1


@njit(cache=True, nogil=True)
def point_distance(
    segments: Floats, corners: Floats, reach: Floats, px: float, py: float, qx: float, qy: float
) -> float:
    """Geodesic length [m] from p to q, given ``reach`` [C] of q; Euclid's where there are no corners."""
    dx, dy = px - qx, py - qy
    if corners.shape[0] == 0 or visible(segments, px, py, qx, qy):
        return math.sqrt(dx * dx + dy * dy)
    corner = best_corner(segments, corners, reach, px, py)
    if corner < 0:
        return np.inf
    dx, dy = px - corners[corner, 0], py - corners[corner, 1]
    return math.sqrt(dx * dx + dy * dy) + reach[corner]


@njit(cache=True, nogil=True)
def distance_table(segments: Floats, corners: Floats, lengths: Floats, p: Floats, q: Floats) -> Floats:
    """Geodesic lengths [n, m] in metres between the points ``p`` [n, 2] and ``q`` [m, 2]."""
    out = np.empty((p.shape[0], q.shape[0]))
    for j in range(q.shape[0]):
        reach = reach_from(segments, corners, lengths, q[j, 0], q[j, 1])
        for i in range(p.shape[0]):
            out[i, j] = point_distance(segments, corners, reach, p[i, 0], p[i, 1], q[j, 0], q[j, 1])
    return out


class Geodesics:
    """Shortest paths on ``plan`` for a point (no body). Points must lie in free space or on a wall.

    Attributes: ``plan``; ``segments`` [S, 4]; ``corners`` [C, 2]; ``lengths`` [C, C] metres between corners.
    """

    def __init__(self, plan: FloorPlan) -> None:
        self.plan = plan
        self.segments = plan.segments
        self.corners = plan.reflex_corners
        self.lengths, self._first = corner_graph(self.segments, self.corners)

    def distance(self, p: Sequence[float] | Floats, q: Sequence[float] | Floats) -> float:
        """Length [m] of the shortest path from p to q; inf when there is none."""
        if self.plan.convex:
            return math.sqrt((p[0] - q[0]) ** 2 + (p[1] - q[1]) ** 2)
        reach = reach_from(self.segments, self.corners, self.lengths, q[0], q[1])
        return point_distance(self.segments, self.corners, reach, p[0], p[1], q[0], q[1])

    def distances(self, p: ArrayLike, q: ArrayLike) -> Floats:
        """Lengths [n, m] in metres of the shortest paths between ``p`` [n, 2] and ``q`` [m, 2]."""
        return distance_table(
            self.segments,
            self.corners,
            self.lengths,
            np.ascontiguousarray(p, dtype=np.float64),
            np.ascontiguousarray(q, dtype=np.float64),
        )

    def path(self, p: Sequence[float] | Floats, q: Sequence[float] | Floats) -> Floats:
        """The corners of a shortest path from p to q, both included: float64 [k, 2].

        Raises RoomError when no path joins them.
        """
        start, goal = np.array([p[0], p[1]], dtype=float), np.array([q[0], q[1]], dtype=float)
        if self.plan.convex or visible(self.segments, start[0], start[1], goal[0], goal[1]):
            return np.stack([start, goal])
        reach = reach_from(self.segments, self.corners, self.lengths, goal[0], goal[1])
        corner = best_corner(self.segments, self.corners, reach, start[0], start[1])
        if corner < 0:
            raise RoomError(f"no path joins {start} and {goal}; put both in one connected part of the room")
        # the last corner before the goal is the one that the goal sees with the shortest way back
        back = self.lengths[corner].copy()
        last = best_corner(self.segments, self.corners, back, goal[0], goal[1])
        chain = [start, self.corners[corner]]
        while corner != last:
            corner = int(self._first[corner, last])
            chain.append(self.corners[corner])
        chain.append(goal)
        kept = [chain[0]]
        kept += [b for a, b in itertools.pairwise(chain) if np.abs(a - b).max() > 0.0]
        return np.stack(kept) if len(kept) > 1 else np.stack([start, goal])
