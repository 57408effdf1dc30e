"""The causal depthwise convolution with SiLU before the scan, compiled for the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
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
from auralnav.policies.ssm.numba_conv_kernels import conv_backward, conv_forward
from auralnav.policies.ssm.numba_lanes import WIDTH


def causal_conv(
    x: Tensor, weight: Tensor, bias: Tensor, seq_idx: Tensor | None = None, taps: Tensor | None = None
) -> Tensor:
    """silu(bias + Σ_j weight[:, K − 1 − j] · x[:, t − j]) over the taps in the episode of step t, with gradients.

    `x` may be some channels of a wider tensor: it is read where it lies.

    Args:
        x: inputs [B, L, C].
        weight: [C, K].
        bias: [C].
        seq_idx: int32 [B, L]; where it differs from the step before, an episode starts. None: one episode a row.
        taps: the K − 1 inputs before the first step, newest last, [B, C, K − 1]; none when None. They count in the
            first episode only.

    Returns:
        [B, L, C].

    Raises:
        ShapeError: a shape, dtype or device other than these (float32, CPU).
    """
    if x.ndim != 3 or weight.ndim != 2:
        raise ShapeError(f"x has {x.ndim} axes and weight {weight.ndim}; give x [B, L, C] and weight [C, K]")
    rows, length, channels = x.shape
    width = weight.shape[1]
    check("x", x, (rows, length, channels))
    check("weight", weight, (channels, width))
    check("bias", bias, (channels,))
    if seq_idx is not None:
        check("seq_idx", seq_idx, (rows, length), torch.int32)
    if width == 1:
        taps = None
    if taps is not None:
        check("taps", taps, (rows, channels, width - 1))
        taps = pad_channels(taps, 1).transpose(1, 2)
    y = _Conv.apply(pad_channels(x), pad_channels(weight, 0).t(), pad_channels(bias), seq_idx, taps)
    return y if channels % WIDTH == 0 else y[..., :channels]


class _Conv(torch.autograd.Function):
    """The convolution on whole blocks of channels: weight [K, C], taps [B, K − 1, C]."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, seq_idx: Tensor | None, taps: Tensor | None
    ) -> Tensor:
        weight = weight.contiguous()
        y = torch.empty_like(x, memory_format=torch.contiguous_format)
        memory, stride = steps_apart(x)
        arrays = (memory, flat(taps), flat(weight), flat(bias), flat_episodes(seq_idx), flat(y))
        shape = (*x.shape, len(weight))
        row_spans, block_spans = _shares(shape)

        def work(i: int, j: int) -> None:
            conv_forward(*arrays, shape, stride, row_spans[i], block_spans[j])

        in_threads(work, len(row_spans), len(block_spans))
        ctx.save_for_backward(x, weight, bias, seq_idx, taps)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, seq_idx, taps = ctx.saved_tensors
        memory, stride = steps_apart(x)
        grad_x = torch.empty_like(x, memory_format=torch.contiguous_format)
        grad_taps = None if taps is None else torch.empty_like(taps, memory_format=torch.contiguous_format)
        shape = (*x.shape, len(weight))
        row_spans, block_spans = _shares(shape)
        # Every row adds to these two: each share of rows has its own.
        grad_weight, grad_bias = (p.new_empty(len(row_spans), *p.shape) for p in (weight, bias))
        arrays = (memory, flat(taps), flat(weight), flat(bias), flat_episodes(seq_idx), flat(grad_y))
        outputs = (flat(grad_x), flat(grad_taps))
        by_rows = [(flat(w), flat(b)) for w, b in zip(grad_weight, grad_bias, strict=True)]

        def work(i: int, j: int) -> None:
            conv_backward(*arrays, *outputs, *by_rows[i], shape, stride, row_spans[i], block_spans[j])

        in_threads(work, len(row_spans), len(block_spans))
        return grad_x, sum_parts(grad_weight), sum_parts(grad_bias), None, grad_taps


def _shares(shape: tuple[int, ...]) -> Any:
    return shares(shape[0], shape[2] // WIDTH, int(np.prod(shape)))
