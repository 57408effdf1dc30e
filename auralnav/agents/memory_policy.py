"""Actor and critic of SB3 on one memory core."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import CombinedExtractor, MlpExtractor, NatureCNN
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import Tensor

from auralnav.agents.memory_algorithm import PredictState, memory_inputs
from auralnav.errors import ConfigError
from auralnav.policies.ssm.cores import make_core

CORE_GROUP = "core"
"""Name of the optimizer's parameter groups that hold the memory core."""


class MemoryPolicy(ActorCriticPolicy):
    """Features → memory core → actor's and critic's hidden layers.

    The core belongs to both: it gets the gradients of the policy and of the value. The features extractor sees
    each step alone. States are the flat float32 tensors [B, S] of `MemoryCore`; `start` is true (or 1) where an
    observation is the first of an episode. Both come in beside what SB3's own methods take, as in sb3-contrib's
    recurrent policies.

    Args:
        observation_space: Box or Dict.
        action_space: any that SB3's PPO takes.
        lr_schedule: learning rate by remaining progress.
        memory: name of the core, see `auralnav.policies.ssm.cores`.
        memory_kwargs: arguments of the core (`d_model`, `n_layers`, …).
        **kwargs: of SB3's `ActorCriticPolicy`.

    Raises:
        ConfigError: an unknown core or bad arguments of it, or features that are not shared.
    """

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        lr_schedule: Schedule,
        memory: str = "mamba2",
        memory_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if not kwargs.get("share_features_extractor", True):
            raise ConfigError(
                "share_features_extractor: actor and critic share the memory core; leave it True"
            )
        self.memory = memory
        self.memory_kwargs = dict(memory_kwargs or {})
        if kwargs.get("optimizer_kwargs") is None and "optimizer_class" not in kwargs:
            # One fused kernel a group: a tenth of a gradient step of these small networks.
            kwargs["optimizer_kwargs"] = {"eps": 1e-5, "fused": True}
        super().__init__(observation_space, action_space, lr_schedule, **kwargs)

    def _build(self, lr_schedule: Schedule) -> None:
        # Before the heads, which need its width. SB3's orthogonal initialisation walks over the extractor and
        # the heads by name, so it does not meet the core.
        self.core = make_core(self.memory, self.features_dim, **self.memory_kwargs)
        super()._build(lr_schedule)
        self.optimizer = self.optimizer_class(
            self._parameter_groups(), **{"lr": lr_schedule(1), **self.optimizer_kwargs}
        )

    def _build_mlp_extractor(self) -> None:
        self.mlp_extractor = MlpExtractor(
            self.core.d_output, net_arch=self.net_arch, activation_fn=self.activation_fn, device=self.device
        )

    def _parameter_groups(self) -> list[dict[str, Any]]:
        core = list(self.core.parameters())
        inside = {id(parameter) for parameter in core}
        # State-space layers mark their rates and step sizes, which decay would spoil, as mamba_ssm does.
        spared = [parameter for parameter in core if getattr(parameter, "_no_weight_decay", False)]
        apart = {id(parameter) for parameter in spared}
        groups: list[dict[str, Any]] = [
            {"params": [parameter for parameter in self.parameters() if id(parameter) not in inside]},
            {"params": [parameter for parameter in core if id(parameter) not in apart], "name": CORE_GROUP},
            {"params": spared, "name": CORE_GROUP, "weight_decay": 0.0},
        ]
        return [group for group in groups if group["params"]]

    def _get_constructor_parameters(self) -> dict[str, Any]:
        data = super()._get_constructor_parameters()
        data.update(memory=self.memory, memory_kwargs=self.memory_kwargs)
        return data

    def initial_state(self, batch: int) -> Tensor:
        """States [batch, S] before the first observation."""
        return self.core.initial_state(batch)

    def forward(
        self, obs: PyTorchObs, state: Tensor, start: Tensor, deterministic: bool = False
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One step of B environments: actions, values [B, 1], log-probabilities [B] and states [B, S]."""
        latent, state = self._remember(obs, state, start)
        distribution = self._get_action_dist_from_latent(self.mlp_extractor.forward_actor(latent))
        actions = distribution.get_actions(deterministic=deterministic)
        log_prob = distribution.log_prob(actions)
        values = self.value_net(self.mlp_extractor.forward_critic(latent))
        return actions.reshape((-1, *(self.action_space.shape or ()))), values, log_prob, state

    def evaluate_actions(
        self, obs: PyTorchObs, actions: Tensor, state: Tensor, start: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Values [W·T, 1], log-probabilities [W·T] and entropies of W windows of T steps.

        Args:
            obs: observations of the windows one after the other, first axis W·T.
            actions: [W·T, …].
            state: [W, S], before each window.
            start: [W·T], 1 where an episode begins.
        """
        features = self.extract_features(obs)
        assert isinstance(features, Tensor)
        windows = features.unflatten(0, (len(state), -1))
        latent = self.core.outputs(windows, state, start.unflatten(0, (len(state), -1)) > 0.5).flatten(0, 1)
        distribution = self._get_action_dist_from_latent(self.mlp_extractor.forward_actor(latent))
        values = self.value_net(self.mlp_extractor.forward_critic(latent))
        return values, distribution.log_prob(actions), distribution.entropy()

    def get_distribution(
        self, obs: PyTorchObs, state: Tensor, start: Tensor
    ) -> tuple[Distribution, Tensor]:
        """One step of B environments: the distribution of the actions and the states [B, S] after it."""
        latent, state = self._remember(obs, state, start)
        return self._get_action_dist_from_latent(self.mlp_extractor.forward_actor(latent)), state

    def predict_values(self, obs: PyTorchObs, state: Tensor, start: Tensor) -> Tensor:
        """Values [B, 1] of observations that follow `state` [B, S]."""
        latent, _ = self._remember(obs, state, start)
        return self.value_net(self.mlp_extractor.forward_critic(latent))

    def _remember(self, obs: PyTorchObs, state: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        features = self.extract_features(obs)
        assert isinstance(features, Tensor)
        return self.core.step(features, state, start)

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: PredictState | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, PredictState | None]:
        """Actions of one observation or a batch, and the state to hand in at the next call.

        Args:
            observation: of the observation space, with or without a batch axis.
            state: what the last call returned: one float32 array [B, S] in a tuple. None = nothing remembered.
            episode_start: bool [B], true where `observation` is the first of its episode. None = nowhere.
            deterministic: the likeliest action instead of a drawn one.

        Raises:
            ShapeError: a state of another core or another number of environments.
        """
        self.set_training_mode(False)
        obs, vectorised = self.obs_to_tensor(observation)
        batch = len(next(iter(obs.values())) if isinstance(obs, dict) else obs)
        before, start = memory_inputs(self.core, batch, state, episode_start, self.device)
        with torch.no_grad():
            distribution, after = self.get_distribution(obs, before, start)
            drawn = distribution.get_actions(deterministic=deterministic)
        actions = drawn.cpu().numpy().reshape((-1, *(self.action_space.shape or ())))
        if isinstance(self.action_space, spaces.Box):
            if self.squash_output:
                actions = self.unscale_action(actions)
            else:
                actions = np.clip(actions, self.action_space.low, self.action_space.high)
        return (actions if vectorised else actions.squeeze(axis=0)), (after.cpu().numpy(),)


class MemoryCnnPolicy(MemoryPolicy):
    """`MemoryPolicy` behind SB3's NatureCNN, for images."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"features_extractor_class": NatureCNN, **kwargs})


class MultiInputMemoryPolicy(MemoryPolicy):
    """`MemoryPolicy` behind SB3's CombinedExtractor, for Dict observations."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"features_extractor_class": CombinedExtractor, **kwargs})
