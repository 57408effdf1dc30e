"""Rollouts cut into windows, with the memory's state kept at their beginnings only."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple

import numpy as np
import torch
from stable_baselines3.common.buffers import DictRolloutBuffer, RolloutBuffer
from torch import Tensor

from auralnav.errors import ConfigError


class WindowSamples(NamedTuple):
    """A minibatch of W windows of T steps; the names are those that RecurrentPPO's update reads.

    Flat values run over the windows one after the other, step by step.
    """

    observations: Any  # [W·T, …] or a dict of such
    actions: Tensor  # [W·T, …]
    old_values: Tensor  # [W·T]
    old_log_prob: Tensor  # [W·T]
    advantages: Tensor  # [W·T]
    returns: Tensor  # [W·T]
    lstm_states: Tensor  # [W, S] of the memory core, before each window
    episode_starts: Tensor  # [W·T], 1 where an episode begins
    mask: Tensor  # [W·T] ones: no step is padding


class _Windows(RolloutBuffer):
    """What the two buffers below share.

    Args:
        buffer_size: steps a rollout and environment; a multiple of `window`.
        observation_space: of one environment.
        action_space: of one environment.
        device: of the minibatches and of the states.
        window: T, steps a window.
        state_size: S of the memory core.
        **kwargs: of SB3's RolloutBuffer (`gae_lambda`, `gamma`, `n_envs`).

    Raises:
        ConfigError: windows do not fill the rollout.
    """

    def __init__(self, buffer_size: int, *args: Any, window: int, state_size: int, **kwargs: Any) -> None:
        if window < 1 or buffer_size % window:
            raise ConfigError(
                f"window: {window} does not divide n_steps {buffer_size}; choose a divisor of it"
            )
        self.window, self.state_size = window, state_size
        super().__init__(buffer_size, *args, **kwargs)

    def reset(self) -> None:
        """Empty the buffer."""
        super().reset()
        self.states = torch.zeros(
            self.buffer_size // self.window, self.n_envs, self.state_size, device=self.device
        )

    def add(self, *args: Any, state: Tensor, **kwargs: Any) -> None:
        """Append a step of all environments.

        Args:
            *args: of SB3's buffer.
            state: [N, S] that the step began with; kept where a window begins.
            **kwargs: of SB3's buffer.
        """
        if self.pos % self.window == 0:
            self.states[self.pos // self.window] = state
        super().add(*args, **kwargs)

    def get(self, batch_size: int | None = None) -> Generator[WindowSamples, None, None]:
        """Minibatches of whole windows in random order; the last may be smaller.

        Args:
            batch_size: steps in a minibatch, a multiple of the window; None = everything at once.
        """
        assert self.full, "the rollout is not complete"
        windows = self.n_envs * len(self.states)
        take = windows if batch_size is None else batch_size // self.window
        observations = (
            {key: self._cut(value) for key, value in self.observations.items()}
            if isinstance(self.observations, dict)
            else self._cut(self.observations)
        )
        actions = self._cut(self.actions)
        flat = [
            self._cut(values)
            for values in (self.values, self.log_probs, self.advantages, self.returns, self.episode_starts)
        ]
        states = self.states.flatten(0, 1)
        ones = torch.ones(take * self.window, device=self.device)
        order = torch.from_numpy(np.random.permutation(windows)).to(self.device)
        for chosen in order.split(take):
            values, log_probs, advantages, returns, starts = (part[chosen].flatten() for part in flat)
            yield WindowSamples(
                {key: value[chosen].flatten(0, 1) for key, value in observations.items()}
                if isinstance(observations, dict)
                else observations[chosen].flatten(0, 1),
                actions[chosen].flatten(0, 1),
                values,
                log_probs,
                advantages,
                returns,
                states[chosen],
                starts,
                ones[: len(values)],
            )

    def _cut(self, values: np.ndarray) -> Tensor:
        """[steps, N, …] to windows [steps/T · N, T, …], in the order of `states`."""
        parts = values.reshape(-1, self.window, *values.shape[1:]).swapaxes(1, 2)
        return self.to_torch(parts.reshape(-1, *parts.shape[2:]))


class MemoryRolloutBuffer(_Windows):
    """Windows of array observations."""


class MemoryDictRolloutBuffer(_Windows, DictRolloutBuffer):
    """Windows of Dict observations."""
