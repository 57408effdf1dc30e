"""The compiled chunk scan of Mamba-2, backwards; arrays as in `numba_ssd_kernels`."""

from __future__ import annotations

import numpy as np
from numba import njit

from auralnav.policies.ssm.numba_lanes import WIDTH, exp2, fma, load, spread, store, total, zeros
from auralnav.policies.ssm.numba_ssd_parts import (
    clear,
    copy,
    decays,
    pack,
    pair_products,
    passes,
    scale_steps,
    scaled_sum,
    segments,
    whole,
)
from auralnav.policies.ssm.numba_tiles import ANTICAUSAL, CAUSAL, FULL, ROWS, UPPER, add_product, transpose

PARTS = "85fbe5baad5c"
"""Start of the SHA-256 of numba_ssd_parts.py, which holds those of what it stands on."""


@njit(cache=True, nogil=True)
def ssd_backward(inputs, episode, outputs, shape, strides, chunk, rows, heads):
    """Write the gradients, from the last segment to the first.

    Args as in `ssd_forward`, but:
        inputs: x, dt, A, B, C, D, h0 and the states that the forward pass kept, then the gradients of y and of the
            last state; h0 and the latter may be empty: zeros.
        outputs: the gradients of x, dt and h0 (empty with h0); those of A and D over these rows and heads only [H];
            those of B and C over these heads only.
    """
    x, dt, rates, b_in, c_out, skip, h0, checkpoints, grad_y, grad_last = inputs
    grad_x, grad_dt, grad_h0, grad_rates, grad_skip, grad_b, grad_c = outputs
    _, length, count, width, groups, order = shape
    x_stride, b_stride, c_stride = strides
    size = order * width
    longest = whole(min(chunk, length), WIDTH)
    starts = np.empty(length + 1, np.int64)
    adjoints = np.empty((heads[1] - heads[0]) * size, np.float32)
    by_order = np.empty((6, longest * order), np.float32)
    b, c, c_turned = by_order[0], by_order[1], by_order[2]
    sums_b, sums_c, part = by_order[3], by_order[4], by_order[5]  # [N, Q]
    by_width = np.empty((4, longest * width), np.float32)
    u, seen, turned, grad_u = by_width[0], by_width[1], by_width[2], by_width[3]
    by_pair = np.empty((4, longest * longest), np.float32)
    pairs, grad_pairs, mixed, grad_mixed = by_pair[0], by_pair[1], by_pair[2], by_pair[3]
    by_step = np.empty((9, longest), np.float32)
    high, low, from_start, to_end = by_step[0], by_step[1], by_step[2], by_step[3]
    entering, inside, leaving, direct, work = by_step[4], by_step[5], by_step[6], by_step[7], by_step[8]
    sums = np.zeros((2, heads[1] - heads[0]))  # of A and D
    for row in range(rows[0], rows[1]):
        number = segments(episode, row, length, chunk, starts)
        saved = 0
        for segment in range(1, number):
            saved += passes(episode, row, length, starts[segment], True)
        for segment in range(number - 1, -1, -1):
            start, stop = starts[segment], starts[segment + 1]
            steps, first = stop - start, row * length + start
            padded, tiled = whole(steps, WIDTH), whole(steps, ROWS)
            entered = passes(episode, row, length, start, h0.size > 0)
            left = passes(episode, row, length, stop, grad_last.size > 0)
            if entered and start:
                saved -= 1
            before = checkpoints if start else h0
            group = -1
            for head in range(heads[0], heads[1]):
                if head * groups // count != group:
                    group = head * groups // count
                    pack(b_in, first * b_stride + group * order, b_stride, b, steps, order)
                    pack(c_out, first * c_stride + group * order, c_stride, c, steps, order)
                    pair_products(b, c, c_turned, pairs, steps, order)
                    clear(grad_pairs, 0, padded * padded)
                    clear(sums_b, 0, padded * order)
                    clear(sums_c, 0, padded * order)
                place, in_row = (head - heads[0]) * size, (row * count + head) * size
                scalars, vectors = first * count + head, (first * count + head) * width
                if left and stop == length:
                    copy(grad_last, in_row, adjoints, place, size)
                decays(dt, scalars, count, rates[head], steps, high, low, from_start, to_end)
                x_at = first * x_stride + head * width
                pack(x, x_at, x_stride, u, steps, width)
                scale_steps(u, dt, scalars, count, steps, width)
                pack(grad_y, vectors, count * width, seen, steps, width)

                transpose(seen, turned, padded, width)
                clear(grad_mixed, 0, tiled * padded)
                add_product(
                    grad_mixed, 0, padded, u, 0, width, 1, turned, 0, padded, tiled, padded, width, UPPER
                )
                unmix(pairs, high, low, grad_mixed, mixed, grad_pairs, inside, work, steps)

                # What a step adds, u, is seen in the state behind the segment and in the segment's outputs.
                clear(grad_u, 0, tiled * width)
                if left:
                    add_product(
                        grad_u, 0, width, b, 0, order, 1, adjoints, place, width, tiled, width, order, FULL
                    )
                    for t in range(steps):
                        leaving[t] = scaled_sum(grad_u, t * width, to_end[t], u, t * width, width)
                    scale_steps(u, to_end, 0, 1, steps, width)
                    transpose(u, turned, padded, width)
                    add_product(
                        sums_b, 0, padded, adjoints, place, width, 1, turned, 0, padded, order, padded, width, FULL
                    )
                add_product(
                    grad_u, 0, width, mixed, 0, padded, 1, seen, 0, width, tiled, width, steps, ANTICAUSAL
                )
                skipped, skip_sum = spread(skip, head), zeros()
                for t in range(steps):
                    delta, held = spread(dt, scalars + t * count), zeros()
                    for j in range(0, width, WIDTH):
                        value, out = load(x, x_at + t * x_stride + j), load(seen, t * width + j)
                        grad = load(grad_u, t * width + j)
                        held = fma(value, grad, held)
                        skip_sum = fma(value, out, skip_sum)
                        store(grad_x, vectors + t * count * width + j, fma(delta, grad, skipped * out))
                    direct[t] = total(held)

                # The state before the segment is seen in its outputs and in the state behind it.
                over = np.float32(0.0)
                if entered:
                    at = in_row
                    if start:
                        at = ((row * ((length - 1) // chunk) + saved) * count + head) * size
                    scale_steps(seen, from_start, 0, 1, steps, width)
                    transpose(seen, turned, padded, width)
                    clear(part, 0, padded * order)
                    add_product(
                        part, 0, padded, before, at, width, 1, turned, 0, padded, order, padded, width, FULL
                    )
                    clear(entering, 0, padded)
                    for n in range(0, order * padded, padded):
                        for t in range(0, padded, WIDTH):
                            value = load(part, n + t)
                            store(sums_c, n + t, load(sums_c, n + t) + value)
                            store(entering, t, fma(value, load(c_turned, n + t), load(entering, t)))
                    if left:
                        over = scaled_sum(adjoints, place, from_start[steps - 1], before, at, size)
                    else:
                        clear(adjoints, place, place + size)
                    add_product(
                        adjoints, place, width, c, 0, 1, order, seen, 0, width, order, width, steps, FULL
                    )
                    if start == 0:
                        copy(adjoints, place, grad_h0, in_row, size)

                gather(inside, leaving, entering, over, steps, left, entered)
                rate_sum = 0.0
                for t in range(steps):
                    at = scalars + t * count
                    rate_sum += np.float64(dt[at]) * np.float64(inside[t])
                    grad_dt[at] = direct[t] + rates[head] * inside[t]
                sums[0, head - heads[0]] += rate_sum
                sums[1, head - heads[0]] += total(skip_sum)

                if head + 1 == heads[1] or (head + 1) * groups // count != group:
                    clear_beside(grad_pairs, steps)
                    # Turned into the order of B and C, in arrays that are free by now.
                    transpose(sums_c, part, order, padded)
                    add_product(
                        part, 0, order, grad_pairs, 0, 1, padded, b, 0, order, tiled, order, steps, CAUSAL
                    )
                    transpose(sums_b, c_turned, order, padded)
                    add_product(
                        c_turned, 0, order, grad_pairs, 0, padded, 1, c, 0, order, tiled, order, steps, ANTICAUSAL
                    )
                    for t in range(steps):
                        at = ((first + t) * groups + group) * order
                        copy(part, t * order, grad_c, at, order)
                        copy(c_turned, t * order, grad_b, at, order)
    for head in range(heads[0], heads[1]):
        grad_rates[head] = sums[0, head - heads[0]]
        grad_skip[head] = sums[1, head - heads[0]]


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
def clear_beside(grad_pairs, steps):
    """Zeros beside the diagonal at s > t, to a whole vector, where no product may find anything else."""
    padded = whole(steps, WIDTH)
    for s in range(steps):
        for t in range(s // WIDTH * WIDTH, s):
            grad_pairs[s * padded + t] = 0.0
