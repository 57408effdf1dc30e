"""Every frame once, and the same transitions as SB3's buffers would give."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_world  # noqa: F401  registers TinyBell-v0
from gymnasium import spaces

from auralnav.agents.frame_replay import FrameReplay
from auralnav.agents.history import HistoryWrapper
from auralnav.agents.sb3_env import make_vector_adapter
from auralnav.configs.schema import AudioEnvConfig
from auralnav.errors import ConfigError

GAMMA = 0.9
WORLDS = 3


def collect(replay: FrameReplay, env: HistoryWrapper, steps: int, rng: np.random.Generator):
    """Steps as SB3 makes them; returns each world's (observation, action, reward, done, cut off, next observation)."""
    log: list[list[tuple]] = [[] for _ in range(WORLDS)]
    env.seed(0)
    obs = env.reset()
    for _ in range(steps):
        actions = rng.integers(0, 3, WORLDS)
        new, rewards, dones, infos = env.step(actions)
        after = {key: part.copy() for key, part in new.items()} if isinstance(new, dict) else new.copy()
        for world in np.flatnonzero(dones):
            last = infos[world]["terminal_observation"]
            if isinstance(after, dict):
                for key, part in after.items():
                    part[world] = last[key]
            else:
                after[world] = last
        replay.add(obs, after, actions, rewards, dones, infos)
        for world in range(WORLDS):
            cut = bool(infos[world].get("TimeLimit.truncated"))
            log[world].append((take(obs, world), actions[world], rewards[world], dones[world], cut, take(after, world)))
        obs = new
    return log


def take(obs, world: int) -> np.ndarray:
    """One world's observation as one flat vector."""
    parts = [np.ravel(part[world]) for _, part in sorted(obs.items())] if isinstance(obs, dict) else [obs[world]]
    return np.concatenate(parts).astype(np.float32)


def transitions(log: list[list[tuple]], n_steps: int) -> dict[bytes, tuple]:
    """Each observation's action, return, discount and next observation, by plain loops."""
    known = {}
    for steps in log:
        for number, (obs, action, *_) in enumerate(steps):
            total, discount = 0.0, 1.0
            for _, _, reward, done, cut, following in steps[number : number + n_steps]:
                total += discount * reward
                discount *= GAMMA
                bootstrap = following
                if done:
                    discount = discount if cut else 0.0
                    break
            known[obs.tobytes()] = (action, total, discount, bootstrap)
    return known


@pytest.mark.parametrize("maps", [False, True])
@pytest.mark.parametrize(("history", "n_steps"), [(1, 1), (4, 1), (3, 4)])
@pytest.mark.parametrize("capacity", [400, 60])
def test_transitions_are_those_of_plain_loops(maps: bool, history: int, n_steps: int, capacity: int):
    """Also after the ring of rows has gone round."""
    config = AudioEnvConfig(id="tiny_world:TinyBell-v0", num_envs=WORLDS, kwargs={"maps": maps, "horizon": 7})
    env = HistoryWrapper(make_vector_adapter(config), history, previous_action=True)
    replay = FrameReplay(
        capacity, env.observation_space, env.action_space, n_envs=WORLDS, history=history, n_steps=n_steps, gamma=GAMMA
    )
    log = collect(replay, env, 100, np.random.default_rng(1))
    known = transitions(log, n_steps)
    np.random.seed(0)
    batch = replay.sample(500)
    before, after = (
        {key: part.numpy() for key, part in each.items()} if maps else each.numpy()
        for each in (batch.observations, batch.next_observations)
    )
    assert batch.actions.shape == batch.rewards.shape == batch.dones.shape == batch.discounts.shape == (500, 1)
    seen = set()
    for row in range(500):
        obs = take(before, row)
        # float16 maps: what was stored is found by its vector alone.
        action, total, discount, following = known[key_of(known, obs, maps)]
        seen.add(obs.tobytes())
        assert int(batch.actions[row]) == action
        assert float(batch.rewards[row]) == pytest.approx(total, rel=1e-5)
        assert float(batch.discounts[row]) == pytest.approx(discount)
        assert float(batch.dones[row]) == (discount == 0)
        if discount:
            np.testing.assert_allclose(take(after, row), following, atol=1e-3 if maps else 0)
    assert len(seen) > 0.5 * min(capacity // 2, 250)


def key_of(known: dict[bytes, tuple], obs: np.ndarray, rounded: bool) -> bytes:
    if not rounded:
        return obs.tobytes()
    keys = np.stack([np.frombuffer(key, np.float32) for key in known])
    nearest = int(np.abs(keys - obs).max(axis=1).argmin())
    assert np.abs(keys[nearest] - obs).max() < 1e-3
    return keys[nearest].tobytes()


def test_worlds_that_start_anew_begin_a_new_episode():
    replay = FrameReplay(40, spaces.Box(0, 99, (2,), np.float32), spaces.Discrete(2), history=2)

    def add(*values: float) -> None:
        for value in values:
            row = np.array([[value - 1, value]], np.float32)
            replay.add(row, row + 1, np.zeros((1, 1)), np.zeros(1), np.zeros(1, bool), [{}])

    add(11, 12, 13)
    replay.sequences.cut_episodes()
    add(51, 52, 53)
    found = {tuple(row) for row in replay.sample(200).observations.numpy().tolist()}
    # 13 is the terminal observation of the step from 12; 53 waits for what follows it.
    assert found == {(0.0, 11.0), (11.0, 12.0), (0.0, 51.0), (51.0, 52.0)}


def test_worlds_that_were_only_ever_begun_have_nothing_to_learn_from():
    replay = FrameReplay(40, spaces.Box(0, 99, (1,), np.float32), spaces.Discrete(2))

    def add(value: float) -> None:
        row = np.array([[value]], np.float32)
        replay.add(row, row + 1, np.zeros((1, 1)), np.zeros(1), np.zeros(1, bool), [{}])

    add(1)
    replay.sequences.cut_episodes()  # 1 is where nothing was done
    add(2)
    with pytest.raises(ConfigError, match="learning_starts: no world has an action yet") as caught:
        replay.sample(4)
    assert "\n" not in str(caught.value)
    add(3)
    assert replay.sample(200).observations.unique().tolist() == [2.0]


def test_stacks_that_are_none_and_buffers_that_are_too_small_are_refused():
    with pytest.raises(ConfigError, match="not a stack of 3 frames"):
        FrameReplay(40, spaces.Box(0, 1, (4,), np.float32), spaces.Discrete(2), history=3)
    with pytest.raises(ConfigError, match="buffer_size"):
        FrameReplay(4, spaces.Box(0, 1, (4,), np.float32), spaces.Discrete(2), history=4, n_steps=2)
