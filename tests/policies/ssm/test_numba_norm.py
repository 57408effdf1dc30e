"""The compiled gated norm against plain torch in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from auralnav.errors import ShapeError
from auralnav.policies.ssm import norm, numba_arrays
from auralnav.policies.ssm.numba_norm import gated_norm


def problem(length: int, channels: int) -> list[Tensor]:
    rng = torch.Generator().manual_seed(length)
    return [torch.randn(*shape, generator=rng) for shape in ((3, length, channels),) * 2 + ((channels,),)]


def results(function, floats: list[Tensor], group: int, dtype: torch.dtype) -> list[Tensor]:
    inputs = [x.to(dtype, copy=True).requires_grad_() for x in floats]
    y = function(*inputs, group)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    return [y, *torch.autograd.grad((y * weights).sum(), inputs)]


def off(a: Tensor, b: Tensor) -> float:
    return float((a.detach().double() - b.detach()).norm() / b.detach().norm())


@pytest.mark.parametrize(("channels", "group"), [(64, 64), (64, 16), (48, 24), (20, 5), (20, 20)])
@pytest.mark.parametrize("length", [1, 7])
@pytest.mark.parametrize("scale", [1.0, 1e-4, 1e4])
def test_values_and_gradients_are_those_of_torch(length: int, channels: int, group: int, scale: float) -> None:
    floats = problem(length, channels)
    floats[0] *= scale
    ours = results(gated_norm, floats, group, torch.float32)
    for found, exact in zip(ours, results(norm.gated_norm, floats, group, torch.float64), strict=True):
        assert off(found, exact) < 2e-6


def test_gates_that_are_some_channels_of_a_wider_tensor_are_read_where_they_lie() -> None:
    x, z, weight = problem(5, 32)
    wide = torch.cat((z + 1.0, z, z), -1).requires_grad_()
    y = gated_norm(x, wide[..., 32:64], weight, 32)
    own = z.clone().requires_grad_()
    expected = gated_norm(x, own, weight, 32)
    assert torch.equal(y, expected)
    y.sum().backward()
    expected.sum().backward()
    assert wide.grad is not None and own.grad is not None
    assert torch.equal(wide.grad[..., 32:64], own.grad) and not wide.grad[..., 64:].any()


@pytest.mark.parametrize("length", [1, 5])
def test_inputs_may_lie_in_memory_in_any_way(length: int) -> None:
    x, z, weight = problem(length, 32)
    expected = results(gated_norm, [x, z, weight], 16, torch.float32)
    turned = [part.transpose(0, -1).contiguous().transpose(0, -1) for part in (x, z)]
    gaps = [torch.stack((part, torch.full_like(part, torch.nan)), 3)[..., 0] for part in (x, z)]
    wider = torch.stack((weight, torch.full_like(weight, torch.nan)), 1)[:, 0]
    for others in ([*turned, weight], [*gaps, wider]):
        inputs = [part.detach().requires_grad_() for part in others]
        y = gated_norm(*inputs, 16)
        weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
        found = [y, *torch.autograd.grad((y * weights).sum(), inputs)]
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    whole = gated_norm(x[:1].expand(3, -1, -1), z[:1].expand(3, -1, -1), weight, 16)
    assert torch.equal(whole, expected[0][:1].expand(3, -1, -1))


def test_zeros_and_saturated_gates_are_finite() -> None:
    x, z, weight = problem(4, 32)
    x[:, 0], z[:, 1], z[:, 2], z[:, 3] = 0.0, 0.0, 1e4, -1e4
    exact = results(norm.gated_norm, [x, z, weight], 32, torch.float64)
    for found, expected in zip(results(gated_norm, [x, z, weight], 32, torch.float32), exact, strict=True):
        assert found.isfinite().all() and off(found, expected) < 2e-6


def test_threads_change_nothing_beyond_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    floats = problem(9, 48)
    alone = results(gated_norm, floats, 24, torch.float32)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(numba_arrays, "PASSES_PER_THREAD", 1)
    for found, expected in zip(results(gated_norm, floats, 24, torch.float32), alone, strict=True):
        assert off(found, expected) < 1e-6


@pytest.mark.parametrize(
    ("position", "value", "said"),
    [
        (0, torch.zeros(4, 16), "give \\[B, L, D\\]"),
        (0, torch.zeros(3, 5, 17), "multiple of the group of 16"),
        (1, torch.zeros(3, 5, 16, dtype=torch.float64), "z is .*float64"),
        (2, torch.zeros(15), "weight is"),
    ],
)
def test_a_wrong_tensor_is_one_line(position: int, value: Tensor, said: str) -> None:
    floats = problem(5, 16)
    floats[position] = value
    with pytest.raises(ShapeError, match=said) as caught:
        gated_norm(*floats, 16)
    assert "\n" not in str(caught.value)
