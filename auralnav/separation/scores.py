"""How good separated sources are: SI-SDR, its improvement over the mixture, and the ideal ratio mask's ceiling.

SI-SDR: Le Roux, Wisdom, Erdogan & Hershey, "SDR – half-baked or well done?", ICASSP 2019, of signals freed of their
mean. Ideal ratio mask: Luo & Mesgarani, "Conv-TasNet", IEEE/ACM Trans. ASLP 27 (2019).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from auralnav.errors import ShapeError
from auralnav.separation.order import assign

LIMIT_DB = 100.0
"""SI-SDR is clipped to ± this: copies and strangers have finite scores."""

IRM_WINDOW_SECONDS, IRM_HOP_SECONDS = 0.032, 0.008
"""Hann window and hop of the ideal ratio mask."""

SILENT = 1e-6
"""RMS below which a target counts as silent (−120 dBFS)."""


def pairwise_si_sdr(estimates: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """SI-SDR of every estimate against every target, dB.

    With c the cosine of the angle between the two, SI-SDR = 10 log10(c² / (1 − c²)).

    Args:
        estimates: [..., K, N].
        targets: [..., J, N].

    Returns:
        float64 [..., K, J] within ±LIMIT_DB; −LIMIT_DB for a silent estimate, NaN for a silent target, against
        which nothing can be measured.

    Raises:
        ShapeError: shapes that do not fit each other.
    """
    if estimates.ndim < 2 or targets.ndim < 2 or estimates.shape[-1] != targets.shape[-1]:
        raise ShapeError(
            f"estimates {list(estimates.shape)} and targets {list(targets.shape)} cannot be compared: give "
            "[..., K, N] and [..., J, N] of one length N"
        )
    estimates, targets = _centred(estimates), _centred(targets)
    silent = targets.norm(dim=-1) < SILENT * math.sqrt(targets.shape[-1])
    cosine = (_unit(estimates) @ _unit(targets).transpose(-1, -2)).square()
    floor = 10.0 ** (-LIMIT_DB / 10.0)
    score = 10.0 * torch.log10(cosine.clamp(min=floor) / (1.0 - cosine).clamp(min=floor))
    return score.clamp(-LIMIT_DB, LIMIT_DB).masked_fill(silent.unsqueeze(-2), torch.nan)


def _centred(signals: torch.Tensor) -> torch.Tensor:
    signals = signals.double()
    return signals - signals.mean(dim=-1, keepdim=True)


def _unit(signals: torch.Tensor) -> torch.Tensor:
    """Signals [..., N] scaled to norm 1; zeros stay zeros."""
    norm = signals.norm(dim=-1, keepdim=True)
    return signals / torch.where(norm > 0, norm, 1.0)


def si_sdr(estimate: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """SI-SDR of estimates [..., N] against the targets [..., N] in the same places: float64 [...], dB.

    Values and errors as for :func:`pairwise_si_sdr`.
    """
    if estimate.shape != target.shape or estimate.ndim < 1:
        raise ShapeError(
            f"an estimate {list(estimate.shape)} and a target {list(target.shape)} differ in shape: give both [..., N]"
        )
    return pairwise_si_sdr(estimate.unsqueeze(-2), target.unsqueeze(-2))[..., 0, 0]


@dataclass(frozen=True)
class SeparationScore:
    """Scores of a batch of separations, each target with the estimate that the best permutation gives it.

    Attributes:
        si_sdr: float64 [B, J] dB, NaN for silent targets.
        improvement: float64 [B, J] dB over the mixture taken as the estimate (SI-SDRi), NaN for silent targets.
        order: int64 [B, J]: index of each target's estimate; silent targets get what is left over.
    """

    si_sdr: torch.Tensor
    improvement: torch.Tensor
    order: torch.Tensor


def separation_score(
    estimates: torch.Tensor, targets: torch.Tensor, mixture: torch.Tensor
) -> SeparationScore:
    """Score separations with the permutation whose mean SI-SDR over the sounding targets is highest.

    Args:
        estimates: [B, K, N].
        targets: [B, J, N], J ≤ K; some may be silent.
        mixture: [B, N], what was separated.

    Raises:
        ShapeError: shapes that do not fit each other, or more targets than estimates.
    """
    if (
        estimates.ndim != 3
        or targets.ndim != 3
        or targets.shape[0] != estimates.shape[0]
        or targets.shape[1] > estimates.shape[1]
        or mixture.shape != targets.shape[::2]
    ):
        raise ShapeError(
            f"estimates {list(estimates.shape)}, targets {list(targets.shape)} and mixture {list(mixture.shape)} "
            "do not fit: give [B, K, N], [B, J ≤ K, N] and [B, N]"
        )
    pairs = pairwise_si_sdr(estimates, targets)
    # A silent target costs the same with every estimate, so it takes what the others leave.
    order = assign(pairs.nan_to_num(0.0))
    best = pairs.gather(1, order.unsqueeze(1)).squeeze(1)
    before = pairwise_si_sdr(mixture.unsqueeze(1), targets).squeeze(1)
    return SeparationScore(best, best - before, order)


def ideal_ratio_mask_estimates(
    targets: torch.Tensor, mixture: torch.Tensor, sample_rate: int
) -> torch.Tensor:
    """What masking the mixture with |S_i| / Σ_j |S_j| gives, every source being known.

    Whatever the mixture holds beside the targets (noise) counts as one more S_j. STFT with a Hann window of 32 ms
    every 8 ms; the mixture's phase is kept.

    Args:
        targets: [B, J, N].
        mixture: [B, N].
        sample_rate: Hz.

    Returns:
        [B, J, N], of the targets' dtype.

    Raises:
        ShapeError: shapes that do not fit each other.
    """
    if targets.ndim != 3 or mixture.shape != targets.shape[::2]:
        raise ShapeError(
            f"targets {list(targets.shape)} and mixture {list(mixture.shape)} do not fit: give [B, J, N] and [B, N]"
        )
    size = round(IRM_WINDOW_SECONDS * sample_rate)
    hop = round(IRM_HOP_SECONDS * sample_rate)
    window = torch.hann_window(size, device=targets.device, dtype=targets.dtype)
    rest = mixture - targets.sum(dim=1)
    parts = torch.cat([targets, rest.unsqueeze(1), mixture.unsqueeze(1)], dim=1)
    rows = parts.flatten(0, 1)
    spectra = torch.stft(rows, size, hop, window=window, pad_mode="constant", return_complex=True)
    spectra = spectra.unflatten(0, parts.shape[:2])
    sizes = spectra[:, :-1].abs()
    masks = sizes[:, :-1] / sizes.sum(dim=1, keepdim=True).clamp(min=torch.finfo(sizes.dtype).tiny)
    masked = (masks * spectra[:, -1:]).flatten(0, 1)
    signals = torch.istft(masked, size, hop, window=window, length=mixture.shape[-1])
    return signals.unflatten(0, targets.shape[:2])


def ideal_ratio_mask_ceiling(
    targets: torch.Tensor, mixture: torch.Tensor, sample_rate: int
) -> SeparationScore:
    """The scores of :func:`ideal_ratio_mask_estimates`, by which a separator's own can be judged.

    Arguments and errors as there.
    """
    return separation_score(ideal_ratio_mask_estimates(targets, mixture, sample_rate), targets, mixture)
