"""Mamba's selective scan (arXiv:2312.00752, eq. 2 with the discretisation of its section 3.6) on the CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from auralnav.errors import ShapeError
from auralnav.policies.ssm.numba_arrays import (
    check,
    flat,
    flat_episodes,
    in_threads,
    pad_channels,
    shares,
    sum_parts,
)
from auralnav.policies.ssm.numba_lanes import LOG2_E, WIDTH
from auralnav.policies.ssm.numba_scan_kernels import scan_backward, scan_forward

# Steps between the states that are kept for the backward pass. What a chunk recomputes should stay in the second
# level of the cache: 64 steps of 16 states are 256 kB.
LONGEST_CHUNK = 64
CHUNK_STATES = 1_024


def selective_scan(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    seq_idx: Tensor | None = None,
    h0: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """h_t = exp(dt_t A) h_{t-1} + dt_t B_t u_t and y_t = C_t h_t + D u_t, with gradients for every float input.

    Beside its inputs it saves one state every 64 steps or so; the backward pass recomputes the rest. Large calls
    are shared by as many threads as torch has (`torch.set_num_threads`).

    Args:
        u: inputs [B, L, D].
        dt: step sizes after the softplus, [B, L, D].
        A: [D, N], negative for a state that decays.
        B: how the input enters the state, [B, L, N].
        C: how the state shows in the output, [B, L, N].
        D: what passes by the state, [D].
        seq_idx: int32 [B, L]; where it differs from the step before, the state starts from zero. None: one
            episode a row.
        h0: state [B, D, N] before the first step; zeros when None. It enters the first episode only.

    Returns:
        y [B, L, D] and the state after the last step [B, D, N] (a transposed view).

    Raises:
        ShapeError: a shape, dtype or device other than these (float32, CPU).
    """
    if u.ndim != 3 or A.ndim != 2:
        raise ShapeError(f"u has {u.ndim} axes and A {A.ndim}; give u [B, L, D] and A [D, N]")
    rows, length, channels = u.shape
    order = A.shape[1]
    check("u", u, (rows, length, channels))
    check("dt", dt, (rows, length, channels))
    check("A", A, (channels, order))
    check("B", B, (rows, length, order))
    check("C", C, (rows, length, order))
    check("D", D, (channels,))
    if seq_idx is not None:
        check("seq_idx", seq_idx, (rows, length), torch.int32)
    if h0 is not None:
        check("h0", h0, (rows, channels, order))
        h0 = pad_channels(h0, 1).transpose(1, 2)
    save = torch.is_grad_enabled()
    y, h_last = _Scan.apply(
        pad_channels(u), pad_channels(dt), pad_channels(A, 0).t(), B, C, pad_channels(D), seq_idx, h0, save
    )
    h_last = h_last.transpose(1, 2)
    return (y, h_last) if channels % WIDTH == 0 else (y[..., :channels], h_last[:, :channels])


class _Scan(torch.autograd.Function):
    """The scan on whole blocks of channels, states with the channel innermost: A [N, D], h0 and h_last [B, N, D]."""

    @staticmethod
    def forward(
        ctx: Any,
        u: Tensor,
        dt: Tensor,
        a: Tensor,
        b: Tensor,
        c: Tensor,
        d: Tensor,
        seq_idx: Tensor | None,
        h0: Tensor | None,
        save: bool,
    ) -> tuple[Tensor, Tensor]:
        rows, length, channels = u.shape
        order = a.shape[0]
        chunk = chunk_length(length, order)
        u, dt, a, b, c = (tensor.contiguous() for tensor in (u, dt, a, b, c))
        y = torch.empty_like(u)
        h_last = u.new_empty(rows, order, channels)
        checkpoints = u.new_empty(rows, (length - 1) // chunk if save else 0, order, channels)
        inputs = tuple(flat(x) for x in (u, dt, a * LOG2_E, b, c, d, h0))
        outputs = tuple(flat(x) for x in (y, checkpoints, h_last))
        episode = flat_episodes(seq_idx)
        shape = (rows, length, channels, order)
        row_spans, block_spans = shares(rows, channels // WIDTH, rows * length * channels * order)

        def work(i: int, j: int) -> None:
            scan_forward(inputs, episode, outputs, shape, chunk, row_spans[i], block_spans[j])

        in_threads(work, len(row_spans), len(block_spans))
        ctx.save_for_backward(u, dt, a, b, c, d, seq_idx, h0, checkpoints)
        ctx.chunk = chunk
        ctx.set_materialize_grads(False)
        return y, h_last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor | None, grad_last: Tensor | None) -> tuple[Tensor | None, ...]:
        u, dt, a, b, c, d, seq_idx, h0, checkpoints = ctx.saved_tensors
        rows, length, channels = u.shape
        order = a.shape[0]
        row_spans, block_spans = shares(rows, channels // WIDTH, rows * length * channels * order)
        if grad_y is None:
            grad_y = torch.zeros_like(u)
        inputs = tuple(
            flat(x) for x in (u, dt, a * LOG2_E, a, b, c, d, h0, checkpoints, grad_y, grad_last)
        )
        episode = flat_episodes(seq_idx)
        grad_u, grad_dt = torch.empty_like(u), torch.empty_like(dt)
        grad_h0 = u.new_empty(rows, order, channels)
        # What many rows or channels add to is summed apart in each share.
        grad_a, grad_d = (u.new_empty(len(row_spans), *x.shape) for x in (a, d))
        grad_b, grad_c = (u.new_empty(len(block_spans), *b.shape) for _ in range(2))
        own = tuple(flat(x) for x in (grad_u, grad_dt, grad_h0))
        by_rows = [(flat(in_a), flat(in_d)) for in_a, in_d in zip(grad_a, grad_d, strict=True)]
        by_blocks = [(flat(in_b), flat(in_c)) for in_b, in_c in zip(grad_b, grad_c, strict=True)]
        shape = (rows, length, channels, order)

        def work(i: int, j: int) -> None:
            outputs = own + by_rows[i] + by_blocks[j]
            scan_backward(inputs, episode, outputs, shape, ctx.chunk, row_spans[i], block_spans[j])

        in_threads(work, len(row_spans), len(block_spans))
        return (
            grad_u,
            grad_dt,
            sum_parts(grad_a),
            sum_parts(grad_b),
            sum_parts(grad_c),
            sum_parts(grad_d),
            None,
            None if h0 is None else grad_h0,
            None,
        )


def chunk_length(length: int, order: int) -> int:
    """Steps between two saved states for L = `length` steps of N = `order` states: even chunks, 16 to 64 steps."""
    longest = max(16, min(LONGEST_CHUNK, CHUNK_STATES // order))
    chunks = -(-length // longest)
    return -(-length // chunks)
