from __future__ import annotations

import tracemalloc
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3.common.buffers import DictReplayBuffer

from auralnav.agents.memory_replay import SequenceReplay
from auralnav.agents.observation_storage import storage_dtype
from auralnav.errors import CheckpointError, ConfigError

GAMMA = 0.9
BOX = spaces.Box(-1e6, 1e6, (2,), np.float32)


@dataclass
class Step:
    obs: float
    action: int
    reward: float
    first: bool
    state: float
    terminated: bool = False
    truncated: bool = False
    terminal_obs: float = 0.0
    terminal_state: float = 0.0
    lone: bool = False  # cut off before its first action


class World:
    """Every step ever made, as a list: what the replay is held against."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def rows(self) -> list[tuple[int | None, float, bool, float]]:
        """(step or None, observation, first, state) of all rows that the replay was ever given."""
        rows: list[tuple[int | None, float, bool, float]] = []
        for number, step in enumerate(self.steps):
            rows.append((None if step.lone else number, step.obs, step.first, step.state))
            if step.truncated:
                rows.append((None, step.terminal_obs, False, step.terminal_state))
        return rows

    def cut(self) -> None:
        """The worlds start anew: the running episode ends where its newest observation was."""
        if not self.steps or self.steps[-1].terminated or self.steps[-1].truncated or self.steps[-1].lone:
            return
        newest = self.steps[-1]
        if newest.first:
            newest.lone = True
            return
        last = self.steps[-2]
        last.truncated, last.terminal_obs, last.terminal_state = True, newest.obs, newest.state
        self.steps.pop()

    def target(self, number: int, n_steps: int) -> tuple[float, float, float | None] | None:
        """Return, discount and bootstrap observation of a step; None while that is not known."""
        total, discount = 0.0, 1.0
        for count in range(n_steps):
            if number + count >= len(self.steps):
                return None
            step = self.steps[number + count]
            total += discount * step.reward
            discount *= GAMMA
            if step.terminated:
                return total, 0.0, None
            if step.truncated:
                return total, discount, step.terminal_obs
        if number + n_steps >= len(self.steps):
            return None
        return total, discount, self.steps[number + n_steps].obs


class Rollout:
    """Random episodes written to a replay and to lists."""

    def __init__(self, replay: SequenceReplay, seed: int, mean_length: float = 5.0) -> None:
        self.replay, self.rng, self.mean = replay, np.random.default_rng(seed), mean_length
        self.worlds = [World() for _ in range(replay.n_envs)]
        self.first = np.ones(replay.n_envs, bool)
        self.count = 0

    def run(self, steps: int) -> Rollout:
        size = self.replay.n_envs
        for _ in range(steps):
            self.count += 1
            obs = self.count * 100.0 + np.arange(size)
            before = (self.count % 1000) + np.arange(size) / 4
            after = before + 0.125
            actions, rewards = self.rng.integers(0, 3, size), self.rng.normal(size=size).astype(np.float32)
            ends = self.rng.random(size) < 1 / self.mean
            cut_off = ends & (self.rng.random(size) < 0.5)
            terminal = {world: obs[world] + 50.0 for world in np.flatnonzero(cut_off).tolist()}
            self.replay.add(
                np.stack([obs, -obs], 1), actions, rewards, self.first, ends & ~cut_off, cut_off,
                {world: np.array([value, -value]) for world, value in terminal.items()},
                torch.from_numpy(before)[:, None].repeat(1, 3), torch.from_numpy(after)[:, None].repeat(1, 3),
            )  # fmt: skip
            for world, log in enumerate(self.worlds):
                log.steps.append(Step(
                    obs[world], int(actions[world]), float(rewards[world]), bool(self.first[world]),
                    before[world], bool(ends[world] and not cut_off[world]), bool(cut_off[world]),
                    terminal.get(world, 0.0), after[world],
                ))  # fmt: skip
            self.first = ends
        return self

    def cut(self) -> None:
        self.replay.cut_episodes()
        for world in self.worlds:
            world.cut()
        self.first[:] = True


def make(rows: int, worlds: int, **kwargs: Any) -> SequenceReplay:
    return SequenceReplay(
        rows * worlds, BOX, spaces.Discrete(3), n_envs=worlds, gamma=GAMMA, state_size=3, **kwargs
    )


def check_everything(rollout: Rollout) -> None:
    """Each sequence that may be drawn, field by field, against the lists."""
    replay = rollout.replay
    drawable = 0
    for number, world in enumerate(rollout.worlds):
        rows = world.rows()
        assert len(rows) == replay.written[number]
        for start in range(0, len(rows), replay.seq_len):
            if start < len(rows) - replay.rows or start + replay.burn_in + replay.n_steps >= len(rows):
                continue
            drawable += 1
            batch = replay.sequences(np.array([number]), np.array([start]))
            assert isinstance(batch.observations, torch.Tensor)
            held = rows[start : start + replay.length]
            seen = batch.observations[0, : len(held)].numpy()
            np.testing.assert_array_equal(seen, [(obs, -obs) for _, obs, _, _ in held])
            assert (batch.observations[0, len(held) :] == batch.observations[0, len(held) - 1]).all()
            assert batch.starts[0, : len(held)].tolist() == [first for _, _, first, _ in held]
            np.testing.assert_array_equal(batch.states[0].numpy(), [rows[start][3]] * 3)
            for place in range(replay.seq_len):
                row = start + replay.burn_in + place
                step = rows[row][0] if row < len(rows) else None
                target = None if step is None else world.target(step, replay.n_steps)
                assert bool(batch.mask[0, place]) == (target is not None)
                if step is None or target is None:
                    continue
                assert int(batch.actions[0, place]) == world.steps[step].action
                assert float(batch.returns[0, place]) == pytest.approx(target[0], abs=1e-6)
                assert float(batch.discounts[0, place]) == pytest.approx(target[1], abs=1e-7)
                if target[2] is not None:
                    bootstrap = replay.burn_in + int(batch.bootstraps[0, place])
                    assert float(batch.observations[0, bootstrap, 0]) == target[2]
                    passed = batch.starts[0, replay.burn_in + place + 1 : bootstrap + 1]
                    assert not passed.any()  # so the memory there is that of the same episode
    if drawable:
        draws = replay.sample(200 * drawable)
        assert isinstance(draws.observations, torch.Tensor)
        begins, counts = np.unique(draws.observations[:, 0, 0], return_counts=True)
        assert len(begins) == drawable  # each is drawn, and nothing else
        assert np.abs(counts - 200).max() < 7 * np.sqrt(200)
    else:
        with pytest.raises(ConfigError, match="learning_starts: no world has"):
            replay.sample(2)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_sequences_are_those_of_a_list_of_episodes(data: st.DataObject):
    seq_len = data.draw(st.integers(1, 7), "seq_len")
    burn_in = data.draw(st.integers(0, seq_len - 1), "burn_in")
    n_steps = data.draw(st.integers(1, 4), "n_steps")
    blocks = -(-(burn_in + seq_len + n_steps) // seq_len) + data.draw(st.integers(0, 3), "spare blocks")
    replay = make(
        blocks * seq_len,
        data.draw(st.integers(1, 3), "worlds"),
        seq_len=seq_len,
        burn_in=burn_in,
        n_steps=n_steps,
    )
    rollout = Rollout(
        replay, data.draw(st.integers(0, 2**31), "seed"), data.draw(st.sampled_from([1.2, 4.0, 30.0]))
    )
    for _ in range(data.draw(st.integers(1, 4), "looks")):
        rollout.run(data.draw(st.integers(1, 3 * blocks * seq_len), "steps"))
        if data.draw(st.booleans(), "cut"):
            rollout.cut()
            rollout.cut()  # nothing runs any more: no difference
        check_everything(rollout)


@pytest.mark.parametrize("n_steps", [1, 3])
def test_the_ends_of_sequences_of_one_step_are_two_of_their_rows(n_steps: int):
    replay = make(60, 2, seq_len=1, burn_in=0, n_steps=n_steps)
    Rollout(replay, 0, mean_length=3.0).run(50)
    rows = np.arange(replay.written[1] - 60, replay.written[1])
    whole, ends = (replay.sequences(np.ones_like(rows), rows, ends_only=only) for only in (False, True))
    assert isinstance(whole.observations, torch.Tensor) and isinstance(ends.observations, torch.Tensor)
    each = torch.arange(60)
    for name in ("observations", "starts"):
        first, last = (getattr(whole, name)[each, place] for place in (0, whole.bootstraps[:, 0]))
        assert torch.equal(getattr(ends, name), torch.stack((first, last), 1)), name
    assert ends.starts.any() and not ends.starts.all() and (ends.bootstraps == 1).all()
    for name in ("states", "actions", "returns", "discounts", "mask"):
        assert torch.equal(getattr(ends, name), getattr(whole, name)), name


def test_blocks_that_changed_carry_a_replay_over():
    replay = make(40, 2, seq_len=5, burn_in=2, n_steps=2)
    copy = make(40, 2, seq_len=5, burn_in=2, n_steps=2)
    rollout = Rollout(replay, 3)
    since = replay.written.copy()
    for round_ in range(30):
        if round_ % 4 == 3:
            rollout.cut()  # after what was saved: marks its newest rows
        rollout.run(7 if round_ % 8 < 6 else 0)
        changed = replay.changed_blocks(since)
        assert len(changed) < len(replay.arrays()["states"]) / 2
        for name, array in replay.arrays().items():
            copy.arrays()[name][changed] = array[changed]
            assert (copy.arrays()[name] == array).all()
        copy.restore(replay.written)
        since = replay.written.copy()
    np.random.seed(0)
    expected = replay.sample(64)
    np.random.seed(0)
    again = copy.sample(64)
    for name, value in vars(expected).items():
        assert torch.equal(value, getattr(again, name)), name
    with pytest.raises(CheckpointError, match=r"of 3 worlds.*env\.num_envs"):
        copy.restore(np.zeros(3, np.int64))


DICT = spaces.Dict({
    "spectrogram": spaces.Box(0.0, 1.0, (2, 33, 16), np.float32),
    "cues": spaces.Box(-1.0, 1.0, (24,), np.float32),
    "heading": spaces.Discrete(8),
})  # fmt: skip


def test_memory_is_what_the_formula_says_and_less_than_half_of_sb3():
    worlds, rows, seq_len, state = 4, 512, 32, 1000
    tracemalloc.start()
    replay = SequenceReplay(
        worlds * rows, DICT, spaces.Discrete(4), n_envs=worlds, seq_len=seq_len, state_size=state
    )
    measured, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    observation = 2 * (2 * 33 * 16) + 4 * 24 + 1  # float16, float32, uint8
    per_row = (
        observation + 1 + 4 + 1 + 2 * state / seq_len
    )  # action, reward, flags, a share of a float16 state
    assert replay.nbytes == worlds * rows * per_row
    assert measured == pytest.approx(replay.nbytes, rel=0.01)
    sb3 = DictReplayBuffer(worlds * rows, DICT, spaces.Discrete(4), device="cpu", n_envs=worlds)
    sb3_bytes = sum(a.nbytes for a in (*sb3.observations.values(), *sb3.next_observations.values()))
    assert replay.nbytes < 0.27 * sb3_bytes


@pytest.mark.parametrize(
    ("space", "dtype"),
    [
        (spaces.Discrete(256), np.uint8),
        (spaces.Discrete(257), np.int16),
        (spaces.Discrete(3, start=-1), np.int8),
        (spaces.MultiDiscrete([5, 70_000]), np.int32),
        (spaces.MultiBinary(4), np.uint8),
        (spaces.Box(0, 255, (3, 8, 8), np.uint8), np.uint8),
        (spaces.Box(-300, 300, (2,), np.int64), np.int16),
        (spaces.Box(0, 2**40, (2,), np.int64), np.int64),
        (spaces.Box(-1, 1, (2, 100), np.float32), np.float16),
        (spaces.Box(-1e5, 1e5, (2, 100), np.float32), np.float32),
        (spaces.Box(-np.inf, np.inf, (2, 100), np.float32), np.float32),
        (spaces.Box(-1, 1, (2,), np.float32), np.float32),
        (spaces.Box(-1, 1, (2,), np.float64), np.float32),
    ],
)
def test_observations_are_stored_as_small_as_does_no_harm(space: spaces.Space, dtype: type):
    assert storage_dtype(space) == dtype
    if dtype is not np.float16:
        # Whole numbers come back as they are, up to the bounds.
        space.seed(0)
        values = [space.sample() for _ in range(20)]
        if isinstance(space, spaces.Box) and space.is_bounded():
            values += [space.low, space.high]
        for value in values:
            assert (np.asarray(value).astype(dtype) == np.asarray(value, space.dtype).astype(
                np.float32 if np.dtype(space.dtype).kind == "f" else np.int64)).all()  # fmt: skip
    assert storage_dtype(space, exact=True) != np.float16


def test_half_precision_rounds_as_the_rule_says():
    values = np.concatenate([np.geomspace(1e-9, 6e4, 5000), -np.geomspace(1e-9, 6e4, 5000)]).astype(
        np.float32
    )
    error = np.abs(values.astype(np.float16).astype(np.float32) - values)
    assert (error <= np.maximum(np.abs(values) * 2**-11, 3e-8)).all()


def test_dict_observations_come_back_under_their_keys():
    replay = SequenceReplay(64, DICT, spaces.Discrete(4), n_envs=2, seq_len=4, burn_in=0, state_size=0)
    rng = np.random.default_rng(0)
    seen: list[dict[str, np.ndarray]] = []
    nothing = torch.zeros(2, 0)
    for step in range(10):
        obs = {
            "spectrogram": rng.random((2, 2, 33, 16), np.float32),
            "cues": rng.random((2, 24), np.float32),
            "heading": rng.integers(0, 8, 2),
        }
        cut_off = np.array([False, step == 4])
        seen.append({key: value[1] for key, value in obs.items()})
        terminal = {key: value[0] for key, value in obs.items()}
        if cut_off[1]:
            seen.append(terminal)
        replay.add(
            obs, np.zeros(2), np.zeros(2), np.zeros(2, bool), np.zeros(2, bool), cut_off,
            {1: terminal} if cut_off[1] else {}, nothing, nothing,
        )  # fmt: skip
    batch = replay.sequences(np.array([1]), np.array([4]))
    assert isinstance(batch.observations, dict)
    for key, part in batch.observations.items():
        expected = np.stack([obs[key] for obs in seen[4:9]])
        np.testing.assert_allclose(part[0].numpy(), expected, atol=2**-11 if key == "spectrogram" else 0)
    assert batch.states.shape == (1, 0)


def test_states_too_large_for_half_precision_are_limited():
    replay = SequenceReplay(8, BOX, spaces.Discrete(3), seq_len=2, burn_in=0, state_size=2)
    nothing = np.zeros(1, bool)
    state = torch.tensor([[1e9, -1e9]])
    replay.add(np.zeros((1, 2)), np.zeros(1), np.zeros(1), nothing, nothing, nothing, {}, state, state)
    stored = replay.sequences(np.array([0]), np.array([0])).states
    assert stored.tolist() == [[65504.0, -65504.0]]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"burn_in": 4}, r"burn_in: 4 must be from 0 to seq_len - 1 = 3"),
        ({"burn_in": -1}, r"burn_in: -1 must be"),
        ({"seq_len": 0}, r"seq_len 0, .* must be at least 1"),
        ({"n_steps": 0}, r"n_steps 0 .* must be at least 1"),
        ({"history": 0}, r"history 0 must be at least 1"),
        (
            {"buffer_size": 15},
            r"buffer_size: 15 is less than a sequence .* = 8 rows in each of 2 .* at least 16",
        ),
        (
            {"buffer_size": 16, "history": 2, "observation_space": spaces.Box(0, 1, (2,))},
            r"burn_in \+ seq_len \+ n_steps \+ history - 1 = 9 rows in each of 2 worlds; use at least 24",
        ),
        ({"optimize_memory_usage": True}, r"optimize_memory_usage"),
        ({"action_space": BOX}, r"discrete actions"),
        ({"action_space": spaces.Discrete(2, start=1)}, r"that count from 0"),
        ({"observation_space": spaces.Text(3)}, r"the replay stores Box"),
        ({"observation_space": spaces.Box(0, 2**64 - 1, (2,), np.uint64)}, r"do not fit into int64"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_in_one_line(kwargs: dict[str, Any], message: str):
    arguments: dict[str, Any] = {
        "buffer_size": 16, "observation_space": BOX, "action_space": spaces.Discrete(3), "n_envs": 2,
        "seq_len": 4, "burn_in": 3, "n_steps": 1,
    }  # fmt: skip
    with pytest.raises(ConfigError, match=message) as caught:
        SequenceReplay(**(arguments | kwargs))
    assert "\n" not in str(caught.value)
