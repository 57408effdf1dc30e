from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import ndimage

from auralnav.envs.audio.geodesic import Geodesics
from auralnav.envs.audio.geometry import FloorPlan
from auralnav.envs.audio.layouts import GAP, KINDS, connected, sample_layout
from auralnav.envs.audio.oracle import plan_actions
from auralnav.errors import RoomError


def plans(kind: str, count: int, obstacles: int = 3) -> list[FloorPlan]:
    return [sample_layout(kind, np.random.default_rng(seed), obstacles) for seed in range(count)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_hundred_layouts_are_connected_and_of_real_size(kind: str) -> None:
    for seed, plan in enumerate(plans(kind, 100)):
        assert len(plan.obstacles) == 3
        assert plan.bounds[:2] == (0.0, 0.0)
        assert all(6.0 <= side <= 12.0 for side in plan.bounds[2:])
        assert 2.4 <= plan.height <= 3.5
        assert not plan.convex
        # an independent count of parts, for a body of 0.2 m and, as passages are 0.8 m, one of 0.35 m
        xs = np.arange(0.05, plan.bounds[2], 0.1)
        ys = np.arange(0.05, plan.bounds[3], 0.1)
        grid = np.stack(np.meshgrid(xs, ys, indexing="ij"), -1)
        for clearance in (0.2, 0.3):
            free = plan.contains(grid.reshape(-1, 2), clearance).reshape(grid.shape[:2])
            assert ndimage.label(free)[1] == 1, f"seed {seed}, clearance {clearance}"


@pytest.mark.parametrize("kind", KINDS)
def test_boxes_keep_their_distance(kind: str) -> None:
    for plan in plans(kind, 30):
        chains = [plan.boundary, *plan.obstacles]
        for a, b in itertools.combinations(chains, 2):
            t = np.linspace(0.0, 1.0, 40)[:, None]
            one, two = (
                np.concatenate([p + t * (q - p) for p, q in zip(c, np.roll(c, -1, axis=0), strict=True)])
                for c in (a, b)
            )
            assert np.linalg.norm(one[:, None] - two[None], axis=-1).min() >= GAP - 1e-6


def test_two_rooms_have_a_wall_with_a_wide_door() -> None:
    for plan in plans("two_rooms", 50):
        corners = plan.reflex_corners[:4]  # the outline's: the door's four
        spans = np.ptp(corners, axis=0)
        wall, door = min(spans), max(spans)
        assert wall == pytest.approx(0.2) and 1.2 <= door <= 1.8 + 1e-9
        assert len(plan.boundary) == 12
        # straight through the middle of the door nothing stands
        middle = corners.mean(axis=0)
        across = np.array([1.0, 0.0]) if spans[0] < spans[1] else np.array([0.0, 1.0])
        assert plan.segment_free(middle - 0.65 * across, middle + 0.65 * across, 0.2)
        # the wall does separate: beside the door there is no way through
        along = across[::-1] * (door / 2 + 0.3)
        assert not plan.segment_free(middle + along - 0.5 * across, middle + along + 0.5 * across, 0.0)


def test_same_seed_same_plan_and_seeds_differ() -> None:
    for kind in (*KINDS, "random"):
        one, two, other = (sample_layout(kind, np.random.default_rng(s), 2) for s in (7, 7, 8))
        assert np.array_equal(one.segments, two.segments) and one.height == two.height
        assert one.segments.shape != other.segments.shape or not np.allclose(one.segments, other.segments)


def test_random_draws_every_kind() -> None:
    corners = {len(plan.boundary) for plan in plans("random", 40, 0)}
    assert corners == {6, 8, 12}


@pytest.mark.parametrize("kind", KINDS)
def test_the_oracle_gets_everywhere(kind: str) -> None:
    for seed, plan in enumerate(plans(kind, 12)):
        rng, geo = np.random.default_rng(seed), Geodesics(plan)
        x, y = plan.sample_point(rng, 0.2)
        sources = [plan.sample_point(rng, 0.3) for _ in range(2)]
        pose = (x, y, rng.uniform(-3, 3))
        actions = plan_actions(plan, geo, pose, sources, 1.0, 0.5, np.radians(30), [False] * 2, 0.2)
        assert actions, f"seed {seed}"


def test_a_cut_off_part_is_noticed() -> None:
    outline = np.array([(0, 0), (6, 0), (6, 4), (0, 4)], dtype=float)
    bar = np.array([(3, 0.1), (3.2, 0.1), (3.2, 3.9), (3, 3.9)])
    assert not connected(FloorPlan(outline, (bar,)))
    assert connected(FloorPlan(outline, (bar * [1, 0.8],)))
    assert connected(FloorPlan(outline, (bar,)), clearance=0.01, cell=0.02)
    assert not connected(FloorPlan(outline), clearance=2.1)


@pytest.mark.parametrize(
    ("kind", "boxes", "words"), [("maze", 0, "two_rooms"), ("l", 4, "0 to 3"), ("l", -1, "0")]
)
def test_bad_requests_are_named(kind: str, boxes: int, words: str) -> None:
    with pytest.raises(RoomError, match=words):
        sample_layout(kind, np.random.default_rng(0), boxes)
