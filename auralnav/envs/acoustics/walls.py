"""Wall reflection for the reverberation time asked for, and the image energy that a room's late tail must carry.

The incoherent energy of the images, Σ g²/(4πd)², depends on a uniform reflection β only through β^(2·order). So
the images are counted once into a table by arrival time and order, and every trial β costs one small sum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from auralnav.envs.acoustics.fractional import SPEED_OF_SOUND
from auralnav.errors import RoomError

BIN_SECONDS = 1e-3
JOIN_SECONDS = 0.05
"""Time after emission at which the late tail takes over from the early images."""

_ORDERS = 96  # orders past this one share the last row: β^(2·96) is below −60 dB for every β < 0.965
_BISECTIONS = 18  # to 4e-6 of a reflection
_DECAY_DB = 33.0  # images are counted until the decay asked for has reached this; an exponential stands for the rest


@dataclass(frozen=True)
class WallDesign:
    """What :func:`solve_reflection` finds.

    Attributes:
        reflection: amplitude coefficient of all six walls, in [0, 1).
        tail_rt60: decay time of the exponential that must follow the join for the whole to have the T20 asked
            for (image energy decays fast at first and slowly later, so it is not the request itself), s.
        late_energy: Σ g²/(4πd)² of all images arriving at or after JOIN_SECONDS, 1/m².
        missing_energy: float64 [JOIN_SECONDS / BIN_SECONDS] the same per bin before the join, of the images
            above the early order, 1/m².
    """

    reflection: float
    tail_rt60: float
    late_energy: float
    missing_energy: np.ndarray


def eyring_reflection(room_size: np.ndarray, rt60: float, c: float = SPEED_OF_SOUND) -> float:
    """Amplitude coefficient by Eyring (1930): rt60 = 24 ln10 V / (−c S ln(1 − α)), β = √(1 − α)."""
    w, d, h = (float(v) for v in room_size)
    surface = 2 * (w * d + w * h + d * h)
    return math.exp(-12 * math.log(10) * w * d * h / (c * surface * rt60))


def solve_reflection(
    room_size: np.ndarray,
    pairs: np.ndarray,
    rt60: float,
    early_order: int,
    c: float = SPEED_OF_SOUND,
) -> WallDesign:
    """Uniform reflection whose image energy decays with the T20 asked for, by bisection.

    Eyring's formula is only the starting scale: alone it decays some 43 % too slowly in small rooms, because
    images along the longest axis meet fewer walls than diffuse sound does.

    Args:
        room_size: [3] m.
        pairs: [P, 2, 3] m: source and listener positions whose decays are averaged.
        rt60: reverberation time asked for, s, > 0.
        early_order: highest order drawn as single images.
        c: speed of sound, m/s.

    Raises:
        RoomError: when no reflection below 1 reaches `rt60`.
    """
    if not rt60 > 0:
        raise RoomError(f"rt60 must be positive, got {rt60}; use rt60=0 on the environment for no reflections")
    size = np.asarray(room_size, dtype=np.float64)
    seconds = max(rt60 * _DECAY_DB / 60.0, 2 * JOIN_SECONDS)
    table = np.zeros((math.ceil(seconds / BIN_SECONDS), _ORDERS))
    places = np.asarray(pairs, dtype=np.float64)
    count_energy(size, places, BIN_SECONDS * c, table)
    table /= len(places)
    orders = 2.0 * np.arange(_ORDERS)

    beta, tail_rt60 = _design(table, rt60, _remainder_bins(len(table)), round(JOIN_SECONDS / BIN_SECONDS))
    if not beta > 0:
        raise RoomError(f"rt60 {rt60} s is too long for a room of {size.tolist()} m; ask for a shorter one")
    energy = table @ beta**orders
    join = round(JOIN_SECONDS / BIN_SECONDS)
    late = float(energy[join:].sum()) + _remainder(energy, rt60, _remainder_bins(len(table)))
    above = table[:join, early_order + 1 :] @ beta ** orders[early_order + 1 :]
    return WallDesign(float(beta), float(tail_rt60), late, above)


def _remainder_bins(bins: int) -> int:
    """Bins at the table's end whose mean level stands for the energy at its end: the last 20 %."""
    return max(bins // 5, 1)


@njit(cache=True, nogil=True, error_model="numpy")
def _remainder(energy, rt60, last):
    """Energy past the table's end: an exponential at the rate of `rt60` from the level of the `last` bins."""
    rate = 6.0 * math.log(10.0) / rt60 * BIN_SECONDS  # a bin
    return energy[-last:].mean() * math.exp(-rate * last / 2.0) / rate


@njit(cache=True, nogil=True, error_model="numpy")
def _t20(energy, beyond):
    """T20 of binned energy, s: −60 dB over the regression slope of its Schroeder decay from −5 to −25 dB.

    `beyond` is the energy past the last bin. 0 when the decay takes less than 3 bins, inf when it does not reach
    −25 dB.
    """
    n = len(energy)
    decay = np.empty(n)
    total = beyond
    for i in range(n - 1, -1, -1):
        total += energy[i]
        decay[i] = total
    start, stop = -1, n
    for i in range(n):
        level = decay[i] / decay[0]
        if start < 0 and level <= 10.0**-0.5:
            start = i
        if level < 10.0**-2.5:
            stop = i
            break
    if stop == n:
        return math.inf
    count = stop - start
    if count < 3:
        return 0.0
    mean_t = 0.5 * (start + stop - 1)
    square, product = 0.0, 0.0
    for i in range(start, stop):
        square += (i - mean_t) ** 2
        product += (i - mean_t) * 10.0 * math.log10(decay[i])
    return -60.0 / (product / square) * BIN_SECONDS


@njit(cache=True, nogil=True, error_model="numpy")
def _decay_of(table, beta, rt60, last):
    bins, orders = table.shape
    energy = np.zeros(bins)
    square = beta * beta
    for i in range(bins):
        total = 0.0
        for k in range(orders - 1, -1, -1):  # Horner's rule
            total = total * square + table[i, k]
        energy[i] = total
    return _t20(energy, _remainder(energy, rt60, last)), energy


@njit(cache=True, nogil=True, error_model="numpy")
def _joined_decay_of(energy, late, tail_rt60, join):
    rate = 6.0 * math.log(10.0) / tail_rt60 * BIN_SECONDS
    joined = energy.copy()
    for i in range(join, len(energy)):
        joined[i] = late * rate * math.exp(-rate * (i - join + 0.5))
    return _t20(joined, late * math.exp(-rate * (len(energy) - join)))


@njit(cache=True, nogil=True, error_model="numpy")
def _design(table, rt60, last, join):
    """(reflection, decay time of the tail) by bisection; (0, 0) when no reflection decays that slowly."""
    low, high = 0.02, 0.999
    if _decay_of(table, high, rt60, last)[0] < rt60:
        return 0.0, 0.0
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        if _decay_of(table, middle, rt60, last)[0] < rt60:
            low = middle
        else:
            high = middle
    beta = 0.5 * (low + high)
    energy = _decay_of(table, beta, rt60, last)[1]
    late = energy[join:].sum() + _remainder(energy, rt60, last)
    low, high = 0.5 * rt60, 2.0 * rt60
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        if _joined_decay_of(energy, late, middle, join) < rt60:
            low = middle
        else:
            high = middle
    return beta, 0.5 * (low + high)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def count_energy(size, pairs, bin_metres, table):
    """Add 1/(4πd)² of every image within the table's reach to table[arrival bin, order], over all `pairs`."""
    bins, orders = table.shape
    reach = bins * bin_metres
    scale = 1.0 / (16.0 * math.pi * math.pi)
    for p in range(pairs.shape[0]):
        sx, sy, sz = pairs[p, 0]
        lx, ly, lz = pairs[p, 1]
        limit_x = int(reach / size[0]) + 2
        for nx in range(-limit_x, limit_x + 1):
            dx = nx * size[0] + (sx if nx % 2 == 0 else size[0] - sx) - lx
            if abs(dx) >= reach:
                continue
            span_y = math.sqrt(reach * reach - dx * dx)
            limit_y = int(span_y / size[1]) + 2
            for ny in range(-limit_y, limit_y + 1):
                dy = ny * size[1] + (sy if ny % 2 == 0 else size[1] - sy) - ly
                flat = dx * dx + dy * dy
                if flat >= reach * reach:
                    continue
                limit_z = int(math.sqrt(reach * reach - flat) / size[2]) + 2
                order_xy = abs(nx) + abs(ny)
                for nz in range(-limit_z, limit_z + 1):
                    dz = nz * size[2] + (sz if nz % 2 == 0 else size[2] - sz) - lz
                    square = flat + dz * dz
                    slot = int(math.sqrt(square) / bin_metres)
                    if slot < bins:
                        table[slot, min(order_xy + abs(nz), orders - 1)] += scale / max(square, 1e-4)
