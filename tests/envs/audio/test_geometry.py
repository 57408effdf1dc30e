from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auralnav.envs.audio.geometry import FloorPlan
from auralnav.errors import RoomError

L_ROOM = FloorPlan(np.array([[0, 0], [8, 0], [8, 3], [3, 3], [3, 8], [0, 8]], dtype=float))
PILLAR = np.array([[4.0, 1.0], [5.0, 1.0], [5.0, 2.0], [4.0, 2.0]])
ROOMS = [
    FloorPlan.shoebox(6.0, 4.0),
    L_ROOM,
    FloorPlan(L_ROOM.boundary, (PILLAR, np.array([[1.0, 5.0], [2.0, 4.5], [1.8, 6.0]]))),
]


def test_a_shoebox() -> None:
    plan = FloorPlan.shoebox(6.0, 4.0, 2.5)
    assert plan.convex and plan.area == 24.0 and plan.height == 2.5
    assert plan.bounds == (0.0, 0.0, 6.0, 4.0)
    assert plan.segments.shape == (4, 4) and plan.reflex_corners.shape == (0, 2)


def test_orientation_is_normalised_and_corners_found() -> None:
    clockwise = FloorPlan(L_ROOM.boundary[::-1].copy(), (PILLAR[::-1].copy(),))
    for plan in (clockwise, FloorPlan(L_ROOM.boundary, (PILLAR,))):
        assert math.isclose(plan.area, 39.0 - 1.0)
        assert not plan.convex
        want = {(3.0, 3.0), *map(tuple, PILLAR.tolist())}
        assert set(map(tuple, plan.reflex_corners.tolist())) == want


def test_a_corner_on_a_straight_wall_is_no_reflex_corner() -> None:
    plan = FloorPlan(np.array([[0, 0], [3, 0], [6, 0], [6, 4], [0, 4]], dtype=float))
    assert plan.convex


def test_a_plan_pickles() -> None:
    plan = ROOMS[2]
    twin = pickle.loads(pickle.dumps(plan))
    assert np.array_equal(twin.segments, plan.segments) and twin.area == plan.area


def test_contains_with_and_without_clearance() -> None:
    plan = ROOMS[2]
    points = np.array([[1, 1], [4.5, 1.5], [5, 5], [-1, 1], [0.1, 1.0], [0.2, 1.0], [3.9, 1.5], [0.0, 1.0]])
    assert plan.contains(points).tolist() == [True, False, False, False, True, True, True, True]
    assert plan.contains(points, 0.2).tolist() == [True, False, False, False, False, True, False, False]


def test_segment_free_exact_cases() -> None:
    plan = ROOMS[2]
    assert plan.segment_free((1.0, 1.0), (3.5, 1.0), 0.2)
    assert not plan.segment_free((1.0, 1.0), (3.9, 1.0), 0.2)  # ends beside the pillar
    assert not plan.segment_free((3.5, 1.5), (5.5, 1.5), 0.2)  # jumps right through it
    assert plan.segment_free((3.5, 0.8), (5.5, 0.8), 0.2)  # a gap of exactly the clearance is free
    assert not plan.segment_free((3.5, 0.81), (5.5, 0.81), 0.2)
    assert not plan.segment_free((2.0, 7.0), (4.0, 7.0), 0.2)
    assert not plan.segment_free((2.0, 7.0), (4.0, 7.0), 0.0)
    assert not plan.segment_free((2.0, 5.0), (5.0, 2.0), 0.2)  # brushes the reflex corner
    assert plan.segment_free((2.0, 3.0), (4.0, 2.5), 0.0)


def test_visible_exact_cases() -> None:
    plan = L_ROOM
    assert plan.visible((1.0, 5.0), (5.0, 1.0))  # through the reflex corner itself
    assert not plan.visible((1.0, 5.0), (5.0, 1.0 + 1e-6))
    assert plan.visible((3.0, 3.0), (3.0, 8.0))  # along a wall
    assert plan.visible((3.0, 0.5), (3.0, 8.0))  # past the corner, then along the wall
    assert not plan.visible((8.0, 3.0), (3.0, 8.0))  # both on walls, the line outside
    assert not plan.visible((8.0, 0.0), (0.0, 8.0))
    assert plan.visible((0.0, 0.0), (3.0, 3.0))
    assert plan.visible((2.0, 2.0), (2.0, 2.0))


def test_a_line_through_a_pillars_corners_is_blocked_and_along_its_face_is_not() -> None:
    plan = FloorPlan(L_ROOM.boundary, (PILLAR,))
    assert not plan.visible((3.5, 0.5), (5.5, 2.5))  # the diagonal: enters and leaves at corners
    assert not plan.visible((4.0, 1.0), (5.0, 2.0))  # the diagonal from corner to corner
    assert plan.visible((3.5, 1.0), (5.5, 1.0))
    assert plan.visible((3.5, 1.5), (4.5, 0.5))  # touches one corner from outside


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2), st.integers(0, 10_000), st.sampled_from([0.0, 0.2, 0.35]))
def test_segment_free_agrees_with_dense_sampling(room: int, seed: int, clearance: float) -> None:
    plan, rng = ROOMS[room], np.random.default_rng(seed)
    a = plan.sample_point(rng, max(clearance, 0.01))
    b = a + rng.uniform(-2.0, 2.0, 2)
    t = np.linspace(0.0, 1.0, 4001)[:, None]
    line = a + t * (b - a)
    step = np.linalg.norm(b - a) / 4000
    if plan.segment_free(a, b, clearance):
        assert plan.contains(line, max(clearance - 1e-6, 0.0)).all()
        assert plan.segment_free(b, a, clearance)
    else:
        assert not plan.contains(line, clearance + step).all()
    if clearance == 0.0 and plan.contains(b[None])[0]:
        assert plan.visible(a, b) == plan.visible(b, a) == bool(plan.contains(line).all())


@pytest.mark.parametrize("plan", ROOMS)
def test_sampled_points_are_free_and_cover_the_room(plan: FloorPlan) -> None:
    rng = np.random.default_rng(5)
    points = np.array([plan.sample_point(rng, 0.25) for _ in range(2000)])
    assert plan.contains(points, 0.25).all()
    grid = np.stack(np.meshgrid(np.arange(0.25, 8, 0.5), np.arange(0.25, 8, 0.5)), -1).reshape(-1, 2)
    for cell in grid[plan.contains(grid, 0.7)]:
        assert (np.abs(points - cell).max(axis=1) < 0.25).any()


@pytest.mark.parametrize(
    ("corners", "obstacles", "words"),
    [
        ([[0, 0], [4, 4], [4, 0], [0, 4]], [], "crosses or touches itself"),
        ([[0, 0], [4, 0], [4, 4], [2, 0], [0, 4]], [], "crosses or touches itself"),
        ([[0, 0], [4, 0], [4, 4], [4, 2], [0, 2]], [], "crosses or touches itself"),
        ([[0, 0], [0.1, 0], [0.1, 0.1], [0, 0.1]], [], "area"),
        ([[0, 0], [4, 0], [4, 0], [0, 4]], [], "equal corners"),
        ([[0, 0], [4, 0]], [], "at least 3 corners"),
        ([[0, 0], [4, float("nan")], [4, 4]], [], "not finite"),
        ([[0, 0], [4, 0], [4, 4], [0, 4]], [[[3, 3], [5, 3], [5, 5]]], "obstacle 0"),
        ([[0, 0], [4, 0], [4, 4], [0, 4]], [[[5, 5], [6, 5], [6, 6]]], "obstacle 0"),
        (
            [[0, 0], [9, 0], [9, 9], [0, 9]],
            [[[1, 1], [5, 1], [5, 5], [1, 5]], [[2, 2], [3, 2], [3, 3]]],
            "touch",
        ),
    ],
)
def test_bad_rooms_are_named(corners: list, obstacles: list, words: str) -> None:
    with pytest.raises(RoomError, match=words) as error:
        FloorPlan(np.array(corners, dtype=float), tuple(np.array(o, dtype=float) for o in obstacles))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("size", [(0.0, 4.0, 3.0), (4.0, -1.0, 3.0), (4.0, 4.0, 0.0), (math.inf, 4.0, 3.0)])
def test_bad_shoebox_sizes(size: tuple[float, float, float]) -> None:
    with pytest.raises(RoomError):
        FloorPlan.shoebox(*size)


def test_a_room_without_space_names_the_fix() -> None:
    with pytest.raises(RoomError, match="make the room larger"):
        FloorPlan.shoebox(0.6, 0.6).sample_point(np.random.default_rng(0), 0.4)
