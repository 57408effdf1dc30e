"""The compiled chunk scan of Mamba-2, forwards: h_t = exp(dt_t A) h_{t−1} + dt_t B_t x_tᵀ, y_t = C_t h_t + D x_t.

Inside a chunk of Q steps this is one masked product, [Q, Q] by [Q, P] for each head; from chunk to chunk the state
goes on (Dao & Gu 2024, arXiv:2405.21060, section 6).

Arrays are flat float32: x and y [B, L, H, P], dt [B, L, H], B and C [B, L, G, N], A and D [H], states [B, H, N, P].
x, B and C may have gaps from step to step. N and P are multiples of 16. A call works on the rows and heads that it is
told, so that threads can share one; no two of them write to the same place.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from auralnav.policies.ssm.numba_lanes import WIDTH, exp2, fma, load, spread, store
from auralnav.policies.ssm.numba_ssd_parts import (
    clear,
    copy,
    decays,
    pack,
    pair_products,
    passes,
    scale_steps,
    segments,
    whole,
)
from auralnav.policies.ssm.numba_tiles import CAUSAL, FULL, ROWS, add_product

PARTS = "85fbe5baad5c"
"""Start of the SHA-256 of numba_ssd_parts.py, which holds those of what it stands on."""


@njit(cache=True, nogil=True)
def ssd_forward(inputs, episode, outputs, shape, strides, chunk, rows, heads):
    """Run the recurrence from segment to segment and write the outputs.

    Args:
        inputs: x, dt, A, B, C, D and h0, which may be empty: zeros.
        episode: int32 [B, L], or empty: one episode a row.
        outputs: y; the states before each segment that goes on with a state of this call, in their order
            [B, (L − 1) // chunk, H, N, P], or empty when they are not wanted; the last state, or empty likewise.
        shape: (B, L, H, P, G, N).
        strides: floats from step to step of x, B and C.
        chunk: the most steps of a segment.
        rows: (from, to), the rows of this call.
        heads: (from, to), the heads of this call.
    """
    x, dt, rates, b_in, c_out, skip, h0 = inputs
    y, checkpoints, h_last = outputs
    _, length, count, width, groups, order = shape
    x_stride, b_stride, c_stride = strides
    size = order * width
    longest = whole(min(chunk, length), WIDTH)
    starts = np.empty(length + 1, np.int64)
    states = np.empty((heads[1] - heads[0]) * size, np.float32)
    by_order = np.empty((3, longest * order), np.float32)
    b, c, c_turned = by_order[0], by_order[1], by_order[2]
    by_width = np.empty((2, longest * width), np.float32)
    u, out = by_width[0], by_width[1]
    by_pair = np.empty((2, longest * longest), np.float32)
    pairs, mixed = by_pair[0], by_pair[1]
    by_step = np.empty((4, longest), np.float32)
    high, low, from_start, to_end = by_step[0], by_step[1], by_step[2], by_step[3]
    for row in range(rows[0], rows[1]):
        saved = 0
        for segment in range(segments(episode, row, length, chunk, starts)):
            start, stop = starts[segment], starts[segment + 1]
            steps, first = stop - start, row * length + start
            padded, tiled = whole(steps, WIDTH), whole(steps, ROWS)
            entered = passes(episode, row, length, start, h0.size > 0)
            left = passes(episode, row, length, stop, h_last.size > 0)
            group = -1
            for head in range(heads[0], heads[1]):
                if head * groups // count != group:
                    group = head * groups // count
                    pack(b_in, first * b_stride + group * order, b_stride, b, steps, order)
                    pack(c_out, first * c_stride + group * order, c_stride, c, steps, order)
                    pair_products(b, c, c_turned, pairs, steps, order)
                place, in_row = (head - heads[0]) * size, (row * count + head) * size
                if entered and start == 0:
                    copy(h0, in_row, states, place, size)
                elif entered and checkpoints.size:
                    at = ((row * ((length - 1) // chunk) + saved) * count + head) * size
                    copy(states, place, checkpoints, at, size)
                decays(dt, first * count + head, count, rates[head], steps, high, low, from_start, to_end)
                mix(pairs, high, low, mixed, steps)
                x_at = first * x_stride + head * width
                pack(x, x_at, x_stride, u, steps, width)
                scale_steps(u, dt, first * count + head, count, steps, width)
                clear(out, 0, tiled * width)
                if entered:
                    add_product(
                        out, 0, width, c, 0, order, 1, states, place, width, tiled, width, order, FULL
                    )
                    scale_steps(out, from_start, 0, 1, steps, width)
                add_product(out, 0, width, mixed, 0, 1, padded, u, 0, width, tiled, width, steps, CAUSAL)
                skipped = spread(skip, head)
                for t in range(steps):
                    at = ((first + t) * count + head) * width
                    for j in range(0, width, WIDTH):
                        value = load(x, x_at + t * x_stride + j)
                        store(y, at + j, fma(skipped, value, load(out, t * width + j)))
                if left:
                    if entered:
                        kept = spread(from_start, steps - 1)
                        for j in range(place, place + size, WIDTH):
                            store(states, j, load(states, j) * kept)
                    else:
                        clear(states, place, place + size)
                    scale_steps(u, to_end, 0, 1, steps, width)
                    add_product(states, place, width, b, 0, 1, order, u, 0, width, order, width, steps, FULL)
                    if stop == length:
                        copy(states, place, h_last, in_row, size)
            if entered and start:
                saved += 1


@njit(cache=True, nogil=True)
def mix(pairs, high, low, mixed, steps):
    """Write pairs[s, t] times what is left at t of step s, for s ≤ t; zeros beside the diagonal, to a whole vector."""
    padded = whole(steps, WIDTH)
    for s in range(steps):
        here, rest = spread(high, s), spread(low, s)
        aligned = s // WIDTH * WIDTH
        for t in range(aligned, padded, WIDTH):
            kept = exp2((load(high, t) - here) + (load(low, t) - rest))
            store(mixed, s * padded + t, load(pairs, s * padded + t) * kept)
        for t in range(aligned, s):  # here the exponent was positive: written over, not multiplied by zero
            mixed[s * padded + t] = 0.0
