from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auralnav.envs.audio.geodesic import Geodesics
from auralnav.envs.audio.geometry import FloorPlan
from auralnav.envs.audio.tour import TourPotential, touching_tour_length
from auralnav.errors import RoomError

L_OUTLINE = np.array([[0, 0], [8, 0], [8, 3], [3, 3], [3, 8], [0, 8]], dtype=float)
PILLAR = np.array([[4.0, 1.0], [5.0, 1.0], [5.0, 2.0], [4.0, 2.0]])
SQUARE = Geodesics(FloorPlan.shoebox(8.0, 8.0))
L_ROOM = Geodesics(FloorPlan(L_OUTLINE, (PILLAR,)))
ROOMS = [SQUARE, L_ROOM]


def points(geo: Geodesics, seed: int, count: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.array([geo.plan.sample_point(rng, 0.2) for _ in range(count)])


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 1), st.integers(0, 100_000), st.lists(st.booleans(), min_size=1, max_size=4))
def test_the_potential_is_the_best_of_all_orders(which: int, seed: int, remaining: list[bool]) -> None:
    geo = ROOMS[which]
    start, *sources = points(geo, seed, len(remaining) + 1)
    potential = TourPotential(geo, sources)
    left = [s for s, r in zip(sources, remaining, strict=True) if r]
    want = min(
        sum(geo.distance(a, b) for a, b in itertools.pairwise([start, *order]))
        for order in itertools.permutations(left)
    )
    assert potential.length(*start, np.array(remaining)) == pytest.approx(want, abs=1e-9)
    assert np.allclose(potential.distances(*start), [geo.distance(start, s) for s in sources], atol=1e-12)
    # a source the less never lengthens the tour, and moving by d changes it by d at most
    for i in np.flatnonzero(remaining):
        fewer = np.array(remaining)
        fewer[i] = False
        assert potential.length(*start, fewer) <= want + 1e-9
    other = points(geo, seed + 1, 1)[0]
    moved = potential.length(*other, np.array(remaining))
    assert abs(moved - want) <= geo.distance(start, other) + 1e-9


def test_update_moves_the_sources() -> None:
    first, second = points(L_ROOM, 1, 3), points(L_ROOM, 2, 3)
    everything = np.ones(3, dtype=bool)
    potential = TourPotential(L_ROOM.plan, first)
    before = potential.length(1.0, 1.0, everything)
    potential.update(second)
    assert potential.length(1.0, 1.0, everything) == TourPotential(L_ROOM, second).length(
        1.0, 1.0, everything
    )
    assert potential.length(1.0, 1.0, everything) != before
    second[0] = 99.0  # the caller's array is not kept
    assert np.isfinite(potential.length(1.0, 1.0, everything))


def test_too_many_sources() -> None:
    with pytest.raises(RoomError, match="6 sources"):
        TourPotential(SQUARE, np.ones((7, 2)))
    with pytest.raises(RoomError, match="6 discs"):
        touching_tour_length(SQUARE, (1.0, 1.0), np.ones((7, 2)), 1.0)


@pytest.mark.parametrize(
    ("start", "centres", "want"),
    [
        ((1, 1), [(4, 5)], 4.0),  # one disc: distance less radius
        ((1, 1), [(1.5, 1)], 0.0),  # touched at the start
        ((1, 1), [(1.5, 1), (5, 1)], 3.0),  # one touched at the start
        ((1, 1), [(3, 1), (6, 1)], 4.0),  # collinear: the nearer is touched on the way
        ((1, 1), [(3, 1.9), (6, 1)], 4.0),  # still on the way, off the line
        ((3, 4), [(1, 4), (7, 4)], 1 + 4.0),  # left first, then back and to the right
        ((1, 1), [(4, 5), (4, 5)], 4.0),  # the same disc twice
        ((1, 1), [(5, 1), (5.5, 1), (6, 1)], 4.0),  # overlapping discs
    ],
)
def test_touching_exact_cases(start: tuple, centres: list, want: float) -> None:
    assert touching_tour_length(SQUARE, start, centres, 1.0) == pytest.approx(want, rel=1e-4, abs=1e-9)


def test_touching_round_a_corner() -> None:
    room = Geodesics(FloorPlan(L_OUTLINE))
    assert touching_tour_length(room, (2, 6), [(6, 2)], 1.0) == pytest.approx(2 * math.sqrt(10) - 1)
    # 0.5 m of the radius is left beyond the corner (3, 3): an arc the source itself does not see
    near = [(3.5, 3.0)]
    assert touching_tour_length(room, (2.9, 6.0), near, 1.0) == pytest.approx(
        math.hypot(0.1, 3.0) + 0.5 - 1.0, rel=1e-9
    )
    start, two = np.array([2.9, 6.0]), np.array([*near, (0.5, 0.5)])
    assert touching_tour_length(room, start, two, 1.0) == pytest.approx(
        _reference(room, start, two, 1.0, 0.01), rel=0.003
    )


def _reference(geo: Geodesics, start: np.ndarray, centres: np.ndarray, radius: float, cell: float) -> float:
    """Two discs: the touch point of the first is any point of a fine grid over the whole disc."""
    best = np.inf
    span = np.arange(-radius, radius + cell / 2, cell)
    offsets = np.stack(np.meshgrid(span, span), -1).reshape(-1, 2)
    for one, other in ((0, 1), (1, 0)):
        touch = centres[one] + offsets
        touch = touch[geo.plan.contains(touch)]
        touch = touch[geo.distances(touch, centres[one : one + 1])[:, 0] <= radius]
        there = geo.distances(touch, start[None])[:, 0]
        on = np.maximum(0.0, geo.distances(touch, centres[other : other + 1])[:, 0] - radius)
        best = min(best, float((there + on).min()))
    return best


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1), st.integers(0, 100_000), st.sampled_from([0.4, 1.0, 1.7]))
def test_touching_two_discs_against_a_fine_grid(which: int, seed: int, radius: float) -> None:
    geo = ROOMS[which]
    start, *centres = points(geo, seed, 3)
    if (geo.distances([start], centres) <= radius).any():
        return
    got = touching_tour_length(geo, start, centres, radius)
    cell = 0.02
    grid = _reference(geo, start, np.array(centres), radius, cell)
    assert got <= grid * 1.005 + 1e-9  # no more than 0.5 % above the best
    assert (
        got >= grid - 2 * cell * math.sqrt(2) - 1e-9
    )  # and no shortcut: the grid misses the best by that much


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 100_000), st.integers(3, 4))
def test_touching_more_discs_against_dense_rims(seed: int, count: int) -> None:
    """Euclid's plane: each order by dynamic programming over 360 points of each rim."""
    start, *centres = points(SQUARE, seed, count + 1)
    if (np.linalg.norm(np.array(centres) - start, axis=1) <= 1.0).any():
        return
    angle = np.linspace(0, 2 * math.pi, 360, endpoint=False)
    rims = [c + np.stack([np.cos(angle), np.sin(angle)], -1) for c in centres]
    gaps = {
        (i, j): np.linalg.norm(rims[i][:, None] - rims[j][None], axis=-1)
        for i, j in itertools.permutations(range(count), 2)
    }
    best = np.inf
    for order in itertools.permutations(range(count)):
        cost = np.linalg.norm(rims[order[0]] - start, axis=1)
        for i, j in itertools.pairwise(order):
            cost = (cost[:, None] + gaps[i, j]).min(axis=0)
        best = min(best, cost.min())
    got = touching_tour_length(SQUARE, start, centres, 1.0)
    assert 0.995 * best <= got <= 1.005 * best


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1), st.integers(0, 100_000), st.integers(1, 4))
def test_touching_lies_between_its_bounds(which: int, seed: int, count: int) -> None:
    geo = ROOMS[which]
    start, *centres = points(geo, seed, count + 1)
    got = touching_tour_length(geo, start, centres, 1.0)
    tour = TourPotential(geo, centres).length(*start, np.ones(count, dtype=bool))
    assert got <= tour + 1e-9
    assert got >= max(0.0, geo.distances([start], centres).max() - 1.0) - 1e-9
    assert got >= tour - (2 * count - 1) * 1.0 - 1e-9
    smaller = touching_tour_length(geo, start, centres, 0.5)
    assert smaller >= got * 0.995 - 1e-9
