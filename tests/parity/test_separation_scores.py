"""SI-SDR against torchmetrics' and Asteroid's own, which the `separation` extra brings."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch

from auralnav.separation.scores import pairwise_si_sdr, separation_score, si_sdr


def outside(name: str) -> Any:
    """A module of the extra; what it warns of at import is not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, reason=f"{name} is missing: pip install 'auralnav[separation]'")


def signals() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    targets = torch.randn(6, 3, 2000, generator=generator, dtype=torch.float64)
    noise = torch.randn(6, 3, 2000, generator=generator, dtype=torch.float64)
    levels = torch.logspace(-2, 1, 6)[:, None, None]
    return (targets + levels * noise + 0.1)[:, [1, 2, 0]], targets


def test_torchmetrics_gives_the_same_si_sdr() -> None:
    theirs = outside("torchmetrics.functional").scale_invariant_signal_distortion_ratio
    estimates, targets = signals()
    expected = theirs(estimates, targets, zero_mean=True)
    assert torch.allclose(si_sdr(estimates, targets), expected, atol=1e-6)


def test_asteroid_gives_the_same_pairs_and_the_same_permutation() -> None:
    wrapper = outside("asteroid.losses").PITLossWrapper
    # Its EPS is added to energies and ratios: at 1e-8 it shifts scores of −46 dB by 0.002 dB.
    pairwise = outside("asteroid.losses.sdr").PairwiseNegSDR("sisdr", EPS=1e-15)
    estimates, targets = signals()
    assert torch.allclose(pairwise_si_sdr(estimates, targets), -pairwise(estimates, targets), atol=1e-6)
    mean, ordered = wrapper(pairwise, pit_from="pw_mtx")(estimates, targets, return_est=True)
    score = separation_score(estimates, targets, targets.sum(dim=1))
    assert float(score.si_sdr.mean()) == pytest.approx(-float(mean), abs=1e-6)
    assert torch.equal(estimates.gather(1, score.order[..., None].expand_as(estimates)), ordered)
