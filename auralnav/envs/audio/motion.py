"""How the agent moves: the one arithmetic that the environment and the oracle share.

The heading is never accumulated. It is ``theta0 + turns * turn`` with an integer number of turns, so that a
turn to the left followed by one to the right gives back the same bits, and so does any closed sequence.
"""

from __future__ import annotations

import math

from numba import njit

# These kernels keep the GIL: they take less time than handing it over and waiting for it again would.
FORWARD, BACKWARD, LEFT, RIGHT = 0, 1, 2, 3


@njit(cache=True)
def heading(theta0: float, turns: int, turn: float) -> float:
    """Heading [rad], CCW from x and not wrapped, after ``turns`` left turns of ``turn`` radians."""
    return theta0 + turns * turn


@njit(cache=True)
def advance(x: float, y: float, theta: float, forward_m: float) -> tuple[float, float]:
    """Position [m] after moving ``forward_m`` metres along ``theta`` [rad]; negative is backward."""
    return x + math.cos(theta) * forward_m, y + math.sin(theta) * forward_m


@njit(cache=True)
def move_pose(
    x: float, y: float, theta0: float, turns: int, action: int, step: float, turn: float
) -> tuple[float, float, int]:
    """The pose after a discrete action, walls aside.

    ``action``: 0 forward, 1 backward, 2 turn left, 3 turn right. ``step`` in metres, ``turn`` in radians.
    Returns (x, y, turns); the heading is ``heading(theta0, turns, turn)``.
    """
    if action == LEFT:
        return x, y, turns + 1
    if action == RIGHT:
        return x, y, turns - 1
    forward_m = step if action == FORWARD else -step
    nx, ny = advance(x, y, heading(theta0, turns, turn), forward_m)
    return nx, ny, turns
