"""The compiled loops of Mamba's selective scan: h_t = exp(Δ_t A) h_{t-1} + Δ_t B_t u_t, y_t = C_t h_t + D u_t.

Every array is flat, float32 and contiguous, channels innermost: u, Δ, y and their gradients [B, L, D], B and C
[B, L, N], A [N, D], states [B, N, D]. D is a multiple of 16. A loop works on the rows and the blocks of
16 channels that it is told, so that threads can share one call; no two of them write to the same place.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from auralnav.policies.ssm.numba_lanes import WIDTH, exp2, fma, load, spread, store, total, zeros

LANES = "3a4af2ac8e55"
"""Start of the SHA-256 of numba_lanes.py: Numba compiles anew when this file changes, not when that one does."""


@njit(cache=True, nogil=True)
def scan_forward(inputs, episode, outputs, shape, chunk, rows, blocks):
    """Run the recurrence and write the outputs.

    Args:
        inputs: u, Δ, A · log2 e, B, C, D of the formula [D] and h0, which may be empty: zeros.
        episode: int32 [B, L], or empty: one episode a row.
        outputs: y; the states before steps chunk, 2·chunk, … [B, ceil(L / chunk) - 1, N, D], or empty when they are
            not wanted; the last state.
        shape: (B, L, D, N).
        chunk: steps between checkpoints.
        rows: (from, to), the rows of this call.
        blocks: (from, to), the blocks of 16 channels of this call.
    """
    u, dt, a_log2, b_in, c_out, skip, h0 = inputs
    y, checkpoints, h_last = outputs
    _, length, channels, order = shape
    saved = (length + chunk - 1) // chunk - 1
    state = np.empty(order * WIDTH, np.float32)
    decay = np.empty(order * WIDTH, np.float32)
    for block in range(blocks[0], blocks[1]):
        first = block * WIDTH
        for n in range(order):
            store(decay, n * WIDTH, load(a_log2, n * channels + first))
        skipped = load(skip, first)
        for row in range(rows[0], rows[1]):
            for n in range(order):
                if h0.size:
                    store(state, n * WIDTH, load(h0, (row * order + n) * channels + first))
                else:
                    store(state, n * WIDTH, zeros())
            for t in range(length):
                step = row * length + t
                if checkpoints.size and t and t % chunk == 0:
                    place = (row * saved + t // chunk - 1) * order
                    for n in range(order):
                        store(checkpoints, (place + n) * channels + first, load(state, n * WIDTH))
                if episode.size and t and episode[step] != episode[step - 1]:
                    for n in range(order):
                        store(state, n * WIDTH, zeros())
                here = step * channels + first
                delta = load(dt, here)
                held = load(u, here)
                out = skipped * held
                held = delta * held
                for n in range(order):
                    kept = exp2(delta * load(decay, n * WIDTH))
                    new = fma(kept, load(state, n * WIDTH), held * spread(b_in, step * order + n))
                    store(state, n * WIDTH, new)
                    out = fma(new, spread(c_out, step * order + n), out)
                store(y, here, out)
            for n in range(order):
                store(h_last, (row * order + n) * channels + first, load(state, n * WIDTH))


@njit(cache=True, nogil=True)
def scan_backward(inputs, episode, outputs, shape, chunk, rows, blocks):
    """Write the gradients, recomputing the states of one chunk at a time from its checkpoint.

    Args as in `scan_forward`, but:
        inputs: u, Δ, A · log2 e, A, B, C, D, h0 and the checkpoints, then the gradients of y and of the last
            state; h0 and the latter may be empty: zeros.
        outputs: the gradients of u, Δ and h0; those of A and D over these rows and blocks only [N, D] and [D]; those
            of B and C over these blocks only.
    """
    u, dt, a_log2, a, b_in, c_out, skip, h0, checkpoints, grad_y, grad_last = inputs
    grad_u, grad_dt, grad_h0, grad_a, grad_skip, grad_b, grad_c = outputs
    _, length, channels, order = shape
    chunks = (length + chunk - 1) // chunk
    width = order * WIDTH
    held_states = np.empty(chunk * width, np.float32)
    held_decays = np.empty(chunk * width, np.float32)
    sums_b = np.empty(chunk * width, np.float32)
    sums_c = np.empty(chunk * width, np.float32)
    state = np.empty(width, np.float32)
    block_count = blocks[1] - blocks[0]
    adjoint = np.empty(block_count * width, np.float32)
    sums_a = np.zeros(block_count * width, np.float32)
    sums_skip = np.zeros(block_count * WIDTH, np.float32)
    for row in range(rows[0], rows[1]):
        for block in range(block_count):
            first = (blocks[0] + block) * WIDTH
            for n in range(order):
                if grad_last.size:
                    value = load(grad_last, (row * order + n) * channels + first)
                else:
                    value = zeros()
                store(adjoint, block * width + n * WIDTH, value)
        for back in range(chunks):
            number = chunks - 1 - back
            start = number * chunk
            stop = min(start + chunk, length)
            sums_b[:] = 0.0
            sums_c[:] = 0.0
            for block in range(block_count):
                first = (blocks[0] + block) * WIDTH
                for n in range(order):
                    if number:
                        place = (row * (chunks - 1) + number - 1) * order + n
                        value = load(checkpoints, place * channels + first)
                    elif h0.size:
                        value = load(h0, (row * order + n) * channels + first)
                    else:
                        value = zeros()
                    store(state, n * WIDTH, value)
                for t in range(start, stop):
                    step = row * length + t
                    if episode.size and t and episode[step] != episode[step - 1]:
                        for n in range(order):
                            store(state, n * WIDTH, zeros())
                    here = step * channels + first
                    delta = load(dt, here)
                    held = delta * load(u, here)
                    kept_at = (t - start) * width
                    for n in range(order):
                        before = load(state, n * WIDTH)
                        kept = exp2(delta * load(a_log2, n * channels + first))
                        store(held_states, kept_at + n * WIDTH, before)
                        store(held_decays, kept_at + n * WIDTH, kept)
                        store(state, n * WIDTH, fma(kept, before, held * spread(b_in, step * order + n)))
                skipped = load(skip, first)
                skip_sum = load(sums_skip, block * WIDTH)
                for t_back in range(stop - start):
                    t = stop - 1 - t_back
                    step = row * length + t
                    here = step * channels + first
                    delta = load(dt, here)
                    value = load(u, here)
                    held = delta * value
                    seen = load(grad_y, here)
                    through_b = zeros()
                    through_decay = zeros()
                    kept_at = (t - start) * width
                    for n in range(order):
                        at = n * WIDTH
                        kept = load(held_decays, kept_at + at)
                        carried = kept * load(held_states, kept_at + at)
                        b_n = spread(b_in, step * order + n)
                        new = fma(held, b_n, carried)
                        store(sums_c, kept_at + at, fma(seen, new, load(sums_c, kept_at + at)))
                        grad = fma(
                            seen, spread(c_out, step * order + n), load(adjoint, block * width + at)
                        )
                        store(sums_b, kept_at + at, fma(grad, held, load(sums_b, kept_at + at)))
                        through_b = fma(grad, b_n, through_b)
                        carried = grad * carried
                        through_decay = fma(carried, load(a, n * channels + first), through_decay)
                        a_at = block * width + at
                        store(sums_a, a_at, fma(carried, delta, load(sums_a, a_at)))
                        store(adjoint, block * width + at, grad * kept)
                    store(grad_u, here, fma(delta, through_b, seen * skipped))
                    store(grad_dt, here, fma(value, through_b, through_decay))
                    skip_sum = fma(seen, value, skip_sum)
                    if episode.size and t and episode[step] != episode[step - 1]:
                        for n in range(order):
                            store(adjoint, block * width + n * WIDTH, zeros())
                store(sums_skip, block * WIDTH, skip_sum)
            for t in range(start, stop):
                for n in range(order):
                    place = (t - start) * width + n * WIDTH
                    grad_b[(row * length + t) * order + n] = total(load(sums_b, place))
                    grad_c[(row * length + t) * order + n] = total(load(sums_c, place))
        for block in range(block_count):
            first = (blocks[0] + block) * WIDTH
            for n in range(order):
                place = (row * order + n) * channels + first
                store(grad_h0, place, load(adjoint, block * width + n * WIDTH))
    for block in range(block_count):
        first = (blocks[0] + block) * WIDTH
        store(grad_skip, first, load(sums_skip, block * WIDTH))
        for n in range(order):
            store(grad_a, n * channels + first, load(sums_a, block * width + n * WIDTH))
