"""Image sources of a floor plan as a tree of beams, and which of them a listener sees.

An image source is lit through a window: the part of its wall that the sound of its parent image reaches
(beam tracing: Heckbert & Hanrahan 1984; Funkhouser et al., JASA 115, 2004). Windows do not depend on the
listener, so the tree is built once per source. A listener then looks through one window per image, and only
for the few images seen so are the legs of the path tested against the walls that stand in the way.

Walls are segments (x0, y0, x1, y1) with the room on their left.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from auralnav.errors import RoomError

Floats = NDArray[np.float64]

MAX_BEAMS = 400_000
"""Largest tree: some 30 MB. A plan with many walls at a high order asks for more and is refused."""

_TOO_MANY = -1


class BeamTree:
    """The images of one source on one plan, nearest order first; image 0 is the source itself.

    Attributes: ``places`` float64 [n, 2] m; ``windows`` float64 [n, 4] m (none for image 0); ``gains``
    float64 [n] product of the reflections; ``walls``, ``parents``, ``orders`` int32 [n] (wall and parent of
    image 0 are -1).

    Raises RoomError when the tree would hold more than MAX_BEAMS images.
    """

    def __init__(
        self, walls: Floats, reflection: Floats, source: tuple[float, float], max_order: int
    ) -> None:
        capacity = 256
        while True:
            capacity = min(capacity, MAX_BEAMS)
            self.places = np.empty((capacity, 2))
            self.windows = np.zeros((capacity, 4))
            self.gains = np.empty(capacity)
            links = np.empty((3, capacity), dtype=np.int32)
            count = _grow(
                walls,
                reflection,
                source[0],
                source[1],
                max_order,
                self.places,
                self.windows,
                self.gains,
                links,
            )
            if count != _TOO_MANY:
                break
            if capacity == MAX_BEAMS:
                raise RoomError(
                    f"order {max_order} among {len(walls)} walls has over {MAX_BEAMS} images; lower max_order"
                )
            capacity *= 4
        self.places = self.places[:count].copy()
        self.windows = self.windows[:count].copy()
        self.gains = self.gains[:count].copy()
        self.walls, self.parents, self.orders = links[:, :count].copy()

    def __len__(self) -> int:
        return len(self.gains)

    def seen_from(self, x: float, y: float, walls: Floats, blockers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Indices of the images that a listener at (x, y) m sees, ascending.

        ``walls`` [E, 4] are those the tree was built with; ``blockers`` the indices of the walls that can
        stand between two points of the plan.
        """
        seen = np.empty(len(self.gains), dtype=np.int64)
        count = _look(
            walls, blockers, self.places, self.windows, self.walls, self.parents, self.orders, x, y, seen
        )
        return seen[:count]


@njit(cache=True, nogil=True)
def _clip(low, high, at_start, at_end):
    """The part of [low, high] where the line from at_start (t = 0) to at_end (t = 1) is not negative."""
    if at_start < 0.0 and at_end < 0.0:
        return 1.0, 0.0
    if at_start < 0.0:
        low = max(low, at_start / (at_start - at_end))
    elif at_end < 0.0:
        high = min(high, at_start / (at_start - at_end))
    return low, high


@njit(cache=True, nogil=True)
def _grow(walls, reflection, sx, sy, max_order, places, windows, gains, links):
    capacity = places.shape[0]
    places[0, 0], places[0, 1] = sx, sy
    gains[0] = 1.0
    links[0, 0], links[1, 0], links[2, 0] = -1, -1, 0
    count = 1
    node = 0
    while node < count:
        if links[2, node] == max_order:
            break  # breadth first: all that follow have this order too
        px, py = places[node, 0], places[node, 1]
        ax, ay = windows[node, 0] - px, windows[node, 1] - py
        bx, by = windows[node, 2] - px, windows[node, 3] - py
        for w in range(walls.shape[0]):
            if reflection[w] == 0.0 or w == links[0, node]:
                continue
            ux, uy = walls[w, 0] - px, walls[w, 1] - py
            vx, vy = walls[w, 2] - px, walls[w, 3] - py
            dx, dy = vx - ux, vy - uy
            length = np.sqrt(dx * dx + dy * dy)
            # Distance from the wall's line to the image, positive on the room's side.
            inward = (ux * vy - uy * vx) / length
            if inward <= 1e-9:
                continue
            low, high = 0.0, 1.0
            if node > 0:
                low, high = _clip(low, high, uy * ax - ux * ay, vy * ax - vx * ay)
                low, high = _clip(low, high, ux * by - uy * bx, vx * by - vy * bx)
                # Sound leaves the window on the room's side of its wall.
                ex, ey = ax - bx, ay - by
                low, high = _clip(low, high, ex * (uy - ay) - ey * (ux - ax), ex * (vy - ay) - ey * (vx - ax))
            if (high - low) * length <= 1e-9:
                continue
            if count == capacity:
                return -1
            places[count, 0] = px + 2.0 * inward * dy / length
            places[count, 1] = py - 2.0 * inward * dx / length
            # Seen from the image, behind the wall, the window's right end comes first.
            windows[count, 0] = px + ux + high * dx
            windows[count, 1] = py + uy + high * dy
            windows[count, 2] = px + ux + low * dx
            windows[count, 3] = py + uy + low * dy
            gains[count] = gains[node] * reflection[w]
            links[0, count], links[1, count], links[2, count] = w, node, links[2, node] + 1
            count += 1
        node += 1
    return count


@njit(cache=True, nogil=True)
def _blocked(walls, blockers, px, py, qx, qy, first, last):
    """Whether a wall other than `first` and `last` crosses the segment from p to q."""
    dx, dy = qx - px, qy - py
    for i in range(blockers.shape[0]):
        w = blockers[i]
        if w == first or w == last:
            continue
        ax, ay = walls[w, 0] - px, walls[w, 1] - py
        bx, by = walls[w, 2] - px, walls[w, 3] - py
        if (dx * ay - dy * ax) * (dx * by - dy * bx) < 0.0:
            # The two ends lie on either side of the wall's line.
            ex, ey = bx - ax, by - ay
            if (ex * -ay - ey * -ax) * (ex * (dy - ay) - ey * (dx - ax)) < 0.0:
                return True
    return False


@njit(cache=True, nogil=True)
def _look(walls, blockers, places, windows, wall_of, parents, orders, x, y, seen):
    count = 0
    for node in range(places.shape[0]):
        if node > 0:
            ox, oy = places[node, 0], places[node, 1]
            ax, ay = windows[node, 0] - ox, windows[node, 1] - oy
            tx, ty = x - ox, y - oy
            if ax * ty - ay * tx < 0.0:
                continue
            bx, by = windows[node, 2] - ox, windows[node, 3] - oy
            if bx * ty - by * tx > 0.0:
                continue
            if (ax - bx) * (ty - ay) - (ay - by) * (tx - ax) < 0.0:
                continue
        px, py, here = x, y, -1
        image = node
        clear = True
        while clear and image >= 0:
            w = wall_of[image]
            qx, qy = places[image, 0], places[image, 1]
            if w >= 0:
                # The path's point on the wall, where the line of sight to the image meets it.
                ex, ey = walls[w, 2] - walls[w, 0], walls[w, 3] - walls[w, 1]
                near = ex * (py - walls[w, 1]) - ey * (px - walls[w, 0])
                far = ex * (qy - walls[w, 1]) - ey * (qx - walls[w, 0])
                t = near / (near - far)
                qx, qy = px + t * (qx - px), py + t * (qy - py)
            clear = not _blocked(walls, blockers, px, py, qx, qy, here, w)
            px, py, here = qx, qy, w
            image = parents[image]
        if clear:
            seen[count] = node
            count += 1
    return count
