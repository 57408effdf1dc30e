"""Single steps of Mamba's scan and of Mamba-2's, compiled for the CPU: one pass over the state.

Where gradients are recorded, a scan of one step does the work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from auralnav.errors import ShapeError
from auralnav.policies.ssm.numba_arrays import check, flat, in_threads, shares
from auralnav.policies.ssm.numba_scan import selective_scan
from auralnav.policies.ssm.numba_step_kernels import head_step_rows, selective_step_rows
from auralnav.policies.ssm.ssd_torch import chunk_step as chunk_step_torch


def selective_step(
    u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, h: Tensor, inplace: bool = False
) -> tuple[Tensor, Tensor]:
    """One step of Mamba: h' = exp(dt A) h + dt B u, y = C h' + D u.

    Args:
        u: input [B, D].
        dt: step size after the softplus, [B, D].
        A: [D, N], negative for a state that decays.
        B: how the input enters the state, [B, N].
        C: how the state shows in the output, [B, N].
        D: what passes by the state, [D].
        h: state [B, D, N].
        inplace: write the new state over `h`; without gradients only.

    Returns:
        y [B, D] and h' [B, D, N], which is `h` itself when in place.

    Raises:
        ShapeError: a shape, dtype or device other than these (float32, CPU), or in place with gradients.
    """
    if u.ndim != 2 or A.ndim != 2:
        raise ShapeError(f"u has {u.ndim} axes and A {A.ndim}; give u [B, D] and A [D, N]")
    rows, channels = u.shape
    order = A.shape[1]
    inputs = (u, dt, A, B, C, D, h)
    shapes = ((rows, channels),) * 2 + ((channels, order), (rows, order), (rows, order), (channels,))
    for name, tensor, shape in zip("u dt A B C D h".split(), inputs, (*shapes, (rows, channels, order)), strict=True):
        check(name, tensor, shape)
    if _records(inputs, inplace):
        y, after = selective_scan(u[:, None], dt[:, None], A, B[:, None], C[:, None], D, h0=h)
        return y[:, 0], after
    y = u.new_empty(rows, channels)
    return y, _run(selective_step_rows, inputs, y, inplace, (channels, order))


def chunk_step(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, h: Tensor, inplace: bool = False
) -> tuple[Tensor, Tensor]:
    """One step of Mamba-2: per head h' = exp(dt A) h + dt x Bᵀ, y = h' C + D x.

    Args:
        x: input [B, H, P].
        dt: step size after the softplus, [B, H].
        A: [H], negative for a state that decays.
        B: how the input enters the state, [B, G, N]; G divides H, and heads of a group are neighbours.
        C: how the state shows in the output, [B, G, N].
        D: what passes by the state, [H].
        h: state [B, H, P, N].
        inplace: write the new state over `h`; without gradients only.

    Returns:
        y [B, H, P] and h' [B, H, P, N], which is `h` itself when in place.

    Raises:
        ShapeError: a shape, dtype or device other than these (float32, CPU), or in place with gradients.
    """
    if x.ndim != 3 or B.ndim != 3:
        raise ShapeError(f"x has {x.ndim} axes and B {B.ndim}; give x [B, H, P] and B [B, G, N]")
    rows, heads, headdim = x.shape
    groups, order = B.shape[1:]
    inputs = (x, dt, A, B, C, D, h)
    shapes = ((rows, heads, headdim), (rows, heads), (heads,), *((rows, groups, order),) * 2, (heads,))
    for name, tensor, shape in zip(
        "x dt A B C D h".split(), inputs, (*shapes, (rows, heads, headdim, order)), strict=True
    ):
        check(name, tensor, shape)
    if heads % groups:
        raise ShapeError(f"B has {groups} groups for {heads} heads; give a number that divides it")
    if _records(inputs, inplace):
        return chunk_step_torch(*inputs)
    y = x.new_empty(rows, heads, headdim)
    return y, _run(head_step_rows, inputs, y, inplace, (heads, headdim, groups, order))


def _records(inputs: tuple[Tensor, ...], inplace: bool) -> bool:
    """Whether autograd needs this step; ShapeError if it would be in place."""
    records = torch.is_grad_enabled() and any(x.requires_grad for x in inputs)
    if records and inplace:
        raise ShapeError("a step in place cannot record gradients; use torch.no_grad() or inplace=False")
    return records


def _run(
    kernel: Callable[..., Any], inputs: tuple[Tensor, ...], y: Tensor, inplace: bool, shape: tuple[int, ...]
) -> Tensor:
    """Call `kernel` with its flat inputs, of which the last is the state; return the new state."""
    state = inputs[-1]
    before = state.contiguous()
    after = before if inplace else torch.empty_like(before)
    arrays = (*(flat(x) for x in inputs[:-1]), flat(before), flat(after), flat(y))
    spans, _ = shares(len(y), 1, state.numel())
    in_threads(lambda i, _: kernel(*arrays, shape, spans[i]), len(spans), 1)
    if inplace and before is not state:
        return state.copy_(before)
    if inplace:  # as torch's own operations do: a gradient that needs the old values fails, and is not wrong
        torch.autograd.graph.increment_version(state)
    return after
