"""The compiled loops of single steps: the state is read and written once, its states [N] innermost.

Arrays are flat float32 and contiguous. `new` may be `state`: the step is then in place.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from auralnav.policies.ssm.numba_lanes import (
    LOG2_E,
    WIDTH,
    exp2,
    fma,
    load,
    splat,
    store,
    total,
    zeros,
)

EXPONENT = np.float32(LOG2_E)

LANES = "3a4af2ac8e55"
"""Start of the SHA-256 of numba_lanes.py: Numba compiles anew when this file changes, not when that one does."""


@njit(cache=True, nogil=True)
def selective_step_rows(u, dt, a, b_in, c_out, skip, state, new, y, shape, rows):
    """One step of Mamba: new = exp(Δ A) state + Δ B u, y = C new + D u.

    Args:
        u: [B, D].
        dt: Δ, [B, D].
        a: A, [D, N].
        b_in: B, [B, N].
        c_out: C, [B, N].
        skip: D of the formula, [D].
        state: [B, D, N].
        new: [B, D, N], written.
        y: [B, D], written.
        shape: (D, N).
        rows: (from, to), the rows of this call.
    """
    channels, order = shape
    whole = order - order % WIDTH
    for row in range(rows[0], rows[1]):
        for channel in range(channels):
            here = row * channels + channel
            delta = dt[here]
            held = delta * u[here]
            rate, gain = splat(delta * EXPONENT), splat(held)
            sums = zeros()
            for n in range(0, whole, WIDTH):
                kept = exp2(rate * load(a, channel * order + n))
                value = fma(kept, load(state, here * order + n), gain * load(b_in, row * order + n))
                store(new, here * order + n, value)
                sums = fma(value, load(c_out, row * order + n), sums)
            out = total(sums) + skip[channel] * u[here]
            for n in range(whole, order):
                kept = math.exp(delta * a[channel * order + n])
                value = kept * state[here * order + n] + held * b_in[row * order + n]
                new[here * order + n] = value
                out += value * c_out[row * order + n]
            y[here] = out


@njit(cache=True, nogil=True)
def head_step_rows(x, dt, a, b_in, c_out, skip, state, new, y, shape, rows):
    """One step of Mamba-2: per head new = exp(Δ A) state + Δ x Bᵀ, y = new C + D x.

    Args:
        x: [B, H, P].
        dt: Δ, [B, H].
        a: A, [H].
        b_in: B, [B, G, N].
        c_out: C, [B, G, N].
        skip: D of the formula, [H].
        state: [B, H, P, N].
        new: [B, H, P, N], written.
        y: [B, H, P], written.
        shape: (H, P, G, N).
        rows: (from, to), the rows of this call.
    """
    heads, headdim, groups, order = shape
    whole = order - order % WIDTH
    for row in range(rows[0], rows[1]):
        for head in range(heads):
            delta = dt[row * heads + head]
            kept = np.float32(math.exp(delta * a[head]))
            decay = splat(kept)
            group = (row * groups + head * groups // heads) * order
            for place in range(headdim):
                here = (row * heads + head) * headdim + place
                held = delta * x[here]
                gain = splat(held)
                sums = zeros()
                for n in range(0, whole, WIDTH):
                    value = fma(decay, load(state, here * order + n), gain * load(b_in, group + n))
                    store(new, here * order + n, value)
                    sums = fma(value, load(c_out, group + n), sums)
                out = total(sums) + skip[head] * x[here]
                for n in range(whole, order):
                    value = kept * state[here * order + n] + held * b_in[group + n]
                    new[here * order + n] = value
                    out += value * c_out[group + n]
                y[here] = out
