"""Triton programs of the selective scan: each walks one row and one block of channels, states in registers."""

from __future__ import annotations

# Triton comes with torch's CUDA builds only; this module is imported where there is one.
import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]


@triton.jit(do_not_specialize=["length", "chunk", "chunks"])
def scan_forward(
    u, dt, a, b, c, d, episodes, h0, y, checkpoints, h_last,
    length, channels, order, chunk, chunks,
    HAS_EPISODES: tl.constexpr, HAS_H0: tl.constexpr, SAVE: tl.constexpr,
    BLOCK: tl.constexpr, STATES: tl.constexpr,
):  # fmt: skip
    """All arrays contiguous float32: u, dt, y [B, L, D], a [D, N], b, c [B, L, N], d [D], h0, h_last [B, D, N],
    checkpoints [B, chunks, D, N] (the state before each chunk of steps), episodes int32 [B, L].
    """  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    n = tl.arange(0, STATES)
    in_d, in_n = at < channels, n < order
    both = in_d[:, None] & in_n[None, :]
    square = at[:, None] * order + n[None, :]
    rates = tl.load(a + square, mask=both, other=0.0)
    skip = tl.load(d + at, mask=in_d, other=0.0)
    h = tl.zeros((BLOCK, STATES), dtype=tl.float32)
    if HAS_H0:
        h = tl.load(h0 + row * channels * order + square, mask=both, other=0.0)
    for t in range(length):
        place = row * length + t
        if HAS_EPISODES:
            before = tl.load(episodes + place - tl.where(t > 0, 1, 0))
            h = tl.where(tl.load(episodes + place) == before, h, 0.0)
        if SAVE:
            if t % chunk == 0:
                saved = (row * chunks + t // chunk) * channels * order
                tl.store(checkpoints + saved + square, h, mask=both)
        u_t = tl.load(u + place * channels + at, mask=in_d, other=0.0)
        dt_t = tl.load(dt + place * channels + at, mask=in_d, other=0.0)
        b_t = tl.load(b + place * order + n, mask=in_n, other=0.0)
        c_t = tl.load(c + place * order + n, mask=in_n, other=0.0)
        h = tl.exp(dt_t[:, None] * rates) * h + (dt_t * u_t)[:, None] * b_t[None, :]
        tl.store(y + place * channels + at, tl.sum(h * c_t[None, :], axis=1) + skip * u_t, mask=in_d)
    tl.store(h_last + row * channels * order + square, h, mask=both)


@triton.jit(do_not_specialize=["length", "chunk", "chunks"])
def scan_backward(
    u, dt, a, b, c, d, episodes, checkpoints, states, grad_y, grad_last,
    grad_u, grad_dt, grad_a, grad_b, grad_c, grad_d, grad_h0,
    length, channels, order, chunk, chunks,
    HAS_EPISODES: tl.constexpr, HAS_LAST: tl.constexpr,
    BLOCK: tl.constexpr, STATES: tl.constexpr,
):  # fmt: skip
    """Arrays as in `scan_forward`; states [B, chunk, D, N] is scratch, and what several programs add to has one
    part for each: grad_a [B, D, N], grad_d [B, D], grad_b and grad_c [blocks, B, L, N].
    """  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1)
    at = block * BLOCK + tl.arange(0, BLOCK)
    n = tl.arange(0, STATES)
    in_d, in_n = at < channels, n < order
    both = in_d[:, None] & in_n[None, :]
    square = at[:, None] * order + n[None, :]
    rates = tl.load(a + square, mask=both, other=0.0)
    skip = tl.load(d + at, mask=in_d, other=0.0)
    to_a = tl.zeros((BLOCK, STATES), dtype=tl.float32)
    to_d = tl.zeros((BLOCK,), dtype=tl.float32)
    to_h = tl.zeros((BLOCK, STATES), dtype=tl.float32)  # gradient of the state after step t
    if HAS_LAST:
        to_h = tl.load(grad_last + row * channels * order + square, mask=both, other=0.0)
    for back in range(chunks):
        k = chunks - 1 - back
        first = k * chunk
        steps = tl.minimum(chunk, length - first)
        # The states before each step of this chunk, once more.
        h = tl.load(checkpoints + (row * chunks + k) * channels * order + square, mask=both, other=0.0)
        for i in range(steps):
            place = row * length + first + i
            if HAS_EPISODES:
                before = tl.load(episodes + place - tl.where(first + i > 0, 1, 0))
                h = tl.where(tl.load(episodes + place) == before, h, 0.0)
            tl.store(states + (row * chunk + i) * channels * order + square, h, mask=both)
            u_t = tl.load(u + place * channels + at, mask=in_d, other=0.0)
            dt_t = tl.load(dt + place * channels + at, mask=in_d, other=0.0)
            b_t = tl.load(b + place * order + n, mask=in_n, other=0.0)
            h = tl.exp(dt_t[:, None] * rates) * h + (dt_t * u_t)[:, None] * b_t[None, :]
        tl.debug_barrier()  # the loads below may be spread over the threads otherwise than the stores above
        for j in range(steps):
            i = steps - 1 - j
            place = row * length + first + i
            u_t = tl.load(u + place * channels + at, mask=in_d, other=0.0)
            dt_t = tl.load(dt + place * channels + at, mask=in_d, other=0.0)
            b_t = tl.load(b + place * order + n, mask=in_n, other=0.0)
            c_t = tl.load(c + place * order + n, mask=in_n, other=0.0)
            to_y = tl.load(grad_y + place * channels + at, mask=in_d, other=0.0)
            h = tl.load(states + (row * chunk + i) * channels * order + square, mask=both, other=0.0)
            decay = tl.exp(dt_t[:, None] * rates)
            after = decay * h + (dt_t * u_t)[:, None] * b_t[None, :]
            to_h += to_y[:, None] * c_t[None, :]
            parts = (block * tl.num_programs(0) + row) * length + first + i
            tl.store(grad_c + parts * order + n, tl.sum(to_y[:, None] * after, axis=0), mask=in_n)
            tl.store(grad_b + parts * order + n, tl.sum(to_h * (dt_t * u_t)[:, None], axis=0), mask=in_n)
            to_input = tl.sum(to_h * b_t[None, :], axis=1)
            to_exponent = to_h * h * decay
            tl.store(grad_u + place * channels + at, skip * to_y + dt_t * to_input, mask=in_d)
            to_dt = tl.sum(to_exponent * rates, axis=1) + u_t * to_input
            tl.store(grad_dt + place * channels + at, to_dt, mask=in_d)
            to_a += to_exponent * dt_t[:, None]
            to_d += to_y * u_t
            to_h *= decay
            if HAS_EPISODES:
                before = tl.load(episodes + place - tl.where(first + i > 0, 1, 0))
                to_h = tl.where(tl.load(episodes + place) == before, to_h, 0.0)
        tl.debug_barrier()  # the next chunk writes over the scratch
    tl.store(grad_a + row * channels * order + square, to_a, mask=both)
    tl.store(grad_d + row * channels + at, to_d, mask=in_d)
    tl.store(grad_h0 + row * channels * order + square, to_h, mask=both)
