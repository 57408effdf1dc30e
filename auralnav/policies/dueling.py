"""Dueling Q-networks for SB3's DQN."""

from __future__ import annotations

from typing import Any

import torch
from stable_baselines3.common.torch_layers import create_mlp
from stable_baselines3.dqn.policies import DQNPolicy, QNetwork
from torch import nn


class DuelingHead(nn.Module):
    """One value and A advantages [B, 1 + A] to action values [B, A]: v + a − mean(a).

    Wang et al., Dueling network architectures (2016). One step here changes the return by half a metre of
    shaping in some forty points: the value all actions share would drown what sets them apart.
    """

    def forward(self, outputs: torch.Tensor) -> torch.Tensor:
        """Action values [B, A]."""
        value, advantage = outputs[:, :1], outputs[:, 1:]
        return value + advantage - advantage.mean(dim=1, keepdim=True)


class DuelingQNetwork(QNetwork):
    """SB3's Q-network with a `DuelingHead`; the hidden layers are shared."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        outputs = 1 + int(self.action_space.n)
        layers = create_mlp(self.features_dim, outputs, self.net_arch, self.activation_fn)
        self.q_net = nn.Sequential(*layers, DuelingHead())


class DuelingPolicy(DQNPolicy):
    """SB3's DQN policy with dueling networks."""

    def make_q_net(self) -> QNetwork:
        """A network of its own features extractor."""
        arguments = self._update_features_extractor(self.net_args, features_extractor=None)
        return DuelingQNetwork(**arguments).to(self.device)
