"""SB3's DQN for many worlds at once: exploration for each, updates on a subclass's own loss, replays of sequences."""

from __future__ import annotations

import io
from abc import abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3 import DQN
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.save_util import load_from_pkl
from stable_baselines3.common.type_aliases import MaybeCallback
from torch import Tensor, nn

from auralnav.agents.frame_replay import FrameReplay
from auralnav.agents.memory_replay import SequenceReplay
from auralnav.errors import CheckpointError


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

    def _gradients(self, batch: Any) -> Tensor:
        """Leave each weight the gradient of the loss, which is returned."""
        loss = self._loss(batch)
        self.policy.optimizer.zero_grad()
        loss.backward()
        return loss.detach()

    def _batches(self, count: int, size: int) -> Iterable[Any]:
        """So many batches of the replay."""
        assert self.replay_buffer is not None
        for _ in range(count):
            yield self.replay_buffer.sample(size, env=self._vec_normalize_env)

    def _descend(self, gradient_steps: int, batch_size: int) -> None:
        """Updates as SB3's `train` makes them, on `_loss`; a GPU is waited for once, at their end."""
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        losses = []
        for batch in self._batches(gradient_steps, batch_size):
            losses.append(self._gradients(batch))
            nn.utils.clip_grad_norm_(self.policy.q_net.parameters(), self.max_grad_norm)
            self.policy.optimizer.step()
        self._n_updates += gradient_steps
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/loss", torch.stack(losses).mean().item())

    def load_replay_buffer(
        self, path: str | Path | io.BufferedIOBase, truncate_last_traj: bool = True
    ) -> None:
        """Take a replay saved by `save_replay_buffer` (a pickle: only from a trusted place).

        Raises:
            CheckpointError: another kind of replay, of another number of worlds, or of sequences, returns,
                observations or memory states of other sizes than the model's.
        """
        own = _sequences(self.replay_buffer)
        if own is None:
            super().load_replay_buffer(path, truncate_last_traj)
            return
        replay = load_from_pkl(path, self.verbose)
        found = _sequences(replay)
        if found is None or type(replay) is not type(self.replay_buffer) or found.n_envs != self.n_envs:
            raise CheckpointError(
                f"{path}: not a {type(self.replay_buffer).__name__} of {self.n_envs} worlds; "
                f"take one that a model like this with as many has saved"
            )
        for name in ("seq_len", "burn_in", "n_steps", "gamma", "history"):
            saved, wanted = getattr(found, name), getattr(own, name)
            if saved != wanted:
                raise CheckpointError(
                    f"{path}: a replay of {name} {saved}, and the model has {wanted}; build it with {name}={saved}"
                )
        if found.state_size != own.state_size:
            raise CheckpointError(
                f"{path}: holds memory states of {found.state_size}, not of {own.state_size} numbers; "
                f"it is of another core"
            )
        shapes = [{name: ring.shape[2:] for name, ring in each.arrays().items()} for each in (found, own)]
        if shapes[0] != shapes[1]:
            raise CheckpointError(
                f"{path}: holds observations of other names or shapes than the model's; it is of another task"
            )
        found.device = self.device
        if truncate_last_traj:
            found.cut_episodes()
        self.replay_buffer = replay


def _sequences(replay: Any) -> SequenceReplay | None:
    """The rings of a replay of this package; None for one of SB3's."""
    if isinstance(replay, FrameReplay):
        return replay.sequences
    return replay if isinstance(replay, SequenceReplay) else None
