import math
from itertools import permutations

import pytest
import torch

from auralnav.errors import ShapeError
from auralnav.separation import order as order_module
from auralnav.separation.losses import TAU, SeparationLoss, pairwise_losses

N = 4_000
BOTH = pytest.mark.parametrize("scale", ["fixed", "free"])


def sounds(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.05


def orthogonal(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """`second` [N] without its part along `first`, at the energy of `first`."""
    rest = second - (second @ first) / (first @ first) * first
    return rest * first.norm() / rest.norm()


def loss_of(estimate, target, mixture, scale="fixed") -> float:
    return float(pairwise_losses(estimate[None, None], target[None, None], mixture[None], scale))


@BOTH
@pytest.mark.parametrize("noise_db", [-60.0, -20.0, -10.0, 0.0, 6.0])
def test_an_active_target_costs_its_negative_ratio_down_to_30_db(scale, noise_db):
    target, noise = sounds(2, N)
    share = 10 ** (noise_db / 10)
    estimate = target + math.sqrt(share) * orthogonal(target, noise)
    assert loss_of(estimate, target, estimate, scale) == pytest.approx(10 * math.log10(share + TAU), abs=0.02)


def test_the_free_loss_is_the_bent_si_sdr_of_asteroid():
    from asteroid.losses import PairwiseNegSDR

    targets = sounds(2, 3, N)
    estimates = torch.tensor([[1.0, 0.3, 0.1], [0.5, 2.0, 0.2], [0.1, 0.1, 0.1]]) @ targets + sounds(2, 3, N, seed=1)
    theirs = PairwiseNegSDR("sisdr", zero_mean=False)(estimates, targets)
    ours = pairwise_losses(estimates, targets, targets.sum(1), "free")
    torch.testing.assert_close(ours, 10 * torch.log10(10 ** (theirs / 10) + TAU), atol=1e-3, rtol=0)


def test_only_the_free_loss_forgives_a_wrong_level():
    target = sounds(N)
    assert loss_of(0.1 * target, target, target, "free") == pytest.approx(-30.0, abs=0.01)
    assert loss_of(0.1 * target, target, target, "fixed") == pytest.approx(20 * math.log10(0.9), abs=0.02)


@pytest.mark.parametrize("level_db", [-80.0, -30.0, -10.0, 0.0])
def test_a_silent_target_costs_what_is_heard_of_the_mixture(level_db):
    mixture = sounds(N)
    estimate = 10 ** (level_db / 20) * mixture
    wanted = 10 * math.log10(10 ** (level_db / 10) + TAU)
    assert loss_of(estimate, torch.zeros(N), mixture) == pytest.approx(wanted, abs=1e-3)


@BOTH
def test_silence_in_place_of_a_source_is_as_bad_as_the_mixture_in_place_of_silence(scale):
    target = sounds(N)
    assert loss_of(torch.zeros(N), target, target, scale) == pytest.approx(0.0, abs=0.01)
    assert loss_of(target, torch.zeros(N), target, scale) == pytest.approx(0.0, abs=0.01)


@BOTH
def test_losses_do_not_depend_on_the_level_of_it_all(scale):
    estimates, targets = sounds(2, 4, N), sounds(2, 4, N, seed=1)
    targets[:, 2:] = 0
    mixture = targets.sum(1)
    quiet = pairwise_losses(0.01 * estimates, 0.01 * targets, 0.01 * mixture, scale)
    torch.testing.assert_close(quiet, pairwise_losses(estimates, targets, mixture, scale), atol=0.01, rtol=0)


@BOTH
def test_the_permutation_is_found_and_the_order_of_outputs_and_targets_does_not_matter(scale):
    targets = sounds(3, 4, N)
    targets[1, 2:] = 0
    targets[2, 1:] = 0
    mixture = targets.sum(1)
    loss = SeparationLoss(4, scale)
    for order in permutations(range(4)):
        assert float(loss(targets[:, order], targets, mixture)) == pytest.approx(-30.0, abs=0.05)
    estimates = targets + 0.3 * sounds(3, 4, N, seed=1)
    found = loss(estimates, targets, mixture)
    torch.testing.assert_close(loss(estimates[:, [2, 0, 3, 1]], targets, mixture), found)
    torch.testing.assert_close(loss(estimates, targets[:, [1, 3, 0, 2]], mixture), found)


def test_the_loss_is_the_least_mean_over_all_permutations():
    estimates, targets = sounds(1, 4, N), sounds(1, 4, N, seed=1)
    targets[:, 3] = 0
    mixture = targets.sum(1)
    table = pairwise_losses(estimates, targets, mixture)[0]
    least = min(float(sum(table[i, j] for j, i in enumerate(order)) / 4) for order in permutations(range(4)))
    assert float(SeparationLoss(4)(estimates, targets, mixture)) == pytest.approx(least, abs=1e-5)


@BOTH
@pytest.mark.filterwarnings("ignore:Creating a tensor from a list:UserWarning")  # Asteroid's, above three sources
@pytest.mark.parametrize("sources", [1, 2, 4, 6])
def test_loss_and_gradients_are_those_of_asteroids_wrapper(scale, sources):
    from asteroid.losses import PITLossWrapper

    targets, estimates = sounds(5, sources, N), sounds(5, sources, N, seed=1)
    targets[1, 1:], targets[2, 2:] = 0, 0
    mixture = targets.sum(1)
    estimates = (estimates + targets.roll(1, 1)).requires_grad_()

    def pairs(estimates: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        silent = (targets == 0).all(-1)[:, None, :]
        losses = pairwise_losses(estimates, targets, mixture, scale)
        return torch.where(silent, 0.1 * losses, losses)

    theirs = PITLossWrapper(pairs, pit_from="pw_mtx")(estimates, targets)
    ours = SeparationLoss(sources, scale)(estimates, targets, mixture, 0.1)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(torch.autograd.grad(ours, estimates), torch.autograd.grad(theirs, estimates))


def test_the_weight_of_silence_counts_for_silent_targets_alone():
    targets = sounds(1, 2, N)
    targets[:, 1] = 0
    mixture = targets.sum(1)
    estimates = torch.stack([0.5 * targets[:, 0], 0.5 * targets[:, 0]], dim=1)
    active, silent = (float(pairwise_losses(estimates, targets, mixture)[0, 0, j]) for j in (0, 1))
    weighted = SeparationLoss(2)(estimates, targets, mixture, silence_weight=3.0)
    assert float(weighted) == pytest.approx((active + 3.0 * silent) / 2, abs=1e-5)


@BOTH
@pytest.mark.parametrize("case", ["all", "some", "no sound", "no estimate", "perfect"])
def test_gradients_are_finite(scale, case):
    targets, estimates = sounds(2, 4, N), sounds(2, 4, N, seed=1)
    targets[:, {"some": 2, "no sound": 0}.get(case, 4) :] = 0
    if case == "no estimate":
        estimates = torch.zeros_like(estimates)
    elif case == "perfect":
        estimates = targets.clone()
    estimates.requires_grad_()
    loss = SeparationLoss(4, scale)(estimates, targets, targets.sum(1))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(estimates.grad).all()


def test_half_precision_estimates_are_compared_in_single():
    targets = sounds(1, 2, 16_000)
    estimates = targets.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        losses = pairwise_losses(estimates, targets, targets.sum(1))
    torch.testing.assert_close(losses, pairwise_losses(estimates.float(), targets, targets.sum(1)))
    assert losses.dtype == torch.float32


@pytest.mark.parametrize("shapes", [((1, 3, 9), (1, 2, 9), (1, 9)), ((1, 2, 9), (1, 2, 9), (1, 8))])
def test_shapes_that_do_not_belong_together_are_named(shapes):
    with pytest.raises(ShapeError, match=r"give \[B, K, N\]"):
        pairwise_losses(*(torch.zeros(shape) for shape in shapes))


@pytest.mark.parametrize("sources", [1, 4, 5, 6])
def test_the_loss_of_up_to_five_sources_needs_no_host(monkeypatch, sources):
    loss = SeparationLoss(sources)
    used, hungarian = [], order_module.linear_sum_assignment
    monkeypatch.setattr(
        order_module, "linear_sum_assignment", lambda table, **keys: used.append(table) or hungarian(table, **keys)
    )
    loss(sounds(2, sources, N, seed=1), sounds(2, sources, N), sounds(2, sources, N).sum(1))
    assert loss.stays_on_device == (not used) == (sources <= 5)
