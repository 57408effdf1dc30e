"""What a head does to sound: two open ears, a rigid sphere, or a measured HRTF, as tap tables by direction.

A head model turns an image source's direction into two things an ear: a delay, drawn sub-sample, and a short
filter, taken from a table that already holds the windowed sinc (so that delay and filter cost one pass).

The sphere follows Woodworth's delays (1938; Blauert, "Spatial Hearing") and the one-pole one-zero head shadow
of Brown & Duda, "A structural model for binaural sound synthesis", IEEE Trans. SAP 6 (1998).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from auralnav.envs.acoustics.fractional import (
    HALF_TAPS,
    PHASES,
    SPEED_OF_SOUND,
    TAPS,
    padded_length,
    sinc_table,
    windowed_sinc,
)
from auralnav.errors import ConfigError

EAR_DISTANCE = 0.18
"""m between the ears."""

HEAD_RADIUS = 0.09
"""m, of the sphere."""

ALPHA_MIN = 0.1
THETA_MIN = math.radians(150.0)
SHADOW_BINS = 24
"""Angles from the ear's axis at which the sphere's filter is tabulated (bin centres)."""

MEASURED_AZIMUTHS, MEASURED_ELEVATIONS = 72, 19
"""Grid of directions of a measured head: 5° by 10°; rings nearer to the poles have fewer azimuths, so that it names
at most MEASURED_DIRECTIONS of them."""

MEASURED_DIRECTIONS = 826
"""Most directions of a measured head that are kept, however many its file has."""

MODE_OPEN = 0
MODE_SPHERE = 1
MODE_MEASURED = 2


@dataclass(frozen=True, eq=False)
class HeadModel:
    """A head as the image kernel wants it.

    Attributes:
        mode: MODE_OPEN (two free microphones), MODE_SPHERE or MODE_MEASURED.
        table: float32 [bins, PHASES + 1, taps] windowed sincs through each direction's filter.
        direction_bins: int32 [azimuths, elevations, 2 ears] row of `table` for each direction of a measured
            head ([1, 1, 2] otherwise).
        fs: sampling rate the table is for, Hz.
        power_gain: float64 [65] diffuse-field power gain from 0 to fs/2, for the late tail.
    """

    mode: int
    table: np.ndarray
    direction_bins: np.ndarray
    fs: int
    power_gain: np.ndarray

    @property
    def reach(self) -> int:
        """Samples by which the response of an image outlasts its arrival (filter and half the sinc)."""
        return self.table.shape[2] - HALF_TAPS


def woodworth_delay(angle: np.ndarray | float, radius: float = HEAD_RADIUS, c: float = SPEED_OF_SOUND):
    """Delay of an ear against the head's centre, s, for a source `angle` radians off the ear's axis."""
    angle = np.asarray(angle, dtype=np.float64)
    return radius / c * np.where(angle < math.pi / 2, -np.cos(angle), angle - math.pi / 2)


def shadow_filter(angle: float, fs: int, radius: float = HEAD_RADIUS, c: float = SPEED_OF_SOUND):
    """Brown–Duda head shadow by the bilinear transform.

    H(s) = (1 + α s / 2ω₀) / (1 + s / 2ω₀), ω₀ = c/a, α(ψ) = (1 + α_min/2) + (1 − α_min/2) cos(π ψ/θ_min).

    Args:
        angle: radians from the ear's axis, 0 to π.
        fs: Hz.
        radius: of the head, m.
        c: speed of sound, m/s.

    Returns:
        (b0, b1, pole): y[n] = b0 x[n] + b1 x[n−1] + pole · y[n−1].
    """
    alpha = (1 + ALPHA_MIN / 2) + (1 - ALPHA_MIN / 2) * math.cos(angle / THETA_MIN * math.pi)
    corner = 2 * c / radius
    rate = 2.0 * fs
    scale = corner + rate
    return (corner + alpha * rate) / scale, (corner - alpha * rate) / scale, (rate - corner) / scale


def shadow_response(angle: float, fs: int, n: int) -> np.ndarray:
    """First `n` samples of the head shadow's impulse response, float64 [n]."""
    b0, b1, pole = shadow_filter(angle, fs)
    response = np.empty(n)
    response[0] = b0
    if n > 1:
        response[1:] = (b1 + pole * b0) * pole ** np.arange(n - 1)
    return response


def ear_responses(
    azimuth: np.ndarray, frequency: np.ndarray, head: str, fs: int
) -> tuple[np.ndarray, np.ndarray]:
    """What either ear of a head model makes of a distant source: its delay, and its filter at some frequencies.

    Args:
        azimuth: radians from straight ahead, positive to the left, [A].
        frequency: Hz [F].
        head: "none" (delays ±d sin(azimuth) / 2c, no filter) or "sphere" (Woodworth, Brown & Duda).
        fs: Hz, which the shadow filter depends on.

    Returns:
        (delay, response): float64 [2, A] s against the head's centre, and complex128 [2, A, F] without the delay;
        left ear first.

    Raises:
        ConfigError: another head.
    """
    lateral = np.clip(np.sin(azimuth), -1.0, 1.0)
    if head == "none":
        delay = EAR_DISTANCE / SPEED_OF_SOUND / 2 * np.stack([-lateral, lateral])
        return delay, np.ones((2, len(azimuth), len(frequency)), dtype=np.complex128)
    if head != "sphere":
        raise ConfigError(f"only the heads 'none' and 'sphere' have formulas, not {head!r}; choose one of them")
    angles = np.stack([np.arccos(lateral), np.arccos(-lateral)])
    filters = np.array([[shadow_filter(float(x), fs) for x in row] for row in angles])
    b0, b1, pole = np.moveaxis(filters, -1, 0)[..., None]
    z = np.exp(-2j * np.pi * frequency / fs)
    return woodworth_delay(angles), (b0 + b1 * z) / (1.0 - pole * z)


@lru_cache(maxsize=8)
def open_ears(fs: int) -> HeadModel:
    """Two free microphones EAR_DISTANCE apart: no shadow, delays from the true distances."""
    table = sinc_table()[None]
    return HeadModel(MODE_OPEN, table, np.zeros((1, 1, 2), dtype=np.int32), fs, np.ones(65))


@lru_cache(maxsize=8)
def spherical_head(fs: int) -> HeadModel:
    """A rigid sphere of HEAD_RADIUS with ears at its left and right."""
    _, _, pole = shadow_filter(0.0, fs)
    length = max(2, math.ceil(math.log(1e-3) / math.log(abs(pole))))  # to −60 dB
    taps = padded_length(TAPS + length - 1)
    sincs = windowed_sinc(np.arange(PHASES + 1) / PHASES)
    table = np.zeros((SHADOW_BINS, PHASES + 1, taps), dtype=np.float32)
    frequencies = np.linspace(0, math.pi, 65)
    power = np.zeros(65)
    weights = 0.0
    for index in range(SHADOW_BINS):
        angle = (index + 0.5) * math.pi / SHADOW_BINS
        response = shadow_response(angle, fs, taps - TAPS + 1)
        table[index] = np.apply_along_axis(np.convolve, 1, sincs, response)
        b0, b1, pole = shadow_filter(angle, fs)
        z = np.exp(-1j * frequencies)
        power += math.sin(angle) * np.abs((b0 + b1 * z) / (1 - pole * z)) ** 2
        weights += math.sin(angle)
    table.setflags(write=False)
    return HeadModel(MODE_SPHERE, table, np.zeros((1, 1, 2), dtype=np.int32), fs, power / weights)


def head_model(head: str, fs: int) -> HeadModel:
    """The head called `head`: "sphere", "none", or the path of a SOFA file.

    Raises:
        ConfigError: neither a known name nor an existing file.
        SoundError, MissingDependencyError: see :func:`auralnav.envs.acoustics.sofa.load_sofa`.
    """
    if head == "sphere":
        return spherical_head(fs)
    if head == "none":
        return open_ears(fs)
    path = Path(head)
    if not path.is_file():
        raise ConfigError(f"head={head!r} is not 'sphere', 'none' or an existing SOFA file; check the path")
    return measured_head(str(path), fs)


@lru_cache(maxsize=2)
def measured_head(path: str, fs: int) -> HeadModel:
    """A measured HRTF (see :mod:`auralnav.envs.acoustics.sofa`) as tables over a grid of directions.

    Each direction of the grid is heard through the measurement nearest to it, so the table's size is bounded by the
    grid and not by the file: at most 2 · MEASURED_DIRECTIONS rows, some 83 MB at 16 kHz and 152 MB at 48 kHz.
    """
    from auralnav.envs.acoustics.sofa import load_sofa

    hrtf = load_sofa(path, fs)
    nearest, share = _nearest_measurements(hrtf.nearest)
    used, rows = np.unique(nearest, return_inverse=True)
    rows = rows.reshape(nearest.shape)
    bins = np.stack([2 * rows, 2 * rows + 1], axis=-1).astype(np.int32)
    irs = hrtf.irs[used].reshape(2 * len(used), -1)
    taps = padded_length(TAPS + irs.shape[1] - 1)
    n = 1 << (taps - 1).bit_length()
    sincs = np.fft.rfft(windowed_sinc(np.arange(PHASES + 1) / PHASES), n)
    spectra = np.fft.rfft(irs, n)
    table = np.empty((len(irs), PHASES + 1, taps), dtype=np.float32)
    for row, spectrum in zip(table, spectra, strict=True):  # one by one: in double, all would take eight times as much
        row[:] = np.fft.irfft(spectrum * sincs, n)[:, :taps]
    # The diffuse field comes from all solid angles alike, however unevenly they were measured.
    weights = np.bincount(rows.ravel(), share.ravel())
    power = weights @ np.mean(np.abs(spectra.reshape(len(used), 2, -1)) ** 2, axis=1)
    power = np.interp(np.linspace(0, 1, 65), np.linspace(0, 1, len(power)), power)
    return HeadModel(MODE_MEASURED, table, bins, fs, power)


def _nearest_measurements(nearest: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The measurement for each cell of the grid int64 [azimuths, elevations], and the cells' shares of the sphere.

    `nearest`: unit vectors [..., 3] → index of the measurement. On each ring the azimuths are thinned out to the
    spacing they have on the horizon.
    """
    elevation = (np.arange(MEASURED_ELEVATIONS) / (MEASURED_ELEVATIONS - 1) - 0.5) * np.pi
    counts = np.maximum(np.round(MEASURED_AZIMUTHS * np.cos(elevation)), 1.0)
    azimuth = np.arange(MEASURED_AZIMUTHS)[:, None] * 2 * np.pi / MEASURED_AZIMUTHS
    azimuth = np.round(azimuth * counts / (2 * np.pi)) % counts * 2 * np.pi / counts
    flat = np.cos(elevation)
    up = np.broadcast_to(np.sin(elevation), azimuth.shape)
    grid = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), up], axis=-1)
    middles = 0.5 * (elevation[1:] + elevation[:-1])
    ring = np.diff(np.sin(middles), prepend=-1.0, append=1.0) / 2 / MEASURED_AZIMUTHS
    return nearest(grid), np.broadcast_to(ring, azimuth.shape)
