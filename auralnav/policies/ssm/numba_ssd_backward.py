"""The compiled chunk scan of Mamba-2, backwards; arrays as in `numba_ssd_kernels`."""

from __future__ import annotations

import numpy as np
from numba import njit

from auralnav.policies.ssm.numba_lanes import WIDTH
from auralnav.policies.ssm.numba_ssd_adjoints import (
    from_behind,
    gather,
    to_outputs,
    unmix,
    write_group,
    write_steps,
)
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
from auralnav.policies.ssm.numba_tiles import ANTICAUSAL, FULL, ROWS, UPPER, add_product, transpose

ADJOINTS = "2e9f04497659"
"""Start of the SHA-256 of numba_ssd_adjoints.py, which holds those of what it stands on."""


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

                # What a step adds, u, is seen in the segment's outputs and in the state behind it.
                transpose(seen, turned, padded, width)
                clear(grad_mixed, 0, tiled * padded)
                add_product(
                    grad_mixed, 0, padded, u, 0, width, 1, turned, 0, padded, tiled, padded, width, UPPER
                )
                unmix(pairs, high, low, grad_mixed, mixed, grad_pairs, inside, work, steps)
                clear(grad_u, 0, tiled * width)
                if left:
                    from_behind(b, adjoints, place, u, to_end, turned, grad_u, sums_b, leaving, steps, width, order)
                add_product(
                    grad_u, 0, width, mixed, 0, padded, 1, seen, 0, width, tiled, width, steps, ANTICAUSAL
                )
                sums[1, head - heads[0]] += write_steps(
                    x, x_at, x_stride, dt, scalars, count, skip[head], seen, grad_u, grad_x, vectors, direct,
                    steps, width,
                )  # fmt: skip

                # The state before the segment is seen in its outputs and in the state behind it.
                over = np.float32(0.0)
                if entered:
                    at = in_row
                    if start:
                        at = ((row * ((length - 1) // chunk) + saved) * count + head) * size
                    to_outputs(
                        before, at, seen, from_start, turned, c_turned, part, sums_c, entering, steps, width, order
                    )
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

                if head + 1 == heads[1] or (head + 1) * groups // count != group:
                    at, apart = (first * groups + group) * order, groups * order
                    write_group(
                        b, c, grad_pairs, sums_b, sums_c, part, c_turned, grad_b, grad_c, at, apart, steps, order
                    )
    for head in range(heads[0], heads[1]):
        grad_rates[head] = sums[0, head - heads[0]]
        grad_skip[head] = sums[1, head - heads[0]]
