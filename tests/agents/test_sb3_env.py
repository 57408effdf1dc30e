from __future__ import annotations

import json
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from tiny_world import TinyBell

from auralnav.agents.checkpoint import describe_space, parse_space
from auralnav.agents.history import HistoryStack, HistoryWrapper
from auralnav.agents.sb3_env import VectorAdapter, make_vector_adapter
from auralnav.configs.schema import AudioEnvConfig
from auralnav.errors import CheckpointError, ConfigError

CONFIG = AudioEnvConfig(id="tiny_world:TinyBell-v0", num_envs=3)


def play_alone(
    seed: int, actions: list[int]
) -> list[tuple[dict[str, Any], float, bool, bool, dict[str, Any] | None]]:
    """The same world by itself: (observation, reward, terminated, truncated, observation after a reset)."""
    env = TinyBell()
    env.reset(seed=seed)
    rows = []
    for action in actions:
        obs, reward, terminated, truncated, _ = env.step(action)
        fresh = env.reset()[0] if terminated or truncated else None
        rows.append((obs, reward, terminated, truncated, fresh))
    return rows


def test_worlds_equal_single_environments_with_real_terminal_observations():
    adapter = make_vector_adapter(CONFIG)
    adapter.seed(5)
    adapter.reset()
    actions = np.random.default_rng(0).integers(0, 3, (60, 3))
    expected = [play_alone(5 + world, actions[:, world].tolist()) for world in range(3)]
    ended = {True: 0, False: 0}
    for step, row in enumerate(actions):
        obs, rewards, dones, infos = adapter.step(row)
        assert isinstance(obs, dict)
        for world in range(3):
            last, reward, terminated, truncated, fresh = expected[world][step]
            assert rewards[world] == np.float32(reward)
            assert dones[world] == (terminated or truncated)
            shown = last if fresh is None else fresh
            for key in shown:
                np.testing.assert_array_equal(obs[key][world], shown[key])
            if fresh is None:
                assert infos[world] == {}
            else:
                ended[truncated] += 1
                assert infos[world]["TimeLimit.truncated"] is (truncated and not terminated)
                for key in last:
                    np.testing.assert_array_equal(infos[world]["terminal_observation"][key], last[key])
    assert ended[True] and ended[False]


def test_episode_figures_and_reward_terms_are_sums_of_the_episode():
    adapter = make_vector_adapter(CONFIG)
    adapter.seed(1)
    adapter.reset()
    returns, lengths = np.zeros(3), np.zeros(3, int)
    episodes = 0
    for row in np.random.default_rng(1).integers(0, 3, (80, 3)):
        _, rewards, dones, infos = adapter.step(row)
        returns += rewards
        lengths += 1
        for world in np.flatnonzero(dones):
            info = infos[world]
            assert info["episode"]["r"] == pytest.approx(returns[world])
            assert info["episode"]["l"] == lengths[world]
            metrics = info["episode_metrics"]
            assert metrics["reward/found"] + metrics["reward/shaping"] == pytest.approx(returns[world])
            assert info["is_success"] is bool(metrics["success"])
            returns[world] = lengths[world] = 0
            episodes += 1
    assert episodes > 10


def test_state_and_restore_continue_bit_for_bit():
    def run(env: HistoryWrapper, rows: np.ndarray) -> list[Any]:
        return [env.step(row)[:3] for row in rows]

    rows = np.random.default_rng(2).integers(0, 3, (50, 3))
    env = HistoryWrapper(make_vector_adapter(CONFIG), history=3, previous_action=True)
    env.seed(3)
    env.reset()
    run(env, rows[:25])
    state = env.state()
    assert state is not None
    other = HistoryWrapper(make_vector_adapter(CONFIG), history=3, previous_action=True)
    other.reset()
    other.restore(state)
    for (obs, rewards, dones), (obs2, rewards2, dones2) in zip(
        run(env, rows[25:]), run(other, rows[25:]), strict=True
    ):
        np.testing.assert_array_equal(obs, obs2)
        np.testing.assert_array_equal(rewards, rewards2)
        np.testing.assert_array_equal(dones, dones2)


def test_a_queue_of_seeds_decides_the_episodes_whatever_the_number_of_worlds():
    def first_cues(worlds: int) -> dict[int, np.ndarray]:
        adapter = make_vector_adapter(CONFIG, worlds)
        adapter.seed_queue = iter(range(100, 106))
        seen: dict[int, np.ndarray] = {}
        obs = adapter.reset()
        following = 100 + worlds
        for world in range(worlds):
            seen[100 + world] = obs["cues"][world]  # type: ignore[index,call-overload]
        while len(seen) < 6:
            obs, _, dones, _ = adapter.step(np.full(worlds, 2))
            for world in np.flatnonzero(dones):
                if following < 106:
                    seen[following] = obs["cues"][world]  # type: ignore[index,call-overload]
                following += 1
        return seen

    one, four = first_cues(1), first_cues(4)
    for seed in range(100, 106):
        np.testing.assert_array_equal(one[seed], four[seed])


def test_environments_that_cannot_be_restored_say_so():
    assert make_vector_adapter(AudioEnvConfig(id="CartPole-v1", num_envs=2)).state() is None


def test_self_resetting_worlds_unknown_ids_and_bad_arguments_are_refused():
    with pytest.raises(ConfigError, match="resets by itself"):
        VectorAdapter(gym.make_vec("CartPole-v1", num_envs=1, vectorization_mode="sync"))
    with pytest.raises(ConfigError, match="no such environment"):
        make_vector_adapter(AudioEnvConfig(id="Nowhere-v0"))
    with pytest.raises(ConfigError, match=r"did you mean AuralNav-Easy-v0\? `auralnav envs`"):
        make_vector_adapter(AudioEnvConfig(id="AuralNav-Esy-v0"))
    with pytest.raises(ConfigError, match="refuses its arguments"):
        make_vector_adapter(AudioEnvConfig(id="tiny_world:TinyBell-v0", kwargs={"heigth": 3}))


def test_an_adapter_has_disabled_autoreset():
    assert make_vector_adapter(CONFIG).venv.metadata["autoreset_mode"] == AutoresetMode.DISABLED


@pytest.mark.parametrize("maps", [False, True])
def test_stacks_hold_the_last_frames_of_the_same_episode_and_zeros_before_it(maps: bool):
    config = AudioEnvConfig(id="tiny_world:TinyBell-v0", num_envs=4, kwargs={"maps": maps})
    plain, stacked = make_vector_adapter(config), make_vector_adapter(config)
    wrapper = HistoryWrapper(stacked, history=3, previous_action=True)
    for env in (plain, wrapper):
        env.seed(9)

    def frame(obs: Any, world: int | None, action: int | None) -> np.ndarray:
        parts = [obs[key] if world is None else obs[key][world] for key in ("agent_info", "cues")]
        one_hot = np.zeros(3, np.float32)
        if action is not None:
            one_hot[action] = 1.0
        return np.concatenate([*parts, one_hot])

    def check(shown: Any, frames: list[np.ndarray], maps_seen: list[np.ndarray]) -> None:
        past = [np.zeros(8, np.float32)] * (3 - len(frames)) + frames[-3:]
        np.testing.assert_array_equal(shown["vector"] if maps else shown, np.concatenate(past))
        if maps:
            old = [np.zeros((2, 9, 8), np.float32)] * (3 - len(maps_seen)) + maps_seen[-3:]
            np.testing.assert_array_equal(shown["spectrogram"], np.concatenate(old))

    def of(value: Any, world: int) -> Any:
        return {key: part[world] for key, part in value.items()} if maps else value[world]

    obs, shown = plain.reset(), wrapper.reset()
    frames = [[frame(obs, world, None)] for world in range(4)]
    seen = [[obs["spectrogram"][world]] if maps else [] for world in range(4)]  # type: ignore[index,call-overload]
    episodes = 0
    for row in np.random.default_rng(4).integers(0, 3, (60, 4)):
        obs, _, dones, infos = plain.step(row)
        shown, _, _, infos2 = wrapper.step(row)
        for world in range(4):
            if dones[world]:
                last = infos[world]["terminal_observation"]
                ending = [*frames[world], frame(last, None, int(row[world]))]
                check(
                    infos2[world]["terminal_observation"],
                    ending,
                    [*seen[world], last["spectrogram"]] if maps else [],
                )
                frames[world], seen[world] = [], []
                episodes += 1
            frames[world].append(frame(obs, world, None if dones[world] else int(row[world])))
            if maps:
                seen[world].append(obs["spectrogram"][world])  # type: ignore[index,call-overload]
            check(of(shown, world), frames[world], seen[world])
            assert wrapper.observation_space.contains(of(shown, world))
    assert episodes > 8


def test_the_stack_returns_fresh_arrays():
    env = HistoryWrapper(make_vector_adapter(CONFIG), history=2)
    first = env.reset()
    kept = np.array(first)
    env.step(np.zeros(3, int))
    np.testing.assert_array_equal(first, kept)  # type: ignore[arg-type]


def test_a_part_that_cannot_be_stacked_is_named():
    space = gym.spaces.Dict({"word": gym.spaces.Discrete(3)})
    with pytest.raises(ConfigError, match="word"):
        HistoryStack(space, gym.spaces.Discrete(2), 1)


def test_continuous_previous_actions_are_appended_as_they_are():
    # Bounds that are not the same on both sides: none may be taken for the other's mirror image.
    action_space = gym.spaces.Box(np.array([-1, 2], np.float32), np.array([3, 4], np.float32))
    stack = HistoryStack(gym.spaces.Box(0.0, 1.0, (1,), np.float32), action_space, 1, 1, previous_action=True)
    stack.reset(np.array([[0.5]], np.float32))
    assert stack.space.contains(stack.world_value(0))
    stack.push(np.array([[0.25]], np.float32), np.array([[2.5, 4.0]], np.float32))
    np.testing.assert_array_equal(stack.value(), np.array([[0.25, 2.5, 4.0]], np.float32))
    assert stack.space.contains(stack.world_value(0))


def test_previous_actions_of_several_parts_are_appended_one_after_the_other():
    action_space = gym.spaces.MultiDiscrete([3, 2])
    stack = HistoryStack(gym.spaces.Box(0.0, 1.0, (1,), np.float32), action_space, 2, 1, previous_action=True)
    stack.reset(np.array([[0.5], [0.5]], np.float32))
    stack.push(np.array([[0.25], [0.75]], np.float32), np.array([[2, 0], [0, 1]]))
    np.testing.assert_array_equal(
        stack.value(), np.array([[0.25, 0, 0, 1, 1, 0], [0.75, 1, 0, 0, 0, 1]], np.float32)
    )
    assert stack.space.contains(stack.world_value(0))


@pytest.mark.parametrize("space", [gym.spaces.MultiDiscrete([3, 2], start=[1, 0]), gym.spaces.MultiBinary(2)], ids=str)
def test_previous_actions_that_cannot_be_appended_are_named(space):
    with pytest.raises(ConfigError, match=r"cannot be appended to a frame; set it to false"):
        HistoryStack(gym.spaces.Box(0.0, 1.0, (1,), np.float32), space, 1, 1, previous_action=True)


@pytest.mark.parametrize(
    "space",
    [
        gym.spaces.Discrete(4, start=1),
        gym.spaces.MultiDiscrete([3, 7, 2]),
        gym.spaces.Box(np.array([-1, 0], np.float32), np.array([1, 5], np.float32)),
        gym.spaces.Dict({"b": gym.spaces.Box(0, 255, (2, 2), np.uint8), "a": gym.spaces.Discrete(2)}),
    ],
    ids=str,
)
def test_a_space_comes_back_from_disk(space):
    assert parse_space(json.loads(json.dumps(describe_space(space)))) == space


@pytest.mark.parametrize("space", [gym.spaces.MultiDiscrete([3], start=[1]), gym.spaces.Text(3)], ids=str)
def test_a_space_without_a_form_on_disk_is_refused(space):
    with pytest.raises(CheckpointError, match="no form on disk; use Box, Discrete, flat MultiDiscrete or Dict"):
        describe_space(space)
