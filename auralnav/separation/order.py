"""A stable order of sources over time: which estimate of this step is which source of the steps before.

A separator is free to put its estimates in another order at every call. An estimate belongs into the slot

- whose estimate of the step before has the same waveform where both windows overlap,
- or, for a source that comes back after a pause, whose remembered spectrum is most like its own, measured by the
  Bhattacharyya coefficient Σ √(p q) of spectra that sum to 1;

slots that nothing is known of are given to the loudest first. All slots are given away at once, by the assignment
with the largest sum: of a few estimates all assignments are compared, more take the Hungarian method (Crouse, IEEE
Trans. AES 52, 2016, as scipy has it).
"""

from __future__ import annotations

import math
from functools import cache
from itertools import permutations
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

BANDS = 32
LOWEST_HZ = 80.0
FRAME_SECONDS = 0.032

STRANGER = 0.6
"""Likeness of a spectrum to an empty slot: a source that is less like a remembered one than this is a new one."""

LEAK = 1e-2
"""Power over the loudest's (−20 dB) below which an estimate or a slot holds a separator's leaks, not a source."""

FEW = 5
"""Estimates whose assignments are all compared; more are assigned by the Hungarian method, on the host."""

_LEAK_WEIGHT = 0.1  # leaks keep their slots where no source wants them
_LEVEL_FIRST = 1e-3  # large enough to order equals, too small to overrule likeness
_TINY = 1e-20


def band_edges(sample_rate: int, frame: int) -> Tensor:
    """Bounds of `BANDS` logarithmic bands from 80 Hz to the Nyquist rate, int64 [BANDS + 1] in bins of the FFT."""
    edges = torch.logspace(math.log10(LOWEST_HZ), math.log10(sample_rate / 2), BANDS + 1, dtype=torch.float64)
    return (edges * frame / sample_rate).round().long()


def band_powers(sources: Tensor, sample_rate: int) -> Tensor:
    """Mean power in logarithmic bands (Hann windows of 32 ms at half overlap).

    Args:
        sources: float32 [..., N], N at least 32 ms.
        sample_rate: Hz.

    Returns:
        [..., BANDS]; a band narrower than a bin is 0.
    """
    frame = 2 * round(FRAME_SECONDS * sample_rate / 2)
    window = torch.hann_window(frame, device=sources.device)
    spectra = torch.fft.rfft(sources.unfold(-1, frame, frame // 2) * window)
    power = (spectra.real.square() + spectra.imag.square()).mean(dim=-2) / frame**2
    # As a product: CUDA has no deterministic sum along an axis from bin to bin, and trainings may ask for one.
    return power @ _bands(sample_rate, frame, sources.device).to(power.dtype)


@cache
def _bands(sample_rate: int, frame: int, device: torch.device) -> Tensor:
    """Which bin is in which band, float32 [bins, BANDS], made once: a GPU's recorded work may not fetch it."""
    edges = band_edges(sample_rate, frame)
    bins = torch.arange(frame // 2 + 1)[:, None]
    return ((bins >= edges[:-1]) & (bins < edges[1:])).to(device, torch.float32)


def spectral_likeness(first: Tensor, second: Tensor) -> Tensor:
    """Bhattacharyya coefficients in [0, 1] of band powers [..., K, M] and [..., L, M]: [..., K, L]; 0 for silence."""
    roots = [(p / (p.sum(dim=-1, keepdim=True) + _TINY)).sqrt() for p in (first, second)]
    return roots[0] @ roots[1].transpose(-1, -2)


def waveform_likeness(estimates: Tensor, before: Tensor) -> Tensor:
    """How much of each estimate continues each slot.

    Args:
        estimates: [..., K, W] this window.
        before: [..., L, V] the slots' estimates of its first V samples, V ≤ W, from the step before.

    Returns:
        [..., K, L] in [0, 1]: correlation over the shared samples, of the estimate's energy in all of its window, so
        that the leaks before a sound say nothing about whose it is.
    """
    shared = estimates[..., : before.shape[-1]] @ before.transpose(-1, -2)
    energies = estimates.square().sum(-1).unsqueeze(-1) * before.square().sum(-1).unsqueeze(-2)
    return (shared / (energies + _TINY).sqrt()).clamp(0.0, 1.0)


def assign(scores: Tensor) -> Tensor:
    """The assignment of estimates to slots with the largest sum of scores, found on the device for up to `FEW`.

    Args:
        scores: [B, K estimates, J slots], J ≤ K.

    Returns:
        int64 [B, J]: the estimate of each slot.
    """
    count, slots = scores.shape[1:]
    if count <= FEW:
        orders = _orders(count, slots, scores.device)
        sums = scores.transpose(1, 2).flatten(1)[:, orders + count * torch.arange(slots, device=scores.device)].sum(-1)
        return orders[sums.argmax(dim=1)]
    table = scores.transpose(1, 2).cpu().double().numpy()
    chosen = [torch.from_numpy(linear_sum_assignment(row, maximize=True)[1]) for row in table]
    return torch.stack(chosen).to(scores.device) if chosen else torch.zeros_like(scores[:, 0], dtype=torch.long)


@cache
def _orders(count: int, slots: int, device: torch.device) -> Tensor:
    """Every choice of an estimate for each slot, int64 [count! / (count − slots)!, slots]."""
    return torch.tensor(list(permutations(range(count), slots)), device=device)


class SourceOrder:
    """Remembers, for each of a batch of rooms, which slot held which source.

    Args:
        batch: rooms.
        sources: K, slots a room.
        overlap: V, samples that a window has in common with the one before it.
        step_seconds: from window to window.
        sample_rate: Hz.
        memory_seconds: time constant with which the remembered power falls.
    """

    def __init__(
        self,
        batch: int,
        sources: int,
        overlap: int,
        step_seconds: float,
        sample_rate: int,
        memory_seconds: float = 5.0,
        device: torch.device | str = "cpu",
    ) -> None:
        self._rate = sample_rate
        self._keep = math.exp(-step_seconds / memory_seconds)
        self._spectra = torch.zeros(batch, sources, BANDS, device=device)
        self._before = torch.zeros(batch, sources, overlap, device=device)
        self._ranks = torch.linspace(1.0, 0.0, sources, device=device)

    def arrange(self, estimates: Tensor, start: Tensor, rows: Tensor) -> Tensor:
        """Bring this step's estimates into the order of the steps before, and remember them.

        Args:
            estimates: float32 [b, K, W], W > V, at least 32 ms.
            start: bool [b], first step of an episode: what was before is forgotten.
            rows: int64 [b], the rooms that they are of, each once.

        Returns:
            [b, K, W], slot by slot.
        """
        first = start[:, None, None]
        memory = self._spectra[rows].masked_fill(first, 0.0)
        before = self._before[rows].masked_fill(first, 0.0)
        powers = band_powers(estimates, self._rate)
        order = assign(self._scores(estimates, powers, memory, before))[:, :, None]
        arranged = estimates.gather(1, order.expand_as(estimates))
        powers = powers.gather(1, order.expand_as(powers))
        self._spectra[rows] = self._keep * memory + (1.0 - self._keep) * powers
        self._before[rows] = arranged[..., arranged.shape[-1] - before.shape[-1] :]
        return arranged

    def _scores(self, estimates: Tensor, powers: Tensor, memory: Tensor, before: Tensor) -> Tensor:
        """[b, K estimates, K slots]."""
        strength, level = memory.sum(dim=-1), powers.sum(dim=-1)
        known = strength > LEAK * strength.amax(dim=-1, keepdim=True).clamp(min=_TINY)
        heard = (level > LEAK * level.amax(dim=-1, keepdim=True).clamp(min=_TINY)).unsqueeze(2)
        spectrum = torch.where(known.unsqueeze(1), spectral_likeness(powers, memory), STRANGER)
        waveform = waveform_likeness(estimates, before)
        rank = level.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
        loudest_first = _LEVEL_FIRST * self._ranks[rank].unsqueeze(2) * self._ranks
        return torch.where(heard, spectrum + waveform, _LEAK_WEIGHT * waveform) + loudest_first

    def state(self) -> dict[str, Any]:
        """A copy of what is remembered."""
        return {"spectra": self._spectra.cpu().clone(), "before": self._before.cpu().clone()}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a `state()`."""
        self._spectra.copy_(state["spectra"])
        self._before.copy_(state["before"])
