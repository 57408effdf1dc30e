"""The compiled chunk scan of Mamba-2 against the torch form in float64, and what a backward pass can get wrong."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from auralnav.errors import ShapeError
from auralnav.policies.ssm import numba_arrays, ssd_torch
from auralnav.policies.ssm.numba_ssd import chunk_scan

NAMES = ("x", "dt", "A", "B", "C", "D", "h0")
# (heads, headdim, groups, d_state): whole vectors; odd sizes and groups of several heads; less than a vector.
SIZES = [(4, 16, 1, 32), (6, 20, 3, 10), (2, 3, 2, 5)]
LENGTHS = [1, 2, 3, 15, 16, 17, 64, 65, 130]


def problem(
    rows: int, length: int, sizes: tuple[int, int, int, int], cuts: float | None = None
) -> tuple[list[Tensor], Tensor | None]:
    """The float inputs in the order of NAMES, and episodes that end with probability `cuts` a step."""
    heads, width, groups, order = sizes
    rng = torch.Generator().manual_seed(length)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng)

    floats = [
        normal(rows, length, heads, width),
        normal(rows, length, heads).abs() / 5,
        -torch.exp(normal(heads)),
        normal(rows, length, groups, order),
        normal(rows, length, groups, order),
        normal(heads),
        normal(rows, heads, width, order),
    ]
    if cuts is None:
        return floats, None
    ends = torch.rand(rows, length, generator=rng) < cuts
    ends[:, 0] = False
    return floats, ends.cumsum(1).int()


def numbers(*lengths: int) -> Tensor:
    """Episode numbers [1, L] of episodes of these lengths."""
    return torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))[None].int()


def results(
    function: Callable[..., tuple[Tensor, Tensor | None]],
    floats: list[Tensor],
    seq_idx: Tensor | None = None,
    chunk: int = 16,
    dtype: torch.dtype = torch.float32,
    h0: bool = True,
    with_state: bool = True,
) -> dict[str, Tensor]:
    """Values and all gradients by name, of a loss that weighs every value differently."""
    inputs = [x.to(dtype, copy=True).requires_grad_() for x in (floats if h0 else floats[:-1])]
    y, h = function(*inputs[:6], chunk, seq_idx, inputs[6] if h0 else None, with_state)
    assert (h is not None) == with_state
    named = {"y": y} if h is None else {"y": y, "h": h}
    rng = torch.Generator().manual_seed(1)
    loss = sum((v * torch.randn(v.shape, generator=rng).to(dtype)).sum() for v in named.values())
    assert isinstance(loss, Tensor)
    gradients = torch.autograd.grad(loss, inputs)
    return {name: v.detach() for name, v in named.items()} | dict(zip(NAMES, gradients, strict=False))


def exact(floats: list[Tensor], seq_idx: Tensor | None = None, **options: bool) -> dict[str, Tensor]:
    return results(ssd_torch.chunk_scan, floats, seq_idx, dtype=torch.float64, **options)


def by_steps(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    chunk: int,
    seq_idx: Tensor | None,
    h: Tensor,
    with_state: bool,
) -> tuple[Tensor, Tensor]:
    """The scan as a loop, which sums no decays: those of the torch form lose their digits behind one of 1e30."""
    outputs = []
    for t in range(x.shape[1]):
        if seq_idx is not None and t:
            h = torch.where((seq_idx[:, t] == seq_idx[:, t - 1])[:, None, None, None], h, 0.0)
        y, h = ssd_torch.chunk_step(x[:, t], dt[:, t], A, B[:, t], C[:, t], D, h)
        outputs.append(y)
    return torch.stack(outputs, 1), h


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], bound: float = 3e-6) -> None:
    for name, b in expected.items():
        a = found[name].double()
        # Where no decay has a part in anything, A has none either, but for rounding in the float64 of torch.
        floor = 1e-12 * expected["y"].double().norm()
        assert float((a - b.double()).norm()) <= bound * float(b.double().norm()) + float(floor), name


@pytest.mark.parametrize("cuts", [None, 0.1, 1.0])
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("length", LENGTHS)
def test_values_and_gradients_are_those_of_torch_in_float64(
    length: int, sizes: tuple[int, int, int, int], cuts: float | None
) -> None:
    floats, seq_idx = problem(3, length, sizes, cuts)
    for chunk in (16, 64):
        assert_same(results(chunk_scan, floats, seq_idx, chunk), exact(floats, seq_idx))


@pytest.mark.parametrize("h0", [False, True])
@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize("length", [7, 33])
def test_states_may_be_given_and_wanted_or_not(length: int, h0: bool, with_state: bool) -> None:
    for cuts in (None, 0.1):
        floats, seq_idx = problem(2, length, SIZES[1], cuts)
        found = results(chunk_scan, floats, seq_idx, h0=h0, with_state=with_state)
        assert_same(found, exact(floats, seq_idx, h0=h0, with_state=with_state))


@pytest.mark.parametrize("name", ["y", "h"])
def test_a_loss_of_one_result_alone_has_gradients(name: str) -> None:
    floats, seq_idx = problem(2, 40, SIZES[1], 0.03)
    gradients = []
    for function, dtype in ((chunk_scan, torch.float32), (ssd_torch.chunk_scan, torch.float64)):
        inputs = [x.to(dtype, copy=True).requires_grad_() for x in floats]
        y, h = function(*inputs[:6], 16, seq_idx, inputs[6], True)
        out = y if name == "y" else h
        assert out is not None
        found = torch.autograd.grad(out.square().sum(), inputs, allow_unused=True)
        gradients.append([torch.zeros_like(x) if g is None else g for g, x in zip(found, inputs, strict=True)])
    for name, a, b in zip(NAMES, *gradients, strict=True):
        assert float((a.double() - b).norm()) <= 3e-6 * float(b.norm()), name


@pytest.mark.parametrize("wanted", [("x",), ("dt",), ("A",), ("B", "D"), ("C",), ("h0",)])
def test_only_some_gradients_may_be_wanted(wanted: tuple[str, ...]) -> None:
    floats, seq_idx = problem(2, 20, SIZES[1], 0.1)
    whole = results(chunk_scan, floats, seq_idx, with_state=False)
    inputs = [x.clone().requires_grad_(name in wanted) for name, x in zip(NAMES, floats, strict=True)]
    y, _ = chunk_scan(*inputs[:6], 16, seq_idx, inputs[6])
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    (y * weights).sum().backward()
    for name, x in zip(NAMES, inputs, strict=True):
        assert (x.grad is not None) == (name in wanted)
        assert x.grad is None or torch.equal(x.grad, whole[name])


@pytest.mark.parametrize("lengths", [(16, 17), (1, 15, 16, 1), (5, 22, 6), (33,), (32, 1)])
def test_packed_episodes_are_the_separate_ones_bit_for_bit_and_no_gradient_crosses_a_cut(
    lengths: tuple[int, ...],
) -> None:
    floats, _ = problem(1, 33, SIZES[1])
    inputs = [x.clone().requires_grad_() for x in floats]
    y, h = chunk_scan(*inputs[:6], 16, numbers(*lengths), inputs[6], True)
    assert h is not None
    start = 0
    for number, length in enumerate(lengths):
        span = slice(start, start + length)
        alone = [x[:, span] if name in ("x", "dt", "B", "C") else x for name, x in zip(NAMES, floats, strict=True)]
        expected, last = chunk_scan(*alone[:6], 16, None, None if number else alone[6], True)
        assert torch.equal(y[:, span], expected)
        if number + 1 == len(lengths):
            assert last is not None and torch.equal(h, last)
        gradients = torch.autograd.grad(y[:, span].sum(), inputs, retain_graph=True)
        for name, gradient in zip(NAMES, gradients, strict=True):
            if name in ("x", "dt", "B", "C"):
                assert not gradient[:, :start].any() and not gradient[:, start + length :].any(), name
                assert gradient[:, span].any(), name
        assert gradients[6].any() == (number == 0)
        start += length


@pytest.mark.parametrize("value", [1e30, torch.inf, torch.nan])
@pytest.mark.parametrize("cut", [3, 16, 20])
def test_nothing_of_an_earlier_episode_leaks_whatever_it_holds(value: float, cut: int) -> None:
    floats, _ = problem(1, 40, SIZES[1])
    seq_idx = numbers(cut, 40 - cut)
    gradients, values = [], []
    for spoilt in (False, True):
        inputs = [x.clone() for x in floats]
        if spoilt:
            for name in ("x", "B", "C"):
                inputs[NAMES.index(name)][:, cut - 1] = value
            inputs[6].fill_(value)
        inputs = [x.requires_grad_() for x in inputs]
        y, h = chunk_scan(*inputs[:6], 16, seq_idx, inputs[6], True)
        assert h is not None
        loss = y[:, cut:].square().sum() + h.square().sum()
        found = torch.autograd.grad(loss, inputs[:5])
        gradients.append([g[:, cut:] if g.ndim > 1 else g for g in found])
        values.append((y[:, cut:], h))
    assert all(torch.equal(a, b) for a, b in zip(*values, strict=True))
    for name, a, b in zip(NAMES, *gradients, strict=False):
        if name != "A":  # its sum goes over all steps, and zero times what is not finite is not zero
            assert torch.equal(a, b), name


def test_steps_of_length_zero_change_nothing_and_pass_everything_on() -> None:
    floats, _ = problem(2, 40, SIZES[1])
    floats[1][:, 5:30] = 0.0
    assert_same(results(chunk_scan, floats), exact(floats))
    floats[1][:] = 0.0
    found = results(chunk_scan, floats)
    assert torch.equal(found["h"], floats[6])
    assert_same(found, exact(floats))


@pytest.mark.parametrize("size", [1e2, 1e6, 1e30])
def test_very_long_steps_leave_exact_gradients(size: float) -> None:
    floats, seq_idx = problem(2, 40, SIZES[1], 0.1)
    floats[1][:, 7] = floats[1][:, 16] = floats[1][:, 31] = size
    floats[0][:, [7, 16, 31]] /= size
    found, expected = (
        results(function, floats, seq_idx, dtype=dtype)
        for function, dtype in ((chunk_scan, torch.float32), (by_steps, torch.float64))
    )
    for part in (*found.values(), *expected.values()):
        assert part.isfinite().all()
    # The long steps' own gradients are as much smaller as the steps are longer: each kind is compared by itself.
    usual = torch.ones(40, dtype=torch.bool)
    usual[[7, 16, 31]] = False
    for name in ("x", "dt"):
        for steps in (usual, ~usual):
            a, b = found[name][:, steps].double(), expected[name][:, steps]
            assert float((a - b).norm()) <= 1e-5 * float(b.norm()), name
    for name in ("y", "h", "A", "B", "C", "D"):
        assert float((found[name].double() - expected[name]).norm()) <= 1e-5 * float(expected[name].norm()), name


def test_where_everything_decays_at_once_the_gradients_of_the_decays_are_nothing_and_no_rounding() -> None:
    floats, _ = problem(1, 40, SIZES[1])
    floats[2].fill_(-1e4)
    floats[1].fill_(1.0)
    inputs = [x.clone().requires_grad_() for x in floats]
    y, _ = chunk_scan(*inputs[:6], 16, None, inputs[6])
    gradient_a, gradient_h0 = torch.autograd.grad(y.square().sum(), [inputs[2], inputs[6]])
    assert y.any() and not gradient_a.any() and not gradient_h0.any()


def test_a_nan_stays_in_its_row_and_head_and_behind_its_chunks_start() -> None:
    floats, _ = problem(2, 40, SIZES[1])
    floats[1][1, 20, 3] = torch.nan
    y, h = chunk_scan(*floats[:6], 16, None, floats[6], True)
    assert h is not None
    assert y[1, 20:, 3].isnan().all() and h[1, 3].isnan().all()
    others = [head for head in range(6) if head != 3]
    assert y[0].isfinite().all() and y[1, :14].isfinite().all() and y[1][:, others].isfinite().all()


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("sizes", [(6, 16, 3, 16), (6, 16, 1, 16)])
def test_threads_change_no_value_and_no_gradient_beyond_rounding(
    rows: int, sizes: tuple[int, int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    floats, seq_idx = problem(rows, 70, sizes, 0.05)
    alone = results(chunk_scan, floats, seq_idx)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(numba_arrays, "PASSES_PER_THREAD", 1)
    shared = results(chunk_scan, floats, seq_idx)
    assert torch.equal(shared["y"], alone["y"]) and torch.equal(shared["h"], alone["h"])
    assert_same(shared, alone, 1e-6)
    again = results(chunk_scan, floats, seq_idx)
    assert all(torch.equal(again[name], shared[name]) for name in shared)


def test_channels_of_one_wide_tensor_are_read_where_they_lie() -> None:
    floats, _ = problem(2, 20, SIZES[0])
    wide = torch.cat([floats[i].flatten(2) for i in (0, 3, 4)], -1).requires_grad_()
    parts = wide.split([64, 32, 32], -1)
    x, b, c = parts[0].unflatten(-1, (4, 16)), parts[1].unflatten(-1, (1, 32)), parts[2].unflatten(-1, (1, 32))
    y, _ = chunk_scan(x, floats[1], floats[2], b, c, floats[5], 16)
    y.sin().sum().backward()
    apart = [x.clone().requires_grad_() for x in floats]
    expected, _ = chunk_scan(*apart[:6], 16)
    expected.sin().sum().backward()
    assert torch.equal(y, expected) and wide.grad is not None
    for part, i in zip(wide.grad.split([64, 32, 32], -1), (0, 3, 4), strict=True):
        grad = apart[i].grad
        assert grad is not None and torch.equal(part, grad.flatten(2))


def with_gaps(x: Tensor, axis: int) -> Tensor:
    """The values of x in memory with a NaN behind each along an axis."""
    return torch.stack((x, torch.full_like(x, torch.nan)), axis + 1).select(axis + 1, 0)


@pytest.mark.parametrize("length", [1, 20])
@pytest.mark.parametrize("sizes", SIZES)
def test_inputs_may_lie_in_memory_in_any_way(length: int, sizes: tuple[int, int, int, int]) -> None:
    floats, _ = problem(2, length, sizes)
    floats[0] = floats[0][:1].expand(2, -1, -1, -1)
    ways = [[x.contiguous() for x in floats], floats]
    ways.append([x.transpose(0, -1).contiguous().transpose(0, -1) for x in floats])
    ways.extend([with_gaps(x, min(axis, x.ndim - 1)) for x in floats] for axis in range(4))
    found = []
    for way in ways:
        inputs = [x.detach().requires_grad_() for x in way]
        y, h = chunk_scan(*inputs[:6], 16, None, inputs[6], True)
        assert h is not None
        found.append([y, h, *torch.autograd.grad(y.sin().sum() + h.sin().sum(), inputs)])
    for others in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(others, found[0], strict=True))


def saved_bytes(length: int) -> int:
    """What a scan of one row keeps for the backward pass beside its inputs."""
    kept: dict[int, int] = {}

    def keep(x: Tensor) -> Tensor:
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    floats, _ = problem(1, length, (2, 16, 1, 32))
    inputs = [x.requires_grad_() for x in floats]
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        y, _ = chunk_scan(*inputs[:6], 64)
    assert y.requires_grad
    return sum(kept.values()) - sum(x.untyped_storage().nbytes() for x in inputs[:6])


def test_one_state_a_chunk_is_saved_and_nothing_else() -> None:
    state = 4 * 2 * 16 * 32
    for length in (64, 65, 1_024):
        assert saved_bytes(length) == (length - 1) // 64 * state


def test_a_second_backward_pass_needs_the_graph_retained() -> None:
    floats, _ = problem(1, 20, SIZES[0])
    inputs = [x.requires_grad_() for x in floats]
    loss = chunk_scan(*inputs[:6], 16, None, inputs[6])[0].sum()
    first = torch.autograd.grad(loss, inputs, retain_graph=True)
    second = torch.autograd.grad(loss, inputs)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(loss, inputs)


@pytest.mark.parametrize(
    ("position", "value", "said"),
    [
        (0, torch.zeros(2, 5, 16), "x has 3 axes"),
        (0, torch.zeros(2, 5, 4, 16, dtype=torch.float64), "float64"),
        (1, torch.zeros(2, 4, 4), "dt is"),
        (2, torch.zeros(5), "A is"),
        (3, torch.zeros(2, 5, 3, 32), "C is"),
        (4, torch.zeros(2, 5, 1, 16), "C is"),
        (5, torch.zeros(3), "D is"),
        (6, torch.zeros(2, 4, 32, 16), "h0 is"),
    ],
)
def test_a_wrong_tensor_is_one_line(position: int, value: Tensor, said: str) -> None:
    floats, _ = problem(2, 5, SIZES[0])
    floats[position] = value
    with pytest.raises(ShapeError, match=said) as caught:
        chunk_scan(*floats[:6], 16, None, floats[6])
    assert "\n" not in str(caught.value)


def test_groups_that_do_not_divide_the_heads_and_float_episode_numbers_are_refused() -> None:
    floats, _ = problem(2, 5, SIZES[0])
    with pytest.raises(ShapeError, match="3 groups for 4 heads"):
        chunk_scan(*floats[:3], *(x.expand(-1, -1, 3, -1) for x in floats[3:5]), floats[5], 16)
    with pytest.raises(ShapeError, match="seq_idx is"):
        chunk_scan(*floats[:6], 16, torch.zeros(2, 5))
