"""The steps of the compiled chunk scan's backward pass, each for one head of a segment, and the last for a group.

Arrays and matrices as in `numba_ssd_parts`; u is dt x, and places are those of first elements.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from auralnav.policies.ssm.numba_lanes import WIDTH, exp2, fma, load, splat, spread, store, total, zeros
from auralnav.policies.ssm.numba_ssd_parts import clear, copy, scale_steps, scaled_sum, whole
from auralnav.policies.ssm.numba_tiles import ANTICAUSAL, CAUSAL, FULL, ROWS, add_product, transpose

PARTS = "85fbe5baad5c"
"""Start of the SHA-256 of numba_ssd_parts.py, which holds those of what it stands on."""


@njit(cache=True, nogil=True)
def unmix(pairs, high, low, grad_mixed, mixed, grad_pairs, inside, work, steps):
    """Undo `mix`: from the gradients of mixed[s, t] to those of pairs and of the logarithms of the decays.

    Args:
        pairs: B_s · C_t at [s, t].
        high: decays, as `decays` writes them.
        low: likewise.
        grad_mixed: of mixed[s, t], where s ≤ t.
        mixed: written, as `mix` does.
        grad_pairs: added to, where s ≤ t; beside the diagonal anything at all is left.
        inside: written, [Q]: of the log decay at r: Σ_{s < r ≤ t} mixed[s, t] · grad_mixed[s, t]. Taken as a
            difference of two larger sums it would lose its digits where decays are fast.
        work: [Q].
        steps: Q.
    """
    padded = whole(steps, WIDTH)
    clear(work, 0, padded)  # at t ≥ r: Σ_{s < r} mixed[s, t] · grad_mixed[s, t]
    inside[0] = 0.0
    for s in range(steps):
        here, rest = spread(high, s), spread(low, s)
        aligned = s // WIDTH * WIDTH
        for t in range(aligned, padded, WIDTH):
            at = s * padded + t
            kept = exp2((load(high, t) - here) + (load(low, t) - rest))
            grad = load(grad_mixed, at)
            value = load(pairs, at) * kept
            store(mixed, at, value)
            store(work, t, fma(value, grad, load(work, t)))
            store(grad_pairs, at, fma(grad, kept, load(grad_pairs, at)))
        for t in range(aligned, s):
            mixed[s * padded + t] = 0.0
        for t in range(aligned, s + 1):
            work[t] = 0.0
        if s + 1 < steps:
            held = zeros()
            for t in range(aligned, padded, WIDTH):
                held = held + load(work, t)
            inside[s + 1] = total(held)


@njit(cache=True, nogil=True)
def from_behind(b, adjoints, place, u, to_end, turned, grad_u, sums_b, leaving, steps, width, order):
    """Pass the gradient of the state behind the segment on to what its steps add to that state.

    Args:
        b: B [Q, N].
        adjoints: gradient of the state behind, [N, P] from `place` on.
        place: there.
        u: [Q, P]; multiplied by `to_end`.
        to_end: [Q], as `decays` writes it.
        turned: [P, Q], written over.
        grad_u: zeros [Q, P]; the gradient of u from here is written.
        sums_b: [N, Q], the gradient of B, which is added to.
        leaving: written, [Q]: each step's part of the product of the state behind and its gradient.
        steps: Q.
        width: P.
        order: N.
    """
    padded, tiled = whole(steps, WIDTH), whole(steps, ROWS)
    add_product(grad_u, 0, width, b, 0, order, 1, adjoints, place, width, tiled, width, order, FULL)
    for t in range(steps):
        leaving[t] = scaled_sum(grad_u, t * width, to_end[t], u, t * width, width)
    scale_steps(u, to_end, 0, 1, steps, width)
    transpose(u, turned, padded, width)
    add_product(sums_b, 0, padded, adjoints, place, width, 1, turned, 0, padded, order, padded, width, FULL)


@njit(cache=True, nogil=True)
def write_steps(x, at, stride, dt, dt_at, count, skip, grad_y, grad_u, grad_x, grad_at, direct, steps, width):
    """Write the gradient of x; return that of D.

    Args:
        x: inputs, from `at` on, `stride` floats from step to step.
        at: place.
        stride: floats.
        dt: step sizes from `dt_at` on, `count` floats from step to step.
        dt_at: place.
        count: H.
        skip: D of the head.
        grad_y: of the outputs, [Q, P].
        grad_u: of u, [Q, P].
        grad_x: written from `grad_at` on, H P floats from step to step.
        grad_at: place.
        direct: written, [Q]: the gradient of dt in u.
        steps: Q.
        width: P.
    """
    skipped, skip_sum = splat(skip), zeros()
    for t in range(steps):
        delta, held = spread(dt, dt_at + t * count), zeros()
        for j in range(0, width, WIDTH):
            value, out = load(x, at + t * stride + j), load(grad_y, t * width + j)
            grad = load(grad_u, t * width + j)
            held = fma(value, grad, held)
            skip_sum = fma(value, out, skip_sum)
            store(grad_x, grad_at + t * count * width + j, fma(delta, grad, skipped * out))
        direct[t] = total(held)
    return total(skip_sum)


@njit(cache=True, nogil=True)
def to_outputs(before, at, grad_y, from_start, turned, c_turned, part, sums_c, entering, steps, width, order):
    """Pass the gradient of the outputs on to C, with which they read the state before the segment.

    Args:
        before: that state, [N, P] from `at` on.
        at: there.
        grad_y: of the outputs, [Q, P]; multiplied by `from_start`.
        from_start: [Q], as `decays` writes it.
        turned: [P, Q], written over.
        c_turned: Cᵀ [N, Q].
        part: [N, Q], written over.
        sums_c: [N, Q], the gradient of C, which is added to.
        entering: written, [Q]: the product of what is read and its gradient.
        steps: Q.
        width: P.
        order: N.
    """
    padded = whole(steps, WIDTH)
    scale_steps(grad_y, from_start, 0, 1, steps, width)
    transpose(grad_y, turned, padded, width)
    clear(part, 0, padded * order)
    add_product(part, 0, padded, before, at, width, 1, turned, 0, padded, order, padded, width, FULL)
    clear(entering, 0, padded)
    for n in range(0, order * padded, padded):
        for t in range(0, padded, WIDTH):
            value = load(part, n + t)
            store(sums_c, n + t, load(sums_c, n + t) + value)
            store(entering, t, fma(value, load(c_turned, n + t), load(entering, t)))


@njit(cache=True, nogil=True)
def gather(inside, leaving, entering, over, steps, left, entered):
    """Add to `inside`, the gradients of the log decays [Q], what comes through the states at either end.

    Args:
        inside: added to.
        leaving: the part of each step in the state behind, which later steps let decay; counts if `left`.
        entering: the part of the state before in each output, which all steps up to it let decay.
        over: its part in the state behind, which every step lets decay.
        steps: Q.
        left: whether there is a state behind.
        entered: whether there is a state before.
    """
    if left:
        passed = np.float32(0.0)
        for t in range(steps):
            inside[t] += passed
            passed += leaving[t]
    if entered:
        passed = over
        for t in range(steps - 1, -1, -1):
            passed += entering[t]
            inside[t] += passed


@njit(cache=True, nogil=True)
def write_group(b, c, grad_pairs, sums_b, sums_c, part, c_turned, grad_b, grad_c, at, apart, steps, order):
    """Write the gradients of B and C behind the last head of their group.

    Args:
        b: B [Q, N].
        c: C [Q, N].
        grad_pairs: of pairs[s, t], as `unmix` leaves it; zeros are written beside the diagonal.
        sums_b: [N, Q], the gradient of B through the state behind.
        sums_c: [N, Q], that of C through the state before.
        part: [Q, N], written over.
        c_turned: likewise.
        grad_b: written from `at` on, `apart` floats from step to step.
        grad_c: likewise.
        at: place.
        apart: floats.
        steps: Q.
        order: N.
    """
    padded, tiled = whole(steps, WIDTH), whole(steps, ROWS)
    clear_beside(grad_pairs, steps)
    transpose(sums_c, part, order, padded)
    add_product(part, 0, order, grad_pairs, 0, 1, padded, b, 0, order, tiled, order, steps, CAUSAL)
    transpose(sums_b, c_turned, order, padded)
    add_product(c_turned, 0, order, grad_pairs, 0, padded, 1, c, 0, order, tiled, order, steps, ANTICAUSAL)
    for t in range(steps):
        copy(part, t * order, grad_c, at + t * apart, order)
        copy(c_turned, t * order, grad_b, at + t * apart, order)


@njit(cache=True, nogil=True)
def clear_beside(grad_pairs, steps):
    """Zeros beside the diagonal at s > t, to a whole vector, where no product may find anything else."""
    padded = whole(steps, WIDTH)
    for s in range(steps):
        for t in range(s // WIDTH * WIDTH, s):
            grad_pairs[s * padded + t] = 0.0
