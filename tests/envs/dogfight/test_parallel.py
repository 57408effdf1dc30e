"""PettingZoo's own checks, and what they do not look at: seats, shares of the reward, who leaves when."""

from __future__ import annotations

import numpy as np
import pytest
from pettingzoo.test import parallel_api_test, parallel_seed_test

from auralnav.envs.dogfight import layout as at
from auralnav.envs.dogfight.env import DogfightEnv
from auralnav.envs.dogfight.parallel import DogfightParallelEnv, parallel_env
from auralnav.errors import ActionError, ConfigError

KINDS = [{}, {"teams": (1, 1)}, {"teams": (4, 4)}, {"teams": (1, 3)}, {"observation": "factorised"}]


@pytest.mark.parametrize("kwargs", KINDS, ids=str)
def test_pettingzoos_own_checks(kwargs: dict) -> None:
    parallel_api_test(parallel_env(**kwargs), num_cycles=400)
    parallel_seed_test(lambda: parallel_env(**kwargs), num_cycles=60)


def test_ships_leave_when_they_die_and_all_when_a_side_is_gone() -> None:
    env = DogfightParallelEnv(rewards={"dealt": 1.0, "taken": 1.0})
    assert env.possible_agents == ["red_0", "red_1", "blue_0", "blue_1"]
    env.reset(seed=0)
    health = env.world.state[0, at.HEALTH]
    health[1] = 0.0
    still = {agent: np.zeros(3, np.int64) for agent in env.agents}
    _, _, terminated, truncated, _ = env.step(still)
    assert terminated == {"red_0": False, "red_1": True, "blue_0": False, "blue_1": False}
    assert not any(truncated.values()) and env.agents == ["red_0", "blue_0", "blue_1"]
    health[2:4] = 0.0
    _, rewards, terminated, truncated, infos = env.step({agent: still[agent] for agent in env.agents})
    assert all(terminated.values()) and not any(truncated.values()) and env.agents == []
    assert rewards == {"red_0": 1.0, "blue_0": -1.0, "blue_1": -1.0}
    assert infos["red_0"]["reward/win"] == 1.0


def test_the_horizon_cuts_everybody_off() -> None:
    env = DogfightParallelEnv(teams=(1, 1), horizon=8)
    env.reset(seed=0)
    still = {agent: np.zeros(3, np.int64) for agent in env.agents}
    assert not any(env.step(still)[3].values())
    _, rewards, terminated, truncated, _ = env.step(still)
    assert all(truncated.values()) and not any(terminated.values()) and set(rewards.values()) == {0.0}


def test_who_dies_at_the_horizon_terminates_and_the_others_are_cut_off() -> None:
    env = DogfightParallelEnv(horizon=4)
    env.reset(seed=0)
    env.world.state[0, at.HEALTH, 1] = 0.0
    _, rewards, terminated, truncated, _ = env.step({agent: np.zeros(3, np.int64) for agent in env.agents})
    assert terminated == {"red_0": False, "red_1": True, "blue_0": False, "blue_1": False}
    assert truncated == {agent: not ended for agent, ended in terminated.items()}
    assert env.agents == [] and set(rewards.values()) == {0.0}


def test_who_dies_in_the_deciding_step_shares_in_what_it_decides() -> None:
    env = DogfightParallelEnv(rewards={"hit": 0.0})
    env.reset(seed=0)
    env.world.state[0, at.HEALTH, 1:4] = 0.0
    _, rewards, terminated, truncated, _ = env.step({agent: np.zeros(3, np.int64) for agent in env.agents})
    assert all(terminated.values()) and not any(truncated.values())
    assert rewards == {"red_0": 1.0, "red_1": 1.0, "blue_0": -1.0, "blue_1": -1.0}


@pytest.mark.parametrize("observation", ["flat", "factorised"])
def test_the_first_ship_sees_what_a_lone_agent_sees_and_its_enemy_the_same_the_other_way_round(observation) -> None:
    env, alone = DogfightParallelEnv(teams=(1, 1), observation=observation), DogfightEnv(
        teams=(1, 1), observation=observation
    )  # fmt: skip
    seen, _ = env.reset(seed=4)
    expected, _ = alone.reset(seed=4)
    for key in expected if isinstance(expected, dict) else [...]:
        assert np.array_equal(seen["red_0"][key], expected[key])
    state = env.world.state
    state[0, : at.BULLET_X, :2] = state[0, : at.BULLET_X, 1::-1].copy()  # the ships change places
    state[0, at.TEAM, :2] = 0, 1
    swapped = env._observations()
    for key in expected if isinstance(expected, dict) else [...]:
        assert np.array_equal(swapped["blue_0"][key], seen["red_0"][key])
        assert np.array_equal(swapped["red_0"][key], seen["blue_0"][key])


@pytest.mark.parametrize("action", [None, np.zeros(2, np.int64), np.zeros(3), np.array([0, 7, 0])], ids=str)
def test_an_action_that_cannot_be_is_refused_in_one_line(action) -> None:
    env = DogfightParallelEnv(teams=(1, 1))
    env.reset(seed=0)
    actions = {"red_0": np.zeros(3, np.int64)} | ({} if action is None else {"blue_0": action})
    with pytest.raises(ActionError, match=r"blue_0: an action is three integers|turn=7 is outside"):
        env.step(actions)


@pytest.mark.parametrize("name", ["opponent", "skill"])
def test_there_is_no_opponent_to_choose(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}: here all ships are agents"):
        parallel_env(**{name: 1})


def test_pictures_are_drawn_without_a_screen() -> None:
    env = DogfightParallelEnv(render_mode="rgb_array", action_repeat=2, spread=3.0)
    assert env.metadata["render_fps"] == 30 and DogfightParallelEnv.metadata["render_fps"] == 15
    env.reset(seed=0)
    assert env._recorder is not None and env._recorder.settings == {"spread": 3.0}
    assert env._recorder.names == ("red_0", "red_1", "blue_0", "blue_1")
    picture = env.render()
    assert picture is not None and picture.dtype == np.uint8 and picture.std() > 1
    assert DogfightParallelEnv().render() is None
