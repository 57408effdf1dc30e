"""The compiled selective scan against a float64 loop, and what it must never do."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from auralnav.errors import ShapeError
from auralnav.policies.ssm import (
    numba_arrays,
    numba_conv_kernels,
    numba_lanes,
    numba_norm_kernels,
    numba_scan_kernels,
    numba_ssd_adjoints,
    numba_ssd_backward,
    numba_ssd_kernels,
    numba_ssd_parts,
    numba_step_kernels,
    numba_tiles,
)
from auralnav.policies.ssm.numba_scan import chunk_length, selective_scan

NAMES = ("u", "dt", "A", "B", "C", "D", "h0")


def loop(
    u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, seq_idx: Tensor | None, h0: Tensor
) -> tuple[Tensor, Tensor]:
    h, outputs = h0, []
    for t in range(u.shape[1]):
        if seq_idx is not None and t:
            h = torch.where((seq_idx[:, t] == seq_idx[:, t - 1])[:, None, None], h, 0.0)
        h = torch.exp(dt[:, t, :, None] * A) * h + (dt[:, t] * u[:, t])[:, :, None] * B[:, t, None]
        outputs.append((h * C[:, t, None]).sum(-1) + D * u[:, t])
    return torch.stack(outputs, 1), h


def problem(
    rows: int, length: int, channels: int, order: int, cuts: float | None, seed: int = 0
) -> tuple[list[Tensor], Tensor | None]:
    """The float inputs in the order of NAMES, and episodes that end with probability `cuts` a step."""
    rng = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng)

    u, dt = normal(rows, length, channels), normal(rows, length, channels).abs() / 5
    A = -torch.exp(normal(channels, order))
    floats = [
        u,
        dt,
        A,
        normal(rows, length, order),
        normal(rows, length, order),
        normal(channels),
        normal(rows, channels, order),
    ]
    if cuts is None:
        return floats, None
    ends = torch.rand(rows, length, generator=rng) < cuts
    ends[:, 0] = False
    return floats, ends.cumsum(1).int()


def leaves(floats: list[Tensor], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    return [x.to(dtype, copy=True).requires_grad_() for x in floats]


def off(a: Tensor | None, b: Tensor | None) -> float:
    """‖a − b‖ / ‖b‖."""
    assert a is not None and b is not None
    a, b = a.detach().double(), b.detach().double()
    return float((a - b).norm() / b.norm().clamp_min(1e-30))


def scan(x: list[Tensor], seq_idx: Tensor | None) -> tuple[Tensor, Tensor]:
    return selective_scan(*x[:6], seq_idx=seq_idx, h0=x[6])


@pytest.mark.parametrize("cuts", [None, 0.1, 1.0])
@pytest.mark.parametrize(("channels", "order"), [(32, 16), (20, 3)])
@pytest.mark.parametrize("length", [1, 2, 3, 5, 17, 64, 65, 130])
def test_values_and_gradients_are_those_of_a_float64_loop(
    length: int, channels: int, order: int, cuts: float | None
) -> None:
    floats, seq_idx = problem(3, length, channels, order, cuts)
    ours, exact = leaves(floats), leaves(floats, torch.float64)
    results = scan(ours, seq_idx)
    expected = loop(*exact[:6], seq_idx, exact[6])
    weights = [torch.randn(x.shape, generator=torch.Generator().manual_seed(1)) for x in results]
    torch.autograd.backward(results, weights)
    torch.autograd.backward(expected, [x.double() for x in weights])
    for a, b in zip(results, expected, strict=True):
        assert off(a, b) < 1e-6
    for name, a, b in zip(NAMES, ours, exact, strict=True):
        if cuts == 1.0 and length > 1 and name == "A":
            # Only h0 meets a decay here, in the first step.
            assert off(a.grad, b.grad) < 1e-5
        else:
            assert off(a.grad, b.grad) < 3e-6, name


def test_a_loss_of_the_last_state_alone_has_gradients() -> None:
    floats, seq_idx = problem(2, 70, 16, 16, 0.02)
    ours, exact = leaves(floats), leaves(floats, torch.float64)
    scan(ours, seq_idx)[1].square().sum().backward()
    loop(*exact[:6], seq_idx, exact[6])[1].square().sum().backward()
    for name, a, b in zip(NAMES, ours, exact, strict=True):
        if name not in ("C", "D"):
            assert off(a.grad, b.grad) < 3e-6, name
    for silent in (ours[4], ours[5]):
        assert silent.grad is not None and not silent.grad.any()


def test_a_sequence_cut_anywhere_with_a_carried_state_is_the_whole() -> None:
    floats, _ = problem(2, 130, 16, 16, None)
    whole_y, whole_h = scan(floats, None)
    for cut in (1, 63, 64, 65, 129):
        head = [x[:, :cut] if x.ndim == 3 and x.shape[1] == 130 else x for x in floats]
        tail = [x[:, cut:] if x.ndim == 3 and x.shape[1] == 130 else x for x in floats]
        y, tail[6] = scan(head, None)
        rest, h = scan(tail, None)
        torch.testing.assert_close(torch.cat((y, rest), 1), whole_y, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(h, whole_h, rtol=1e-5, atol=1e-6)


def test_packed_episodes_are_the_separate_ones_bit_for_bit_and_no_gradient_crosses_a_cut() -> None:
    length, cuts = 80, (1, 2, 33, 64)
    floats, _ = problem(1, length, 16, 16, None)
    seq_idx = torch.zeros(1, length, dtype=torch.int32)
    for cut in cuts:
        seq_idx[:, cut:] += 1
    ours = leaves(floats)
    y, _ = scan(ours, seq_idx)
    for start, stop in zip((0, *cuts), (*cuts, length), strict=True):
        alone = [x[:, start:stop] if x.ndim == 3 and x.shape[1] == length else x for x in floats]
        if start:
            alone[6] = torch.zeros_like(alone[6])
        torch.testing.assert_close(y[:, start:stop], scan(alone, None)[0], rtol=0, atol=0)
    y[:, 33:64].sum().backward()
    for name, x in zip(NAMES, ours, strict=True):
        assert x.grad is not None
        if name in ("u", "dt", "B", "C"):
            assert not x.grad[:, :33].any() and not x.grad[:, 64:].any(), name
            assert x.grad[:, 33:64].any(), name
    assert ours[6].grad is not None and not ours[6].grad.any()


def test_nothing_later_reaches_back() -> None:
    floats, _ = problem(1, 40, 16, 16, None)
    y, _ = scan(floats, None)
    floats[0][:, 20:] += 1.0
    changed, _ = scan(floats, None)
    assert torch.equal(y[:, :20], changed[:, :20]) and not torch.equal(y[:, 20:], changed[:, 20:])


def test_extreme_step_sizes_and_decays_stay_finite() -> None:
    floats, _ = problem(2, 65, 16, 16, None)
    floats[1] = torch.full_like(floats[1], 20.0)
    floats[2] = -torch.exp(torch.full_like(floats[2], 5.0) + torch.arange(1, 17).log())
    ours, exact = leaves(floats), leaves(floats, torch.float64)
    y, _ = scan(ours, None)
    y.square().sum().backward()
    expected, _ = loop(*exact[:6], None, exact[6])
    assert off(y, expected) < 1e-6
    for x in ours:
        assert x.grad is not None and torch.isfinite(x.grad).all()


def test_a_nan_comes_out_where_it_went_in() -> None:
    floats, _ = problem(2, 9, 16, 16, None)
    floats[1][1, 4, 3] = torch.nan
    y, _ = scan(floats, None)
    assert torch.isnan(y[1, 4:, 3]).all() and torch.isfinite(y[0]).all() and torch.isfinite(y[1, :, 4:]).all()


@pytest.mark.parametrize("rows", [1, 3])
def test_threads_change_no_value_and_no_gradient_beyond_rounding(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    floats, seq_idx = problem(rows, 70, 64, 16, 0.05)
    results, gradients = [], []
    for threads in (1, 4):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        monkeypatch.setattr(numba_arrays, "PASSES_PER_THREAD", 1)
        ours = leaves(floats)
        y, h = scan(ours, seq_idx)
        (y.sin().sum() + h.sum()).backward()
        results.append((y, h))
        gradients.append([x.grad for x in ours])
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)
    for a, b in zip(*gradients, strict=True):
        assert off(a, b) < 1e-6


def test_inputs_that_are_views_count_as_they_look() -> None:
    floats, _ = problem(2, 12, 32, 8, None)
    both = torch.cat((floats[3], floats[4]), -1).requires_grad_()
    plain = leaves(floats)
    expected, _ = scan(plain, None)
    y, _ = selective_scan(floats[0], floats[1], floats[2], *both.split(8, -1), floats[5], h0=floats[6])
    assert torch.equal(y, expected)
    y.sum().backward()
    expected.sum().backward()
    assert plain[3].grad is not None and plain[4].grad is not None
    torch.testing.assert_close(both.grad, torch.cat((plain[3].grad, plain[4].grad), -1))


def saved_bytes(length: int, order: int = 16) -> int:
    """What a scan of (2, length, 256) keeps for the backward pass, each storage counted once."""
    kept: dict[int, int] = {}

    def keep(x: Tensor) -> Tensor:
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    floats, _ = problem(2, length, 256, order, None)
    ours = leaves(floats)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        y, _ = selective_scan(*ours[:6])
    assert y.requires_grad
    return sum(kept.values())


def test_what_is_saved_grows_with_the_length_and_stays_near_the_inputs() -> None:
    one, two = saved_bytes(1_024), saved_bytes(2_048)
    inputs = 4 * 2 * 1_024 * (2 * 256 + 2 * 16)
    assert inputs <= one < 1.15 * inputs
    assert 1.9 * one < two < 2.1 * one


def test_nothing_is_saved_without_gradients() -> None:
    floats, _ = problem(2, 130, 16, 16, None)
    with torch.no_grad():
        y, _ = scan(leaves(floats), None)
    assert y.grad_fn is None


@pytest.mark.parametrize(("length", "chunk"), [(1, 1), (17, 17), (64, 64), (65, 33), (130, 44), (1_024, 64)])
def test_chunks_are_even(length: int, chunk: int) -> None:
    assert chunk_length(length, 16) == chunk


@pytest.mark.parametrize(
    ("position", "value", "said"),
    [
        (0, torch.zeros(2, 5), "u has 2 axes"),
        (1, torch.zeros(2, 4, 16), "dt is"),
        (0, torch.zeros(2, 5, 16, dtype=torch.float64), "float64"),
        (3, torch.zeros(2, 5, 8), "B is"),
        (5, torch.zeros(15), "D is"),
        (6, torch.zeros(2, 4, 16), "h0 is"),
        (0, torch.zeros(2, 5, 16, device="meta"), "meta"),
    ],
)
def test_a_wrong_tensor_is_one_line(position: int, value: Tensor, said: str) -> None:
    floats, _ = problem(2, 5, 16, 4, None)
    floats[position] = value
    with pytest.raises(ShapeError, match=said) as caught:
        scan(floats, None)
    assert "\n" not in str(caught.value)


def test_float_episode_numbers_are_refused() -> None:
    floats, _ = problem(2, 5, 16, 4, None)
    with pytest.raises(ShapeError, match="seq_idx is"):
        scan(floats, torch.zeros(2, 5))


@pytest.mark.parametrize(
    ("module", "constant", "source"),
    [
        (numba_conv_kernels, "LANES", numba_lanes),
        (numba_norm_kernels, "LANES", numba_lanes),
        (numba_scan_kernels, "LANES", numba_lanes),
        (numba_step_kernels, "LANES", numba_lanes),
        (numba_tiles, "LANES", numba_lanes),
        (numba_ssd_parts, "TILES", numba_tiles),
        (numba_ssd_kernels, "PARTS", numba_ssd_parts),
        (numba_ssd_adjoints, "PARTS", numba_ssd_parts),
        (numba_ssd_backward, "ADJOINTS", numba_ssd_adjoints),
    ],
)
def test_numba_compiles_anew_when_what_a_kernel_calls_has_changed(
    module: ModuleType, constant: str, source: ModuleType
) -> None:
    digest = hashlib.sha256(Path(str(source.__file__)).read_bytes()).hexdigest()
    assert digest.startswith(getattr(module, constant)), f"set {constant} of {module.__name__} to {digest[:12]}"


def test_importing_the_package_compiles_nothing() -> None:
    code = "import sys, auralnav.policies.ssm; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
