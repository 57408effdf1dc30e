"""The compiled loops of Mamba-2's gated norm, x · silu(z) over its root mean square, times a weight.

Arrays are flat float32: x and what is written [S, G, W] without gaps, for S steps and G groups; z with a stride between
steps of at least G W; the weight [G, W]. W is a multiple of 16, of which the last may be padding: x and z are zero
there, and the mean is of the `group` true ones.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from auralnav.policies.ssm.numba_lanes import (
    WIDTH,
    exp2,
    fma,
    load,
    minus_log2_e,
    ones,
    splat,
    store,
    total,
    zeros,
)

LANES = "3a4af2ac8e55"
"""Start of the SHA-256 of numba_lanes.py: Numba compiles anew when this file changes, not when that one does."""


@njit(cache=True, nogil=True)
def norm_forward(x, z, weight, out, shape, stride, eps, steps):
    """Write the normalised values.

    Args:
        x: [S, G, W].
        z: [S, G, W], `stride` floats from step to step.
        weight: [G, W].
        out: [S, G, W], written.
        shape: (G, W, group): groups, their padded and their true width.
        stride: floats between z of one step and of the next.
        eps: added to the mean square.
        steps: (from, to), the steps of this call.
    """
    groups, width, group = shape
    held = np.empty(width, np.float32)
    for step in range(steps[0], steps[1]):
        for number in range(groups):
            at, gate_at = (step * groups + number) * width, step * stride + number * width
            squares = zeros()
            for j in range(0, width, WIDTH):
                value = load(z, gate_at + j)
                gated = load(x, at + j) * (value / (ones() + exp2(value * minus_log2_e())))
                squares = fma(gated, gated, squares)
                store(held, j, gated)
            scale = splat(np.float32(1.0 / np.sqrt(np.float64(total(squares)) / group + eps)))
            for j in range(0, width, WIDTH):
                store(out, at + j, load(held, j) * scale * load(weight, number * width + j))


@njit(cache=True, nogil=True)
def norm_backward(x, z, weight, grad_out, grad_x, grad_z, grad_weight, shape, stride, eps, steps):
    """Write the gradients; that of the weight over these steps only.

    Args as in `norm_forward`, but:
        grad_out: [S, G, W].
        grad_x: [S, G, W], written.
        grad_z: [S, G, W], written, without gaps.
        grad_weight: [G, W], written.
    """
    groups, width, group = shape
    held = np.empty(width, np.float32)
    for j in range(0, groups * width, WIDTH):
        store(grad_weight, j, zeros())
    for step in range(steps[0], steps[1]):
        for number in range(groups):
            at, gate_at, own = (step * groups + number) * width, step * stride + number * width, number * width
            squares, along = zeros(), zeros()
            for j in range(0, width, WIDTH):
                value = load(z, gate_at + j)
                gated = load(x, at + j) * (value / (ones() + exp2(value * minus_log2_e())))
                squares = fma(gated, gated, squares)
                along = fma(load(grad_out, at + j) * load(weight, own + j), gated, along)
                store(held, j, gated)
            inverse = 1.0 / np.sqrt(np.float64(total(squares)) / group + eps)
            scale = splat(np.float32(inverse))
            common = splat(np.float32(-np.float64(total(along)) / group * inverse * inverse * inverse))
            for j in range(0, width, WIDTH):
                gated, out = load(held, j), load(grad_out, at + j)
                store(grad_weight, own + j, fma(out, gated * scale, load(grad_weight, own + j)))
                grad = fma(common, gated, out * load(weight, own + j) * scale)
                value = load(z, gate_at + j)
                gate = ones() / (ones() + exp2(value * minus_log2_e()))
                store(grad_x, at + j, grad * value * gate)
                slope = gate * fma(value, ones() - gate, ones())
                store(grad_z, at + j, grad * load(x, at + j) * slope)
