"""SI-SDR against torchmetrics' and Asteroid's own, which the `separation` extra brings."""

from __future__ import annotations

import importlib
import warnings

import pytest
import torch

from auralnav.separation.scores import pairwise_si_sdr, separation_score, si_sdr


def outside(name: str):
    """A module of the extra; its warnings at import are not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(name)
        except ImportError as error:
            pytest.skip(f"{name} cannot be imported ({error}): pip install 'auralnav[separation]'")


def signals() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    targets = torch.randn(6, 3, 2000, generator=generator)
    noise = torch.randn(6, 3, 2000, generator=generator)
    levels = torch.logspace(-2, 1, 6)[:, None, None]
    return (targets + levels * noise + 0.1)[:, [1, 2, 0]], targets


def test_torchmetrics_gives_the_same_si_sdr() -> None:
    theirs = outside("torchmetrics.functional").scale_invariant_signal_distortion_ratio
    estimates, targets = signals()
    expected = theirs(estimates, targets, zero_mean=True)
    assert torch.allclose(si_sdr(estimates, targets), expected.double(), atol=1e-3)


def test_asteroid_gives_the_same_pairs_and_the_same_permutation() -> None:
    sdr, wrapper = outside("asteroid.losses.sdr"), outside("asteroid.losses.pit_wrapper")
    estimates, targets = signals()
    expected = -sdr.PairwiseNegSDR("sisdr")(estimates, targets)
    assert torch.allclose(pairwise_si_sdr(estimates, targets), expected.double(), atol=1e-3)
    loss = wrapper.PITLossWrapper(sdr.PairwiseNegSDR("sisdr"), pit_from="pw_mtx")
    mean, ordered = loss(estimates, targets, return_est=True)
    score = separation_score(estimates, targets, targets.sum(dim=1))
    assert float(score.si_sdr.mean()) == pytest.approx(-float(mean), abs=1e-3)
    ours = estimates.gather(1, score.order[..., None].expand_as(estimates))
    assert torch.equal(ours, ordered)
