"""The compiled causal convolution against torch's own and against a plain loop over the taps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from auralnav.errors import ShapeError
from auralnav.policies.ssm import numba_arrays
from auralnav.policies.ssm.numba_conv import causal_conv

NAMES = ("x", "weight", "bias", "taps")


def loop(x: Tensor, weight: Tensor, bias: Tensor, taps: Tensor, seq_idx: Tensor | None) -> Tensor:
    lags = weight.shape[1] - 1
    everything = torch.cat((taps.transpose(1, 2), x), 1)
    numbers = torch.zeros(x.shape[:2], dtype=torch.int32) if seq_idx is None else seq_idx
    numbers = torch.cat((numbers[:, :1].expand(-1, lags), numbers), 1)
    outputs = []
    for t in range(lags, everything.shape[1]):
        out = bias.expand(len(x), -1)
        for lag in range(lags + 1):
            same = (numbers[:, t - lag] == numbers[:, t])[:, None]
            out = out + weight[:, lags - lag] * torch.where(same, everything[:, t - lag], 0.0)
        outputs.append(F.silu(out))
    return torch.stack(outputs, 1)


def problem(
    rows: int, length: int, channels: int, width: int, cuts: float | None
) -> tuple[list[Tensor], Tensor | None]:
    rng = torch.Generator().manual_seed(length)
    shapes = ((rows, length, channels), (channels, width), (channels,), (rows, channels, width - 1))
    floats = [torch.randn(*shape, generator=rng) for shape in shapes]
    if cuts is None:
        return floats, None
    ends = torch.rand(rows, length, generator=rng) < cuts
    ends[:, 0] = False
    return floats, ends.cumsum(1).int()


def off(a: Tensor | None, b: Tensor | None) -> float:
    assert a is not None and b is not None
    a, b = a.detach().double(), b.detach().double()
    return float((a - b).norm() / b.norm().clamp_min(1e-30))


@pytest.mark.parametrize("cuts", [None, 0.3, 1.0])
@pytest.mark.parametrize(("channels", "width"), [(32, 4), (20, 2), (16, 1)])
@pytest.mark.parametrize("length", [1, 2, 3, 4, 17, 65])
def test_values_and_gradients_are_those_of_a_float64_loop(
    length: int, channels: int, width: int, cuts: float | None
) -> None:
    floats, seq_idx = problem(3, length, channels, width, cuts)
    ours = [x.clone().requires_grad_() for x in floats]
    exact = [x.double().requires_grad_() for x in floats]
    y = causal_conv(*ours[:3], seq_idx=seq_idx, taps=None if width == 1 else ours[3])
    expected = loop(*exact, seq_idx)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    y.backward(weights)
    expected.backward(weights.double())
    assert off(y, expected) < 1e-6
    for name, a, b in zip(NAMES, ours, exact, strict=True):
        if name != "taps" or width > 1:
            assert off(a.grad, b.grad) < 3e-6, name


def test_without_taps_it_is_the_padded_convolution_of_torch() -> None:
    (x, weight, bias, _), _ = problem(2, 30, 48, 4, None)
    reference = F.silu(F.conv1d(x.transpose(1, 2), weight[:, None], bias, padding=3, groups=48)[..., :30])
    torch.testing.assert_close(causal_conv(x, weight, bias), reference.transpose(1, 2), rtol=1e-5, atol=1e-6)


def test_some_channels_of_a_wider_tensor_are_read_where_they_lie() -> None:
    (x, weight, bias, _), _ = problem(2, 9, 32, 4, None)
    wide = torch.cat((x + 1.0, x, x + 2.0), -1).requires_grad_()
    y = causal_conv(wide[..., 32:64], weight, bias)
    own = x.clone().requires_grad_()
    expected = causal_conv(own, weight, bias)
    assert torch.equal(y, expected)
    y.square().sum().backward()
    expected.square().sum().backward()
    assert wide.grad is not None and own.grad is not None
    assert torch.equal(wide.grad[..., 32:64], own.grad) and not wide.grad[..., :32].any()
    # Neither channels first nor rows apart from each other fit one stride; they are copied.
    turned = x.transpose(1, 2).contiguous().transpose(1, 2)
    apart = torch.cat((x, x), 1)[:, :9]
    assert torch.equal(causal_conv(turned, weight, bias), expected)
    assert torch.equal(causal_conv(apart, weight, bias), expected)


def test_no_gradient_crosses_a_cut_inside_the_window() -> None:
    (x, weight, bias, taps), _ = problem(1, 8, 16, 4, None)
    seq_idx = torch.tensor([[0, 0, 1, 1, 1, 2, 3, 3]], dtype=torch.int32)
    x, taps = x.requires_grad_(), taps.requires_grad_()
    causal_conv(x, weight, bias, seq_idx, taps)[:, 2:5].sum().backward()
    assert x.grad is not None and taps.grad is not None
    assert not x.grad[:, :2].any() and not x.grad[:, 5:].any() and not taps.grad.any()
    assert x.grad[:, 2:5].all()


def test_large_inputs_saturate_and_stay_finite() -> None:
    (x, weight, bias, _), _ = problem(1, 6, 16, 4, None)
    x = (x * 1e6).requires_grad_()
    y = causal_conv(x, weight, bias)
    y.sum().backward()
    assert x.grad is not None and torch.isfinite(y).all() and torch.isfinite(x.grad).all()


@pytest.mark.parametrize("rows", [1, 3])
def test_threads_change_nothing_beyond_rounding(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    floats, seq_idx = problem(rows, 40, 64, 4, 0.1)
    results = []
    for threads in (1, 4):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        monkeypatch.setattr(numba_arrays, "PASSES_PER_THREAD", 1)
        ours = [x.clone().requires_grad_() for x in floats]
        y = causal_conv(*ours[:3], seq_idx=seq_idx, taps=ours[3])
        y.sin().sum().backward()
        results.append([y, *(x.grad for x in ours)])
    for a, b in zip(*results, strict=True):
        assert off(a, b) < 1e-6


@pytest.mark.parametrize(
    ("position", "value", "said"),
    [
        (0, torch.zeros(4, 16), "x has 2 axes"),
        (0, torch.zeros(2, 4, 16, dtype=torch.bfloat16), "bfloat16"),
        (1, torch.zeros(15, 4), "weight is"),
        (2, torch.zeros(15), "bias is"),
        (3, torch.zeros(2, 16, 4), "taps is"),
    ],
)
def test_a_wrong_tensor_is_one_line(position: int, value: Tensor, said: str) -> None:
    floats, _ = problem(2, 4, 16, 4, None)
    floats[position] = value
    with pytest.raises(ShapeError, match=said) as caught:
        causal_conv(*floats[:3], taps=floats[3])
    assert "\n" not in str(caught.value)
