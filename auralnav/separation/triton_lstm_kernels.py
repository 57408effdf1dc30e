"""Triton programs of a bidirectional LSTM layer: each walks some rows one way, state and weights in registers.

Gates in torch's order: input i, forget f, cell g, output o.
"""

from __future__ import annotations

# Triton comes with torch's CUDA builds only; this module is imported where there is one.
import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]


@triton.jit
def _tanh(x):
    return 2.0 * tl.sigmoid(2.0 * x) - 1.0


@triton.jit(do_not_specialize=["rows", "length", "inner", "outer_stride", "inner_stride", "time_stride"])
def lstm_forward(
    inputs, weights, gates, cells, out,
    rows, length, inner, outer_stride, inner_stride, time_stride,
    SAVE: tl.constexpr, UNITS: tl.constexpr, ROWS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """All arrays contiguous float32, a place being one step of one row: inputs (the part of the gates that is known
    before), gates [places, 2, 4, H], weights [2, 4, H, H] from state to gates, cells, out [places, 2, H].
    Step t of row r is place (r // inner) · outer_stride + (r % inner) · inner_stride + t · time_stride.
    """  # fmt: skip
    way = tl.program_id(1)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    unit = tl.arange(0, UNITS)
    inside = (row < rows)[:, None]
    first = (row // inner).to(tl.int64) * outer_stride + (row % inner) * inner_stride
    square = UNITS * UNITS
    turned = weights + way * 4 * square + unit[None, :] * UNITS + unit[:, None]  # [from, to]
    w_i = tl.load(turned)
    w_f = tl.load(turned + square)
    w_g = tl.load(turned + 2 * square)
    w_o = tl.load(turned + 3 * square)
    h = tl.zeros((ROWS, UNITS), dtype=tl.float32)
    c = tl.zeros((ROWS, UNITS), dtype=tl.float32)
    for step in range(length):
        t = tl.where(way == 0, step, length - 1 - step)
        place = (first + t * time_stride) * 2 + way
        four = place[:, None] * 4 * UNITS + unit[None, :]
        one = place[:, None] * UNITS + unit[None, :]
        z_i = tl.load(inputs + four, mask=inside, other=0.0)
        z_f = tl.load(inputs + four + UNITS, mask=inside, other=0.0)
        z_g = tl.load(inputs + four + 2 * UNITS, mask=inside, other=0.0)
        z_o = tl.load(inputs + four + 3 * UNITS, mask=inside, other=0.0)
        i = tl.sigmoid(tl.dot(h, w_i, acc=z_i, input_precision=PRECISION))
        f = tl.sigmoid(tl.dot(h, w_f, acc=z_f, input_precision=PRECISION))
        g = _tanh(tl.dot(h, w_g, acc=z_g, input_precision=PRECISION))
        o = tl.sigmoid(tl.dot(h, w_o, acc=z_o, input_precision=PRECISION))
        c = f * c + i * g
        h = o * _tanh(c)
        tl.store(out + one, h, mask=inside)
        if SAVE:
            tl.store(cells + one, c, mask=inside)
            tl.store(gates + four, i, mask=inside)
            tl.store(gates + four + UNITS, f, mask=inside)
            tl.store(gates + four + 2 * UNITS, g, mask=inside)
            tl.store(gates + four + 3 * UNITS, o, mask=inside)


@triton.jit(do_not_specialize=["rows", "length", "inner", "outer_stride", "inner_stride", "time_stride"])
def lstm_backward(
    weights, gates, cells, grad_out, grad_inputs,
    rows, length, inner, outer_stride, inner_stride, time_stride,
    UNITS: tl.constexpr, ROWS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """As `lstm_forward`; grad_out [places, 2, H] comes in, grad_inputs [places, 2, 4, H] goes out."""
    way = tl.program_id(1)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    unit = tl.arange(0, UNITS)
    inside = (row < rows)[:, None]
    first = (row // inner).to(tl.int64) * outer_stride + (row % inner) * inner_stride
    square = UNITS * UNITS
    straight = weights + way * 4 * square + unit[:, None] * UNITS + unit[None, :]  # [to, from]
    w_i = tl.load(straight)
    w_f = tl.load(straight + square)
    w_g = tl.load(straight + 2 * square)
    w_o = tl.load(straight + 3 * square)
    grad_h = tl.zeros((ROWS, UNITS), dtype=tl.float32)
    grad_c = tl.zeros((ROWS, UNITS), dtype=tl.float32)
    for step in range(length):
        t = tl.where(way == 0, length - 1 - step, step)
        before = tl.where(way == 0, -time_stride, time_stride)
        place = (first + t * time_stride) * 2 + way
        four = place[:, None] * 4 * UNITS + unit[None, :]
        one = place[:, None] * UNITS + unit[None, :]
        i = tl.load(gates + four, mask=inside, other=0.0)
        f = tl.load(gates + four + UNITS, mask=inside, other=0.0)
        g = tl.load(gates + four + 2 * UNITS, mask=inside, other=0.0)
        o = tl.load(gates + four + 3 * UNITS, mask=inside, other=0.0)
        told = _tanh(tl.load(cells + one, mask=inside, other=0.0))
        begun = tl.full((1, 1), 0, tl.int32) + step < length - 1  # else it is the first step, with nothing before
        c_before = tl.load(cells + one + before * 2 * UNITS, mask=inside & begun, other=0.0)
        grad_h += tl.load(grad_out + one, mask=inside, other=0.0)
        grad_c += grad_h * o * (1.0 - told * told)
        z_i = grad_c * g * i * (1.0 - i)
        z_f = grad_c * c_before * f * (1.0 - f)
        z_g = grad_c * i * (1.0 - g * g)
        z_o = grad_h * told * o * (1.0 - o)
        grad_c *= f
        tl.store(grad_inputs + four, z_i, mask=inside)
        tl.store(grad_inputs + four + UNITS, z_f, mask=inside)
        tl.store(grad_inputs + four + 2 * UNITS, z_g, mask=inside)
        tl.store(grad_inputs + four + 3 * UNITS, z_o, mask=inside)
        grad_h = tl.dot(z_i, w_i, input_precision=PRECISION)
        grad_h = tl.dot(z_f, w_f, acc=grad_h, input_precision=PRECISION)
        grad_h = tl.dot(z_g, w_g, acc=grad_h, input_precision=PRECISION)
        grad_h = tl.dot(z_o, w_o, acc=grad_h, input_precision=PRECISION)
