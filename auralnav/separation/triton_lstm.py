"""A bidirectional LSTM layer on CUDA as one program a direction, along either axis of a grid of chunks.

cuDNN walks the steps of so small a layer one kernel at a time, and takes as long as that again for the gradient of
the biases; it also wants the axis it walks along moved to the front.
"""

from __future__ import annotations

from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

ROWS = 16
"""Rows that a program walks: the least that tensor cores take."""

UNITS = (16, 32, 64)
"""Widths whose weights fit the registers of a program."""


def fits(layer: Any, x: Tensor) -> TypeGuard[nn.LSTM]:
    """Whether `bidirectional_lstm` knows this layer and this input."""
    return (
        x.is_cuda
        and isinstance(layer, nn.LSTM)
        and layer.bidirectional
        and layer.bias
        and layer.num_layers == 1
        and layer.proj_size == 0
        and layer.hidden_size in UNITS
        and layer.weight_hh_l0.dtype == torch.float32
    )


def bidirectional_lstm(layer: nn.LSTM, x: Tensor, axis: int, precision: str | None = None) -> Tensor:
    """What `layer` makes of sequences along an axis of x, from zero states.

    Args:
        layer: with one layer, both directions, biases and as many units as one of `UNITS`.
        x: [B, S, Q, C] on CUDA, computed in float32.
        axis: 1 or 2, along which the sequences run; all others are rows of their own.
        precision: of the products with the state: "tf32", "ieee", or None for what torch may use in cuDNN.

    Returns:
        float32 [B, S, Q, 2H], forward and backward outputs side by side.
    """
    if precision is None:
        precision = "tf32" if torch.backends.cudnn.allow_tf32 else "ieee"
    ways: list[Any] = [("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")]
    ways.append([f"{name}_reverse" for name in ways[0]])
    from_input, from_state, bias, more = (
        torch.cat([getattr(layer, name) for name in names]) for names in zip(*ways, strict=True)
    )
    with torch.autocast(x.device.type, enabled=False):
        inputs = F.linear(x.float(), from_input, bias + more)  # [B, S, Q, 8H]
        return _Recurrence.apply(inputs, from_state, axis, precision, torch.is_grad_enabled())


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weights: Tensor, axis: int, precision: str, save: bool) -> Tensor:
        from auralnav.separation import triton_lstm_kernels

        # What the decorator makes of a function is launched by subscript, of which its type knows nothing.
        kernel: Any = triton_lstm_kernels.lstm_forward
        inputs, weights = inputs.contiguous(), weights.contiguous()
        units = weights.shape[1]
        grid, walk, sizes = _shape(inputs, units, axis, precision)
        out = inputs.new_empty(*inputs.shape[:3], 2 * units)
        gates, cells = (torch.empty_like(like if save else like[:0]) for like in (inputs, out))
        with torch.cuda.device_of(inputs):  # a launch goes to the current device
            kernel[grid](inputs, weights, gates, cells, out, *walk, SAVE=save, **sizes)
        ctx.save_for_backward(weights, gates, cells, out)
        ctx.axis, ctx.precision = axis, precision
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        from auralnav.separation import triton_lstm_kernels

        kernel: Any = triton_lstm_kernels.lstm_backward
        weights, gates, cells, out = ctx.saved_tensors
        units, axis = weights.shape[1], ctx.axis
        grid, walk, sizes = _shape(gates, units, axis, ctx.precision)
        grad = torch.empty_like(gates)
        with torch.cuda.device_of(gates):
            kernel[grid](weights, gates, cells, grad_out.contiguous(), grad, *walk, **sizes)
        before = torch.zeros_like(out)  # the state that each step began with
        steps = out.shape[axis]
        earlier, later = (slice(None),) * axis + (slice(steps - 1),), (slice(None),) * axis + (slice(1, None),)
        before[later][..., :units] = out[earlier][..., :units]
        before[earlier][..., units:] = out[later][..., units:]
        grads, states = grad.view(-1, 2, 4 * units), before.view(-1, 2, units)
        to_weights = torch.cat([grads[:, way].T @ states[:, way] for way in (0, 1)])
        return grad, to_weights, None, None, None


def _shape(
    gates: Tensor, units: int, axis: int, precision: str
) -> tuple[tuple[int, int], tuple[int, ...], dict[str, Any]]:
    """The grid of programs, how each walks the places of [B, S, Q, …], and the sizes of one."""
    batch, chunks, size = gates.shape[:3]
    if axis == 1:
        rows, length, walk = batch * size, chunks, (size, chunks * size, 1, size)
    else:
        rows, length, walk = batch * chunks, size, (1, size, 0, 1)
    sizes = {"UNITS": units, "ROWS": ROWS, "PRECISION": precision}
    return (-(-rows // ROWS), 2), (rows, length, *walk), sizes
