"""Wall reflection for the reverberation time asked for, and the image energy that a room's late tail must carry.

The incoherent energy of the images, Σ g²/(4πd)², depends on a uniform reflection β only through β^(2·order). So
the images are counted once into a table by arrival time and order, and every trial β costs one small sum.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numba import njit

from auralnav.envs.acoustics.fractional import SPEED_OF_SOUND
from auralnav.envs.acoustics.ism import shoebox_rirs
from auralnav.envs.acoustics.measure import highpass_sections
from auralnav.errors import RoomError

BIN_SECONDS = 1e-3
JOIN_SECONDS = 0.05
"""Time after emission at which the late tail takes over from the early images, where the room is no larger than
some 17 m; see :func:`join_seconds`."""

_ORDERS = 96  # orders past this one share the last row: β^(2·96) is below −60 dB for every β < 0.965
_BISECTIONS = 18  # to 4e-6 of a reflection
_DECAY_DB = 33.0  # images are counted until the decay asked for is there; an exponential stands for the rest


@dataclass(frozen=True, eq=False)
class TailDesign:
    """What the late tail of a room must carry; S sources, or 1 for all of them alike.

    Attributes:
        rt60: float64 [S] decay time of the exponential after the join, s.
        late_energy: float64 [S] Σ g²/(4πd)² of all images arriving at the join or later, 1/m².
        missing_energy: float64 [S, join / BIN_SECONDS] the same per bin before the join, of the images above the
            early order, 1/m².
    """

    rt60: np.ndarray
    late_energy: np.ndarray
    missing_energy: np.ndarray

    @property
    def join(self) -> float:
        """When the exponential begins, s after emission."""
        return self.missing_energy.shape[1] * BIN_SECONDS


@dataclass(frozen=True, eq=False)
class WallDesign:
    """What :func:`solve_reflection` finds.

    Attributes:
        reflection: amplitude coefficient of all six walls, in [0, 1).
        tail: what must follow the early images for a source's whole response to have the T20 asked for. Image
            energy decays fast at first and slowly later, so the tail's decay time is not the request itself.
        bands: the same for octaves (centre, Hz) that were asked to decay at a rate of their own.
    """

    reflection: float
    tail: TailDesign
    bands: Mapping[float, TailDesign] = field(default_factory=dict)


def join_seconds(farthest: float, c: float = SPEED_OF_SOUND) -> float:
    """The join of a room in which ears and sources are up to `farthest` m apart, s: whole BIN_SECONDS.

    JOIN_SECONDS, or later where the direct sound would come later: it is never left to the tail.
    """
    return max(JOIN_SECONDS, math.ceil(farthest / c / BIN_SECONDS) * BIN_SECONDS)


def extra_decay(rt60: float, share: float) -> float:
    """By how much faster energy decays in a band of reverberation time share · rt60 than at `rt60` s, 1/s."""
    return 6.0 * math.log(10.0) / rt60 * (1.0 / share - 1.0)


def eyring_reflection(room_size: np.ndarray, rt60: float, c: float = SPEED_OF_SOUND) -> float:
    """Amplitude coefficient by Eyring (1930): rt60 = 24 ln10 V / (−c S ln(1 − α)), β = √(1 − α)."""
    w, d, h = (float(v) for v in room_size)
    surface = 2 * (w * d + w * h + d * h)
    return math.exp(-12 * math.log(10) * w * d * h / (c * surface * rt60))


def solve_reflection(
    room_size: np.ndarray,
    sources: np.ndarray,
    listener: np.ndarray,
    rt60: float,
    early_order: int,
    fs: int,
    c: float = SPEED_OF_SOUND,
    join: float = JOIN_SECONDS,
    band_shares: Mapping[float, float] | None = None,
) -> WallDesign:
    """Uniform reflection whose image energy decays with the T20 asked for, by bisection, and tails to match.

    Eyring's formula is only the starting scale: alone it decays some 43 % too slowly in small rooms, because
    images along the longest axis meet fewer walls than diffuse sound does. The reflection follows from the mean
    decay over the sources; each source's tail from its own early images, as they add up where the listener is.

    A band with a share is given tails that make its T20 that share of `rt60`: what the images carry after the
    early ones decays faster by :func:`extra_decay` from emission on. The early images are the same in all bands.

    Args:
        room_size: [3] m.
        sources: [S, 3] m.
        listener: [3] m.
        rt60: reverberation time asked for, s, > 0.
        early_order: highest order drawn as single images.
        fs: sampling rate of the responses to come, Hz.
        c: speed of sound, m/s.
        join: time after emission at which the tail takes over, s; see :func:`join_seconds`.
        band_shares: octave centre, Hz → reverberation time as a share of `rt60`, for bands that have their own.

    Raises:
        RoomError: when no reflection below 1 reaches `rt60`.
    """
    if not rt60 > 0:
        raise RoomError(
            f"rt60 must be positive, got {rt60}; use rt60=0 on the environment for no reflections"
        )
    size = np.asarray(room_size, dtype=np.float64)
    places = np.asarray(sources, dtype=np.float64)
    tables = np.zeros((len(places), _table_bins(rt60, join), _ORDERS))
    count_energy(size, places, np.asarray(listener, dtype=np.float64), BIN_SECONDS * c, tables)
    last = max(tables.shape[1] // 5, 1)
    beta = _solve_beta(tables.sum(axis=0), rt60, last)
    if not beta > 0:
        raise RoomError(f"rt60 {rt60} s is too long for a room of {size.tolist()} m; ask for a shorter one")
    powers = beta ** (2.0 * np.arange(_ORDERS))
    bins = round(join / BIN_SECONDS)
    energy = tables @ powers
    missing = tables[:, :bins, early_order + 1 :] @ powers[early_order + 1 :]
    drawn = _drawn_energy(size, places, np.asarray(listener), beta, early_order, fs, bins, c)
    times = (np.arange(energy.shape[1]) + 0.5) * BIN_SECONDS
    bands = {}
    for centre, share in (band_shares or {}).items():
        fading = np.exp(-extra_decay(rt60, share) * times)
        bands[centre] = _tail(energy * fading, missing * fading[:bins], drawn, share * rt60, last)
    return WallDesign(float(beta), _tail(energy, missing, drawn, rt60, last), bands)


def _table_bins(rt60: float, join: float) -> int:
    """Bins that hold a decay from 0 to −_DECAY_DB."""
    return math.ceil(max(rt60 * _DECAY_DB / 60.0, 2 * join) / BIN_SECONDS)


def _tail(
    energy: np.ndarray, missing: np.ndarray, drawn: np.ndarray, rt60: float, last: int
) -> TailDesign:
    """Tails that give T20s of `rt60` s after the `drawn` and `missing` energy [S, bins before the join].

    `energy` [S, all bins] is that of all images; `last` as :func:`_remainder` takes it.
    """
    join = missing.shape[1]
    late = np.array([row[join:].sum() + _remainder(row, rt60, last) for row in energy])
    bins = _table_bins(rt60, join * BIN_SECONDS)
    decay = [_solve_tail(d + m, e, rt60, bins) for d, m, e in zip(drawn, missing, late, strict=True)]
    return TailDesign(np.array(decay), late, missing)


def _drawn_energy(size, sources, listener, beta, order, fs, join, c) -> np.ndarray:
    """Energy per bin before the join of the early images as they sound together, float64 [S, join].

    Direct sound, floor and ceiling arrive within a millisecond or two and add as pressures, not as energies. The
    low end, where all images add in phase, is left out as it is from every measure of decay.
    """
    samples = round(BIN_SECONDS * join * fs)
    response = shoebox_rirs(size, sources, listener[None], beta, order, fs, n_samples=samples, c=c)[:, 0]
    energy = np.zeros((len(response), join))
    _add_filtered_energy(response, highpass_sections(fs), fs * BIN_SECONDS, energy)
    return energy


@njit(cache=True, nogil=True, error_model="numpy")
def _add_filtered_energy(response, sections, per_bin, energy):
    """Add the squares of `response` [S, n] through second-order `sections` [Q, 6] to bins of `per_bin` samples."""
    for s in range(response.shape[0]):
        state = np.zeros((sections.shape[0], 2))
        for t in range(response.shape[1]):
            x = float(response[s, t])
            for q in range(sections.shape[0]):
                b0, b1, b2, _, a1, a2 = sections[q]
                y = b0 * x + state[q, 0]
                state[q, 0] = b1 * x - a1 * y + state[q, 1]
                state[q, 1] = b2 * x - a2 * y
                x = y
            energy[s, min(int(t / per_bin), energy.shape[1] - 1)] += x * x


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
def _decay_of(table, spans, beta, rt60, last):
    """T20 of the energy at reflection `beta`; spans [bins, 2] bound each bin's orders."""
    bins = table.shape[0]
    energy = np.zeros(bins)
    square = beta * beta
    for i in range(bins):
        total = 0.0
        for k in range(spans[i, 1], spans[i, 0] - 1, -1):  # Horner's rule
            total = total * square + table[i, k]
        energy[i] = total * square ** spans[i, 0]
    return _t20(energy, _remainder(energy, rt60, last))


@njit(cache=True, nogil=True, error_model="numpy")
def _solve_beta(table, rt60, last):
    """Reflection whose decay has the T20 `rt60`; 0 when none decays that slowly."""
    bins = table.shape[0]
    spans = np.zeros((bins, 2), dtype=np.int64)
    for i in range(bins):
        used = np.nonzero(table[i])[0]
        if len(used):
            spans[i, 0], spans[i, 1] = used[0], used[-1]
    low, high = 0.02, 0.999
    if _decay_of(table, spans, high, rt60, last) < rt60:
        return 0.0
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        if _decay_of(table, spans, middle, rt60, last) < rt60:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


@njit(cache=True, nogil=True, error_model="numpy")
def _solve_tail(early, late, rt60, bins):
    """Decay time of an exponential of energy `late` after the `early` bins that gives the whole T20 `rt60`."""
    join = len(early)
    joined = np.empty(bins)
    joined[:join] = early
    low, high = 0.5 * rt60, 2.0 * rt60
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        rate = 6.0 * math.log(10.0) / middle * BIN_SECONDS
        for i in range(join, bins):
            joined[i] = late * rate * math.exp(-rate * (i - join + 0.5))
        if _t20(joined, late * math.exp(-rate * (bins - join))) < rt60:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def count_energy(size, sources, listener, bin_metres, tables):
    """Add 1/(4πd)² of every image of source s within reach to tables[s, arrival bin, order]."""
    bins, orders = tables.shape[1], tables.shape[2]
    reach = bins * bin_metres
    scale = 1.0 / (16.0 * math.pi * math.pi)
    lx, ly, lz = listener[0], listener[1], listener[2]
    for s in range(sources.shape[0]):
        sx, sy, sz = sources[s, 0], sources[s, 1], sources[s, 2]
        table = tables[s]
        limit_x = int(reach / size[0]) + 2
        for nx in range(-limit_x, limit_x + 1):
            dx = nx * size[0] + (sx if nx % 2 == 0 else size[0] - sx) - lx
            if abs(dx) >= reach:
                continue
            limit_y = int(math.sqrt(reach * reach - dx * dx) / size[1]) + 2
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
