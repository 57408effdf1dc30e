"""Kernels of the streaming renderer: each does one stage for a list of rooms and holds no GIL."""

from __future__ import annotations

import numpy as np
from numba import njit

from auralnav.envs.acoustics.images import FRONT_GUARD


@njit(cache=True, nogil=True)
def copy_templates(templates, rooms, out):
    """Restore the part of the responses that images write to."""
    for room in rooms:
        for k in range(templates.shape[1]):
            for ear in range(2):
                out[room, k, ear, : templates.shape[3]] = templates[room, k, ear]


@njit(inline="always")
def _add_product(row, a, b):
    """Add a · b to row; one row a loop, since LLVM vectorises complex rows only singly."""
    for f in range(row.shape[0]):
        row[f] += a[f] * b[f]


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def mix(heard, slots, parts, tails, new, old, rooms, first, last, total):
    """Spectra at the ears through the new responses, total[i, 0], and through the old, total[i, 1].

    heard [R, parts, K, bins] is a ring a room whose slot `slots` holds the newest block; tails
    [R, parts − 1, K, 2, bins] meet the older ones and are the same for both.
    """
    for i in range(rooms.shape[0]):
        room = rooms[i]
        slot = slots[room]
        sums = total[i]
        sums[0] = 0
        for age in range(1, parts[room]):
            older = heard[room, (slot - age) % parts[room]]
            for k in range(first, last):
                for ear in range(2):
                    _add_product(sums[0, ear], older[k], tails[room, age - 1, k, ear])
        sums[1] = sums[0]
        for k in range(first, last):
            for ear in range(2):
                _add_product(sums[0, ear], heard[room, slot, k], new[room, k, ear])
                _add_product(sums[1, ear], heard[room, slot, k], old[room, k, ear])


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def crossfade(signals, start, ramp, rooms, out):
    """Signals [r, 2 (new, old), 2 ears, n] from `start` on: the new ones, faded in over the old, into out[rooms]."""
    fade = ramp.shape[0]
    for i in range(rooms.shape[0]):
        for ear in range(2):
            after = signals[i, 0, ear, start:]
            before = signals[i, 1, ear, start:]
            row = out[rooms[i], ear]
            for t in range(fade):
                row[t] = before[t] + ramp[t] * (after[t] - before[t])
            for t in range(fade, row.shape[0]):
                row[t] = after[t]


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def render_direct(windows, new, old, firsts_new, firsts_old, taps, ramp, rooms, first, last, out):
    """Sources with one image each: windows [R, K, length] through FIR filters, crossfaded, into out[rooms]."""
    block = out.shape[2]
    fade = ramp.shape[0]
    start = windows.shape[2] - block
    before = np.empty((2, fade), dtype=np.float32)
    for room in rooms:
        sound = out[room]
        sound[:] = np.float32(0)
        before[:] = np.float32(0)
        for k in range(first, last):
            for ear in range(2):
                _fir(windows[room, k], new[room, k, ear], firsts_new[room, k, ear], taps, start, sound[ear])
                _fir(windows[room, k], old[room, k, ear], firsts_old[room, k, ear], taps, start, before[ear])
        for ear in range(2):
            for t in range(fade):
                sound[ear, t] = before[ear, t] + ramp[t] * (sound[ear, t] - before[ear, t])


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _fir(x, response, first, taps, start, y):
    """Add one image: y[i] += Σ_j h[j] · x[start − j + i], h = response[FRONT_GUARD:], nonzero from `first` on.

    `taps` is a multiple of 8; what would lie before time 0 is cut off.
    """
    n = y.shape[0]
    for j in range(max(first, FRONT_GUARD), first + taps, 8):
        h = response[j : j + 8]
        h0, h1, h2, h3, h4, h5, h6, h7 = h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7]
        b = start - (j - FRONT_GUARD)
        x0, x1, x2, x3 = x[b : b + n], x[b - 1 : b - 1 + n], x[b - 2 : b - 2 + n], x[b - 3 : b - 3 + n]
        c = b - 4
        x4, x5, x6, x7 = x[c : c + n], x[c - 1 : c - 1 + n], x[c - 2 : c - 2 + n], x[c - 3 : c - 3 + n]
        for i in range(n):
            y[i] += (
                h0 * x0[i] + h1 * x1[i] + h2 * x2[i] + h3 * x3[i]
                + h4 * x4[i] + h5 * x5[i] + h6 * x6[i] + h7 * x7[i]
            )  # fmt: skip
