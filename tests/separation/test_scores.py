"""SI-SDR against its definition, permutations, silence, and the ideal ratio mask."""

from __future__ import annotations

import math

import pytest
import torch

from auralnav.envs.acoustics.sounds import synthesise
from auralnav.errors import ShapeError
from auralnav.separation.scores import (
    LIMIT_DB,
    ideal_ratio_mask_ceiling,
    ideal_ratio_mask_estimates,
    pairwise_si_sdr,
    separation_score,
    si_sdr,
)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def by_definition(estimate: torch.Tensor, target: torch.Tensor) -> float:
    """Le Roux et al. (2019), equation 5."""
    s, e = target.double() - target.double().mean(), estimate.double() - estimate.double().mean()
    projection = (e @ s) / (s @ s) * s
    return float(10 * torch.log10(projection.square().sum() / (e - projection).square().sum()))


def test_si_sdr_is_what_its_definition_says() -> None:
    target = noise(3, 500)
    for level in (0.01, 0.3, 1.0, 10.0):
        estimate = target + level * noise(3, 500, seed=1) + 0.2
        expected = [by_definition(e, t) for e, t in zip(estimate, target, strict=True)]
        assert si_sdr(estimate, target).tolist() == pytest.approx(expected, abs=1e-6)


def test_orthogonal_noise_of_known_level_has_its_known_score() -> None:
    t = torch.arange(1600) / 1600
    target, other = torch.sin(2 * math.pi * 10 * t), torch.cos(2 * math.pi * 30 * t)
    assert float(si_sdr(target + 0.1 * other, target)) == pytest.approx(20.0, abs=1e-3)


def test_neither_scale_nor_sign_nor_offset_counts() -> None:
    target = noise(400)
    estimate = target + 0.5 * noise(400, seed=1)
    for changed in (7.0 * estimate, -0.01 * estimate, estimate + 3.0):
        assert float(si_sdr(changed, target)) == pytest.approx(float(si_sdr(estimate, target)), abs=1e-4)


def test_scores_are_finite_where_they_can_be_and_nan_where_they_mean_nothing() -> None:
    target = noise(400)
    assert float(si_sdr(target, target)) == LIMIT_DB
    assert float(si_sdr(torch.zeros(400), target)) == -LIMIT_DB
    assert si_sdr(target, torch.zeros(400)).isnan()
    assert si_sdr(target, torch.full((400,), 0.3)).isnan(), "a constant is silence"


def test_the_best_permutation_is_found_and_silent_targets_get_the_rest() -> None:
    targets = noise(2, 3, 20_000)
    targets[1, 1] = 0.0
    mixture = targets.sum(dim=1)
    shuffled = targets[:, [2, 0, 1]] + 0.05 * noise(2, 3, 20_000, seed=1)
    estimates = torch.cat([0.01 * noise(2, 1, 20_000, seed=2), shuffled], dim=1)
    score = separation_score(estimates, targets, mixture)
    assert score.order[0].tolist() == [2, 3, 1]
    assert score.order[1, [0, 2]].tolist() == [2, 1]
    assert score.order[1, 1].item() in (0, 3)
    sounding = torch.tensor([[True, True, True], [True, False, True]])
    assert score.si_sdr.isfinite().tolist() == sounding.tolist()
    assert score.improvement.isfinite().tolist() == sounding.tolist()
    assert score.si_sdr[0].tolist() == pytest.approx([26.0] * 3, abs=0.5)
    # Each of three equal sources has 10 log10(1/2) dB in the mixture, each of two 0 dB.
    assert (score.si_sdr - score.improvement)[0].tolist() == pytest.approx([-3.0] * 3, abs=0.5)
    assert (score.si_sdr - score.improvement)[1, [0, 2]].tolist() == pytest.approx([0.0] * 2, abs=0.5)


def test_the_mixture_itself_improves_nothing() -> None:
    targets = noise(2, 2, 500)
    mixture = targets.sum(dim=1)
    score = separation_score(mixture.unsqueeze(1).expand(2, 2, 500), targets, mixture)
    assert score.improvement.abs().max() < 1e-6


def test_the_ideal_ratio_mask_separates_sources_that_share_no_bins() -> None:
    t = torch.arange(16_000) / 16_000
    targets = torch.stack([torch.sin(2 * math.pi * 500 * t), 0.5 * torch.sin(2 * math.pi * 3000 * t)])[None]
    score = ideal_ratio_mask_ceiling(targets, targets.sum(dim=1), 16_000)
    assert score.si_sdr.min() > 30


def test_the_ideal_ratio_mask_adds_up_to_the_mixture_and_counts_noise() -> None:
    targets = noise(1, 3, 4000)
    mixture = targets.sum(dim=1)
    estimates = ideal_ratio_mask_estimates(targets, mixture, 16_000)
    assert estimates.shape == targets.shape and estimates.dtype == torch.float32
    assert torch.allclose(estimates.sum(dim=1), mixture, atol=1e-4)
    noisy = mixture + 3.0 * noise(1, 4000, seed=5)
    left = noisy - ideal_ratio_mask_estimates(targets, noisy, 16_000).sum(dim=1)
    assert float(left.square().mean()) > 1.0, "noise is not shared out among the sources"


def test_the_ceiling_of_our_own_sounds_is_where_masks_usually_end() -> None:
    """Published ceilings of this mask lie near 12 dB for two voices (Luo & Mesgarani 2019, table V: 12.2 dB)."""
    improvements = []
    for seed in range(1000, 1004):
        voices = torch.from_numpy(synthesise("speech", seed))[:32_000], torch.from_numpy(
            synthesise("speech", seed + 4)
        )[:32_000]
        targets = torch.stack(voices)[None]
        improvements.append(ideal_ratio_mask_ceiling(targets, targets.sum(dim=1), 16_000).improvement)
    assert 8 < float(torch.cat(improvements).mean()) < 18


def test_silence_is_masked_to_silence() -> None:
    zeros = torch.zeros(1, 2, 4000)
    assert ideal_ratio_mask_estimates(zeros, zeros[:, 0], 16_000).abs().max() == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pairwise_si_sdr(noise(2, 100), noise(2, 90)), "cannot be compared"),
        (lambda: si_sdr(noise(2, 100), noise(1, 100)), "differ in shape"),
        (lambda: separation_score(noise(1, 2, 100), noise(1, 3, 100), noise(1, 100)), "do not fit"),
        (lambda: separation_score(noise(1, 2, 100), noise(1, 2, 100), noise(1, 2, 100)), "do not fit"),
        (lambda: ideal_ratio_mask_estimates(noise(2, 100), noise(2, 100), 16_000), "do not fit"),
    ],
)
def test_shapes_that_do_not_fit_are_refused_in_one_line(call, message: str) -> None:
    with pytest.raises(ShapeError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
