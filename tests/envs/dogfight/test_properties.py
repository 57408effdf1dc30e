"""What holds in every game, whatever the ships do."""

from __future__ import annotations

import numpy as np
from dogfight_setups import brawl, random_actions
from hypothesis import given, settings
from hypothesis import strategies as st

from auralnav.envs.dogfight import layout as at
from auralnav.envs.dogfight.observe import Observer
from auralnav.envs.dogfight.world import DogfightWorld

PLACES = (at.X, at.Y, *range(at.BULLET_X, at.BULLET_VX))
seeds = st.integers(0, 2**40)
sizes = st.tuples(st.integers(1, 7), st.integers(1, 7)).filter(lambda pair: sum(pair) <= at.SLOTS)


def check_bounds(world: DogfightWorld) -> None:
    state = world.state
    assert np.isfinite(state).all()
    assert (state[:, PLACES] >= 0).all() and (state[:, PLACES] < 1024).all()
    assert (state[:, PLACES] * 2**14 % 1 == 0).all(), "places are multiples of 2^-14"
    for row in (at.HEALTH, at.POWER):
        assert (state[:, row] >= 0).all() and (state[:, row] <= 100).all()
    assert (state[:, at.HEALTH] % 10 == 0).all()
    assert np.hypot(state[:, at.VX], state[:, at.VY]).max() <= 400 * (1 + 1e-6)
    there = state[:, at.TEAM] >= 0
    assert np.abs(np.hypot(state[:, at.COS], state[:, at.SIN])[there] - 1).max() <= 1e-5
    assert set(np.unique(state[:, at.COOLDOWN])) <= set(range(7))
    life = world.bullets[:, 4]
    assert set(np.unique(life)) <= set(range(61))
    assert (world.bullets[:, :4][np.broadcast_to(life[:, None] == 0, world.bullets[:, :4].shape)] == 0).all()
    for row in range(at.BULLET_X):
        if row not in (at.TEAM, at.SKILL):
            assert (state[:, row][~there] == 0).all(), "an empty slot stays empty"


@settings(max_examples=50)
@given(seed=seeds, teams=sizes, spread=st.sampled_from([0.0, 12.0, 100.0]))
def test_bounds_hold(seed: int, teams: tuple[int, int], spread: float) -> None:
    world = brawl(4, teams, seed, spread=spread)
    rng = np.random.default_rng(seed)
    for _ in range(60):
        world.step(random_actions(rng, 4), restart=True)
        check_bounds(world)


@settings(max_examples=50)
@given(seed=seeds, teams=sizes)
def test_bullets_are_conserved(seed: int, teams: tuple[int, int]) -> None:
    world = brawl(4, teams, seed, action_repeat=1)
    rng = np.random.default_rng(seed)
    total = 0
    for _ in range(120):
        before = world.bullets[:, 4].copy()
        running = world.status == at.RUNNING
        actions = random_actions(rng, 4)
        actions[..., 2] = 1
        world.step(actions)
        fired = world.state[:, at.SHOTS].sum(1)
        hits = world.state[:, at.TAKEN].sum(1) / 10
        assert np.array_equal(hits * 10, (world.state[:, at.DEALT] + world.state[:, at.FRIENDLY]).sum(1))
        # A bullet in its last tick is gone whether it hits in it or not: between the two figures.
        last = (before == 1).sum((1, 2))
        after, expected = (world.bullets[:, 4] > 0).sum((1, 2)), (before > 0).sum((1, 2)) + fired - hits
        assert ((after <= expected) & (after >= expected - last))[running].all()
        total += int(fired[running].sum())
    assert total > 40


@settings(max_examples=40)
@given(seed=seeds, shift=st.tuples(st.integers(-16384, 16384), st.integers(-16384, 16384)))
def test_moving_the_world_changes_nothing(seed: int, shift: tuple[int, int]) -> None:
    """Bit for bit: the whole game, its scripts and all observations, for shifts on a lattice of 2^-4."""
    here, there = brawl(3, (3, 2), seed), brawl(3, (3, 2), seed)
    by = np.array(shift) / 16  # float64: a sum above 1024 is exact, as it is not in float32
    for world in (here, there):
        world.command("pursuit", slice(0, 2))
        world.command("focus", slice(2, 4))
        world.command("evader", 4, skill=0.7)
    for row, amount in ((at.X, by[0]), (at.Y, by[1])):
        there.state[:, row, :5] = (there.state[:, row, :5] + amount) % 1024
    observers = Observer(here), Observer(there)
    for _ in range(40):
        for world in (here, there):
            world.step()
        (own, edges), (own_there, edges_there) = (observer.observe() for observer in observers)
        assert np.array_equal(own, own_there) and np.array_equal(edges, edges_there)
        assert np.array_equal(observers[0].flatten(), observers[1].flatten())
    others = [row for row in range(at.ROWS) if row not in PLACES]
    assert np.array_equal(here.state[:, others], there.state[:, others])
    alive = here.state[:, at.BULLET_LIFE :] > 0
    for first, amount in ((at.BULLET_X, by[0]), (at.BULLET_Y, by[1])):
        moved = (here.state[:, first : first + 10] + amount) % 1024
        assert np.array_equal(moved[alive], there.state[:, first : first + 10][alive])


@settings(max_examples=40)
@given(seed=seeds, order=st.permutations(range(at.SLOTS)))
def test_the_order_of_slots_decides_nothing(seed: int, order: list[int]) -> None:
    """Without spread, whose numbers belong to slots: who is in which slot changes no number of any ship."""
    one, other = (brawl(4, (4, 4), seed, spread=0.0) for _ in range(2))
    other.state[...] = one.state[:, :, order]
    rng = np.random.default_rng(seed)
    for _ in range(60):
        actions = random_actions(rng, 4)
        one.step(actions)
        other.step(actions[:, order])
        assert np.array_equal(one.state[:, :, order], other.state)
    assert np.array_equal(one.status, other.status)
