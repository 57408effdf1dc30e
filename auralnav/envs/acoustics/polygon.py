"""Rooms with a polygon for a floor: image sources, and a diffracted path where the direct sound is blocked.

The room is the plan extruded to its height, obstacles included, so a reflection path seen from above is a
path in the plan, and floor and ceiling mirror it freely: every image in space is an image in the plan joined
with one of the heights n·H + z (n even) or n·H + H − z (n odd). The plan's images come from a beam tree per
source.

pyroomacoustics is the reference (:mod:`auralnav.envs.acoustics.polygon_reference`).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from auralnav.envs.acoustics.beams import BeamTree, Floats
from auralnav.envs.acoustics.fractional import SPEED_OF_SOUND
from auralnav.envs.acoustics.ism import axis_images
from auralnav.errors import RoomError

DIFFRACTION_HZ = 1000.0
"""Frequency at which the loss of a diffracted path is taken: one gain must stand for the whole band."""

_TREES_KEPT = 16

PathFinder = Callable[[Floats, Floats], Floats]
"""Shortest path in the plan from p [2] to q [2], both included: float64 [k, 2]."""


def maekawa_loss(
    detour: ArrayLike, frequency: float = DIFFRACTION_HZ, c: float = SPEED_OF_SOUND
) -> NDArray[np.float64]:
    """Loss behind an edge, dB: 10 log₁₀(3 + 20 N), with the Fresnel number N = 2δf/c.

    The usual fit to the chart of Maekawa, "Noise reduction by screens", Applied Acoustics 1 (1968): 4.8 dB at
    the edge of the shadow, 13.6 dB at N = 1.

    Args:
        detour: δ, m: how much longer the path around the edge is than the straight line; any shape.
        frequency: Hz.
        c: speed of sound, m/s.
    """
    fresnel = np.maximum(2.0 * np.asarray(detour, dtype=np.float64) * frequency / c, 0.0)
    return 10.0 * np.log10(3.0 + 20.0 * fresnel)


class PolygonImages:
    """Image sources of a polygon room with full-height obstacles.

    Args:
        corners: [V, 2] m, a simple polygon in either sense.
        height: m, floor to ceiling.
        obstacles: polygons [W, 2] m inside it, in either sense.
        reflection: amplitude coefficient in [0, 1]: a scalar, or one for each side of the outline (side i
            joins corners i and i + 1 as given), each side of each obstacle in turn, the floor and the
            ceiling.
        max_order: highest number of reflections.
        c: speed of sound, m/s (for the diffraction loss).
        geodesic_path: shortest path in the plan between two points; without it a blocked direct sound is
            silent.
        farthest: m; a diffracted sound from farther away is drawn at this distance, with the level of its own:
            a renderer that leaves late images to a tail loses neither its direction nor its level.

    Where the direct sound is blocked, a virtual source stands in the direction of the path's corner nearest
    the listener, as far away as the path is long, weakened by :func:`maekawa_loss` of the whole detour at
    DIFFRACTION_HZ. Floor and ceiling mirror it as they do the source. This is an approximation: one
    frequency, one loss for all corners of the path (as ISO 9613-2 has it), and no diffraction of wall
    reflections.

    Raises:
        RoomError: coefficients outside [0, 1] or too many or few of them, a height that is not positive, a
            plan without an area; from :meth:`images`, a plan and an order with too many images.
    """

    def __init__(
        self,
        corners: ArrayLike,
        height: float,
        obstacles: Sequence[ArrayLike] = (),
        reflection: float | ArrayLike = 0.9,
        max_order: int = 3,
        c: float = SPEED_OF_SOUND,
        geodesic_path: PathFinder | None = None,
        farthest: float = math.inf,
    ) -> None:
        if not (math.isfinite(height) and height > 0.0):
            raise RoomError(f"the room's height is {height}; give a positive height in metres")
        if max_order < 0:
            raise RoomError(f"max_order is {max_order}; give 0 or more")
        self.height = float(height)
        self.max_order = int(max_order)
        self.c = float(c)
        self.geodesic_path = geodesic_path
        self.farthest = float(farthest)
        outline = _sides(corners, "the outline", 1.0)
        # Corners counter-clockwise, whichever way they were given.
        self.outline = outline[:, :2].copy() if signed_area(corners) > 0 else outline[::-1, :2].copy()
        chains = [outline, *(_sides(o, f"obstacle {i}", -1.0) for i, o in enumerate(obstacles))]
        sides = np.concatenate(chains)
        walls = len(sides)
        coefficients = np.asarray(reflection, dtype=np.float64).ravel()
        if coefficients.size not in (1, walls + 2):
            raise RoomError(
                f"reflection has {coefficients.size} values; give 1 or {walls + 2} (sides, floor, ceiling)"
            )
        if not ((coefficients >= 0) & (coefficients <= 1)).all():
            raise RoomError("reflection must lie in [0, 1] (an amplitude coefficient)")
        self.reflection = np.broadcast_to(coefficients, walls + 2).copy()
        self.walls = np.ascontiguousarray(sides)
        # A side of the outline's convex hull stands between no two points of the plan.
        self.blockers = np.array([w for w in range(walls) if not _on_hull(sides[w], outline)], dtype=np.int64)
        self._trees: OrderedDict[tuple[float, float], BeamTree] = OrderedDict()

    def images(self, source: ArrayLike, listener: ArrayLike) -> tuple[Floats, Floats]:
        """The image sources of one source that a listener sees.

        Args:
            source: [3] m, inside the room.
            listener: [3] m, inside the room.

        Returns:
            positions float64 [I, 3] m and gains float64 [I]: h(t) = Σ gᵢ/(4π dᵢ) δ(t − dᵢ/c). The direct or
            the diffracted sound comes first; I may be 0.
        """
        places, gains, _ = self.images_of(np.asarray(source, dtype=np.float64)[None], listener)
        return places, gains

    def images_of(self, sources: ArrayLike, listener: ArrayLike) -> tuple[Floats, Floats, NDArray[np.int32]]:
        """The image sources of several sources in one list, as `images.shoebox_images` gives them.

        Args:
            sources: [S, 3] m.
            listener: [3] m.

        Returns:
            positions float64 [I, 3], gains float64 [I], index of the source int32 [I].
        """
        ear = np.asarray(listener, dtype=np.float64)
        parts = [self._images(np.asarray(s, dtype=np.float64), ear) for s in np.asarray(sources)]
        owners = np.repeat(np.arange(len(parts), dtype=np.int32), [len(p[1]) for p in parts])
        places = np.concatenate([p[0] for p in parts]) if parts else np.empty((0, 3))
        gains = np.concatenate([p[1] for p in parts]) if parts else np.empty(0)
        return places, gains, owners

    def tree(self, x: float, y: float) -> BeamTree:
        """The plan's images of a source at (x, y) m; the last few are kept."""
        key = (float(x), float(y))
        tree = self._trees.get(key)
        if tree is None:
            tree = BeamTree(self.walls, self.reflection[:-2], key, self.max_order)
            self._trees[key] = tree
            if len(self._trees) > _TREES_KEPT:
                self._trees.popitem(last=False)
        else:
            self._trees.move_to_end(key)
        return tree

    def _images(self, source: Floats, listener: Floats) -> tuple[Floats, Floats]:
        tree = self.tree(source[0], source[1])
        seen = tree.seen_from(listener[0], listener[1], self.walls, self.blockers)
        heights, mirrors = self._levels(source[2])
        places, gains = _join(seen, tree.places, tree.gains, tree.orders, heights, mirrors, self.max_order)
        if self.geodesic_path is None or (len(seen) and seen[0] == 0):
            return places, gains
        bent = self._diffracted(self.geodesic_path, source, listener, heights, mirrors)
        return np.concatenate([bent[0], places]), np.concatenate([bent[1], gains])

    def _levels(self, z: float) -> tuple[Floats, Floats]:
        """Heights of the images −order..order between floor and ceiling, and their reflection products."""
        heights = np.empty(2 * self.max_order + 1)
        mirrors = np.empty(2 * self.max_order + 1)
        axis_images(
            self.height, z, self.max_order, self.reflection[-2], self.reflection[-1], heights, mirrors
        )
        return heights, mirrors

    def _diffracted(
        self, find_path: PathFinder, source: Floats, listener: Floats, heights: Floats, mirrors: Floats
    ) -> tuple[Floats, Floats]:
        path = np.asarray(find_path(listener[:2], source[:2]), dtype=np.float64)
        length = float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum())
        toward = path[1] - path[0]
        toward = toward / max(float(np.linalg.norm(toward)), 1e-9)
        rise = heights - listener[2]
        straight = float(np.linalg.norm(source[:2] - listener[:2]))
        detour = np.hypot(length, rise) - np.hypot(straight, rise)
        gains = mirrors * 10.0 ** (-maekawa_loss(detour, c=self.c) / 20.0)
        drawn = length
        if math.hypot(length, source[2] - listener[2]) > self.farthest:
            drawn = math.sqrt(max(self.farthest**2 - (source[2] - listener[2]) ** 2, 0.0))
            gains *= np.hypot(drawn, rise) / np.hypot(length, rise)
        spot = listener[:2] + drawn * toward
        places = np.column_stack([np.broadcast_to(spot, (len(heights), 2)), heights])
        order = self.max_order
        nearest = order + np.array(sorted(range(-order, order + 1), key=abs))
        nearest = nearest[gains[nearest] > 0.0]
        return places[nearest], gains[nearest]


@njit(cache=True, nogil=True)
def _join(seen, flat, flat_gains, orders, heights, mirrors, max_order):
    """Images in space: the plan's seen images at every height, up to `max_order` reflections in all."""
    total = 0
    for node in seen:
        total += 2 * (max_order - orders[node]) + 1
    places = np.empty((total, 3))
    gains = np.empty(total)
    count = 0
    for node in seen:
        for k in range(2 * (max_order - orders[node]) + 1):
            # 0, 1, -1, 2, -2, …: the fewest reflections first
            level = max_order + ((k + 1) // 2 if k % 2 == 1 else -(k // 2))
            gain = flat_gains[node] * mirrors[level]
            if gain > 0.0:
                places[count, 0] = flat[node, 0]
                places[count, 1] = flat[node, 1]
                places[count, 2] = heights[level]
                gains[count] = gain
                count += 1
    return places[:count], gains[:count]


def _sides(corners: ArrayLike, name: str, sense: float) -> Floats:
    """Sides [V, 4] of a polygon with the room on their left; side i still joins corners i and i + 1."""
    points = np.asarray(corners, dtype=np.float64)
    if points.ndim != 2 or points.shape[0] < 3 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise RoomError(f"{name} has shape {points.shape}; give 3 or more finite corners [V, 2] in metres")
    after = np.roll(points, -1, axis=0)
    area = signed_area(points)
    if abs(area) < 1e-6:
        raise RoomError(f"{name} has no area; list its corners in order around it")
    return np.hstack([points, after]) if area * sense > 0 else np.hstack([after, points])


def signed_area(corners: ArrayLike) -> float:
    """Area, m², of a polygon [V, 2] by the shoelace formula; positive when counter-clockwise."""
    x, y = np.asarray(corners, dtype=np.float64).T
    return 0.5 * float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))


def _on_hull(side: Floats, outline: Floats) -> bool:
    """Whether all corners of the outline lie on the room's side of this side's line."""
    along = side[2:] - side[:2]
    across = along[0] * (outline[:, 1] - side[1]) - along[1] * (outline[:, 0] - side[0])
    return bool((across >= -1e-9 * np.linalg.norm(along)).all())
