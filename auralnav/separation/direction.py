"""Which direction explains a source's energies at the two ears and its cross spectrum best.

Phase and level together: a source at the side shifts the phases of low frequencies and shades high ones. A direction
whose ears respond with (p, q), |p|² + |q|² = 1, explains the share |p* L + q* R|² of the energy |L|² + |R|² of a bin.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from auralnav.envs.acoustics.cues import LOWEST_HZ
from auralnav.envs.acoustics.head import ear_responses

AZIMUTHS = 61
"""Directions from the right (−90°) to the left (90°) that a source's cues are compared with, 3° apart."""

SHARPNESS = 100.0
"""Factor of the match in the soft maximum over directions: a match 0.03 worse counts a twentieth."""

KNEE_HZ = 6000.0
"""Frequencies count 1 / (1 + (f / knee)²) in the match: higher ones, whose phase turns round more often, less."""

GATE = 1e-3
"""Frequencies this share of the source's strongest count half in the match, weaker ones less."""

_TINY = 1e-18  # its square is still a float32, so that gradients of quotients by it stay finite


class DirectionMatch(nn.Module):
    """Compares sources with the directions of the front half-plane. No parameters.

    Frequencies count alike where the source is strong, however strong: its spectrum says nothing of its direction.

    Args:
        frequency: of the bins, Hz [F].
        sample_rate: Hz.
        head: "sphere" or "none".

    Raises:
        ConfigError: another head.
    """

    templates: torch.Tensor
    grid: torch.Tensor
    spectral: torch.Tensor

    def __init__(self, frequency: np.ndarray, sample_rate: int, head: str) -> None:
        super().__init__()
        grid = np.linspace(-1.0, 1.0, AZIMUTHS)
        tables = {
            "grid": grid,
            "templates": direction_templates(grid * math.pi / 2, frequency, head, sample_rate),
            "spectral": (frequency >= LOWEST_HZ) / (1.0 + (frequency / KNEE_HZ) ** 2),
        }
        for name, table in tables.items():
            self.register_buffer(name, torch.from_numpy(table.astype(np.float32)), persistent=False)

    def forward(self, sums: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The direction of each source, and how well it fits.

        Args:
            sums: [..., F, 4]: energies A and B at the left and the right ear, and 2 Re C and 2 Im C of the cross
                spectrum C = L·R*, of a source at each frequency.

        Returns:
            azimuth [...] in (−1, 1), lateral angle / 90°, positive to the left; and clarity [...] in [−1, 1], twice
            the share of energy explained less 1. Means over the directions, the best ones counting most.
        """
        both = sums[..., 0] + sums[..., 1]
        weights = self.spectral * both / (both + GATE * both.amax(dim=-1, keepdim=True) + _TINY)
        weights = weights / (weights.sum(dim=-1, keepdim=True) + _TINY)
        # Twice the share explained less 1 is linear in (A − B, 2 Re C, 2 Im C) / (A + B).
        shares = torch.stack([sums[..., 0] - sums[..., 1], sums[..., 2], sums[..., 3]], dim=-1)
        shares = shares * (weights / (both + _TINY)).unsqueeze(-1)
        match = shares.flatten(-2) @ self.templates
        likely = torch.softmax(SHARPNESS * match, dim=-1)
        return likely @ self.grid, (likely * match).sum(dim=-1).clamp(-1.0, 1.0)


def direction_templates(azimuth: np.ndarray, frequency: np.ndarray, head: str, sample_rate: int) -> np.ndarray:
    """What each direction expects of (A − B, 2 Re C, 2 Im C) / (A + B), energies and cross spectrum C = L·R* of a bin.

    The product of both, summed over the three, is twice the share of the bin's energy that the direction explains
    less 1 (see the head of this module).

    Args:
        azimuth: radians from straight ahead, positive to the left, [A].
        frequency: Hz [F].
        head: "sphere" or "none".
        sample_rate: Hz.

    Returns:
        float64 [3·F, A], the three numbers of each frequency beside each other.

    Raises:
        ConfigError: another head.
    """
    delay, response = ear_responses(azimuth, frequency, head, sample_rate)
    ears = response * np.exp(-2j * np.pi * frequency * delay[..., None])
    ears = ears / np.linalg.norm(ears, axis=0)
    cross = 2.0 * ears[0] * ears[1].conj()
    level = np.abs(ears[0]) ** 2 - np.abs(ears[1]) ** 2
    return np.stack([level, cross.real, cross.imag], axis=-1).reshape(len(azimuth), -1).T
