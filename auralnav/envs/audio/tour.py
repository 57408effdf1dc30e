"""Shortest open tours through all remaining sources: the potential of the reward.

Only the first leg depends on where the agent stands. The rest is a table over sets of sources, made when
the sources are placed, so a step costs K distances. (The tour touching the found discs is in ``touching``.)
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from auralnav.envs.audio.geodesic import Geodesics, distance_table, point_distance, reaches_from
from auralnav.envs.audio.geometry import Floats, FloorPlan
from auralnav.envs.audio.touching import touching_tour_length
from auralnav.errors import RoomError

__all__ = ["TourPotential", "source_distances", "touching_tour_length", "tour_length", "tour_tails"]

MAX_SOURCES = 6
Bools = NDArray[np.bool_]


@njit(cache=True, nogil=True)
def tour_tails(between: Floats) -> Floats:
    """Shortest way [m] from source i through every source of a set (bit mask, without i): float64 [2^K, K].

    ``between`` [K, K]: lengths between sources. Held and Karp's recursion (1962).
    """
    count = between.shape[0]
    tails = np.zeros((1 << count, count))
    for mask in range(1, 1 << count):
        for i in range(count):
            best = np.inf
            for j in range(count):
                if mask >> j & 1:
                    best = min(best, between[i, j] + tails[mask & ~(1 << j), j])
            tails[mask, i] = best
    return tails


@njit(cache=True)
def source_distances(
    segments: Floats, corners: Floats, reach: Floats, sources: Floats, x: float, y: float
) -> Floats:
    """Geodesic length [m] from (x, y) to each of ``sources`` [K, 2]: float64 [K]. ``reach`` [K, C]."""
    out = np.empty(sources.shape[0])
    for i in range(sources.shape[0]):
        out[i] = point_distance(segments, corners, reach[i], x, y, sources[i, 0], sources[i, 1])
    return out


@njit(cache=True)
def tour_length(
    segments: Floats,
    corners: Floats,
    reach: Floats,
    tails: Floats,
    sources: Floats,
    x: float,
    y: float,
    remaining: Bools,
) -> float:
    """Shortest open tour [m] from (x, y) through the ``remaining`` (bool [K]) ``sources`` [K, 2]."""
    mask = 0
    for i in range(sources.shape[0]):
        if remaining[i]:
            mask |= 1 << i
    if mask == 0:
        return 0.0
    best = np.inf
    for i in range(sources.shape[0]):
        if remaining[i]:
            rest = tails[mask & ~(1 << i), i]
            if rest < best:  # the first leg need not be measured when the rest alone is too long
                first = point_distance(segments, corners, reach[i], x, y, sources[i, 0], sources[i, 1])
                best = min(best, first + rest)
    return best


class TourPotential:
    """Lengths of shortest tours through ``sources`` [K, 2] (metres, in free space), K ≤ 6.

    Attributes: ``sources`` [K, 2]; ``between`` [K, K] metres; ``reach`` [K, C] metres from the corners;
    ``tails`` [2^K, K] metres (see ``tour_tails``). Raises RoomError for more than 6 sources.
    """

    def __init__(self, geo: Geodesics | FloorPlan, sources: ArrayLike) -> None:
        self.geo = geo if isinstance(geo, Geodesics) else Geodesics(geo)
        self._segments, self._corners = self.geo.segments, self.geo.corners
        self.update(sources)

    def update(self, sources: ArrayLike) -> None:
        """Moves the sources to ``sources`` [K, 2]."""
        self.sources = np.array(sources, dtype=np.float64).reshape(-1, 2)
        if len(self.sources) > MAX_SOURCES:
            raise RoomError(
                f"tours go through {MAX_SOURCES} sources at most, not {len(self.sources)}; use fewer"
            )
        lengths = self.geo.lengths
        self.between = distance_table(self._segments, self._corners, lengths, self.sources, self.sources)
        self.reach = reaches_from(self._segments, self._corners, lengths, self.sources)
        self.tails = tour_tails(self.between)

    def length(self, x: float, y: float, remaining: Bools) -> float:
        """Shortest tour [m] from (x, y) through the ``remaining`` (bool [K]) sources; 0 when none is."""
        return tour_length(
            self._segments, self._corners, self.reach, self.tails, self.sources, x, y, remaining
        )

    def distances(self, x: float, y: float) -> Floats:
        """Geodesic length [m] from (x, y) to each source: float64 [K]."""
        return source_distances(self._segments, self._corners, self.reach, self.sources, x, y)
