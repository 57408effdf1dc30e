"""Features extractors for SB3: vectors concatenated, maps (spectrograms, waveforms) through a CNN."""

from __future__ import annotations

import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from auralnav.errors import ShapeError


class RunningStandardiser(nn.Module):
    """Shifts and scales each input to mean 0 and variance 1, by statistics gathered while training.

    For inputs of very different ranges; the cues of AuralNav are learned faster without it (docs/learning.md).
    The statistics stand still after `rows` inputs, so that what the network learned keeps its meaning; they
    are buffers, saved and restored with the weights.

    Args:
        size: inputs.
        rows: inputs [size] after which the statistics are final.
        limit: standardised values are clipped to ±limit.
    """

    running_mean: torch.Tensor
    running_var: torch.Tensor
    running_rows: torch.Tensor

    def __init__(self, size: int, rows: int = 200_000, limit: float = 5.0) -> None:
        super().__init__()
        self.rows, self.limit = rows, limit
        # Their names begin with "running_": by that SB3's DQN copies them into its target network.
        self.register_buffer("running_mean", torch.zeros(size))
        self.register_buffer("running_var", torch.ones(size))
        self.register_buffer("running_rows", torch.zeros(()))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Standardised [B, size]; in training mode the batch counts into the statistics first."""
        if self.training and len(values) > 1 and float(self.running_rows) < self.rows:
            self._count(values.detach())
        scaled = (values - self.running_mean) * torch.rsqrt(self.running_var + 1e-4)
        return scaled.clamp(-self.limit, self.limit)

    def _count(self, values: torch.Tensor) -> None:
        # Merging of means and variances: Chan, Golub & LeVeque (1983).
        before = self.running_rows.clone()
        share = len(values) / (before + len(values))
        mean = values.mean(dim=0)
        apart = mean - self.running_mean
        variance = values.var(dim=0, correction=0)
        self.running_var.lerp_(variance, share).add_(apart.square() * (share * (1 - share)))
        self.running_mean.add_(apart * share)
        self.running_rows.add_(len(values))


class VectorExtractor(BaseFeaturesExtractor):
    """A flat observation, standardised. Input [B, n] or [B, *shape], output [B, n]."""

    def __init__(self, observation_space: spaces.Box) -> None:
        super().__init__(observation_space, int(torch.Size(observation_space.shape).numel()))
        self.standardiser = RunningStandardiser(self.features_dim)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Features [B, n]."""
        return self.standardiser(observations.flatten(1))


class AuralExtractor(BaseFeaturesExtractor):
    """Features of a Dict observation: flat keys as they are, others through one CNN each.

    A key of shape (C, F, T) gets 2-D convolutions, (C, N) gets strided 1-D ones; both end in a linear layer
    of `map_features` units. With `standardise` the flat keys pass a `RunningStandardiser`.
    Inputs: float tensors [B, *shape]; output [B, features_dim].
    """

    def __init__(
        self, observation_space: spaces.Dict, map_features: int = 128, standardise: bool = False
    ) -> None:
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
        width = size - map_features * len(nets)
        self.standardiser = RunningStandardiser(width) if standardise and width else None

    def forward(self, observations: dict[str, torch.Tensor]) -> torch.Tensor:
        """Features [B, features_dim]."""
        parts = [observations[key].flatten(1) for key in self._flat]
        if self.standardiser is not None:
            parts = [self.standardiser(torch.cat(parts, dim=1))]
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
        raise ShapeError(f"a map of {len(shape)} axes has no network; use (C, F, T) or (C, N)")
    with torch.no_grad():
        size = nn.Sequential(*convolutions)(torch.zeros(1, *shape)).shape[1]
    return nn.Sequential(*convolutions, nn.Linear(size, features), nn.ReLU())
