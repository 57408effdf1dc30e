"""The minimum-step oracle: a hybrid A* that knows the room and the sources.

Nodes are merged on 0.25 m squares × heading × set of found sources (Dolgov et al. 2008), but each keeps
its exact pose, moved by the arithmetic of ``motion``. So a plan can be replayed action by action, to the bit.
It is minimal up to that merging. Every action costs one: f is an integer, the open list an array of stacks.

The heuristic never overestimates. To reach one disc of radius r at distance d, w metres off the heading's
line, either no turn is needed (w ≤ r), or m ≥ 1 turns are, and then at least (d − r)/step and
(w − r)/(step · sin(m · turn)) steps; m is minimised over. Later discs cost at least the steps between their
rims, in the best order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from auralnav.envs.audio.geodesic import Geodesics, point_distance, reaches_from
from auralnav.envs.audio.geometry import Floats, FloorPlan, inside, segment_free
from auralnav.envs.audio.motion import BACKWARD, FORWARD, LEFT, RIGHT, heading
from auralnav.errors import RoomError

BIN = 0.25  # metres
MAX_SOURCES = 6
_SLACK = 1e-6  # steps; keeps rounding from lifting a bound over an integer
_FAR = 1 << 30
_LEVELS = 4096  # values of f the open list has room for


@njit(cache=True, nogil=True)
def _steps(metres: float, step: float) -> int:
    """The fewest steps that cover ``metres``."""
    return max(0, math.ceil(metres / step - _SLACK))


@njit(cache=True, nogil=True)
def tail_steps(between: Floats, radius: float, step: float) -> NDArray[np.int64]:
    """Fewest steps from disc i on through all discs of a set: int64 [2^K, K], for sets without i."""
    count = between.shape[0]
    tails = np.zeros((1 << count, count), dtype=np.int64)
    for mask in range(1, 1 << count):
        for i in range(count):
            best = _FAR
            for j in range(count):
                if mask >> j & 1:
                    leg = _steps(between[i, j] - 2.0 * radius, step)
                    best = min(best, leg + tails[mask & ~(1 << j), j])
            tails[mask, i] = best
    return tails


@njit(cache=True, nogil=True)
def reach_bound(
    ahead: float, aside: float, far: float, radius: float, step: float, turn_sines: Floats
) -> int:
    """Fewest actions to the rim of a disc whose centre is ``ahead``, ``aside`` [m], and ``far`` to walk.

    ``turn_sines`` [M]: sin(m · turn) for m = 1, 2, … while m · turn < 90°, then 1.
    """
    ahead, aside = abs(ahead), abs(aside)
    steps = _steps(far - radius, step)
    if aside <= radius:
        chord = math.sqrt(radius * radius - aside * aside)
        straight = max(steps, _steps(ahead - chord, step))
        if straight * step <= ahead + chord + _SLACK:
            return min(straight, 1 + steps)
        return 1 + steps
    best = _FAR
    for m in range(turn_sines.shape[0]):
        best = min(best, m + 1 + max(steps, _steps((aside - radius) / turn_sines[m], step)))
    return best


@njit(cache=True, nogil=True)
def _heading_tables(
    theta0: float, turns: int, turn: float
) -> tuple[int, Floats, Floats, NDArray[np.int64], Floats]:
    """Bins; for k − ``span`` turns, k = 0 … 2 · span: cosine, sine, bin; the sines of ``reach_bound``."""
    whole = round(2.0 * math.pi / turn)
    exact = abs(whole * turn - 2.0 * math.pi) < 1e-6
    bins = int(whole if exact else math.ceil(2.0 * math.pi / turn))
    span = max(64, 2 * bins)
    cosines, sines = np.empty(2 * span + 1), np.empty(2 * span + 1)
    bin_of = np.empty(2 * span + 1, dtype=np.int64)
    for k in range(2 * span + 1):
        theta = heading(theta0, turns + k - span, turn)
        cosines[k], sines[k] = math.cos(theta), math.sin(theta)
        share = (k * turn) % (2.0 * math.pi) / (2.0 * math.pi)
        bin_of[k] = k % bins if exact else min(bins - 1, int(share * bins))
    quarter = max(1, math.ceil(0.5 * math.pi / turn - 1e-9))
    turn_sines = np.ones(quarter)
    for m in range(quarter - 1):
        turn_sines[m] = math.sin((m + 1) * turn)
    return bins, cosines, sines, bin_of, turn_sines


@njit(cache=True, nogil=True)
def _found_at(
    segments: Floats,
    corners: Floats,
    reach: Floats,
    sources: Floats,
    x: float,
    y: float,
    mask: int,
    radius: float,
) -> int:
    """``mask`` with the bits of the sources found at (x, y): geodesic distance ≤ ``radius``."""
    for i in range(sources.shape[0]):
        dx, dy = sources[i, 0] - x, sources[i, 1] - y
        if not mask >> i & 1 and dx * dx + dy * dy <= radius * radius * (1.0 + 1e-9):
            if point_distance(segments, corners, reach[i], x, y, sources[i, 0], sources[i, 1]) <= radius:
                mask |= 1 << i
    return mask


@njit(cache=True, nogil=True)
def _search(
    segments: Floats,
    corners: Floats,
    reach: Floats,
    between: Floats,
    sources: Floats,
    bounds: tuple[float, float, float, float],
    pose: tuple[float, float, float],
    turns: int,
    mask0: int,
    radius: float,
    step: float,
    turn: float,
    clearance: float,
    size: float,
    max_nodes: int,
) -> tuple[bool, NDArray[np.int8]]:
    """The search itself: (found?, actions int8 [n]). ``reach`` [K, C], ``between`` [K, K]."""
    count = sources.shape[0]
    full = (1 << count) - 1
    x_min, y_min = bounds[0], bounds[1]
    nx, ny = int((bounds[2] - x_min) / size) + 1, int((bounds[3] - y_min) / size) + 1
    bins, cosines, sines, bin_of, turn_sines = _heading_tables(pose[2], turns, turn)
    kinds = cosines.shape[0]
    tails = tail_steps(between, radius, step)

    cheapest = np.full(nx * ny * bins * (full + 1), 32_000, dtype=np.int16)
    px, py = np.empty(max_nodes), np.empty(max_nodes)
    kind, parent = np.empty(max_nodes, dtype=np.int32), np.empty(max_nodes, dtype=np.int32)
    cost, masks = np.empty(max_nodes, dtype=np.int16), np.empty(max_nodes, dtype=np.int8)
    took = np.empty(max_nodes, dtype=np.int8)
    below = np.empty(max_nodes, dtype=np.int32)  # the next node down its stack of the open list
    tops = np.full(_LEVELS, -1, dtype=np.int32)

    px[0], py[0], kind[0], parent[0], below[0], cost[0], took[0] = pose[0], pose[1], kinds // 2, -1, -1, 0, -1
    masks[0] = mask0
    cell = int((pose[0] - x_min) / size) * ny + int((pose[1] - y_min) / size)
    cheapest[(cell * bins + bin_of[kinds // 2]) * (full + 1) + mask0] = 0
    tops[0], used, f, goal, goal_cost = 0, 1, 0, -1, _FAR
    while f < goal_cost and f < _LEVELS:
        node = tops[f]
        if node < 0:
            f += 1
            continue
        tops[f] = below[node]
        x, y = float(px[node]), float(py[node])
        k, mask, g = int(kind[node]), int(masks[node]), int(cost[node])
        cell = int((x - x_min) / size) * ny + int((y - y_min) / size)
        if g > cheapest[(cell * bins + bin_of[k]) * (full + 1) + mask]:
            continue  # a cheaper way to this square was found meanwhile
        if used + 4 > max_nodes:
            break
        for action in range(4):
            cx, cy, ck, child = x, y, k, mask
            if action == FORWARD or action == BACKWARD:
                way = step if action == FORWARD else -step
                cx, cy = x + cosines[k] * way, y + sines[k] * way
                if not segment_free(segments, x, y, cx, cy, clearance):
                    continue
            else:
                ck = k + 1 if action == LEFT else k - 1
                if ck < 0 or ck >= kinds or (took[node] >= LEFT and action + took[node] == LEFT + RIGHT):
                    continue
            if action < LEFT or node == 0:  # turning finds nothing new, but for what is in reach at the start
                child = _found_at(segments, corners, reach, sources, cx, cy, mask, radius)
            cell = int((cx - x_min) / size) * ny + int((cy - y_min) / size)
            slot = (cell * bins + bin_of[ck]) * (full + 1) + child
            if g + 1 >= cheapest[slot]:
                continue
            h = 0 if child == full else _FAR
            for i in range(count):
                if not child >> i & 1:
                    dx, dy = sources[i, 0] - cx, sources[i, 1] - cy
                    far = point_distance(segments, corners, reach[i], cx, cy, sources[i, 0], sources[i, 1])
                    ahead, aside = dx * cosines[ck] + dy * sines[ck], dy * cosines[ck] - dx * sines[ck]
                    rest = full & ~(child | (1 << i))
                    h = min(h, reach_bound(ahead, aside, far, radius, step, turn_sines) + tails[rest, i])
            level = max(f, g + 1 + h)  # a child's true cost is never below its parent's bound
            if level >= min(_LEVELS, goal_cost):
                continue
            cheapest[slot] = g + 1
            px[used], py[used], kind[used], parent[used] = cx, cy, ck, node
            cost[used], masks[used], took[used] = g + 1, child, action
            if child == full:
                goal, goal_cost = used, g + 1
            else:
                below[used] = tops[level]
                tops[level] = used
            used += 1
    # out of nodes or levels: a goal in hand that is not proven shortest is no oracle's plan
    if goal < 0 or f < goal_cost:
        return False, np.empty(0, dtype=np.int8)
    actions = np.empty(goal_cost, dtype=np.int8)
    for i in range(goal_cost - 1, -1, -1):
        actions[i] = took[goal]
        goal = parent[goal]
    return True, actions


def plan_actions(
    plan: FloorPlan,
    geo: Geodesics,
    pose: Sequence[float],
    sources: ArrayLike,
    radius: float,
    step_size: float,
    turn: float,
    found: ArrayLike,
    clearance: float,
    max_nodes: int = 200_000,
    *,
    turns: int = 0,
    bin_size: float = BIN,
) -> list[int] | None:
    """The fewest actions that find every source, up to the merging of nodes; None: no plan.

    ``pose`` (x, y, θ0) in metres and radians, the heading being ``motion.heading(θ0, turns, turn)``;
    ``sources`` [K, 2]; ``found`` bool [K]. Actions: 0 forward, 1 backward by ``step_size`` [m], 2 left,
    3 right by ``turn`` [rad]. A step that makes a body of radius ``clearance`` [m] touch a wall is not taken.
    A source is found when, after an action, its geodesic distance is at most ``radius`` [m]. None also when
    ``max_nodes`` do not suffice. Squares are ``bin_size`` [m] wide, and never more than half a step.

    Raises RoomError for a start outside free space and for more than 6 sources.
    """
    centres = np.ascontiguousarray(sources, dtype=np.float64).reshape(-1, 2)
    done = np.asarray(found, dtype=bool)
    x, y, theta = float(pose[0]), float(pose[1]), float(pose[2])
    if not inside(geo.segments, x, y):
        raise RoomError(
            f"the oracle starts at ({x:.3f}, {y:.3f}), outside the room; put the agent in free space"
        )
    if len(centres) > MAX_SOURCES:
        raise RoomError(f"the oracle plans for {MAX_SOURCES} sources at most, not {len(centres)}; use fewer")
    if done.all():
        return []
    table = geo.distances(np.concatenate([[(x, y)], centres]), centres)
    if not np.isfinite(table[0][~done]).all():
        return None
    reached, actions = _search(
        geo.segments,
        geo.corners,
        reaches_from(geo.segments, geo.corners, geo.lengths, centres),
        np.ascontiguousarray(np.where(np.isfinite(table[1:]), table[1:], 0.0)),
        centres,
        plan.bounds,
        (x, y, theta),
        int(turns),
        int(np.sum(done << np.arange(len(done)))),
        float(radius),
        float(step_size),
        float(turn),
        float(clearance),
        min(float(bin_size), 0.5 * step_size),
        int(max_nodes),
    )
    return actions.tolist() if reached else None
