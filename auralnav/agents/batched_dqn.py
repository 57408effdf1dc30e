"""SB3's DQN for many worlds at once: exploration drawn for each, updates on a loss of the subclass's own."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from stable_baselines3 import DQN
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import MaybeCallback
from torch import Tensor, nn


class BatchedDQN(DQN):
    """What the DQNs here have in common; arguments are SB3's."""

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        reset_num_timesteps: bool = True,
        tb_log_name: str = "run",
        progress_bar: bool = False,
    ) -> tuple[int, BaseCallback]:
        if reset_num_timesteps or self._last_obs is None:  # then SB3 resets the worlds
            self._before_reset()
        return super()._setup_learn(total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar)

    def _before_reset(self) -> None:
        """Let go of the episodes that a reset of all worlds is about to end."""

    def _explore(self, greedy: np.ndarray, rate: float) -> np.ndarray:
        """Actions int64 [n], each a random one with probability `rate`; SB3 draws once for the whole batch."""
        # All random numbers are drawn at every step: the stream does not depend on the outcomes.
        explores = np.random.random(len(greedy)) < rate
        drawn = np.random.randint(0, int(self.policy.q_net.action_space.n), len(greedy))
        return np.where(explores, drawn, greedy)

    @abstractmethod
    def _loss(self, batch: Any) -> Tensor:
        """The loss of a batch of the replay, a scalar."""

    def _descend(self, gradient_steps: int, batch_size: int) -> None:
        """Updates as SB3's `train` makes them, on `_loss`."""
        assert self.replay_buffer is not None
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        losses = []
        for _ in range(gradient_steps):
            loss = self._loss(self.replay_buffer.sample(batch_size, env=self._vec_normalize_env))
            losses.append(loss.item())
            self.policy.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.policy.q_net.parameters(), self.max_grad_norm)
            self.policy.optimizer.step()
        self._n_updates += gradient_steps
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/loss", np.mean(losses))
