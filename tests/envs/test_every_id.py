"""Every registered id goes through the same checks."""

from __future__ import annotations

import pickle
import subprocess
import sys
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as gym_check
from gymnasium.vector import AutoresetMode

import auralnav
from auralnav.envs.registration import ENTRIES

auralnav.register_envs()
IDS = [entry.id for entry in ENTRIES]
AURAL = [id_ for id_ in IDS if id_.startswith("AuralNav")]
FIGHTS = [id_ for id_ in IDS if id_.startswith("Dogfight")]
assert {*AURAL, *FIGHTS} == {*IDS}

LIGHT = {id_: {"obs_mode": "cues"} if id_ in AURAL else {} for id_ in IDS}
"""Arguments with which little is computed."""
WHOLE = {id_: {"obs_mode": "all"} if id_ in AURAL else {"observation": "factorised"} for id_ in IDS}
"""Arguments with which an environment shows all that it can."""
FORMS = [
    *((id_, {"obs_mode": mode}) for id_ in AURAL for mode in ("waveform", "all")),
    *((id_, {"observation": form}) for id_ in FIGHTS for form in ("flat", "factorised")),
]
SHORT = {id_: {"horizon": 12} if id_ in AURAL else {"horizon": 48} for id_ in IDS}
"""A horizon of twelve steps."""
METRICS = {
    **{id_: {"success", "found_share", "steps", "length", "bumps", "distance_to_go"} for id_ in AURAL},
    **{id_: {"success", "draw", "seconds", "damage_dealt", "damage_taken", "friendly_damage"} for id_ in FIGHTS},
}

SHAPE_WARNINGS = (
    "It seems that your observation",
    "Your observation",
    "The minimal resolution for an image",
)
"""Beginnings of the only warnings of SB3's checker that may pass: it takes unusual shapes for odd images."""


def make(id_: str, **kwargs):
    return gym.make(id_, disable_env_checker=True, **kwargs).unwrapped


def parts(observation) -> dict:
    return observation if isinstance(observation, dict) else {"": observation}


def equal(a, b) -> bool:
    a, b = parts(a), parts(b)
    return a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)


def row(batch, i: int):
    return {key: rows[i] for key, rows in parts(batch).items()}


def some_actions(id_: str, count: int, seed: int) -> list:
    """Actions of one environment, drawn from its space."""
    space = gym.make(id_, disable_env_checker=True).action_space
    space.seed(seed)
    return [space.sample() for _ in range(count)]


@pytest.mark.parametrize(("id_", "kwargs"), FORMS, ids=str)
def test_gymnasium_check(id_: str, kwargs: dict) -> None:
    gym_check(make(id_, render_mode="rgb_array", **kwargs))


@pytest.mark.parametrize(("id_", "kwargs"), FORMS, ids=str)
def test_sb3_check(id_: str, kwargs: dict) -> None:
    from stable_baselines3.common.env_checker import check_env

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(make(id_, **kwargs))
    others = [str(w.message) for w in caught if not str(w.message).startswith(SHAPE_WARNINGS)]
    assert others == []


@pytest.mark.parametrize("id_", IDS)
def test_observations_stay_in_the_space_to_the_end(id_: str) -> None:
    more = {"expose_pose": True, "horizon": 40} if id_ in AURAL else {"rewards": {"facing": 0.1, "closing": 0.1}}
    env = make(id_, **WHOLE[id_], **more)
    for box in env.observation_space.spaces.values():
        assert np.isfinite(box.low).all() and np.isfinite(box.high).all()
    observation, _ = env.reset(seed=5)
    actions = iter(some_actions(id_, 256, 1))
    ended = False
    while not ended:
        assert env.observation_space.contains(observation)
        observation, reward, terminated, truncated, info = env.step(next(actions))
        terms = [value for key, value in info.items() if key.startswith("reward/")]
        assert reward == pytest.approx(sum(terms), abs=1e-9)
        ended = terminated or truncated
    assert env.observation_space.contains(observation), "the terminal observation is a real one"
    metrics = info["episode_metrics"]
    assert METRICS[id_] <= metrics.keys()
    assert ("spl" in metrics) == (id_ in AURAL and "Moving" not in id_)


@pytest.mark.parametrize("id_", IDS)
def test_single_is_vector_bit_for_bit(id_: str) -> None:
    count = 3
    kwargs = {**WHOLE[id_], **SHORT[id_]}
    vector = gym.make_vec(id_, num_envs=count, vectorization_mode="vector_entry_point", threads=2, **kwargs)
    singles = [make(id_, **kwargs) for _ in range(count)]
    batch, _ = vector.reset(seed=11)
    alone = [env.reset(seed=11 + i)[0] for i, env in enumerate(singles)]
    over = np.zeros(count, dtype=bool)
    drawn = iter(some_actions(id_, 30 * count, 2))
    for _ in range(30):  # past the horizon: NEXT_STEP autoreset is part of it
        for i in range(count):
            assert equal(row(batch, i), alone[i])
        actions = np.stack([next(drawn) for _ in range(count)])
        batch, rewards, terminated, truncated, infos = vector.step(actions)
        for i, env in enumerate(singles):
            if over[i]:
                alone[i], _ = env.reset()
                assert rewards[i] == 0 and not terminated[i] and not truncated[i]
                over[i] = False
                continue
            alone[i], reward, done, cut, info = env.step(actions[i])
            assert (rewards[i], terminated[i], truncated[i]) == (reward, done, cut)
            over[i] = done or cut
            if over[i]:
                assert infos["_episode_metrics"][i]
                for name, value in info["episode_metrics"].items():
                    assert infos["episode_metrics"][name][i] == value
    vector.close()


@pytest.mark.parametrize("id_", IDS)
def test_state_restores_bit_for_bit(id_: str) -> None:
    kwargs = {**WHOLE[id_], "horizon": 60, **({"found_radius": 2.5} if id_ in AURAL else {})}
    env = make(id_, **kwargs)
    env.reset(seed=3)
    actions = some_actions(id_, 40, 3)
    for action in actions[:20]:
        if any(env.step(action)[2:4]):
            env.reset()
    state = pickle.loads(pickle.dumps(env.state()))
    for value in state.values():
        assert isinstance(value, (int, float, bool, np.ndarray, np.generic))
    other = make(id_, **kwargs)
    other.restore(state)
    if id_ in AURAL:
        assert np.array_equal(env.source_images(), other.source_images())
    for action in actions[20:]:
        mine, theirs = env.step(action), other.step(action)
        assert equal(mine[0], theirs[0])
        assert mine[1:4] == theirs[1:4]
        if mine[2] or mine[3]:
            assert equal(env.reset()[0], other.reset()[0]), "the generator goes on from the same place"


SCRIPT = """
import hashlib, numpy as np, gymnasium as gym, auralnav
env = gym.make("{id}", **{kwargs})
digest = hashlib.sha256()
observation, _ = env.reset(seed=42)
env.action_space.seed(0)
for _ in range(12):
    for key in sorted(observation):
        digest.update(observation[key].tobytes())
    observation, reward, *_ = env.step(env.action_space.sample())
    digest.update(np.float64(reward).tobytes())
print(digest.hexdigest())
"""


@pytest.mark.parametrize("id_", ["AuralNav-Hard-v0", "AuralNav-Maze-v0", "Dogfight-4v4-v0"])
def test_the_same_seed_gives_the_same_bits_in_two_processes(id_: str) -> None:
    command = [sys.executable, "-c", SCRIPT.format(id=id_, kwargs=WHOLE[id_])]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)]
    assert runs[0] == runs[1] and len(runs[0].strip()) == 64


@pytest.mark.parametrize("id_", IDS)
def test_pickle_and_headless_pictures(id_: str) -> None:
    env = make(id_, render_mode="rgb_array")
    env.reset(seed=0)
    first, second = some_actions(id_, 2, 0)
    env.step(first)
    copy = pickle.loads(pickle.dumps(env))
    assert equal(env.step(second)[0], copy.step(second)[0])
    picture = env.render()
    assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.std() > 1


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("id_", IDS)
def test_gymnasium_vector_modes_are_the_native_one(id_: str, mode: str) -> None:
    envs = gym.make_vec(id_, num_envs=2, vectorization_mode=mode, **LIGHT[id_])
    native = gym.make_vec(id_, num_envs=2, vectorization_mode="vector_entry_point", **LIGHT[id_])
    assert envs.observation_space == native.observation_space and envs.action_space == native.action_space
    assert equal(envs.reset(seed=0)[0], native.reset(seed=0)[0])
    envs.action_space.seed(0)
    for _ in range(3):
        actions = envs.action_space.sample()
        mine, theirs = envs.step(actions), native.step(actions)
        assert equal(mine[0], theirs[0])
        assert all(np.array_equal(a, b) for a, b in zip(mine[1:4], theirs[1:4], strict=True))
    envs.close()
    native.close()


@pytest.mark.parametrize("id_", IDS)
def test_disabled_autoreset_is_single_environments_that_are_reset(id_: str) -> None:
    count, kwargs = 3, {**LIGHT[id_], **SHORT[id_]}
    envs = gym.make_vec(
        id_, num_envs=count, vectorization_mode="vector_entry_point", autoreset_mode=AutoresetMode.DISABLED, **kwargs
    )
    singles = [make(id_, **kwargs) for _ in range(count)]
    batch, _ = envs.reset(seed=[21, 5, 13])
    alone = [env.reset(seed=seed)[0] for env, seed in zip(singles, (21, 5, 13), strict=True)]
    drawn = iter(some_actions(id_, 30 * count, 4))
    for step in range(30):  # two episodes end
        assert all(equal(row(batch, i), alone[i]) for i in range(count))
        actions = np.stack([next(drawn) for _ in range(count)])
        batch, rewards, terminated, truncated, _ = envs.step(actions)
        over = np.zeros(count, dtype=bool)
        for i, env in enumerate(singles):
            alone[i], reward, done, cut, _ = env.step(actions[i])
            assert (rewards[i], terminated[i], truncated[i]) == (reward, done, cut)
            over[i] = done or cut
        assert all(equal(row(batch, i), alone[i]) for i in range(count)), "the terminal observation too"
        over |= step == 5  # one may begin anew in the middle of an episode
        if over.any():
            batch, _ = envs.reset(seed=None if step % 2 else [None] * count, options={"reset_mask": over})
            for i in np.flatnonzero(over):
                alone[i], _ = singles[i].reset(seed=None)
    envs.close()


def test_disabled_autoreset_resets_by_mask_only() -> None:
    envs = gym.make_vec(
        "AuralNav-Easy-v0",
        num_envs=3,
        vectorization_mode="vector_entry_point",
        autoreset_mode=AutoresetMode.DISABLED,
        obs_mode="cues",
        horizon=3,
    )
    envs.reset(seed=0)
    for _ in range(3):
        *_, truncated, _ = envs.step(np.full(3, 2))
    assert truncated.all()
    before = envs.unwrapped.state()
    observation, _ = envs.reset(options={"reset_mask": np.array([False, True, False])})
    after = envs.unwrapped.state()
    assert [s["step"] for s in after] == [3, 0, 3]
    assert after[1]["episode_seed"] != before[1]["episode_seed"]
    assert observation["agent_info"][1, 3] == 1.0 and observation["agent_info"][0, 3] == 0.0


@pytest.mark.parametrize(
    ("id_", "kwargs"), [*((id_, {}) for id_ in IDS), *((id_, {"per_ship": True}) for id_ in FIGHTS)], ids=str
)
def test_vector_state_restores(id_: str, kwargs: dict) -> None:
    made = {**LIGHT[id_], **SHORT[id_], **kwargs}
    envs, other = (
        gym.make_vec(id_, num_envs=4, vectorization_mode="vector_entry_point", **made) for _ in range(2)
    )
    envs.reset(seed=1)
    other.reset(seed=2)
    envs.action_space.seed(0)
    actions = [envs.action_space.sample() for _ in range(32)]
    for given in actions[:16]:  # into the second episode of each world, and the rest into the third
        envs.step(given)
    states = pickle.loads(pickle.dumps(envs.unwrapped.state()))
    first = [envs.step(given) for given in actions[16:]]
    for again in (envs, other):
        again.unwrapped.restore(states)
        for given, before in zip(actions[16:], first, strict=True):
            after = again.step(given)
            assert equal(before[0], after[0])
            assert all(np.array_equal(a, b) for a, b in zip(before[1:4], after[1:4], strict=True))
    envs.close()
    other.close()


@pytest.mark.parametrize("ends", ["found", "horizon"])
def test_a_step_that_ends_an_episode_begins_no_other(ends: str) -> None:
    """The ancestor reset itself inside `step`: its last observation was {}, and what its caller saw was gone."""
    found = ends == "found"
    options = {"obs_mode": "waveform", "rt60": 0.0, "num_sources": 1, "horizon": 60 if found else 4}
    env = make("AuralNav-v0", **options)
    worlds = gym.make_vec(
        "AuralNav-v0", num_envs=2, vectorization_mode="vector_entry_point",
        autoreset_mode=AutoresetMode.DISABLED, **options,
    )  # fmt: skip
    first, _ = env.reset(seed=8)
    batch, _ = worlds.reset(seed=8)
    begun, plan = env.state(), env.oracle_actions() if found else [2] * 4
    for action in plan:
        observation, _, terminated, truncated, _ = env.step(action)
        batch, _, ended, cut_off, _ = worlds.step(np.array([action, 2]))
    assert (terminated, truncated) == (ended[0], cut_off[0]) == (found, not found)
    for state in (env.state(), worlds.unwrapped.state()[0]):
        assert state["step"] == len(plan) and state["episode_seed"] == begun["episode_seed"]
        assert state["found"].all() == found, "what was found stays found"
    assert np.array_equal(batch["audio"][0], observation["audio"]), "what was heard when it ended"
    assert observation["agent_info"][3] == pytest.approx(1 - len(plan) / options["horizon"])
    assert np.array_equal(env.state()["np_random"], begun["np_random"]), "no next episode has been drawn"
    assert env.observation_space.contains(observation) and not np.array_equal(observation["audio"], first["audio"])
    worlds.close()


@pytest.mark.parametrize("id_", IDS)
def test_the_global_generator_is_left_alone(id_: str) -> None:
    """The ancestor seeded NumPy's global generator."""
    np.random.seed(3)
    before = np.random.get_state()[1].copy()
    env = make(id_, **({"obs_mode": "cues"} if id_ in AURAL else {"opponent": ("random", "focus"), "skill": 0.5}))
    env.reset(seed=0)
    env.step(some_actions(id_, 1, 0)[0])
    assert np.array_equal(before, np.random.get_state()[1])
