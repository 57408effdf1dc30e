"""Observations on CUDA: a block a world, a thread an edge; rows are gathered in shared memory and written in order."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import cuda as _numba_cuda

from auralnav.envs.dogfight import layout as at
from auralnav.envs.dogfight.cuda_scripts import device
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

cuda: Any = _numba_cuda

OWN, SEEN, EDGES = len(INTRINSIC), len(RELATION), len(EDGE)
FOURIER = EDGES - SEEN
THREADS = at.SLOTS * at.SLOTS
ROWS_SIZE = THREADS * EDGES


@device
def fill_own(s, i, rows, start):
    """INTRINSIC of ship i into `rows` from `start` on."""
    f = intrinsic(
        s[at.VX, i], s[at.VY, i], s[at.OMEGA, i], s[at.ACC_X, i], s[at.ACC_Y, i],
        s[at.COS, i], s[at.SIN, i], s[at.HEALTH, i], s[at.POWER, i], s[at.SHOTS, i],
    )  # fmt: skip
    rows[start], rows[start + 1], rows[start + 2], rows[start + 3] = f[0], f[1], f[2], f[3]
    rows[start + 4], rows[start + 5], rows[start + 6], rows[start + 7] = f[4], f[5], f[6], f[7]
    rows[start + 8], rows[start + 9], rows[start + 10] = f[8], f[9], f[10]


@device
def fill_relation(s, i, j, rows, start):
    """RELATION of ship i to ship j into `rows` from `start` on; zeros where either is dead or both are one."""
    if i == j or s[at.HEALTH, i] <= ZERO or s[at.HEALTH, j] <= ZERO:
        for k in range(SEEN):
            rows[start + k] = ZERO
        return
    f = relation(
        shortest(s[at.X, j] - s[at.X, i]), shortest(s[at.Y, j] - s[at.Y, i]),
        s[at.VX, j] - s[at.VX, i], s[at.VY, j] - s[at.VY, i],
        s[at.COS, i], s[at.SIN, i], s[at.COS, j], s[at.SIN, j],
    )  # fmt: skip
    rows[start], rows[start + 1], rows[start + 2], rows[start + 3] = f[0], f[1], f[2], f[3]
    rows[start + 4], rows[start + 5], rows[start + 6], rows[start + 7] = f[4], f[5], f[6], f[7]
    rows[start + 8], rows[start + 9], rows[start + 10], rows[start + 11] = f[8], f[9], f[10], f[11]
    rows[start + 12] = f[12]


@device
def fill_waves(s, i, j, rows, start):
    """The Fourier features of the edge i → j into `rows` from `start` on; zeros as of `fill_relation`."""
    there = i != j and s[at.HEALTH, i] > ZERO and s[at.HEALTH, j] > ZERO
    for axis in range(2):
        turns = shortest(s[at.X + axis, j] - s[at.X + axis, i]) * PER_SIZE
        place = start + axis * 2 * WAVES
        for k in range(WAVES):
            sin, cos = wave(turns)
            rows[place + k] = sin if there else ZERO
            rows[place + WAVES + k] = cos if there else ZERO
            turns = turns + turns


@cuda.jit
def observe_kernel(state, own, edges):
    """Observations of the first n ships of each world.

    Args:
        state: float32 [W, ROWS, 8].
        own: float32 [W, n, OWN], written.
        edges: float32 [W, n, n, EDGES], written.
    """
    rows = cuda.shared.array(ROWS_SIZE, np.float32)
    w, t, ships = cuda.blockIdx.x, cuda.threadIdx.x, own.shape[1]
    s = state[w]
    if t < ships:
        fill_own(s, t, rows, t * OWN)
    cuda.syncthreads()
    for k in range(t, ships * OWN, THREADS):
        own[w, k // OWN, k % OWN] = rows[k]
    cuda.syncthreads()
    i, j = t // ships, t % ships
    if t < ships * ships:
        fill_waves(s, i, j, rows, t * EDGES)
        fill_relation(s, i, j, rows, t * EDGES + FOURIER)
    cuda.syncthreads()
    for k in range(t, ships * ships * EDGES, THREADS):
        pair = k // EDGES
        edges[w, pair // ships, pair % ships, k % EDGES] = rows[k]


@cuda.jit
def flatten_kernel(state, flat, ships):
    """The flat observation of the first `ships` ships of each world: `flat` float32 [W, flat_size(ships)], written."""
    rows = cuda.shared.array(ROWS_SIZE, np.float32)
    w, t = cuda.blockIdx.x, cuda.threadIdx.x
    s = state[w]
    if t < ships:
        fill_own(s, t, rows, t * OWN)
    i, j = t // ships, t % ships
    if t < ships * ships and i != j:
        fill_relation(s, i, j, rows, ships * OWN + (i * (ships - 1) + j - (1 if j > i else 0)) * SEEN)
    cuda.syncthreads()
    for k in range(t, flat.shape[1], THREADS):
        flat[w, k] = rows[k]
