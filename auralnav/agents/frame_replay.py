"""SB3's replay interface over a `SequenceReplay`: every frame is stored once, whatever the stacks and returns.

SB3's own buffers keep each observation twice, and a stack of k frames keeps each frame 2k times: with sound in the
observation that is what fills the memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.type_aliases import ReplayBufferSamples

from auralnav.agents.memory_replay import SequenceReplay
from auralnav.agents.sequence_batch import Observations, cut_off_ends, part_of


class FrameReplay:
    """Single transitions of n-step returns, for a Q-network without memory; vectors and Dict observations alike.

    Args:
        buffer_size: rows of all worlds together; an episode that is cut off takes one more than it has steps.
        observation_space, action_space, device, n_envs, optimize_memory_usage: as `SequenceReplay`'s.
        history: frames in the stacks that observations are.
        n_steps: rewards in a return before the bootstrap.
        gamma: discount.

    Raises:
        ConfigError: a buffer that holds no whole transition, or observations that are no such stacks.
    """

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        device: torch.device | str = "cpu",
        n_envs: int = 1,
        optimize_memory_usage: bool = False,
        *,
        history: int = 1,
        n_steps: int = 1,
        gamma: float = 0.99,
    ) -> None:
        self.sequences = SequenceReplay(
            buffer_size, observation_space, action_space, device, n_envs, optimize_memory_usage,
            seq_len=1, burn_in=0, n_steps=n_steps, gamma=gamma, history=history,
        )  # fmt: skip
        self._no_states = torch.zeros(n_envs, 0)

    def size(self) -> int:
        """Rows held, of all worlds together."""
        return self.sequences.size()

    def add(
        self,
        obs: Observations,
        next_obs: Observations,
        action: np.ndarray,
        reward: np.ndarray,
        done: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        """Store one step of every world, as SB3 gives it: `next_obs` holds the terminal observations."""
        cut_off = cut_off_ends(infos, done)
        terminal = {world: part_of(next_obs, world) for world in np.flatnonzero(cut_off).tolist()}
        self.sequences.add(
            obs,
            action,
            reward,
            ~self.sequences.running(),
            done & ~cut_off,
            cut_off,
            terminal,
            self._no_states,
            self._no_states,
        )

    def sample(self, batch_size: int, env: Any = None) -> ReplayBufferSamples:
        """Transitions drawn evenly: observations [B, …], the rest [B, 1]; `env` is SB3's `VecNormalize`, if any.

        The next observation is the one after the last reward of the return, and `discounts` its weight, 0 where the
        episode terminated.

        Raises:
            ConfigError: no whole transition has been stored yet.
        """
        batch = self.sequences.sample(batch_size, env, ends_only=True)
        return ReplayBufferSamples(
            observations=part_of(batch.observations, np.s_[:, 0]),
            actions=batch.actions,
            next_observations=part_of(batch.observations, np.s_[:, 1]),
            dones=(batch.discounts == 0).float(),
            rewards=batch.returns,
            discounts=batch.discounts,
        )
