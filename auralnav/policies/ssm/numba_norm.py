"""Mamba-2's gated norm, compiled for the CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from auralnav.errors import ShapeError
from auralnav.policies.ssm.norm import EPS
from auralnav.policies.ssm.numba_arrays import (
    check,
    flat,
    in_threads,
    pad_channels,
    shares,
    steps_apart,
    sum_parts,
)
from auralnav.policies.ssm.numba_norm_kernels import norm_backward, norm_forward


def gated_norm(x: Tensor, z: Tensor, weight: Tensor, group: int) -> Tensor:
    """RMSNorm(x · silu(z)) over groups of channels, times a weight, with gradients.

    `z` may be some channels of a wider tensor: it is read where it lies.

    Args:
        x: inputs [B, L, D].
        z: gates [B, L, D].
        weight: [D].
        group: channels that share a root mean square; divides D.

    Returns:
        [B, L, D].

    Raises:
        ShapeError: a shape, dtype or device other than these (float32, CPU).
    """
    if x.ndim != 3 or x.shape[-1] % group:
        raise ShapeError(f"x is {list(x.shape)}; give [B, L, D] with D a multiple of the group of {group}")
    check("x", x, tuple(x.shape))
    check("z", z, tuple(x.shape))
    check("weight", weight, (x.shape[-1],))
    padded = [pad_channels(tensor.unflatten(-1, (-1, group))).flatten(-2) for tensor in (x, z, weight)]
    y = _Norm.apply(*padded, group, x.shape[-1] // group)
    return y if y.shape == x.shape else y.unflatten(-1, (x.shape[-1] // group, -1))[..., :group].flatten(-2)


class _Norm(torch.autograd.Function):
    """The norm of groups of whole vectors of channels; `group` is their number without padding."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, z: Tensor, weight: Tensor, group: int, groups: int) -> Tensor:
        x = x.contiguous()
        y = torch.empty_like(x)
        memory, stride = steps_apart(z)
        arrays = (flat(x), memory, flat(weight), flat(y))
        ctx.shape = (groups, x.shape[-1] // groups, group)
        spans, _ = shares(x.shape[0] * x.shape[1], 1, x.numel())
        in_threads(lambda i, _: norm_forward(*arrays, ctx.shape, stride, EPS, spans[i]), len(spans), 1)
        ctx.save_for_backward(x, z, weight)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        x, z, weight = ctx.saved_tensors
        grad_x, grad_z = torch.empty_like(x), torch.empty_like(x)
        spans, _ = shares(x.shape[0] * x.shape[1], 1, x.numel())
        # Every step adds to this one: each share of steps has its own.
        grad_weight = weight.new_empty(len(spans), *weight.shape)
        memory, stride = steps_apart(z)
        arrays = (flat(x), memory, flat(weight), flat(grad_y), flat(grad_x), flat(grad_z))
        parts = [flat(part) for part in grad_weight]

        def work(i: int, _: int) -> None:
            norm_backward(*arrays, parts[i], ctx.shape, stride, EPS, spans[i])

        in_threads(work, len(spans), 1)
        return grad_x, grad_z, sum_parts(grad_weight), None, None
