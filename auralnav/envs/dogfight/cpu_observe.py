"""Observations on the CPU: eight ships, or eight octaves of a wave, as lanes."""

from __future__ import annotations

import numpy as np

from auralnav.envs.dogfight import buffer as b
from auralnav.envs.dogfight.buffer import N
from auralnav.envs.dogfight.cpu_tick import entry, kernel
from auralnav.envs.dogfight.lanes import load, pick, places, splat, store, store_columns
from auralnav.envs.dogfight.observe_rules import (
    EDGE,
    INTRINSIC,
    PER_SIZE,
    RELATION,
    WAVES,
    intrinsic,
    relation,
    wave,
)
from auralnav.envs.dogfight.rules import ZERO, shortest

OWN, SEEN, EDGES = len(INTRINSIC), len(RELATION), len(EDGE)
FOURIER = EDGES - SEEN
SOURCES = "94d54612e99d"
"""Start of the SHA-256 of the modules below: Numba compiles anew when this file changes, not when those do."""
SCRATCH = N * N * EDGES + N * OWN
"""float32 that a thread needs: the observation of eight ships."""


@kernel
def own_features(s, rows, start):
    """INTRINSIC of the eight ships as rows of `rows` from `start` on, OWN apart; writes 8 · OWN numbers."""
    f = intrinsic(
        load(s, b.VX), load(s, b.VY), load(s, b.OMEGA), load(s, b.ACC_X), load(s, b.ACC_Y),
        load(s, b.COS), load(s, b.SIN), load(s, b.HEALTH), load(s, b.POWER), load(s, b.SHOTS),
    )  # fmt: skip
    store_columns(rows, start, OWN, (f[0], f[1], f[2], f[3], f[4], f[5], f[6], f[7]))
    store_columns(rows, start + OWN - N, OWN, (f[3], f[4], f[5], f[6], f[7], f[8], f[9], f[10]))


@kernel
def relations(s, i, rows, start, stride):
    """RELATION of ship i to each of the eight as rows of `rows` from `start` on, `stride` apart; zeros for the dead."""
    x, y, vx, vy = load(s, b.X), load(s, b.Y), load(s, b.VX), load(s, b.VY)
    seen = relation(
        shortest(x - s[b.X + i]), shortest(y - s[b.Y + i]), vx - s[b.VX + i], vy - s[b.VY + i],
        splat(s[b.COS + i]), splat(s[b.SIN + i]), load(s, b.COS), load(s, b.SIN),
    )  # fmt: skip
    there = (load(s, b.HEALTH) > ZERO) & (places() != np.float32(i)) & (splat(s[b.HEALTH + i]) > ZERO)
    f = (
        pick(there, seen[0], ZERO), pick(there, seen[1], ZERO), pick(there, seen[2], ZERO), pick(there, seen[3], ZERO),
        pick(there, seen[4], ZERO), pick(there, seen[5], ZERO), pick(there, seen[6], ZERO), pick(there, seen[7], ZERO),
        pick(there, seen[8], ZERO), pick(there, seen[9], ZERO), pick(there, seen[10], ZERO),
        pick(there, seen[11], ZERO), pick(there, seen[12], ZERO),
    )  # fmt: skip
    store_columns(rows, start, stride, (f[0], f[1], f[2], f[3], f[4], f[5], f[6], f[7]))
    store_columns(rows, start + SEEN - N, stride, (f[5], f[6], f[7], f[8], f[9], f[10], f[11], f[12]))


@kernel
def waves(s, i, j, octaves, edges, there, back):
    """The Fourier features of the edges i → j and j → i, at `there` and `back` in `edges`; zeros for the dead."""
    if s[b.HEALTH + i] > ZERO and s[b.HEALTH + j] > ZERO:
        for axis in range(2):
            difference = shortest(s[b.X + axis * N + j] - s[b.X + axis * N + i])
            sin, cos = wave(octaves * difference)
            at_axis = axis * 2 * WAVES
            store(edges, there + at_axis, sin)
            store(edges, there + at_axis + WAVES, cos)
            store(edges, back + at_axis, -sin)
            store(edges, back + at_axis + WAVES, cos)
    else:
        for quarter in range(0, FOURIER, N):
            store(edges, there + quarter, splat(ZERO))
            store(edges, back + quarter, splat(ZERO))


@kernel
def observe_eight(s, m, own, edges, first_edge):
    """INTRINSIC of the eight ships into `own`, their edges into `edges` from `first_edge` on."""
    for k in range(WAVES):
        m[k] = PER_SIZE * np.float32(1 << k)
    octaves = load(m, 0)
    own_features(s, own, 0)
    for i in range(N):
        row = first_edge + i * N * EDGES
        relations(s, i, edges, row + FOURIER, EDGES)
        for quarter in range(0, FOURIER, N):
            store(edges, row + i * EDGES + quarter, splat(ZERO))
        for j in range(i + 1, N):
            waves(s, i, j, octaves, edges, row + j * EDGES, first_edge + (j * N + i) * EDGES)


@kernel
def observe_world(s, m, scratch, own, edges):
    """The observation of the first n ships of a world.

    Args:
        s: the world.
        m: float32 [8], scratch.
        scratch: float32 [SCRATCH].
        own: float32 [n · OWN], written.
        edges: float32 [n · n · EDGES], written.
    """
    ships = len(own) // OWN
    if ships == N:
        observe_eight(s, m, own, edges, 0)
        return
    observe_eight(s, m, scratch[N * N * EDGES :], scratch, 0)
    own[:] = scratch[N * N * EDGES : N * N * EDGES + ships * OWN]
    for i in range(ships):
        edges[i * ships * EDGES : (i + 1) * ships * EDGES] = scratch[i * N * EDGES : (i * N + ships) * EDGES]


@kernel
def flatten_world(s, scratch, flat):
    """INTRINSIC of the first n ships, then the RELATION of each to each other one, into float32 [flat_size(n)]."""
    ships = 1
    while ships * (OWN + (ships - 1) * SEEN) < len(flat):
        ships += 1
    own_features(s, scratch, 0)
    flat[: ships * OWN] = scratch[: ships * OWN]
    place = ships * OWN
    for i in range(ships):
        relations(s, i, scratch, 0, SEEN)
        flat[place : place + i * SEEN] = scratch[: i * SEEN]
        place += i * SEEN
        flat[place : place + (ships - 1 - i) * SEEN] = scratch[(i + 1) * SEEN : ships * SEEN]
        place += (ships - 1 - i) * SEEN


@entry
def observe_worlds(state, own, edges, first, last):
    """`observe_world` of the worlds from `first` to before `last`; all arrays [W, numbers of a world]."""
    m, scratch = np.empty(N, np.float32), np.empty(SCRATCH, np.float32)
    for w in range(first, last):
        observe_world(state[w], m, scratch, own[w], edges[w])


@entry
def flatten_worlds(state, flat, first, last):
    """`flatten_world` of the worlds from `first` to before `last`; arrays [W, numbers of a world]."""
    scratch = np.empty(SCRATCH, np.float32)
    for w in range(first, last):
        flatten_world(state[w], scratch, flat[w])
