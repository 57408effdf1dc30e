"""Features extractors for SB3: vectors concatenated, maps (spectrograms, waveforms) through a small CNN."""

from __future__ import annotations

import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn


class AuralExtractor(BaseFeaturesExtractor):
    """Features of a Dict observation: flat keys as they are, others through one CNN each.

    A key of shape (C, F, T) gets 2-D convolutions, (C, N) gets strided 1-D ones; both end in a linear layer
    of `map_features` units. Inputs: float tensors [B, *shape]; output [B, features_dim].
    """

    def __init__(self, observation_space: spaces.Dict, map_features: int = 128) -> None:
        flat: list[str] = []
        nets: dict[str, nn.Module] = {}
        size = 0
        for key, space in observation_space.spaces.items():
            shape = space.shape or ()
            if len(shape) <= 1:
                flat.append(key)
                size += int(torch.Size(shape).numel())
            else:
                nets[key] = _map_net(tuple(shape), map_features)
                size += map_features
        super().__init__(observation_space, size)
        self._flat = flat
        self.nets = nn.ModuleDict(nets)

    def forward(self, observations: dict[str, torch.Tensor]) -> torch.Tensor:
        """Features [B, features_dim]."""
        parts = [observations[key].flatten(1) for key in self._flat]
        parts += [net(observations[key]) for key, net in self.nets.items()]
        return torch.cat(parts, dim=1)


def _map_net(shape: tuple[int, ...], features: int) -> nn.Module:
    if len(shape) == 3:
        convolutions: list[nn.Module] = [
            nn.Conv2d(shape[0], 16, 5, stride=2, padding=2), nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(32, 32, 3, stride=2, padding=1), nn.ReLU(),
            nn.Flatten(),
        ]  # fmt: skip
    elif len(shape) == 2:
        convolutions = [
            nn.Conv1d(shape[0], 32, 64, stride=16, padding=32), nn.ReLU(),
            nn.Conv1d(32, 32, 8, stride=4, padding=4), nn.ReLU(),
            nn.Conv1d(32, 32, 8, stride=4, padding=4), nn.ReLU(),
            nn.Flatten(),
        ]  # fmt: skip
    else:
        raise ValueError(f"a map of {len(shape)} axes has no network; use (C, F, T) or (C, N)")
    with torch.no_grad():
        size = nn.Sequential(*convolutions)(torch.zeros(1, *shape)).shape[1]
    return nn.Sequential(*convolutions, nn.Linear(size, features), nn.ReLU())
