"""One episode of an agent, recorded with the sound it heard."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from auralnav.agents.baselines import Agent
from auralnav.agents.evaluate import EVAL_SEED, agent_kwargs
from auralnav.agents.sb3_env import METRICS, world_info
from auralnav.agents.video import Recorder
from auralnav.configs.schema import AudioEnvConfig
from auralnav.errors import AuralNavError


def film(
    agent: Agent, env: AudioEnvConfig, seed: int = EVAL_SEED, split: str = "test", frames_per_step: int = 3
) -> tuple[Recorder, dict[str, float]]:
    """Let an agent play one episode and record it.

    Returns:
        The recorder (its `write` makes the video) and the episode's metrics.

    Raises:
        AuralNavError: the environment is none of AuralNav's.
    """
    import auralnav

    auralnav.register_envs()
    if not env.is_aural:
        raise AuralNavError(f"{env.id}: videos are of AuralNav environments only")
    worlds = gym.make_vec(
        env.id,
        num_envs=1,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": AutoresetMode.DISABLED},
        **{**env.task_kwargs(), **agent_kwargs(agent, env, split)},
    )
    assert isinstance(worlds, SyncVectorEnv)
    world: Any = worlds.envs[0].unwrapped
    recorder = Recorder(frames_per_step)
    try:
        agent.attach(worlds)
        agent.reset(1, seed)
        observation, info = worlds.reset(seed=[seed])
        recorder.add(world.scene())
        start, over = np.ones(1, dtype=bool), False
        while not over:
            observation, _, terminated, truncated, info = worlds.step(agent.act(observation, start))
            start = np.zeros(1, dtype=bool)
            recorder.add(world.scene())
            over = bool(terminated[0] or truncated[0])
    finally:
        worlds.close()
    return recorder, world_info(info.get(METRICS), 0)
