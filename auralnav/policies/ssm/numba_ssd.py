"""Mamba-2's scan by chunks (Dao & Gu 2024, arXiv:2405.21060, section 6), compiled for the CPU."""

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
    steps_apart,
    sum_parts,
)
from auralnav.policies.ssm.numba_lanes import WIDTH
from auralnav.policies.ssm.numba_ssd_backward import ssd_backward
from auralnav.policies.ssm.numba_ssd_kernels import ssd_forward


def chunk_scan(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    chunk_size: int,
    seq_idx: Tensor | None = None,
    h0: Tensor | None = None,
    with_state: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """h_t = exp(dt_t A) h_{t−1} + dt_t x_t B_tᵀ and y_t = h_t C_t + D x_t for each head, with gradients.

    Beside its inputs it saves the states between chunks; the backward pass computes the rest again. A chunk ends with
    its episode, so that nothing at all passes a cut. x, B and C may be channels of one wider tensor: they are read
    where they lie. Large calls are shared by as many threads as torch has (`torch.set_num_threads`).

    Args:
        x: inputs [B, L, H, P].
        dt: step sizes, positive, [B, L, H].
        A: rates, negative, [H].
        B: input weights [B, L, G, N]; G divides H, and heads of a group are neighbours.
        C: output weights [B, L, G, N].
        D: skip [H].
        chunk_size: the most steps of a chunk; the result does not depend on it.
        seq_idx: int32 [B, L]; where it differs from the step before, h starts from zero. None: one episode a row.
        h0: state before the first step [B, H, P, N]; zeros when None. It enters the first episode only.
        with_state: whether the last state is wanted.

    Returns:
        y [B, L, H, P], and the state after the last step [B, H, P, N] (a transposed view) or None.

    Raises:
        ShapeError: a shape, dtype or device other than these (float32, CPU).
    """
    if x.ndim != 4 or B.ndim != 4:
        raise ShapeError(f"x has {x.ndim} axes and B {B.ndim}; give x [B, L, H, P] and B [B, L, G, N]")
    rows, length, heads, width = x.shape
    groups, order = B.shape[2:]
    check("x", x, (rows, length, heads, width))
    check("dt", dt, (rows, length, heads))
    check("A", A, (heads,))
    check("B", B, (rows, length, groups, order))
    check("C", C, (rows, length, groups, order))
    check("D", D, (heads,))
    if heads % groups:
        raise ShapeError(f"B has {groups} groups for {heads} heads; give a number that divides it")
    if seq_idx is not None:
        check("seq_idx", seq_idx, (rows, length), torch.int32)
    if h0 is not None:
        check("h0", h0, (rows, heads, width, order))
        h0 = pad_channels(pad_channels(h0, 2), 3).transpose(2, 3)
    inputs = (pad_channels(x), dt, A, pad_channels(B), pad_channels(C), D)
    save = torch.is_grad_enabled()
    y, h_last = _ChunkScan.apply(*inputs, seq_idx, h0, min(chunk_size, length), with_state, save)
    if h_last is not None:
        h_last = h_last.transpose(2, 3)[:, :, :width, :order]
    return (y if width % WIDTH == 0 else y[..., :width]), h_last


class _ChunkScan(torch.autograd.Function):
    """The scan on whole vectors of channels and states: h0 and h_last [B, H, N, P]."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        dt: Tensor,
        a: Tensor,
        b: Tensor,
        c: Tensor,
        d: Tensor,
        seq_idx: Tensor | None,
        h0: Tensor | None,
        chunk: int,
        with_state: bool,
        save: bool,
    ) -> tuple[Tensor, Tensor | None]:
        rows, length, heads, width = x.shape
        groups, order = b.shape[2:]
        y = x.new_empty(x.shape)
        kept = (length - 1) // chunk if save else 0
        checkpoints = x.new_empty(rows, kept, heads, order, width)
        h_last = x.new_empty(rows, heads, order, width) if with_state else None
        (x_in, b_in, c_in), strides = _steps(x, b, c)
        inputs = (x_in, flat(dt), flat(a), b_in, c_in, flat(d), flat(h0))
        outputs = tuple(flat(t) for t in (y, checkpoints, h_last))
        episode = flat_episodes(seq_idx)
        shape = (rows, length, heads, width, groups, order)
        row_spans, head_spans = _shares(shape, chunk)

        def work(i: int, j: int) -> None:
            ssd_forward(inputs, episode, outputs, shape, strides, chunk, row_spans[i], head_spans[j])

        in_threads(work, len(row_spans), len(head_spans))
        ctx.save_for_backward(x, dt, a, b, c, d, seq_idx, h0, checkpoints)
        ctx.chunk = chunk
        ctx.set_materialize_grads(False)
        return y, h_last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor | None, grad_last: Tensor | None) -> tuple[Tensor | None, ...]:
        x, dt, a, b, c, d, seq_idx, h0, checkpoints = ctx.saved_tensors
        shape = (*x.shape, *b.shape[2:])
        row_spans, head_spans = _shares(shape, ctx.chunk)
        if grad_y is None:
            grad_y = x.new_zeros(x.shape)
        (x_in, b_in, c_in), strides = _steps(x, b, c)
        others = tuple(flat(t) for t in (d, h0, checkpoints, grad_y, grad_last))
        inputs = (x_in, flat(dt), flat(a), b_in, c_in, *others)
        episode = flat_episodes(seq_idx)
        grad_x, grad_dt = x.new_empty(x.shape), dt.new_empty(dt.shape)
        grad_h0 = None if h0 is None else h0.new_empty(h0.shape)
        # What many rows or heads add to is summed apart in each share.
        grad_a, grad_d = (a.new_zeros(len(row_spans), *a.shape) for _ in range(2))
        grad_b, grad_c = (b.new_zeros(len(head_spans), *b.shape) for _ in range(2))
        own = tuple(flat(t) for t in (grad_x, grad_dt, grad_h0))
        by_rows = [(flat(in_a), flat(in_d)) for in_a, in_d in zip(grad_a, grad_d, strict=True)]
        by_heads = [(flat(in_b), flat(in_c)) for in_b, in_c in zip(grad_b, grad_c, strict=True)]

        def work(i: int, j: int) -> None:
            outputs = own + by_rows[i] + by_heads[j]
            ssd_backward(inputs, episode, outputs, shape, strides, ctx.chunk, row_spans[i], head_spans[j])

        in_threads(work, len(row_spans), len(head_spans))
        grads = (sum_parts(part) for part in (grad_a, grad_b, grad_c, grad_d))
        return grad_x, grad_dt, *grads, None, grad_h0, None, None, None


def _steps(*tensors: Tensor) -> tuple[list[Any], tuple[int, ...]]:
    """`steps_apart` of each [B, L, …]: their memory, and their strides."""
    arrays, strides = zip(*(steps_apart(tensor.flatten(2)) for tensor in tensors), strict=True)
    return list(arrays), strides


def _shares(shape: tuple[int, ...], chunk: int) -> Any:
    rows, length, heads, width, _, order = shape
    # A product is sixteen to a vector, which one pass of the other kernels' inner loop costs.
    return shares(rows, heads, rows * length * heads * width * (2 * order + chunk) // WIDTH)
