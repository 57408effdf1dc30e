"""Mamba's selective scan on CUDA with episodes, an initial state and gradients through the last one.

`mamba_ssm`'s own scan has none of the three: it starts from zero, knows one sequence a row and gives its last
state no gradient.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from auralnav.policies.ssm import triton_scan_kernels

# What the decorator makes of a function is launched by subscript, of which its type knows nothing.
_forward: Any = triton_scan_kernels.scan_forward
_backward: Any = triton_scan_kernels.scan_backward

# Steps between saved states, and the most states a program holds (channels · N).
CHUNK = 16
STATES_PER_PROGRAM = 1_024


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
    """As `scan_torch.selective_scan`, for float32 on CUDA.

    Saves one state every 16 steps and recomputes the others in the backward pass.
    """
    return _Scan.apply(u, dt, A, B, C, D, seq_idx, h0, torch.is_grad_enabled())


class _Scan(torch.autograd.Function):
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
        u, dt, a, b, c, d = (tensor.contiguous() for tensor in (u, dt, a, b, c, d))
        h0 = None if h0 is None else h0.contiguous()
        rows, length, channels, order, chunks, grid, sizes = _shape(u, a)
        y = torch.empty_like(u)
        h_last = u.new_empty(rows, channels, order)
        checkpoints = u.new_empty(rows, chunks if save else 0, channels, order)
        with torch.cuda.device_of(u):  # a launch goes to the current device
            _forward[grid](
                u, dt, a, b, c, d, seq_idx, h0, y, checkpoints, h_last,
                length, channels, order, CHUNK, chunks,
                HAS_EPISODES=seq_idx is not None, HAS_H0=h0 is not None, SAVE=save, **sizes,
            )  # fmt: skip
        ctx.save_for_backward(u, dt, a, b, c, d, seq_idx, checkpoints)
        ctx.has_h0 = h0 is not None
        ctx.set_materialize_grads(False)
        return y, h_last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor | None, grad_last: Tensor | None) -> tuple[Tensor | None, ...]:
        u, dt, a, b, c, d, seq_idx, checkpoints = ctx.saved_tensors
        rows, length, channels, order, chunks, grid, sizes = _shape(u, a)
        grad_y = torch.zeros_like(u) if grad_y is None else grad_y.contiguous()
        grad_last = None if grad_last is None else grad_last.contiguous()
        grad_u, grad_dt = torch.empty_like(u), torch.empty_like(dt)
        grad_a, grad_h0 = (u.new_empty(rows, channels, order) for _ in range(2))
        grad_b, grad_c = (u.new_empty(grid[1], rows, length, order) for _ in range(2))
        grad_d = u.new_empty(rows, channels)
        states = u.new_empty(rows, min(CHUNK, length), channels, order)
        with torch.cuda.device_of(u):  # a launch goes to the current device
            _backward[grid](
                u, dt, a, b, c, d, seq_idx, checkpoints, states, grad_y, grad_last,
                grad_u, grad_dt, grad_a, grad_b, grad_c, grad_d, grad_h0,
                length, channels, order, min(CHUNK, length), chunks,
                HAS_EPISODES=seq_idx is not None, HAS_LAST=grad_last is not None, **sizes,
            )  # fmt: skip
        to_h0 = grad_h0 if ctx.has_h0 else None
        return grad_u, grad_dt, grad_a.sum(0), grad_b.sum(0), grad_c.sum(0), grad_d.sum(0), None, to_h0, None


def _shape(u: Tensor, a: Tensor) -> tuple[int, int, int, int, int, tuple[int, int], dict[str, int]]:
    """Rows, L, D, N, chunks of steps, the grid of programs (rows, blocks of channels) and the sizes of one."""
    rows, length, channels = u.shape
    order = a.shape[1]
    states = 1 << (order - 1).bit_length()
    block = max(1, STATES_PER_PROGRAM // states)
    blocks = -(-channels // block)
    return (
        rows,
        length,
        channels,
        order,
        -(-length // CHUNK),
        (rows, blocks),
        {"BLOCK": block, "STATES": states},
    )
