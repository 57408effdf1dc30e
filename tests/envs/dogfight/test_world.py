"""Batches, seeds, snapshots, shared memory and refusals of the world."""

from __future__ import annotations

import numpy as np
import pytest
from dogfight_setups import brawl, random_actions

from auralnav.envs.dogfight import layout as at
from auralnav.envs.dogfight.observe import Observer
from auralnav.envs.dogfight.world import FEW, DogfightWorld
from auralnav.errors import ActionError, ConfigError


def play(world: DogfightWorld, steps: int, seed: int = 0, **kwargs) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        world.step(np.repeat(random_actions(rng, 1), world.num_worlds, 0), **kwargs)


@pytest.mark.parametrize("others", [1, 2 * FEW + 3])
def test_a_world_is_the_same_in_any_batch(others: int) -> None:
    """A few worlds are stepped in the calling thread, many shared out."""
    batch, alone = DogfightWorld(others + 1, threads=2), DogfightWorld(1)
    batch.reset(100)
    alone.reset(100 + others)
    for world in (batch, alone):
        world.command("pursuit", slice(2, 4))
        play(world, 300, restart=True)
    assert alone.clock[0, at.CLOCK_EPISODE] >= 1
    for name, array in alone.snapshot().items():
        assert np.array_equal(array[0], batch.snapshot()[name][others]), name


def test_the_number_of_threads_changes_nothing() -> None:
    results = []
    for threads in (1, 2, 3):
        world = brawl(5 * FEW, seed=5, threads=threads)
        world.command("focus")
        play(world, 50)
        observer = Observer(world)
        results.append({**world.snapshot(), "edges": observer.observe()[1], "flat": observer.flatten()})
    for other in results[1:]:
        assert all(np.array_equal(results[0][name], other[name]) for name in other)


def test_seeds_decide_where_ships_begin_and_how_shots_stray() -> None:
    one, two, third = DogfightWorld(3), DogfightWorld(3), DogfightWorld(3)
    one.reset(5)
    two.reset(5)
    third.reset(6)
    assert np.array_equal(one.state, two.state)
    assert np.array_equal(one.state[1:], third.state[:2]), "world i has the key seed + i"
    assert not np.array_equal(one.state[0], one.state[1])
    ships = one.state[:, :, :4]
    assert np.hypot(ships[:, at.VX], ships[:, at.VY]) == pytest.approx(100, abs=1e-4)
    assert (ships[:, at.HEALTH] == 100).all() and (ships[:, at.POWER] == 100).all()
    first = one.state.copy()
    play(one, 300, restart=True)
    assert (one.clock[:, at.CLOCK_EPISODE] >= 1).all()
    one.reset(5)
    assert np.array_equal(one.state[:, : at.SHIP_ROWS], first[:, : at.SHIP_ROWS])


def test_ships_begin_all_over_and_head_everywhere() -> None:
    world = DogfightWorld(2000, (4, 4))
    for row in (at.X, at.Y):
        counts = np.histogram(world.state[:, row], bins=8, range=(0, 1024))[0] / 16000
        assert np.abs(counts - 1 / 8).max() < 5 * np.sqrt(1 / 8 * 7 / 8 / 16000)
    heading = np.arctan2(world.state[:, at.SIN], world.state[:, at.COS])
    assert abs(np.exp(1j * heading).mean()) < 4 / np.sqrt(16000)


def test_the_spread_of_shots_is_normal() -> None:
    world = DogfightWorld(4000, (4, 4), action_repeat=1, spread=12.0)
    actions = np.zeros((4000, 8, 3), np.int32)
    actions[..., 2] = 1
    world.step(actions)
    state, aloft = world.state, world.state[:, at.BULLET_LIFE] > 0  # those that hit at once are gone
    stray_x = (state[:, at.BULLET_VX] - state[:, at.VX] - 500 * state[:, at.COS])[aloft].astype(np.float64)
    stray_y = (state[:, at.BULLET_VY] - state[:, at.VY] - 500 * state[:, at.SIN])[aloft].astype(np.float64)
    count = stray_x.size
    for stray in (stray_x, stray_y):
        assert abs(stray.mean()) < 4 * 12 / np.sqrt(count)
        assert stray.std() == pytest.approx(12, rel=4 / np.sqrt(2 * count))
        assert (stray**4).mean() / stray.var() ** 2 == pytest.approx(3, abs=4 * np.sqrt(24 / count))
    assert abs(np.corrcoef(stray_x, stray_y)[0, 1]) < 4 / np.sqrt(count)


def test_a_snapshot_continues_bit_for_bit() -> None:
    world = brawl(5, seed=3)
    world.command("pursuit", skill=0.5)
    play(world, 30)
    kept = world.snapshot()
    play(world, 30, seed=1)
    after = world.snapshot()
    other = DogfightWorld(5, (4, 4))
    other.restore(kept)
    play(other, 30, seed=1)
    assert all(np.array_equal(after[name], other.snapshot()[name]) for name in after)


def test_ticks_one_by_one_are_a_step() -> None:
    whole, parts = (brawl(6, seed=4, action_repeat=4) for _ in range(2))
    for world in (whole, parts):
        world.command("pursuit", slice(0, 4), skill=0.8)
        world.command("jouster", slice(4, 6))
    rng = np.random.default_rng(0)
    by_tick = [row for row in range(at.ROWS) if row not in (at.ACC_X, at.ACC_Y, at.OMEGA)]
    for _ in range(60):
        actions = random_actions(rng, 6)
        whole.step(actions)
        parts.actions[...] = actions
        assert np.array_equal(parts.decide(), whole.actions)
        for tick in range(4):
            parts.tick(first=tick == 0)
        assert np.array_equal(whole.state[:, by_tick], parts.state[:, by_tick])
        assert np.array_equal(whole.clock, parts.clock)


def test_a_step_says_what_it_changed() -> None:
    world = brawl(8, seed=6)
    rng = np.random.default_rng(0)
    for _ in range(20):
        before = world.state.copy()
        world.step(random_actions(rng, 8))
        state, alive = world.state, world.state[:, at.HEALTH] > 0
        for row, change in ((at.VX, at.ACC_X), (at.VY, at.ACC_Y)):
            assert state[:, change][alive] == pytest.approx(((state - before)[:, row] * 15)[alive], abs=1e-3)
        turned = np.arctan2(state[:, at.SIN], state[:, at.COS]) - np.arctan2(before[:, at.SIN], before[:, at.COS])
        turned = (turned + np.pi) % (2 * np.pi) - np.pi
        assert state[:, at.OMEGA][alive] == pytest.approx((turned * 15)[alive], abs=1e-4)
        assert state[:, at.TAKEN] == pytest.approx(before[:, at.HEALTH] - state[:, at.HEALTH], abs=1e-3)


def test_restart_begins_the_next_game_in_a_step_of_its_own() -> None:
    world = DogfightWorld(2, horizon=8)
    play(world, 2, restart=True)
    assert (world.status == at.DRAW).all()
    play(world, 1, restart=True)
    assert (world.status == at.RUNNING).all() and (world.clock[:, at.CLOCK_TICK] == 0).all()
    assert (world.clock[:, at.CLOCK_EPISODE] == 1).all() and (world.clock[:, at.CLOCK_TOTAL] == 8).all()
    assert (world.state[:, at.HEALTH, :4] == 100).all() and not world.bullets.any()


def test_a_mask_begins_some_worlds() -> None:
    world = DogfightWorld(3)
    play(world, 5)
    before = world.state.copy()
    world.reset(9, np.array([True, False, False]))
    assert np.array_equal(world.state[1:], before[1:]) and world.clock[:, at.CLOCK_TICK].tolist() == [0, 20, 20]


def test_teams_of_any_size() -> None:
    world = DogfightWorld(3, [(1, 1), (7, 1), (3, 4)])
    assert world.state[:, at.TEAM].tolist() == [
        [0, 1, -1, -1, -1, -1, -1, -1],
        [0, 0, 0, 0, 0, 0, 0, 1],
        [0, 0, 0, 1, 1, 1, 1, -1],
    ]
    assert np.array_equal(world.state[:, at.HEALTH] > 0, world.state[:, at.TEAM] >= 0)


def test_torch_shares_the_memory() -> None:
    import torch

    world = DogfightWorld(2)
    ships, bullets = torch.from_numpy(world.ships), torch.from_numpy(world.bullets)
    ships[0, at.X, 0] = 7.5
    play(world, 3)
    assert np.array_equal(ships.numpy(), world.state[:, : at.SHIP_ROWS]) and ships[0, at.X, 0] != 7.5
    assert bullets.shape == (2, 5, 10, 8) and bullets.data_ptr() == world.state[:, at.BULLET_X :].ctypes.data


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"num_worlds": 0}, "num_worlds=0 is not"),
        ({"num_worlds": 2.5}, "num_worlds=2.5 is not"),
        ({"teams": (0, 2)}, "each needs a ship"),
        ({"teams": (5, 4)}, "8 at most"),
        ({"teams": (2, 2, 2)}, "is not \\(ships of team 0"),
        ({"teams": [(1, 1), (2,)]}, "not pairs"),
        ({"teams": "2v2"}, "is not \\(ships of team 0"),
        ({"action_repeat": 0}, "action_repeat=0"),
        ({"horizon": True}, "horizon=True"),
        ({"spread": float("nan")}, "spread=nan"),
        ({"spread": -1}, "spread=-1"),
        ({"threads": -1}, "threads=-1"),
        ({"device": "tpu"}, "'cpu' or 'cuda'"),
    ],
)
def test_bad_worlds_are_refused_in_a_line(kwargs: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        DogfightWorld(**kwargs)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("actions", "words"),
    [
        (np.full((2, 4, 3), 3), "power=3 is outside its classes, 0 to 2"),
        (np.array([[[0, 7, 0]], [[0, 0, 0]]]), "turn=7"),
        (np.array([[[0, 0, -1]], [[0, 0, 0]]]), "shoot=-1"),
        (np.full((2, 4, 3), np.nan), "float64, not integers"),
        (np.zeros((2, 4, 2), int), r"\(2, 4, 2\), not"),
        (np.zeros((2, 9, 3), int), r"\(2, 9, 3\), not"),
        (np.zeros((3, 4, 3), int), r"\(3, 4, 3\), not"),
    ],
)
def test_bad_actions_are_refused_and_change_nothing(actions: np.ndarray, words: str) -> None:
    world = DogfightWorld(2)
    before = world.snapshot()
    with pytest.raises(ActionError, match=words) as caught:
        world.step(actions)
    assert "\n" not in str(caught.value)
    assert all(np.array_equal(before[name], world.snapshot()[name]) for name in before)


def test_other_bad_input_is_refused() -> None:
    world = DogfightWorld(2)
    with pytest.raises(ConfigError, match="did you mean pursuit"):
        world.command("persuit")
    with pytest.raises(ConfigError, match="skill=2"):
        world.command("pursuit", skill=2)
    for seed in (-1, 2**62, 1.5, True):
        with pytest.raises(ConfigError, match="seed="):
            world.reset(seed)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="mask is"):
        world.reset(0, np.ones(3, bool))
    kept = world.snapshot()
    with pytest.raises(ConfigError, match="holds no 'key'"):
        world.restore({name: array for name, array in kept.items() if name != "key"})
    with pytest.raises(ConfigError, match="not float32"):
        world.restore(kept | {"state": kept["state"].astype(np.float64)})
    with pytest.raises(ConfigError, match="NaN"):
        world.restore(kept | {"state": kept["state"] * np.nan})
    for row, value in ((at.X, 1024), (at.BARREL, 10), (at.SCRIPT, 6), (at.BULLET_LIFE + 9, 61), (at.POWER, -1)):
        broken = kept["state"].copy()
        broken[1, row, 3] = value
        with pytest.raises(ConfigError, match=f"row {row} of"):
            world.restore(kept | {"state": broken})
    assert all(np.array_equal(kept[name], array) for name, array in world.snapshot().items())
