"""The compiled loops of the causal depthwise convolution with SiLU before the scan.

Arrays are flat float32, channels innermost: x [B, L, C] with a stride between steps of at least C, weights [K, C]
with the newest lag last, taps [B, K − 1, C]. C is a multiple of 16. As in the scan, a call works on its share of rows
and blocks of 16 channels.
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


@njit(cache=True, nogil=True)
def _reach(episode, row, length, t, reach, lags, carried):
    """How many steps back the taps of step t go, given `reach` of step t − 1: at most to its episode's first."""
    if t == 0:
        return lags if carried else 0
    if episode.size and episode[row * length + t] != episode[row * length + t - 1]:
        return 0
    return min(reach + 1, lags)


@njit(cache=True, nogil=True)
def _source(x, taps, row, length, channels, stride, lags, t, lag, first):
    """The input `lag` steps before step t: of this call, or else of the taps."""
    if lag <= t:
        return load(x, (row * length + t - lag) * stride + first)
    return load(taps, (row * lags + lags + t - lag) * channels + first)


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
        reach = 0
        for t in range(length):
            reach = _reach(episode, row, length, t, reach, lags, taps.size > 0)
            for block in range(blocks[0], blocks[1]):
                first = block * WIDTH
                out = load(bias, first)
                for lag in range(reach + 1):
                    value = _source(x, taps, row, length, channels, stride, lags, t, lag, first)
                    out = fma(load(weight, (lags - lag) * channels + first), value, out)
                gate = ones() / (ones() + exp2(out * minus_log2_e()))
                store(y, (row * length + t) * channels + first, out * gate)


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
        reach = 0
        for t in range(length):
            reach = _reach(episode, row, length, t, reach, lags, taps.size > 0)
            here = (row * length + t) * channels
            for block in range(blocks[0], blocks[1]):
                first = block * WIDTH
                out = load(bias, first)
                for lag in range(reach + 1):
                    value = _source(x, taps, row, length, channels, stride, lags, t, lag, first)
                    out = fma(load(weight, (lags - lag) * channels + first), value, out)
                gate = ones() / (ones() + exp2(out * minus_log2_e()))
                slope = gate * fma(out, ones() - gate, ones())
                grad = load(grad_y, here + first) * slope
                store(grad_bias, first, load(grad_bias, first) + grad)
                store(grad_x, here + first, zeros())
                for lag in range(reach + 1):
                    at = (lags - lag) * channels + first
                    value = _source(x, taps, row, length, channels, stride, lags, t, lag, first)
                    store(grad_weight, at, fma(grad, value, load(grad_weight, at)))
                    kernel = load(weight, at)
                    if lag <= t:
                        back = here - lag * channels + first
                        store(grad_x, back, fma(kernel, grad, load(grad_x, back)))
                    else:
                        back = (row * lags + lags + t - lag) * channels + first
                        store(grad_taps, back, fma(kernel, grad, load(grad_taps, back)))
