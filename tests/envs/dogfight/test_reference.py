"""The kernel beside a tick written by hand: what both compute from the same state."""

from __future__ import annotations

import numpy as np
import pytest
from dogfight_reference import ReferenceWorld, minimum_image, philox4x32
from dogfight_setups import brawl, random_actions

from auralnav.envs.dogfight import layout as at
from auralnav.envs.dogfight.rng import philox
from auralnav.envs.dogfight.world import DogfightWorld

WORLDS = 24


def references(world: DogfightWorld) -> list[ReferenceWorld]:
    return [
        ReferenceWorld(world.state[w], world.clock[w], int(world.key[w]), world.spread, world.horizon)
        for w in range(world.num_worlds)
    ]


def apart(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs([minimum_image(d) for d in np.ravel(a - b)]).max(initial=0.0))


def bullets_of(world: DogfightWorld, w: int) -> np.ndarray:
    """[n, 6]: owner, x, y, vx, vy and life of a world's bullets, in an order that a reference can have too."""
    rows = [(i, *world.bullets[w, :, k, i]) for k in range(10) for i in range(8) if world.bullets[w, 4, k, i] > 0]
    return np.array(sorted(rows, key=lambda row: (row[0], row[5])))


def bullets_of_reference(one: ReferenceWorld) -> np.ndarray:
    rows = [(u["owner"], u["p"].real, u["p"].imag, u["v"].real, u["v"].imag, u["life"]) for u in one.bullets]
    return np.array(sorted(rows, key=lambda row: (row[0], row[5])))


def test_one_tick_of_many_states() -> None:
    world = brawl(WORLDS, seed=1, action_repeat=1)
    rng = np.random.default_rng(0)
    fired = hits = 0
    for _ in range(80):  # each tick begins at the kernel's state: errors do not add up
        pairs = references(world)
        actions = random_actions(rng, WORLDS)
        actions[:, :, 2] = rng.random((WORLDS, 8)) < 0.8
        world.step(actions)
        for w, one in enumerate(pairs):
            one.run(actions[w], 1)
            state = world.state[w]
            fired += int(state[at.SHOTS].sum())
            hits += one.hits
            assert one.hits * 10 == state[at.TAKEN].sum()
            assert np.array_equal(one.health, state[at.HEALTH])
            assert np.array_equal(one.power, state[at.POWER]) and np.array_equal(one.cooldown, state[at.COOLDOWN])
            assert apart(one.p.real, state[at.X]) <= 2e-4 and apart(one.p.imag, state[at.Y]) <= 2e-4
            assert np.abs(one.v - (state[at.VX] + 1j * state[at.VY])).max() <= 1e-4
            assert np.abs(one.att - (state[at.COS] + 1j * state[at.SIN])).max() <= 1e-6
            mine, theirs = bullets_of(world, w), bullets_of_reference(one)
            assert mine.shape == theirs.shape
            if len(mine):
                assert np.array_equal(mine[:, [0, 5]], theirs[:, [0, 5]])
                assert apart(mine[:, 1:3], theirs[:, 1:3]) <= 2e-4
                assert np.abs(mine[:, 3:5] - theirs[:, 3:5]).max() <= 2e-4  # of up to 1 000 units/s
            assert (one.tick, one.status) == tuple(world.clock[w, [at.CLOCK_TICK, at.CLOCK_STATUS]])
    assert fired > 1000 and hits > 100, "the states that were compared are those of a fight"


def test_sixty_ticks_from_one_state() -> None:
    count = 150
    world = brawl(count, seed=2)
    pairs = references(world)
    rng = np.random.default_rng(3)
    for _ in range(15):
        actions = random_actions(rng, count)
        world.step(actions)
        for w, one in enumerate(pairs):
            one.run(actions[w], 4)
    agree = [np.array_equal(one.health, world.state[w, at.HEALTH]) for w, one in enumerate(pairs)]
    assert sum(one.hits for one in pairs) > 100
    assert all(same for one, same in zip(pairs, agree, strict=True) if one.margin > 1e-3)
    assert np.mean(agree) >= 0.99, "where a bullet grazes a ship, rounding decides"
    for w in np.flatnonzero(agree):
        one, state = pairs[w], world.state[w]
        assert apart(one.p.real, state[at.X]) <= 5e-3 and apart(one.p.imag, state[at.Y]) <= 5e-3


@pytest.mark.parametrize(
    ("key", "counter", "words"),
    [
        (0, (0, 0, 0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (2**64 - 1, (2**32 - 1,) * 4, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            0x299F31D0A4093822,
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_gives_the_known_answers(key: int, counter: tuple[int, ...], words: tuple[int, ...]) -> None:
    """Vectors of the authors' Random123 library."""
    assert philox4x32(key, counter) == words
    assert tuple(int(word) for word in philox(np.uint64(key), *(np.uint64(part) for part in counter))) == words
