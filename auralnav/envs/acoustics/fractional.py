"""Sub-sample delays: the table of Hann-windowed sincs that every image source is drawn with."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numba import njit

SPEED_OF_SOUND = 343.0
"""m/s, at 20 °C."""

TAPS = 81
"""Length of the windowed sinc; its centre is tap HALF_TAPS."""

HALF_TAPS = TAPS // 2

PHASES = 64
"""Table rows per sample of delay; rows are interpolated linearly (error below −70 dB)."""

_BLOCK = 32  # table rows are padded to whole blocks: a constant inner trip count keeps the loop vectorised


def padded_length(taps: int) -> int:
    """Smallest whole number of blocks that holds `taps` taps, in taps."""
    return -(-taps // _BLOCK) * _BLOCK


def windowed_sinc(fraction: np.ndarray) -> np.ndarray:
    """Taps of a delay of `fraction` samples, centred on tap HALF_TAPS.

    The window is a symmetric Hann of TAPS points fixed to the sample grid (Allen & Berkley 1979 with
    Peterson's 1986 low-pass impulse; the same taps as pyroomacoustics draws).

    Args:
        fraction: [P] samples in [0, 1].

    Returns:
        float64 [P, TAPS].
    """
    grid = np.arange(TAPS) - HALF_TAPS
    return np.hanning(TAPS) * np.sinc(grid[None, :] - np.asarray(fraction, dtype=np.float64)[:, None])


@lru_cache(maxsize=1)
def sinc_table() -> np.ndarray:
    """float32 [PHASES + 1, padded TAPS]: row p delays by p / PHASES samples."""
    table = np.zeros((PHASES + 1, padded_length(TAPS)), dtype=np.float32)
    table[:, :TAPS] = windowed_sinc(np.arange(PHASES + 1) / PHASES)
    table.setflags(write=False)
    return table


@njit(inline="always")
def add_taps(out, start, table, phase, weight, gain):
    """out[start:] += gain · ((1 − weight)·table[phase] + weight·table[phase + 1])."""
    after = gain * weight
    before = gain - after
    row = table[phase]
    following = table[phase + 1]
    target = out[start : start + table.shape[1]]
    for block in range(table.shape[1] // _BLOCK):
        for k in range(block * _BLOCK, (block + 1) * _BLOCK):
            target[k] += before * row[k] + after * following[k]
