from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from auralnav.envs.audio.motion import BACKWARD, FORWARD, LEFT, RIGHT, advance, heading, move_pose

TURN = math.radians(30.0)
angles = st.floats(-50.0, 50.0)


def test_directions_of_the_four_actions() -> None:
    assert np.allclose(move_pose(1.0, 2.0, math.pi / 2, 0, FORWARD, 0.5, TURN), (1.0, 2.5, 0))
    assert np.allclose(move_pose(1.0, 2.0, 0.0, 3, BACKWARD, 0.5, TURN), (1.0, 1.5, 3))
    assert move_pose(1.0, 2.0, 0.3, 5, LEFT, 0.5, TURN) == (1.0, 2.0, 6)
    assert move_pose(1.0, 2.0, 0.3, 5, RIGHT, 0.5, TURN) == (1.0, 2.0, 4)
    assert heading(0.0, 1, TURN) == TURN  # left is counter-clockwise


@given(angles, st.lists(st.sampled_from([LEFT, RIGHT]), max_size=50))
def test_turns_undone_give_back_the_same_bits(theta: float, actions: list[int]) -> None:
    turns = 0
    for action in actions:
        turns = move_pose(0.0, 0.0, theta, turns, action, 0.5, TURN)[2]
    for action in actions:
        turns = move_pose(0.0, 0.0, theta, turns, LEFT if action == RIGHT else RIGHT, 0.5, TURN)[2]
    assert heading(theta, turns, TURN) == theta


@given(st.floats(-20, 20), st.floats(-20, 20), angles, st.integers(-40, 40))
def test_forward_then_backward_returns(x: float, y: float, theta: float, turns: int) -> None:
    mid = move_pose(x, y, theta, turns, FORWARD, 0.5, TURN)
    back = move_pose(mid[0], mid[1], theta, mid[2], BACKWARD, 0.5, TURN)
    assert abs(back[0] - x) < 1e-12 and abs(back[1] - y) < 1e-12 and back[2] == turns


@given(st.floats(-20, 20), angles)
def test_advance_moves_by_its_length(x: float, theta: float) -> None:
    nx, ny = advance(x, 0.0, theta, -0.7)
    assert math.isclose(math.hypot(nx - x, ny), 0.7, abs_tol=1e-12)
