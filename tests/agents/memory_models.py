"""MemoryPPO and MemoryDQN small enough for a test, by the name of their core."""

from __future__ import annotations

from typing import Any

import numpy as np
from memory_envs import vector

from auralnav.agents.memory_dqn import MemoryDQN
from auralnav.agents.memory_ppo import MemoryPPO
from auralnav.agents.sequence_batch import SequenceBatch

SMALL: dict[str, dict[str, Any]] = {
    "transformer": {"d_model": 16, "window": 8},
    "mamba": {"d_model": 16, "d_state": 4},
    "mamba2": {"d_model": 16, "d_state": 8, "headdim": 8},
}


def small_dqn(core: str = "gru", env: Any = None, policy: str = "MlpPolicy", **kwargs: Any) -> MemoryDQN:
    options: dict[str, Any] = {
        "memory": core,
        "memory_kwargs": SMALL.get(core, {"d_model": 16}),
        "seq_len": 8,
        "burn_in": 4,
        "n_steps": 2,
        "batch_size": 8,
        "buffer_size": 1024,
        "learning_starts": 200,
        "train_freq": 4,
        "target_update_interval": 100,
        "exploration_fraction": 0.5,
        "seed": 0,
        "device": "cpu",
        "policy_kwargs": {"net_arch": [16]},
    }
    env = vector("t-maze", 3, length=6) if env is None else env
    return MemoryDQN(policy, env, **{**options, **kwargs})


def small_ppo(core: str = "gru", env: Any = None, policy: str = "MlpPolicy", **kwargs: Any) -> MemoryPPO:
    options: dict[str, Any] = {
        "memory": core,
        "memory_kwargs": SMALL.get(core, {"d_model": 16}),
        "window": 16,
        "n_steps": 32,
        "batch_size": 64,
        "n_epochs": 2,
        "seed": 0,
        "device": "cpu",
        "policy_kwargs": {"net_arch": [16]},
    }
    return MemoryPPO(policy, vector("cart", 4) if env is None else env, **{**options, **kwargs})


def held(model: MemoryDQN, count: int = 64) -> SequenceBatch:
    np.random.seed(1)
    return model.replay.sample(count)
