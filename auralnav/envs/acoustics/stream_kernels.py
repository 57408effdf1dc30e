"""Kernels of the streaming renderer: each does one stage for a list of rooms and holds no GIL.

(`limit_levels` keeps it: it takes less time than another thread might take to give the GIL back.)
"""

from __future__ import annotations

import numpy as np
from numba import njit

from auralnav.envs.acoustics.images import FRONT_GUARD


@njit(cache=True)
def limit_levels(audio, rooms):
    """Clip the rooms' sound to [−1, 1]."""
    for room in rooms:
        for ear in range(2):
            row = audio[room, ear]
            for t in range(row.shape[0]):
                row[t] = min(max(row[t], np.float32(-1)), np.float32(1))


@njit(cache=True, nogil=True)
def clear(rooms, drawn, out):
    """Zero the first `drawn` samples of the rooms' responses, which are all that images write to."""
    for room in rooms:
        for k in range(out.shape[1]):
            for ear in range(2):
                out[room, k, ear, :drawn] = np.float32(0)


@njit(inline="always")
def _add_product(row, a, b):
    """Add a · b to row; one row a loop, since LLVM vectorises complex rows only singly."""
    for f in range(row.shape[0]):
        row[f] += a[f] * b[f]


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def mix(heard, slots, new, old, rooms, first, last, total):
    """Spectra at the ears into the rows of `total`: per room and ear every segment, then the first through `old`.

    heard[room, k, slots[room, k]] [segments, bins] are the clips' spectra (silence where the slot is negative), new
    and old [R, K, 2, bins] the responses'. Rows that are left over are set to 0.
    """
    segments = heard.shape[3]
    row = 0
    for room in rooms:
        for ear in range(2):
            for segment in range(segments + 1):
                total[row] = 0
                for k in range(first, last):
                    slot = slots[room, k]
                    if slot < 0:
                        continue
                    if segment < segments:
                        _add_product(total[row], heard[room, k, slot, segment], new[room, k, ear])
                    else:
                        _add_product(total[row], heard[room, k, slot, 0], old[room, k, ear])
                row += 1
    total[row:] = 0


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def assemble(signals, starts, hop, ramp, tails, slots, rooms, first, last, out):
    """Blocks from their segments: the last `hop` samples of each row of `signals` (as :func:`mix` orders them).

    The first segment fades in over what the old responses made of it; the sources' tail sounds
    tails[room, k, slots[room, k]] (none where the slot is negative) are added. Into out[rooms].
    """
    fade = ramp.shape[0]
    segments = starts.shape[0]
    skip = signals.shape[1] - hop
    row = 0
    for room in rooms:
        for ear in range(2):
            sound = out[room, ear]
            for segment in range(segments):
                part = signals[row, skip:]
                target = sound[starts[segment] : starts[segment] + hop]
                for t in range(hop):
                    target[t] = part[t]
                row += 1
            before = signals[row, skip:]
            row += 1
            for t in range(fade):
                sound[t] = before[t] + ramp[t] * (sound[t] - before[t])
            for k in range(first, last):
                if slots[room, k] >= 0:
                    tail = tails[room, k, slots[room, k], ear]
                    for t in range(sound.shape[0]):
                        sound[t] += tail[t]


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def mix_tails(heard, tails, places, total):
    """total[i, ear] = Σ_part heard[i, part] · tails[room, part, source, ear], (room, source) = places[i]."""
    total[:] = 0
    for i in range(places.shape[0]):
        room, source = places[i]
        for part in range(heard.shape[1]):
            for ear in range(2):
                _add_product(total[i, ear], heard[i, part], tails[room, part, source, ear])


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def render_direct(windows, slots, new, old, firsts_new, firsts_old, taps, ramp, rooms, first, last, out):
    """Sources with one image each through FIR filters, crossfaded, into out[rooms].

    windows[room, k, slots[room, k]] [length] is what source k plays; it is silent where the slot is negative.
    """
    block = out.shape[2]
    fade = ramp.shape[0]
    start = windows.shape[3] - block
    before = np.empty((2, fade), dtype=np.float32)
    for room in rooms:
        sound = out[room]
        sound[:] = np.float32(0)
        before[:] = np.float32(0)
        for k in range(first, last):
            if slots[room, k] < 0:
                continue
            played = windows[room, k, slots[room, k]]
            for ear in range(2):
                _fir(played, new[room, k, ear], firsts_new[room, k, ear], taps, start, sound[ear])
                _fir(played, old[room, k, ear], firsts_old[room, k, ear], taps, start, before[ear])
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
