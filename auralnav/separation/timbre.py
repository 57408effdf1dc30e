"""What a source sounds like: its spectrum in a few bands, whatever its level.

Direction and level do not say which source is to be walked to; a siren and a voice differ here.
"""

from __future__ import annotations

import numpy as np
import torch

from auralnav.envs.acoustics.cues import LEVEL_BANDS, CueConfig

TIMBRE_BANDS = LEVEL_BANDS
"""Bands from 80 Hz to the Nyquist rate, even in log frequency: those of the level in the environments' cues."""

RANGE_DB = 40.0
"""A band this far below the source's level, or farther, is −1; a band that holds all of it is 1."""


def band_table(sizes: CueConfig) -> torch.Tensor:
    """float32 [F, 16]: ones where a bin of these spectra lies in a band."""
    edges, bins = sizes.band_edges[1], np.arange(sizes.bins)[:, None]
    return torch.from_numpy(((edges[:-1] <= bins) & (bins < edges[1:])).astype(np.float32))


def band_levels(energy: torch.Tensor, bands: torch.Tensor) -> torch.Tensor:
    """Level of each band relative to the level of the whole: 1 + 2 · dB / 40, at least −1.

    A matrix product, which CUDA sums in the same order every time.

    Args:
        energy: [..., F] ≥ 0, of a source at each frequency.
        bands: `band_table`.

    Returns:
        [..., 16] in [−1, 1]; −1 for a source without energy. Gradients are finite there.
    """
    whole = energy.sum(dim=-1, keepdim=True).clamp(min=1e-18)  # the square of its inverse is still a float32
    share = ((energy @ bands) / whole).clamp(10.0 ** (-RANGE_DB / 10.0), 1.0)
    return 1.0 + 20.0 / RANGE_DB * torch.log10(share)
