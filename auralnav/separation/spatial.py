"""Masks that know where sounds come from: what a separator found in one signal, sharpened by the ears' differences.

Sounds of one class, or two steady tones, cannot be told apart in one signal, but they come from different places. Each
bin of the two-ear spectrum fits some directions better than others; a source's direction is where the bins that the
separator gives it point to, and a bin belongs to the sources whose direction it fits. Both are repeated in turn, as in
expectation maximisation: the spatial clustering of MESSL (Mandel, Weiss & Ellis, IEEE Trans. ASLP 18, 2010) with a
network's estimates as its priors (Drude & Haeb-Umbach, Interspeech 2017). Gradients reach the network through its
estimates; which directions a bin fits is taken as given.

In a reverberant room bins point anywhere, directions come out blurred, and the network's estimates count for more. What
comes out is the mixture's spectrum under masks: never better than masks are, however good an estimate was.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from auralnav.separation.direction import direction_templates
from auralnav.separation.dual_path import chunks, overlap_add

WINDOW_SECONDS = 0.064
"""Root Hann windows at half overlap; shorter ones resolve too little of what the ears could tell apart."""

DIRECTIONS = 37
"""Lateral angles from −90° to 90°, 5° apart."""

ROUNDS = 3
"""Of direction and masks; further ones gain nothing."""

REACH_SECONDS = 0.3
"""A source's direction at a moment is that of the sound so far before and after: an agent turns every 0.25 s."""

_MISFIT = 3e-3
"""Share of a bin's energy that no direction explains, which a bin of one source has already."""

_LOUDNESS = 0.5  # power of a bin's energy by which it counts for directions: what is faint says something, too
_QUIET = 1e-4  # of the mixture's magnitude, −80 dB: least that a prior leaves to an output
_TINY = 1e-9


class SpatialMasks(nn.Module):
    """Estimates of sources in the mean of the ears, refined by the directions that they come from.

    The few parameters are learned with the separator: how much the network's estimate counts, and how much the
    direction does, the more the sharper the source's direction stands out.

    Args:
        sample_rate: Hz.

    Attributes:
        prior: [], exponent of the network's share of a bin.
        place: [F], exponent of how well a bin's direction fits a source, at each frequency.
        sharp: [2], offset and slope of the logit, over the log of a direction's sharpness, that scales `place`.
        floor: [], log of what is added to how well a direction fits.
        heard: [F], log of how much each frequency counts for a source's direction.
    """

    templates: Tensor
    window: Tensor

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        half = round(0.5 * WINDOW_SECONDS * sample_rate)
        self._size, self._hop, self._reach = 2 * half, half, REACH_SECONDS * sample_rate
        frequency = np.fft.rfftfreq(self._size, 1.0 / sample_rate)
        grid = np.linspace(-0.5 * math.pi, 0.5 * math.pi, DIRECTIONS)
        templates = direction_templates(grid, frequency, "sphere", sample_rate).reshape(len(frequency), 3, DIRECTIONS)
        tables = {
            "templates": templates,  # [F, 3, D]
            "window": np.sqrt(np.hanning(self._size + 1)[:-1]),
        }
        for name, table in tables.items():
            self.register_buffer(name, torch.from_numpy(table.astype(np.float32)), persistent=False)
        self.prior = nn.Parameter(torch.tensor(0.9))
        self.place = nn.Parameter(torch.full((len(frequency),), 2.0))
        self.sharp = nn.Parameter(torch.tensor([0.5, 1.0]))
        self.floor = nn.Parameter(torch.tensor(-4.6))
        self.heard = nn.Parameter(torch.zeros(len(frequency)))

    def forward(self, audio: Tensor, estimates: Tensor) -> Tensor:
        """Refined estimates; their sum is the mean of the ears.

        Args:
            audio: float32 [B, 2, N] left and right ear.
            estimates: [B, K, N] of the sources in the mean of the ears.

        Returns:
            float32 [B, K, N].
        """
        with torch.autocast(audio.device.type, enabled=False):
            samples = audio.shape[-1]
            ears = self._spectra(audio.float())  # [B, 2, T, F]
            mid = ears.mean(dim=1)
            found = self._spectra(estimates.float())  # [B, K, T, F]
            size = (found.real.square() + found.imag.square() + _TINY**2).sqrt()
            least = _QUIET * mid.abs() + _TINY
            prior = torch.log(size + least.unsqueeze(1)).transpose(1, 2)  # [B, T, K, F]
            prior = prior.log_softmax(dim=2)
            with torch.no_grad():
                fits, loudness = self._fits(ears)
            masks = self._masks(prior, fits, loudness)
            return self._sound(masks.transpose(1, 2) * mid.unsqueeze(1), samples)

    def _fits(self, ears: Tensor) -> tuple[Tensor, Tensor]:
        """How well each bin fits each direction, sum 1: [B, T, F, D]; and how much it counts, [B, T, 1, F]."""
        left, right = ears.unbind(1)
        powers = [ear.real.square() + ear.imag.square() for ear in (left, right)]
        both = powers[0] + powers[1] + _TINY
        cross = 2.0 * left * right.conj()
        shares = torch.stack([powers[0] - powers[1], cross.real, cross.imag], dim=-1) / both.unsqueeze(-1)
        # The templates give twice the share of energy that a direction explains less 1.
        misfit = torch.einsum("btfq,fqd->btfd", shares, self.templates).mul_(-0.5).add_(0.5 + _MISFIT)
        likely = misfit.clamp_(min=_MISFIT).square_().reciprocal_()
        return likely.div_(likely.sum(dim=-1, keepdim=True)), both.pow(_LOUDNESS).unsqueeze(2)

    def _masks(self, prior: Tensor, fits: Tensor, loudness: Tensor) -> Tensor:
        """Masks [B, T, K, F], sum 1 over K, from log priors of that shape."""
        counts = loudness * torch.exp(self.heard)
        floor = torch.exp(self.floor)
        nearby = self._nearby(prior.shape[1])
        masks = prior.exp()
        for _ in range(ROUNDS):
            moments = (masks.square() * counts) @ fits  # [B, T, K, D]
            places = (nearby @ moments.flatten(2)).view_as(moments)
            places = places / (places.sum(dim=-1, keepdim=True) + _TINY)
            sharpness = torch.log(DIRECTIONS * places.square().sum(dim=-1, keepdim=True) + _TINY)  # 0 for all alike
            trust = torch.sigmoid(self.sharp[0] + self.sharp[1] * sharpness)
            likely = torch.log(places @ fits.transpose(-1, -2) + floor)
            masks = (self.prior * prior + self.place * trust * likely).softmax(dim=2)
        return masks

    def _nearby(self, frames: int) -> Tensor:
        """How much each frame's sound counts for each frame's directions, [T, T]."""
        time = torch.arange(frames, device=self.place.device)
        apart = (time[:, None] - time).abs() * (self._hop / self._reach)
        return torch.cos(0.5 * math.pi * apart.clamp(max=1.0)).square()

    def _spectra(self, signals: Tensor) -> Tensor:
        """Complex [B, C, T, F] of signals [B, C, N]."""
        frames = chunks(signals.flatten(0, 1).unsqueeze(-1), self._size, self._hop).squeeze(-1)
        return torch.fft.rfft(frames * self.window).unflatten(0, signals.shape[:2])

    def _sound(self, spectra: Tensor, samples: int) -> Tensor:
        """Signals [B, C, N] of spectra [B, C, T, F]."""
        frames = torch.fft.irfft(spectra.flatten(0, 1), self._size) * self.window
        sound = overlap_add(frames.unsqueeze(-1), self._hop, self._size, samples)
        return sound.squeeze(-1).unflatten(0, spectra.shape[:2])
