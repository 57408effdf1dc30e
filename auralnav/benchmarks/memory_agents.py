"""Training speed of PPO and DQN with memory cores, beside plain PPO and DQN and sb3-contrib's RecurrentPPO."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.wrappers import TransformObservation
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv

from auralnav.agents.memory_dqn import MemoryDQN
from auralnav.agents.memory_ppo import MemoryPPO
from auralnav.benchmarks.measure import Report, measure
from auralnav.benchmarks.records import SpeedRecord
from auralnav.benchmarks.timing import Peer, count_for
from auralnav.policies.ssm.cores import CORES, parameter_count

NUM_ENVS = 8
WIDTH = 64
WINDOW = 32
LEARNER: dict[str, Any] = {"n_steps": 128, "batch_size": 256, "n_epochs": 4}
ROLLOUT = NUM_ENVS * LEARNER["n_steps"]  # environment steps between two updates
# Off policy: as many stored steps in an update as in a minibatch above, one update every 32 environment steps.
OFF_POLICY: dict[str, Any] = {"buffer_size": 10_000, "learning_starts": 256, "train_freq": 4, "gradient_steps": 1}
DQN_CORES = ("mamba2", "gru")
REFERENCES = ("ppo/mlp", "recurrent-ppo/lstm", "recurrent-ppo/lstm-shared")

Learner = OnPolicyAlgorithm | OffPolicyAlgorithm


def memory_agents_speed(seconds: float = 2.0, rounds: int = 5, report: Report | None = None) -> SpeedRecord:
    """Environment steps a second of whole trainings, on CartPole without velocities and one torch thread.

    Rollout and update are also given apart, as the steps a second that each alone would allow.

    Args:
        seconds: how long each peer trains in each round.
        rounds: how often all peers take their turn; medians over the rounds are recorded.
        report: called as (peer just measured, turns done, turns in all).

    Raises:
        ValueError: for a time that is not positive or no rounds.
    """
    torch.set_num_threads(1)
    peers = [Peer("env/cart", _stepping(cart_without_velocities()))]
    words = {"env/cart": f"{NUM_ENVS} environments stepped, no agent"}
    settings: dict[str, dict[str, Any]] = {}
    for name, said, make in _agents():
        model = make()
        model.set_logger(Logger(None, []))  # SB3's own makes a folder in /tmp
        model.learn(ROLLOUT)  # compiles what is compiled
        peers.append(Peer(name, _training(name, model)))
        for suffix, part in (("", ""), ("+rollout", ", rollout alone"), ("+update", ", update alone")):
            words[name + suffix] = said + part
        settings[name] = {"parameters": parameter_count(model.policy)}
    ours = [f"memory-ppo/{core}" for core in CORES]
    return measure(
        "agents",
        peers,
        words,
        [
            *((name, reference) for name in ours for reference in REFERENCES),
            *((f"memory-dqn/{core}", "dqn/mlp") for core in DQN_CORES),
        ],
        seconds,
        rounds,
        {"num_envs": NUM_ENVS, "width": WIDTH, "window": WINDOW, "torch_threads": 1, **LEARNER, **OFF_POLICY},
        settings,
        report,
    )


def cart_without_velocities() -> DummyVecEnv:
    """Gymnasium's CartPole-v1 with positions only."""

    def one() -> gym.Env:
        bound = np.array([4.8, 0.42], np.float32)
        return TransformObservation(
            gym.make("CartPole-v1"), lambda obs: obs[[0, 2]], spaces.Box(-bound, bound, dtype=np.float32)
        )

    return DummyVecEnv([one] * NUM_ENVS)


def _agents() -> list[tuple[str, str, Callable[[], Learner]]]:
    """Name, words and maker of each."""
    from sb3_contrib import RecurrentPPO

    machine: dict[str, Any] = {"device": "cpu", "seed": 0}
    common = {**LEARNER, **machine}
    learned = LEARNER["batch_size"]

    def recurrent(**policy: Any) -> RecurrentPPO:
        kwargs = {"lstm_hidden_size": WIDTH, **policy}
        return RecurrentPPO("MlpLstmPolicy", cart_without_velocities(), policy_kwargs=kwargs, **common)

    def with_memory(core: str) -> MemoryPPO:
        return MemoryPPO(
            "MlpPolicy", cart_without_velocities(), memory=core, memory_kwargs={"d_model": WIDTH},
            window=WINDOW, **common,
        )  # fmt: skip

    def dqn_with_memory(core: str) -> MemoryDQN:
        return MemoryDQN(
            "MlpPolicy", cart_without_velocities(), memory=core, memory_kwargs={"d_model": WIDTH},
            seq_len=WINDOW, batch_size=learned // WINDOW, **OFF_POLICY, **machine,
        )  # fmt: skip

    return [
        ("ppo/mlp", "Stable-Baselines3 PPO", lambda: PPO("MlpPolicy", cart_without_velocities(), **common)),
        ("recurrent-ppo/lstm", "sb3-contrib RecurrentPPO, an LSTM each for actor and critic", recurrent),
        (
            "recurrent-ppo/lstm-shared",
            "sb3-contrib RecurrentPPO, one LSTM",
            lambda: recurrent(shared_lstm=True, enable_critic_lstm=False),
        ),
        *((f"memory-ppo/{core}", f"MemoryPPO, {core}", lambda core=core: with_memory(core)) for core in CORES),
        (
            "dqn/mlp",
            "Stable-Baselines3 DQN",
            lambda: DQN("MlpPolicy", cart_without_velocities(), batch_size=learned, **OFF_POLICY, **machine),
        ),
        *(
            (f"memory-dqn/{core}", f"MemoryDQN, {core}", lambda core=core: dqn_with_memory(core))
            for core in DQN_CORES
        ),
    ]


def _training(name: str, model: Learner) -> Callable[[float], dict[str, float]]:
    rollout, update = _Clock(model.collect_rollouts), _Clock(model.train)
    model.collect_rollouts = rollout
    model.train = update

    def run(seconds: float) -> dict[str, float]:
        rollout.seconds = update.seconds = 0.0
        calls, took = count_for(lambda: model.learn(ROLLOUT, reset_num_timesteps=False), seconds)
        steps = calls * ROLLOUT
        return {
            name: steps / took,
            f"{name}+rollout": steps / rollout.seconds,
            f"{name}+update": steps / update.seconds,
        }

    return run


class _Clock:
    """A function that counts the seconds spent in it."""

    def __init__(self, work: Callable[..., Any]) -> None:
        self._work = work
        self.seconds = 0.0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        result = self._work(*args, **kwargs)
        self.seconds += time.perf_counter() - began
        return result


def _stepping(envs: DummyVecEnv) -> Callable[[float], dict[str, float]]:
    envs.reset()
    actions = np.random.default_rng(0).integers(0, 2, NUM_ENVS)

    def run(seconds: float) -> dict[str, float]:
        calls, took = count_for(lambda: envs.step(actions), seconds)
        return {"env/cart": calls * NUM_ENVS / took}

    return run
