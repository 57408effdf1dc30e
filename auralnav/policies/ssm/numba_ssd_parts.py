"""What both passes of the compiled chunk scan are made of: segments, packed operands, decays.

Arrays are flat float32. A segment has Q steps; where a row or a column of a matrix is a step, there is room for whole
vectors of them, and what lies behind the last step is zero or of no use.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from auralnav.policies.ssm.numba_lanes import (
    LOG2_E,
    WIDTH,
    exp2,
    fma,
    load,
    splat,
    spread,
    store,
    total,
    zeros,
)
from auralnav.policies.ssm.numba_tiles import ROWS, UPPER, add_product, transpose

TILES = "f4528f0abc10"
"""Start of the SHA-256 of numba_tiles.py, which holds that of numba_lanes.py in turn."""

# 2^−x is 0 long before; it keeps the sums of absurd decays finite.
_MOST = 1e6


@njit(cache=True, nogil=True)
def segments(episode, row, length, chunk, starts):
    """Write where the segments of a row start, and `length` behind the last; return how many there are.

    A segment lies in one episode and has at most `chunk` steps, so that at a cut there is nothing to mask. Those of
    an episode are of one length but for the last: that needs the least padding.

    Args:
        episode: int32 [B, L], or empty: one episode a row.
        row: number of the row.
        length: L.
        chunk: the most steps.
        starts: int64 [L + 1], written.
    """
    count = 0
    begin = 0
    while begin < length:
        end = begin + 1
        while end < length and passes(episode, row, length, end, True):
            end += 1
        pieces = (end - begin + chunk - 1) // chunk
        size = (end - begin + pieces - 1) // pieces
        for start in range(begin, end, size):
            starts[count] = start
            count += 1
        begin = end
    starts[count] = length
    return count


@njit(cache=True, nogil=True)
def passes(episode, row, length, step, outside):
    """Whether the state passes from the step before `step` to it; `outside` at both ends of a row."""
    if step == 0 or step == length:
        return outside
    return episode.size == 0 or episode[row * length + step] == episode[row * length + step - 1]


@njit(cache=True, nogil=True)
def whole(count, unit):
    """`count` rounded up to a multiple of `unit`."""
    return (count + unit - 1) // unit * unit


@njit(cache=True, nogil=True)
def clear(out, start, stop):
    """Zeros from `start` to `stop`, a multiple of 16 apart."""
    for at in range(start, stop, WIDTH):
        store(out, at, zeros())


@njit(cache=True, nogil=True)
def copy(source, at, out, out_at, count):
    """Copy `count` floats, a multiple of 16."""
    for j in range(0, count, WIDTH):
        store(out, out_at + j, load(source, at + j))


@njit(cache=True, nogil=True)
def pack(source, at, stride, out, steps, width):
    """Copy [Q, width] to the beginning of `out`, without gaps; zeros up to a whole vector of steps."""
    for t in range(steps):
        copy(source, at + t * stride, out, t * width, width)
    clear(out, steps * width, whole(steps, WIDTH) * width)


@njit(cache=True, nogil=True)
def scale_steps(out, factors, at, stride, steps, width):
    """Multiply row t of `out` [Q, width] by the factor at ``at + t · stride``."""
    for t in range(steps):
        factor = spread(factors, at + t * stride)
        for j in range(t * width, (t + 1) * width, WIDTH):
            store(out, j, load(out, j) * factor)


@njit(cache=True, nogil=True)
def scaled_sum(out, at, factor, other, other_at, count):
    """Multiply `count` floats of `out` by `factor`; return the sum of their products with `other`."""
    by = splat(factor)
    held = zeros()
    for j in range(0, count, WIDTH):
        value = load(out, at + j) * by
        held = fma(value, load(other, other_at + j), held)
        store(out, at + j, value)
    return total(held)


@njit(cache=True, nogil=True)
def pair_products(b, c, c_turned, pairs, steps, order):
    """Write Cᵀ [N, Q], and B_s · C_t at pairs[s, t] for s ≤ t, from packed B and C [Q, N]."""
    padded = whole(steps, WIDTH)
    transpose(c, c_turned, padded, order)
    clear(pairs, 0, padded * padded)
    add_product(pairs, 0, padded, b, 0, order, 1, c_turned, 0, padded, whole(steps, ROWS), padded, order, UPPER)


@njit(cache=True, nogil=True)
def decays(dt, at, stride, rate, steps, high, low, from_start, to_end):
    """Sum the decays of one head over a segment.

    The sums are of float64, each kept as two float32, whose differences are as good: a small decay after a large one
    keeps its digits.

    Args:
        dt: step sizes, `stride` floats from step to step.
        at: place of the first.
        stride: floats.
        rate: A of the head.
        steps: Q.
        high: written, [Q]: Σ dt A log2 e up to and with each step, rounded.
        low: written, [Q]: what rounding took.
        from_start: written, [Q]: what is left, at each step, of the state before the segment.
        to_end: written, [Q]: what is left, at the segment's end, of each step's input.
    """
    padded = whole(steps, WIDTH)
    sum_ = 0.0
    for t in range(padded):
        if t < steps:
            change = np.float64(dt[at + t * stride]) * np.float64(rate) * LOG2_E
            sum_ += -_MOST if change < -_MOST else change
        high[t] = np.float32(sum_)
        low[t] = np.float32(sum_ - np.float64(high[t]))
    last, rest = splat(high[steps - 1]), splat(low[steps - 1])
    for t in range(0, padded, WIDTH):
        store(from_start, t, exp2(load(high, t) + load(low, t)))
        store(to_end, t, exp2((last - load(high, t)) + (rest - load(low, t))))
