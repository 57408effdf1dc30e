"""What PPO learns with a memory and cannot learn without: three seeds each, minutes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from memory_envs import vector
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecNormalize

from auralnav.agents.memory_ppo import MemoryPPO
from auralnav.agents.statistics import bootstrap_mean
from auralnav.policies.ssm.cores import make_core, parameter_count, width_for_parameters

pytestmark = pytest.mark.usefixtures("one_thread")

SEEDS = (30, 31, 32)  # the recipes were tuned on others, below 24
COMMON: dict[str, Any] = {"gae_lambda": 0.95, "device": "cpu"}


def cart(core: str, seed: int) -> float:
    """Mean return of 100 episodes of CartPole without its velocities, 500 at best."""
    env = VecNormalize(vector("cart", 8, seed), gamma=0.99)
    model = MemoryPPO(
        "MlpPolicy",
        env,
        memory=core,
        n_steps=128,
        window=64,
        batch_size=256,
        n_epochs=10,
        gamma=0.99,
        learning_rate=LinearSchedule(5e-4, 0.0, 1.0),
        core_learning_rate=LinearSchedule(3e-4, 0.0, 1.0),
        clip_range=LinearSchedule(0.2, 0.0, 1.0),
        target_kl=0.02,
        seed=seed,
        **COMMON,
    )
    model.learn(99_000)  # whole rollouts: 99 328
    assert model.num_timesteps <= 100_000
    test = VecNormalize(vector("cart", 10, 10_000), training=False, norm_reward=False)
    test.obs_rms = env.obs_rms
    return float(evaluate_policy(model, test, 100)[0])


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("core", ["mamba", "mamba2"])
def test_a_cart_is_balanced_without_seeing_its_speeds(core):
    """At least 400 of 500 steps after 100 000, with every seed."""
    reached = [cart(core, seed) for seed in SEEDS]
    print(core, reached)
    assert min(reached) >= 400, reached


def t_maze(core: str, seed: int) -> float:
    """Share of 200 mazes of length 50 in which the agent turns to the right side."""
    model = MemoryPPO(
        "MlpPolicy",
        vector("t-maze", 8, seed, length=50),
        memory=core,
        n_steps=256,
        window=256,  # gradients must reach from the junction back to the cue
        batch_size=512,
        n_epochs=8,
        gamma=0.99,
        learning_rate=LinearSchedule(1e-3, 0.0, 1.0),
        ent_coef=0.01,
        target_kl=0.03,
        seed=seed,
        **COMMON,
    )
    model.learn(200_000)
    returns, _ = evaluate_policy(
        model, vector("t-maze", 10, 10_000, length=50), 200, return_episode_rewards=True
    )
    return float(np.mean(np.asarray(returns) > 0.5))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_cue_is_remembered_through_a_corridor_of_fifty_steps():
    reached = [t_maze("mamba2", seed) for seed in SEEDS]
    print("t-maze mamba2", reached)
    assert min(reached) >= 0.95, reached


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_without_memory_the_turn_is_chance():
    reached = [t_maze("none", seed) for seed in SEEDS]
    print("t-maze none", reached)
    # The sides of these 200 mazes are not quite even: always left or always right earns 0.43 or 0.57.
    assert all(0.4 < share < 0.6 for share in reached), reached


def repeat_previous(core: str, seed: int, k: int = 4, steps: int = 200_000, **memory_kwargs: Any) -> float:
    """Mean return of 100 episodes of RepeatPrevious; guessing is worth −0.5, perfection 1."""
    model = MemoryPPO(
        "MlpPolicy",
        vector("repeat", 8, seed, k=k),
        memory=core,
        memory_kwargs=memory_kwargs,
        n_steps=104,
        window=104,
        batch_size=416,
        n_epochs=8,
        gamma=0.9,
        learning_rate=LinearSchedule(1e-3, 0.0, 1.0),
        ent_coef=0.01,
        seed=seed,
        **COMMON,
    )
    model.learn(steps)
    return float(evaluate_policy(model, vector("repeat", 10, 10_000, k=k), 100)[0])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_mamba_repeats_the_past_at_least_as_well_as_a_gru_of_its_size():
    size = parameter_count(make_core("mamba", 4))
    width = width_for_parameters("gru", 4, size)
    assert abs(parameter_count(make_core("gru", 4, d_model=width)) - size) < 0.1 * size
    mamba = [repeat_previous("mamba", seed) for seed in SEEDS]
    gru = [repeat_previous("gru", seed, d_model=width) for seed in SEEDS]
    ahead = bootstrap_mean(np.subtract(mamba, gru))
    print(f"repeat-previous: mamba {mamba}, gru {gru}, difference {ahead}")
    assert min(mamba) >= 0.95, mamba
    assert ahead.high >= 0.0, f"mamba {mamba}, gru {gru}, difference {ahead}"
