"""SB3's DQN as AuralNav's agents use it: with and without a separator that learns along."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import numpy as np
import torch
from stable_baselines3 import DQN
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from stable_baselines3.common.utils import FloatSchedule, obs_as_tensor
from torch import Tensor
from torch.nn import functional as F

from auralnav.agents.batched_dqn import BatchedDQN
from auralnav.agents.dprnn_extractor import DPRNNExtractor
from auralnav.agents.frame_replay import FrameReplay
from auralnav.agents.memory_dqn import MemoryDQN
from auralnav.errors import ConfigError
from auralnav.separation.recorded import Recorded
from auralnav.separation.separator import DPRNNSeparator

SEPARATOR_GROUP = "separator"
"""Name of the optimizer's parameter groups that hold a separator."""


class LearnsSeparator(DQN):
    """A DQN whose separator, where its features extractor has one, learns at a rate of its own.

    The target network has its own copy of the separator, which follows at the target's updates as all its weights do.

    Args:
        args, kwargs: of the DQN.
        separator_learning_rate: of the separator, a number or a schedule; None: as for all else.

    Raises:
        ConfigError: a rate for a separator, and a policy without one.
    """

    def __init__(
        self, *args: Any, separator_learning_rate: float | Schedule | None = None, **kwargs: Any
    ) -> None:
        self.separator_learning_rate = separator_learning_rate
        super().__init__(*args, **kwargs)

    @property
    def separator(self) -> DPRNNSeparator | None:
        """The online network's separator, None where the features extractor has none."""
        extractor = self.policy.q_net.features_extractor
        return extractor.separator if isinstance(extractor, DPRNNExtractor) else None

    def _setup_model(self) -> None:
        super()._setup_model()
        if self.separator_learning_rate is not None:
            self._separator_schedule = FloatSchedule(self.separator_learning_rate)
            self._group_separator()

    def _group_separator(self) -> None:
        """Build the optimizer anew, with the separator's weights in groups of their own."""
        if self.separator is None:
            raise ConfigError("separator_learning_rate: this policy has no separator; give it a DPRNNExtractor")
        inside = {id(weight) for weight in self.separator.parameters()}
        groups: list[dict[str, Any]] = []
        for group in self.policy.optimizer.param_groups:
            options = {key: value for key, value in group.items() if key != "params"}
            separator = [weight for weight in group["params"] if id(weight) in inside]
            rest = [weight for weight in group["params"] if id(weight) not in inside]
            groups += [{**options, "params": rest}] if rest else []
            groups += [{**options, "params": separator, "name": SEPARATOR_GROUP}] if separator else []
        policy: Any = self.policy
        policy.optimizer = policy.optimizer_class(groups, **policy.optimizer_kwargs)

    def _update_learning_rate(self, optimizers: list[torch.optim.Optimizer] | torch.optim.Optimizer) -> None:
        super()._update_learning_rate(optimizers)
        if self.separator_learning_rate is None:
            return
        rate = self._separator_schedule(self._current_progress_remaining)
        self.logger.record("train/separator_learning_rate", rate)
        for optimizer in optimizers if isinstance(optimizers, list) else [optimizers]:
            for group in optimizer.param_groups:
                if group.get("name") == SEPARATOR_GROUP:
                    group["lr"] = rate


class AuralDQN(LearnsSeparator, BatchedDQN):
    """SB3's DQN with these differences.

    Exploration is drawn for each world: SB3 draws once for the whole batch, so that all worlds explore in the
    same steps. `double=True` lets the online network choose the next action that the target network values
    (van Hasselt, Guez and Silver, 2016). `history=k` says that observations are stacks of k frames, and keeps each
    frame once (`FrameReplay`), with n-step returns of Dict observations too.

    Args:
        policy, env: as SB3's.
        double: the double Q target.
        history: frames in a stack; None takes SB3's own buffers.
        kwargs: SB3's further arguments of `DQN`, by name; `separator_learning_rate` as for `LearnsSeparator`.
    """

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None = None,
        *,
        double: bool = False,
        history: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.double = double
        self._recorded: tuple[int, Recorded] | None = None
        if history is not None:
            # Not DQN's own `n_steps`: that one is for SB3's buffers.
            steps, gamma = kwargs.pop("n_steps", 1), kwargs.get("gamma", 0.99)
            kwargs["replay_buffer_class"] = cast("type[ReplayBuffer]", FrameReplay)
            kwargs["replay_buffer_kwargs"] = {"history": history, "n_steps": steps, "gamma": gamma}
        super().__init__(policy, env, **kwargs)

    def _before_reset(self) -> None:
        if isinstance(self.replay_buffer, FrameReplay):
            self.replay_buffer.sequences.cut_episodes()

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """Actions, ε-greedy for each world unless `deterministic`."""
        if deterministic or not self.policy.is_vectorized_observation(observation):
            return super().predict(observation, state, episode_start, deterministic)
        with torch.no_grad():
            tensor: Any = obs_as_tensor(observation, self.device)
            greedy = self.q_net(tensor).argmax(dim=1).cpu().numpy()
        return self._explore(greedy, self.exploration_rate), state

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        """SB3's update, or with `double` the same with the double Q target."""
        if self.double:
            self._descend(gradient_steps, batch_size)
        else:
            super().train(gradient_steps, batch_size)

    def _batches(self, count: int, size: int) -> Iterable[Any]:
        if self.separator is not None:  # whose batches of sound are large
            yield from super()._batches(count, size)
            return
        # Drawn at once: an update of a small network takes little longer than a draw.
        for batch in super()._batches(1, count * size):
            parts = (tensor.split(size) for tensor in _tensors(batch))
            yield from (_refilled(batch, tensors) for tensors in zip(*parts, strict=True))

    def _gradients(self, batch: Any) -> Tensor:
        # A rehearsal may change nothing, and running statistics would be changed by it.
        if self.device.type != "cuda" or self.separator is not None or next(self.q_net.buffers(), None) is not None:
            return super()._gradients(batch)
        size, gradients = len(batch.rewards), super()._gradients
        if self._recorded is None or self._recorded[0] != size:
            recorded = Recorded(lambda *tensors: gradients(_refilled(batch, tensors)), self.device)
            self._recorded = size, recorded
        return self._recorded[1](*_tensors(batch)).clone()

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_recorded"]

    def _loss(self, batch: Any) -> Tensor:
        """Huber loss to the double Q target."""
        discounts = batch.discounts if batch.discounts is not None else self.gamma
        with torch.no_grad():
            best = self.q_net(batch.next_observations).argmax(dim=1, keepdim=True)  # [B, 1]
            after = self.q_net_target(batch.next_observations).gather(1, best)  # [B, 1]
            target = batch.rewards + (1 - batch.dones) * discounts * after
        return F.smooth_l1_loss(self.q_net(batch.observations).gather(1, batch.actions.long()), target)


class AuralMemoryDQN(LearnsSeparator, MemoryDQN):
    """`MemoryDQN` with a separator before its memory."""


def _tensors(batch: tuple[Any, ...]) -> list[Tensor]:
    """All tensors of a batch."""
    parts = [list(part.values()) if isinstance(part, dict) else [part] for part in batch]
    return [tensor for part in parts for tensor in part if tensor is not None]


def _refilled(batch: tuple[Any, ...], tensors: Sequence[Tensor]) -> tuple[Any, ...]:
    """A named tuple like this batch, of other tensors in the order of `_tensors`."""
    given = iter(tensors)

    def refill(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: next(given) for key in part}
        return None if part is None else next(given)

    return type(batch)(*map(refill, batch))
