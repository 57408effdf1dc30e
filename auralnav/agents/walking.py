"""Walking to a place with quantised turns and steps, around obstacles known only from bumps."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from auralnav.envs.audio.motion import BACKWARD, FORWARD
from auralnav.envs.audio.motion import LEFT as TURN_LEFT
from auralnav.envs.audio.motion import RIGHT as TURN_RIGHT

__all__ = ["BACKWARD", "FORWARD", "TURN_LEFT", "TURN_RIGHT", "Walker"]


@njit(cache=True, nogil=True)
def _first_action(
    x: float,
    y: float,
    heading: float,
    goal_x: float,
    goal_y: float,
    near: float,
    step: float,
    turn: float,
    directions: int,
    blocked: np.ndarray,
    refused: np.ndarray,
    cell: float,
    most: int,
) -> int:
    """First action of a plan with the fewest actions to within `near` of the goal; −1 where there is none.

    Breadth-first over cells × headings; each node keeps its exact pose, as in hybrid A* (Dolgov et al. 2008).
    `refused` [H, W, directions] are moves known to bump.
    """
    n = blocked.shape[0]
    half = n // 2
    seen = np.zeros((n, n, directions), dtype=np.bool_)
    xs, ys = np.empty(most), np.empty(most)
    turns, firsts = np.empty(most, dtype=np.int64), np.empty(most, dtype=np.int64)
    xs[0], ys[0], turns[0], firsts[0] = x, y, 0, -1
    base = round(heading / turn)
    count, head = 1, 0
    while head < count:
        px, py, k, first = xs[head], ys[head], turns[head], firsts[head]
        head += 1
        i, j = round(px / cell) + half, round(py / cell) + half
        angle = heading + k * turn
        for action in (2, 3, 0, 1):  # between equal plans, turn first: it tells front from back (docs/baselines.md)
            qx, qy, m = px, py, k
            if action < 2:
                direction = (base + k + (0 if action == 0 else directions // 2)) % directions
                if refused[i, j, direction]:
                    continue
                reach = step if action == 0 else -step
                qx, qy = px + reach * math.cos(angle), py + reach * math.sin(angle)
                a, b = round(qx / cell) + half, round(qy / cell) + half
                if a < 0 or a >= n or b < 0 or b >= n or blocked[a, b]:
                    continue
                middle = round((px + qx) / 2 / cell) + half, round((py + qy) / 2 / cell) + half
                if blocked[middle[0], middle[1]]:
                    continue
            else:
                m = k + (1 if action == 2 else -1)
                a, b = i, j
            d = (base + m) % directions
            if seen[a, b, d]:
                continue
            seen[a, b, d] = True
            start = action if first < 0 else first
            if math.hypot(goal_x - qx, goal_y - qy) < near:
                return start
            if count < most:
                xs[count], ys[count], turns[count], firsts[count] = qx, qy, m, start
                count += 1
    return -1


class Walker:
    """Dead reckoning, a map of bumps and a plan to a goal.

    Args:
        step_size: metres of a step.
        turn: radians of a turn.
        reach: half the side of the bump map, metres.
        cell: its spacing, metres.
    """

    def __init__(self, step_size: float, turn: float, reach: float = 13.0, cell: float = 0.25) -> None:
        self.step_size, self.turn, self.cell = step_size, turn, cell
        self.x = self.y = self.heading = 0.0
        self.directions = max(2, round(2 * np.pi / turn))
        count = 2 * round(reach / cell) + 1
        self.blocked = np.zeros((count, count), dtype=bool)
        self.refused = np.zeros((count, count, self.directions), dtype=bool)

    def moved(self, action: int, bumped: bool, heading: float) -> None:
        """Take in what the last action did; `heading` is the odometry's, in radians."""
        if action in (FORWARD, BACKWARD):
            sign = 1.0 if action == FORWARD else -1.0
            dx, dy = sign * np.cos(self.heading), sign * np.sin(self.heading)
            if bumped:
                direction = round(self.heading / self.turn) + (0 if sign > 0 else self.directions // 2)
                self.refused[(*self._cell(self.x, self.y), direction % self.directions)] = True
                # What stopped the step is at most a step away, and wider than a cell.
                for side in (-self.cell, 0.0, self.cell):
                    ahead = 0.8 * self.step_size
                    there = self._cell(self.x + ahead * dx - side * dy, self.y + ahead * dy + side * dx)
                    if there != self._cell(self.x, self.y):
                        self.blocked[there] = True
            else:
                self.x += self.step_size * dx
                self.y += self.step_size * dy
                self.blocked[self._cell(self.x, self.y)] = False
        self.heading = heading

    def next_action(self, goal: tuple[float, float], near: float) -> int:
        """First action of the shortest plan to within `near` metres of `goal`, around what was bumped into.

        Where the bumps seem to leave no way, only the moves that failed are avoided: the map is coarse.
        """
        if np.hypot(goal[0] - self.x, goal[1] - self.y) < near:
            return TURN_LEFT  # Nothing to walk to: look around.
        for blocked in (self.blocked, np.zeros_like(self.blocked)):
            action = _first_action(
                self.x, self.y, self.heading, *goal, near, self.step_size, self.turn, self.directions,
                blocked, self.refused, self.cell, self.refused.size,
            )  # fmt: skip
            if action >= 0:
                return action
        return TURN_LEFT

    def _cell(self, x: float, y: float) -> tuple[int, int]:
        last = self.blocked.shape[0] - 1
        i, j = (round(value / self.cell) + last // 2 for value in (x, y))
        return min(max(i, 0), last), min(max(j, 0), last)
