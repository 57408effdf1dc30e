"""The compiled loops of the causal depthwise convolution with SiLU before the scan.

Arrays are flat float32, channels innermost: x [B, L, C] with a stride between steps of at least C, weights [K, C]
with the newest lag last, taps [B, K − 1, C]. C is a multiple of 16. As in the scan, a call works on its share of rows
and blocks of 16 channels. Both loops spell out the sum over the taps: a call in the inner loop made them ten times
slower.
"""

from __future__ import annotations

from numba import njit

from auralnav.policies.ssm.numba_lanes import (
    WIDTH,
    exp2,
    fma,
    load,
    minus_log2_e,
    ones,
    store,
    zeros,
)

LANES = "3a4af2ac8e55"
"""Start of the SHA-256 of numba_lanes.py: Numba compiles anew when this file changes, not when that one does."""


@njit(cache=True, nogil=True)
def conv_forward(x, taps, weight, bias, episode, y, shape, stride, rows, blocks):
    """Write silu(bias + Σ_lag weight[K − 1 − lag] · x[t − lag]) over the lags inside the episode of step t.

    Args:
        x: [B, L, C], `stride` floats from step to step.
        taps: [B, K - 1, C], the inputs before the first step, newest last, or empty: none.
        weight: [K, C].
        bias: [C].
        episode: int32 [B, L], or empty: one episode a row.
        y: [B, L, C], written.
        shape: (B, L, C, K).
        stride: floats between x of one step and of the next.
        rows: (from, to), the rows of this call.
        blocks: (from, to), the blocks of 16 channels of this call.
    """
    _, length, channels, width = shape
    lags = width - 1
    for row in range(rows[0], rows[1]):
        reach = 0  # steps back to the first tap that counts: at most to the first step of the episode
        for t in range(length):
            here = row * length + t
            if t == 0:
                reach = lags if taps.size else 0
            elif episode.size and episode[here] != episode[here - 1]:
                reach = 0
            else:
                reach = min(reach + 1, lags)
            own = min(reach, t) + 1  # taps that are steps of this call
            for block in range(blocks[0], blocks[1]):
                first = block * WIDTH
                out = load(bias, first)
                for lag in range(own):
                    value = load(x, (here - lag) * stride + first)
                    out = fma(load(weight, (lags - lag) * channels + first), value, out)
                for lag in range(own, reach + 1):
                    value = load(taps, (row * lags + lags + t - lag) * channels + first)
                    out = fma(load(weight, (lags - lag) * channels + first), value, out)
                gate = ones() / (ones() + exp2(out * minus_log2_e()))
                store(y, here * channels + first, out * gate)


@njit(cache=True, nogil=True)
def conv_backward(
    x, taps, weight, bias, episode, grad_y, grad_x, grad_taps, grad_weight, grad_bias, shape, stride, rows, blocks
):
    """Write the gradients; those of the weights and the bias over these rows and blocks only.

    Args as in `conv_forward`, but:
        grad_y: [B, L, C].
        grad_x: [B, L, C], written.
        grad_taps: [B, K - 1, C], written when `taps` is not empty.
        grad_weight: [K, C], written.
        grad_bias: [C], written.
    """
    _, length, channels, width = shape
    lags = width - 1
    for block in range(blocks[0], blocks[1]):
        store(grad_bias, block * WIDTH, zeros())
        for lag in range(width):
            store(grad_weight, lag * channels + block * WIDTH, zeros())
    for row in range(rows[0], rows[1]):
        if taps.size:
            for place in range(row * lags, (row + 1) * lags):
                for block in range(blocks[0], blocks[1]):
                    store(grad_taps, place * channels + block * WIDTH, zeros())
        reach = 0  # steps back to the first tap that counts: at most to the first step of the episode
        for t in range(length):
            here = row * length + t
            if t == 0:
                reach = lags if taps.size else 0
            elif episode.size and episode[here] != episode[here - 1]:
                reach = 0
            else:
                reach = min(reach + 1, lags)
            own = min(reach, t) + 1  # taps that are steps of this call
            for block in range(blocks[0], blocks[1]):
                first = block * WIDTH
                out = load(bias, first)
                for lag in range(own):
                    value = load(x, (here - lag) * stride + first)
                    out = fma(load(weight, (lags - lag) * channels + first), value, out)
                for lag in range(own, reach + 1):
                    value = load(taps, (row * lags + lags + t - lag) * channels + first)
                    out = fma(load(weight, (lags - lag) * channels + first), value, out)
                gate = ones() / (ones() + exp2(out * minus_log2_e()))
                slope = gate * fma(out, ones() - gate, ones())
                grad = load(grad_y, here * channels + first) * slope
                store(grad_bias, first, load(grad_bias, first) + grad)
                store(grad_x, here * channels + first, zeros())
                for lag in range(own):
                    at = (lags - lag) * channels + first
                    value = load(x, (here - lag) * stride + first)
                    store(grad_weight, at, fma(grad, value, load(grad_weight, at)))
                    back = (here - lag) * channels + first
                    store(grad_x, back, fma(load(weight, at), grad, load(grad_x, back)))
                for lag in range(own, reach + 1):
                    at = (lags - lag) * channels + first
                    back = (row * lags + lags + t - lag) * channels + first
                    store(grad_weight, at, fma(grad, load(taps, back), load(grad_weight, at)))
                    store(grad_taps, back, fma(load(weight, at), grad, load(grad_taps, back)))
