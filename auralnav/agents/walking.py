"""Walking to a place with quantised turns and steps, around obstacles known only from bumps."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

FORWARD, BACKWARD, TURN_LEFT, TURN_RIGHT = range(4)
LONGEST_RUN = 24
BUMP_COST = 4.0
"""Metres that a place once bumped into is worth walking around (not infinite: the map of bumps is coarse)."""


class Walker:
    """Dead reckoning, a map of bumps and a plan to a goal.

    Args:
        step_size: metres of a step.
        turn: radians of a turn.
        reach: half the side of the bump map, metres.
        cell: its spacing, metres.
    """

    def __init__(self, step_size: float, turn: float, reach: float = 12.0, cell: float = 0.25) -> None:
        self.step_size, self.turn = step_size, turn
        self.x = self.y = self.heading = 0.0
        self.cell, self.count = cell, round(2 * reach / cell) + 1
        self.blocked = np.zeros((self.count, self.count), dtype=bool)
        self.bumped_moves: set[tuple[int, int, int]] = set()
        self._field: tuple[tuple[int, int, int], np.ndarray, np.ndarray] | None = None
        half = round(np.pi / turn)
        turns = np.arange(-half + 1, half + 1)
        # Every first leg: turns, then n steps forward or backward. The second leg turns and runs again.
        self._turns, self._ahead, self._steps = (
            grid.ravel()
            for grid in np.meshgrid(turns, (1.0, -1.0), np.arange(1, LONGEST_RUN + 1), indexing="ij")
        )
        self._second_turns, self._second_ahead = (
            grid.ravel() for grid in np.meshgrid(turns, (1.0, -1.0), indexing="ij")
        )

    def moved(self, action: int, bumped: bool, heading: float) -> None:
        """Take in what the last action did; `heading` is the odometry's, in radians."""
        if action in (FORWARD, BACKWARD):
            sign = 1.0 if action == FORWARD else -1.0
            dx, dy = sign * np.cos(self.heading), sign * np.sin(self.heading)
            if bumped:
                self.bumped_moves.add(self._move_key(self.heading, action == FORWARD))
                for side in (-self.cell, 0.0, self.cell):
                    ahead = 0.7 * self.step_size
                    self._block(self.x + ahead * dx - side * dy, self.y + ahead * dy + side * dx)
            else:
                self.x += self.step_size * dx
                self.y += self.step_size * dy
        self.heading = heading

    def next_action(self, goal: tuple[float, float], near: float) -> int:
        """First action of the cheapest plan (turn, run, turn, run) to within `near` metres of `goal`.

        Around known obstacles the plan leads to the last place of the shortest way that can be seen.
        """
        if self.blocked.any():
            goal, near = self._visible_part(goal, near)
        if np.hypot(goal[0] - self.x, goal[1] - self.y) < near:
            return TURN_LEFT  # Nothing to walk to: look around.
        cost = self._plan_costs(goal, near)
        best = int(np.argmin(cost))
        turns = int(self._turns[best])
        if turns:
            return TURN_LEFT if turns > 0 else TURN_RIGHT
        return FORWARD if self._ahead[best] > 0 else BACKWARD

    def _plan_costs(self, goal: tuple[float, float], near: float) -> np.ndarray:
        """Actions of the best plan that begins with each first leg; infinite where it would bump."""
        heading = self.heading + self._turns * self.turn
        run = self._ahead * self._steps * self.step_size
        xs, ys = self.x + run * np.cos(heading), self.y + run * np.sin(heading)
        dx, dy = goal[0] - xs, goal[1] - ys
        distance = np.hypot(dx, dy)
        error = (np.arctan2(dy, dx) - heading)[:, None] - self._second_turns * self.turn
        along = distance[:, None] * np.cos(error) * self._second_ahead
        across = np.abs(distance[:, None] * np.sin(error))
        reachable = (across < near) & (along > 0)
        chord = np.sqrt(np.maximum(near * near - across * across, 0.0))
        steps = np.ceil((along - chord) / self.step_size - 1e-9)
        second = np.where(reachable, np.abs(self._second_turns) + steps, np.inf).min(axis=1)
        second = np.where(distance < near, 0.0, second)
        # Stepping backward is as quick; the hundredth only settles ties in favour of looking ahead.
        cost = np.abs(self._turns) + self._steps + second + 0.01 * (self._ahead < 0)
        bumps = self.blocked[self._index(xs), self._index(ys)]
        legs = (-1, LONGEST_RUN)
        cost = cost + np.cumsum(bumps.reshape(legs), axis=1).ravel() * (BUMP_COST / self.step_size)
        if self.bumped_moves:
            refused = [
                self._move_key(self.heading + turns * self.turn, ahead > 0) in self.bumped_moves
                for turns, ahead in zip(self._turns[::LONGEST_RUN], self._ahead[::LONGEST_RUN], strict=True)
            ]
            cost = np.where(np.repeat(refused, LONGEST_RUN), np.inf, cost)
        return cost

    def _move_key(self, heading: float, forward: bool) -> tuple[int, int, int]:
        """A place (quarter metres) and a direction of motion (turns) that a bump can be remembered by."""
        direction = round(heading / self.turn) + (0 if forward else round(np.pi / self.turn))
        return round(4 * self.x), round(4 * self.y), direction % round(2 * np.pi / self.turn)

    def _index(self, values: np.ndarray | float) -> np.ndarray:
        index = np.rint(np.asarray(values) / self.cell).astype(np.int64) + self.count // 2
        return np.clip(index, 0, self.count - 1)

    def _block(self, x: float, y: float) -> None:
        self.blocked[self._index(x), self._index(y)] = True

    def _visible_part(self, goal: tuple[float, float], near: float) -> tuple[tuple[float, float], float]:
        """The goal itself when the straight way is free, else the last place of the way around in sight."""
        goal_id = int(self._index(goal[0])) * self.count + int(self._index(goal[1]))
        key = (goal_id, int(self.blocked.sum()), 0)
        if self._field is None or self._field[0] != key:
            self._field = (key, *self._solve(goal_id))
        following = self._field[2]
        place = int(self._index(self.x)) * self.count + int(self._index(self.y))
        seen = None
        for _ in range(self.count * 4):
            if place == goal_id or following[place] < 0:
                break
            place = int(following[place])
            x, y = ((v - self.count // 2) * self.cell for v in divmod(place, self.count))
            if not self._clear(x, y):
                break
            seen = (x, y)
        if place == goal_id or seen is None:
            return goal, near
        return seen, 0.6 * self.step_size

    def _clear(self, x: float, y: float) -> bool:
        share = np.linspace(0.0, 1.0, 1 + int(np.hypot(x - self.x, y - self.y) / (0.5 * self.cell)))[1:]
        cells = self.blocked[
            self._index(self.x + share * (x - self.x)), self._index(self.y + share * (y - self.y))
        ]
        return not cells.any()

    def _solve(self, goal_id: int) -> tuple[np.ndarray, np.ndarray]:
        """Shortest ways to a cell over eight neighbours: metres [H·W] and the next cell on the way [H·W]."""
        n = self.count
        rows, columns, lengths = _grid_edges(n)
        blocked = self.blocked.ravel()
        metres = lengths * self.cell + BUMP_COST * (blocked[rows] | blocked[columns])
        graph = coo_array((metres, (rows, columns)), shape=(n * n, n * n)).tocsr()
        distance, following = dijkstra(graph, directed=False, indices=[goal_id], return_predecessors=True)
        return distance[0], following[0]


def _grid_edges(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Edges of an n × n grid with eight neighbours: ends (i, j) and lengths in cells."""
    ids = np.arange(n * n).reshape(n, n)
    rows, columns, lengths = [], [], []
    for dx, dy in ((1, 0), (0, 1), (1, 1), (1, -1)):
        a = ids[: n - dx, max(0, -dy) : n - max(0, dy)]
        b = ids[dx:, max(0, dy) : n - max(0, -dy)]
        rows.append(a.ravel())
        columns.append(b.ravel())
        lengths.append(np.full(a.size, float(np.hypot(dx, dy))))
    return np.concatenate(rows), np.concatenate(columns), np.concatenate(lengths)
