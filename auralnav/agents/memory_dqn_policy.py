"""The Q-network with a memory core, and SB3's policy class around it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import (
    BaseFeaturesExtractor,
    CombinedExtractor,
    FlattenExtractor,
    NatureCNN,
    create_mlp,
)
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from stable_baselines3.dqn.policies import DQNPolicy, QNetwork
from torch import Tensor, nn

from auralnav.agents.memory_algorithm import PredictState, memory_inputs
from auralnav.policies.dueling import DuelingHead
from auralnav.policies.ssm.cores import make_core


class MemoryQNetwork(QNetwork):
    """Features of each observation, a memory core along time, hidden layers, action values.

    Args:
        memory: name of the core (`auralnav.policies.ssm.cores.CORES`).
        memory_kwargs: arguments of the core, such as `d_model`.
        dueling: a shared value and advantages (Wang et al., 2016).
        kwargs: of SB3's `QNetwork`; `net_arch` are the layers after the core.

    Raises:
        ConfigError: an unknown core, or arguments it does not take.
    """

    def __init__(
        self,
        *,
        memory: str,
        memory_kwargs: dict[str, Any] | None = None,
        dueling: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._memory_args = {"memory": memory, "memory_kwargs": dict(memory_kwargs or {}), "dueling": dueling}
        self.core = make_core(memory, self.features_dim, **self._memory_args["memory_kwargs"])
        outputs = int(self.action_space.n) + dueling
        layers = create_mlp(self.core.d_output, outputs, self.net_arch, self.activation_fn)
        self.q_net = nn.Sequential(*layers, *([DuelingHead()] if dueling else []))

    def step(self, obs: PyTorchObs, state: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        """Action values [B, A] and the new memory state [B, S] of observations [B, *shape].

        `state` [B, S] is float32, `start` [B] is bool: whether the observation is an episode's first.
        """
        y, state = self.core.step(self.extract_features(obs, self.features_extractor), state, start)
        return self.q_net(y), state

    def run(self, obs: PyTorchObs, state: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        """Core outputs [B, T, d_output] and the memory state after observations [B, T, *shape].

        `state` [B, S] is float32, `start` [B, T] is bool.
        """
        return self.core(self._features(obs, start), state, start)

    def outputs(self, obs: PyTorchObs, state: Tensor, start: Tensor) -> Tensor:
        """Core outputs of `run`, for callers who do not go on from its state."""
        return self.core.outputs(self._features(obs, start), state, start)

    def _features(self, obs: PyTorchObs, start: Tensor) -> Tensor:
        """Features [B, T, F] of observations [B, T, *shape], each seen alone."""
        if isinstance(obs, dict):
            flat: PyTorchObs = {key: part.flatten(0, 1) for key, part in obs.items()}
        else:
            flat = obs.flatten(0, 1)
        return self.extract_features(flat, self.features_extractor).unflatten(0, start.shape)

    def values(self, outputs: Tensor) -> Tensor:
        """Action values [B, T, A] of core outputs [B, T, d_output]."""
        return self.q_net(outputs.flatten(0, 1)).unflatten(0, outputs.shape[:2])

    def forward(self, obs: PyTorchObs) -> Tensor:
        """Action values [B, A] of observations that begin an episode (SB3's interface without a state)."""
        batch = len(next(iter(obs.values())) if isinstance(obs, dict) else obs)
        start = torch.ones(batch, dtype=torch.bool, device=self.device)
        return self.step(obs, self.core.initial_state(batch), start)[0]

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return super()._get_constructor_parameters() | self._memory_args


class MemoryDQNPolicy(DQNPolicy):
    """SB3's DQN policy with a `MemoryQNetwork` and its target.

    Args:
        observation_space, action_space, lr_schedule: as SB3 gives them.
        memory, memory_kwargs, dueling: see `MemoryQNetwork`.
        features_extractor_class: None takes `CombinedExtractor` for a Dict, `NatureCNN` for an image and
            `FlattenExtractor` for all else. Extractors see single observations and keep no state.
        kwargs: of SB3's `DQNPolicy`.
    """

    q_net: MemoryQNetwork
    q_net_target: MemoryQNetwork

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Discrete,
        lr_schedule: Schedule,
        *,
        memory: str = "mamba2",
        memory_kwargs: dict[str, Any] | None = None,
        dueling: bool = False,
        features_extractor_class: type[BaseFeaturesExtractor] | None = None,
        **kwargs: Any,
    ) -> None:
        if features_extractor_class is None:
            features_extractor_class = _default_extractor(observation_space)
        if kwargs.get("optimizer_kwargs") is None and "optimizer_class" not in kwargs:
            # One fused kernel for the whole update: about a tenth of a gradient step of these small networks.
            kwargs["optimizer_kwargs"] = {"fused": True}
        # SB3's constructor builds the networks, so `make_q_net` needs these before.
        self._memory_args = {"memory": memory, "memory_kwargs": dict(memory_kwargs or {}), "dueling": dueling}
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            features_extractor_class=features_extractor_class,
            **kwargs,
        )

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        # Rates and step sizes of a state-space core carry this mark.
        spared = [p for p in self.q_net.parameters() if getattr(p, "_no_weight_decay", False)]
        decayed = [p for p in self.q_net.parameters() if not getattr(p, "_no_weight_decay", False)]
        groups = [{"params": decayed}, {"params": spared, "weight_decay": 0.0}]
        self.optimizer = self.optimizer_class(
            [group for group in groups if group["params"]],
            **{"lr": lr_schedule(1), **self.optimizer_kwargs},
        )

    def make_q_net(self) -> MemoryQNetwork:
        """A network with a features extractor of its own."""
        arguments = self._update_features_extractor(self.net_args, features_extractor=None)
        return MemoryQNetwork(**arguments, **self._memory_args).to(self.device)

    def values(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: PredictState | None,
        episode_start: np.ndarray | None,
    ) -> tuple[np.ndarray, PredictState, bool]:
        """Action values [n, A], the new state and whether there was a batch axis; arguments as `predict`'s.

        Raises:
            ShapeError: a state of another core or of another number of worlds.
        """
        self.set_training_mode(False)
        obs, vectorised = self.obs_to_tensor(observation)
        batch = len(next(iter(obs.values())) if isinstance(obs, dict) else obs)
        memory, starts = memory_inputs(self.q_net.core, batch, state, episode_start, self.device)
        with torch.no_grad():
            values, memory = self.q_net.step(obs, memory, starts)
        return values.cpu().numpy(), (memory.cpu().numpy(),), vectorised

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: PredictState | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, PredictState | None]:
        """Greedy actions and the new state.

        Args:
            observation: of one world or of n.
            state: what the last call returned, a tuple of one array [n, S]; None before the first.
            episode_start: bool [n], worlds whose episode begins with this observation.
            deterministic: no difference here; `MemoryDQN.predict` explores.

        Raises:
            ShapeError: a state of another core or of another number of worlds.
        """
        values, state, vectorised = self.values(observation, state, episode_start)
        actions = values.argmax(axis=1)
        return (actions if vectorised else actions[0]), state

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return super()._get_constructor_parameters() | self._memory_args


def _default_extractor(space: spaces.Space) -> type[BaseFeaturesExtractor]:
    if isinstance(space, spaces.Dict):
        return CombinedExtractor
    return NatureCNN if is_image_space(space) else FlattenExtractor
