"""The compiled single steps against the formulas in float64, and against the scan."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from auralnav.errors import ShapeError
from auralnav.policies.ssm import numba_arrays
from auralnav.policies.ssm.numba_scan import selective_scan
from auralnav.policies.ssm.numba_step import chunk_step, selective_step


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape)


def mamba(rows: int, channels: int, order: int) -> list[Tensor]:
    return [
        normal(rows, channels),
        normal(rows, channels).abs(),
        -torch.exp(normal(channels, order)),
        normal(rows, order),
        normal(rows, order),
        normal(channels),
        normal(rows, channels, order),
    ]


def mamba2(rows: int, heads: int, headdim: int, groups: int, order: int) -> list[Tensor]:
    return [
        normal(rows, heads, headdim),
        normal(rows, heads).abs(),
        -torch.exp(normal(heads)),
        normal(rows, groups, order),
        normal(rows, groups, order),
        normal(heads),
        normal(rows, heads, headdim, order),
    ]


def mamba_exact(inputs: list[Tensor]) -> tuple[Tensor, Tensor]:
    u, dt, A, B, C, D, h = (x.double() for x in inputs)
    h = torch.exp(dt[..., None] * A) * h + (dt * u)[..., None] * B[:, None]
    return (h * C[:, None]).sum(-1) + D * u, h


def mamba2_exact(inputs: list[Tensor]) -> tuple[Tensor, Tensor]:
    x, dt, A, B, C, D, h = (x.double() for x in inputs)
    B, C = (part.repeat_interleave(x.shape[1] // part.shape[1], 1)[:, :, None] for part in (B, C))
    h = torch.exp(dt * A)[..., None, None] * h + (dt[..., None] * x)[..., None] * B
    return (h * C).sum(-1) + D[:, None] * x, h


def close(got: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> None:
    for a, b in zip(got, expected, strict=True):
        assert float((a.detach().double() - b).norm() / b.norm()) < 1e-6


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("sizes", [(1, 32, 16), (3, 20, 5), (2, 16, 40)])
def test_a_step_of_mamba_is_its_formula(sizes: tuple[int, int, int], inplace: bool) -> None:
    inputs = mamba(*sizes)
    expected = mamba_exact(inputs)
    before = inputs[6].clone()
    y, h = selective_step(*inputs, inplace=inplace)
    close((y, h), expected)
    assert (h is inputs[6]) == inplace and torch.equal(before, inputs[6]) != inplace


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("sizes", [(1, 4, 8, 1, 32), (3, 6, 5, 2, 20), (2, 4, 3, 4, 7)])
def test_a_step_of_mamba2_is_its_formula(sizes: tuple[int, int, int, int, int], inplace: bool) -> None:
    inputs = mamba2(*sizes)
    expected = mamba2_exact(inputs)
    before = inputs[6].clone()
    y, h = chunk_step(*inputs, inplace=inplace)
    close((y, h), expected)
    assert (h is inputs[6]) == inplace and torch.equal(before, inputs[6]) != inplace


def test_steps_in_a_loop_are_the_scan() -> None:
    (_, _, A, _, _, D, h), L = mamba(2, 32, 16), 40
    u, dt, B, C = normal(2, L, 32), normal(2, L, 32).abs(), normal(2, L, 16), normal(2, L, 16)
    y, last = selective_scan(u, dt, A, B, C, D, h0=h)
    for t in range(L):
        out, h = selective_step(u[:, t], dt[:, t], A, B[:, t], C[:, t], D, h, inplace=t > 0)
        torch.testing.assert_close(out, y[:, t], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(h, last, rtol=1e-5, atol=1e-6)


def test_in_place_writes_through_a_transposed_state() -> None:
    inputs = mamba(2, 16, 16)
    expected = mamba_exact(inputs)
    memory = inputs[6].transpose(1, 2).contiguous()
    inputs[6] = memory.transpose(1, 2)
    _, h = selective_step(*inputs, inplace=True)
    assert h is inputs[6]
    close((memory.transpose(1, 2),), expected[1:])


@pytest.mark.parametrize("kind", ["mamba", "mamba2"])
def test_a_step_that_records_has_the_gradients_of_its_formula(kind: str) -> None:
    if kind == "mamba":
        inputs, step, exact = mamba(2, 16, 16), selective_step, mamba_exact
    else:
        inputs, step, exact = mamba2(2, 4, 4, 2, 16), chunk_step, mamba2_exact
    ours = [x.clone().requires_grad_() for x in inputs]
    doubles = [x.double().requires_grad_() for x in inputs]
    got, expected = step(*ours), exact(doubles)
    close(got, tuple(x.detach() for x in expected))
    weights = [normal(*x.shape) for x in got]
    torch.autograd.backward(got, weights)
    torch.autograd.backward(expected, [x.double() for x in weights])
    close(tuple(x.grad for x in ours), tuple(x.grad for x in doubles))
    with pytest.raises(ShapeError, match="in place cannot record"):
        step(*ours, inplace=True)


def test_threads_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = mamba2(5, 4, 8, 1, 16)
    alone = chunk_step(*inputs)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr(numba_arrays, "PASSES_PER_THREAD", 1)
    for a, b in zip(alone, chunk_step(*inputs), strict=True):
        assert torch.equal(a, b)


def test_wrong_tensors_are_one_line() -> None:
    inputs = mamba(2, 16, 16)
    with pytest.raises(ShapeError, match="h is"):
        selective_step(*inputs[:6], normal(2, 16, 15))
    with pytest.raises(ShapeError, match="u has 3 axes"):
        selective_step(normal(2, 1, 16), *inputs[1:])
    heads = mamba2(1, 3, 2, 2, 16)
    with pytest.raises(ShapeError, match="2 groups for 3 heads"):
        chunk_step(*heads)
