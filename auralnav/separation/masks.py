"""Short-time spectra and time-frequency masks in torch: which part of the mixture is which source's.

The seed's masks, with their two faults mended: |S_i| / |mid| exceeds 1 where sources cancel each other, and several
such masks together claim more sound than there is.
"""

from __future__ import annotations

import torch
from torch import nn

from auralnav.envs.acoustics.cues import CueConfig
from auralnav.errors import ShapeError, SoundError

FLOOR = 1e-7
"""Added to |mid|: a bin of white noise at −115 dBFS."""


class Masks(nn.Module):
    """Masks of separated sources over the mixture that they come from. No parameters.

    The STFT is that of the environments' cues (`CueConfig`): Hann windows of 32 ms at half overlap inside the block.

    Args:
        sample_rate: Hz, at least 4000.
        n: samples a block, at least one window.

    Raises:
        ShapeError: a block shorter than a window.
    """

    window: torch.Tensor

    def __init__(self, sample_rate: int, n: int) -> None:
        super().__init__()
        try:
            self.sizes = CueConfig(sample_rate, n)
        except ValueError as error:
            raise ShapeError(f"{error}: give blocks of at least 32 ms") from error
        self.register_buffer("window", torch.from_numpy(self.sizes.window), persistent=False)

    def check(self, audio: torch.Tensor, sources: torch.Tensor) -> None:
        """Refuse what is not two-ear sound [B, 2, n] with sources [B, K ≥ 1, n].

        Raises:
            ShapeError: mono, another length, no source, or batches that differ.
            SoundError: NaN or infinite samples.
        """
        self.check_audio(audio)
        n = self.sizes.n
        if sources.ndim != 3 or sources.shape[0] != audio.shape[0] or sources.shape[2] != n:
            raise ShapeError(
                f"the sources of {audio.shape[0]} blocks have the shape [{audio.shape[0]}, K, {n}], "
                f"not {list(sources.shape)}: give mono estimates of the same blocks"
            )
        if sources.shape[1] == 0:
            raise ShapeError("there is no source (K = 0): give at least one estimate a block")
        if not torch.isfinite(sources).all():
            raise SoundError("separated sources hold NaN or infinite samples: look at the separator's weights")

    def check_audio(self, audio: torch.Tensor) -> None:
        """Refuse what is not two-ear sound [B, 2, n]; errors as for :meth:`check`."""
        n = self.sizes.n
        if audio.ndim != 3 or audio.shape[1:] != (2, n):
            raise ShapeError(
                f"two-ear sound has the shape [B, 2, {n}], not {list(audio.shape)}: give left and right ear in "
                f"blocks of {n} samples"
            )
        if not torch.isfinite(audio).all():
            raise SoundError("two-ear sound holds NaN or infinite samples: look at what recorded it")

    def spectra(self, signals: torch.Tensor) -> torch.Tensor:
        """STFT of signals [..., n]: complex [..., T, F]."""
        frames = signals.unfold(-1, self.sizes.window_length, self.sizes.hop)
        return torch.fft.rfft(frames * self.window)

    def of_spectra(self, ears: torch.Tensor, sources: torch.Tensor) -> torch.Tensor:
        """Masks [B, K, T, F] from spectra of the ears, complex [B, 2, T, F], and of the sources, [B, K, T, F]."""
        mid = ears.mean(dim=1, keepdim=True).abs()
        masks = (sources.abs() / (mid + FLOOR)).clamp(max=1.0)
        return masks / masks.sum(dim=1, keepdim=True).clamp(min=1.0)

    def forward(self, audio: torch.Tensor, sources: torch.Tensor) -> torch.Tensor:
        """Masks |S_i| / |mid|, at most 1, scaled down where they add up to more than 1.

        Args:
            audio: [B, 2, n] left and right ear.
            sources: [B, K, n] mono estimates of what each source puts into (left + right) / 2.

        Returns:
            [B, K, F, T] in [0, 1], their sum over K at most 1; zero where a source is silent.

        Raises:
            ShapeError, SoundError: see :meth:`check`.
        """
        self.check(audio, sources)
        return self.of_spectra(self.spectra(audio), self.spectra(sources)).transpose(-1, -2)
