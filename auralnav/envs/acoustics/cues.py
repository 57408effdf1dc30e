"""Spatial cues of two-ear sound: GCC-PHAT, interaural phase and level differences, and level, by band.

GCC-PHAT: Knapp & Carter, IEEE Trans. ASSP 24 (1976). All differences are left minus right: positive cues mean a
source to the left.
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
from numba import njit
from scipy import fft as sfft

WINDOW_SECONDS = 0.032
LAG_STEP = 0.5
"""Spacing of the GCC-PHAT lags, samples at 16 kHz (31.25 µs)."""

MAX_LAG_SECONDS = 0.00072
"""Largest lag looked at: the sphere head's 675 µs and a little more."""

IPD_BANDS = 8
LEVEL_BANDS = 16
IPD_TOP_HZ = 1500.0
LOWEST_HZ = 80.0
ILD_LIMIT_DB = 30.0
LEVEL_FLOOR_DB = -100.0
_SILENCE = 1e-12


class CueConfig:
    """Sizes and tables of the cues of blocks of `n` samples at `fs`.

    The STFT has Hann windows of 32 ms at half overlap. The cue vector holds, in this order:

    - `gcc`: GCC-PHAT over lags from −720 to +720 µs, each 31 µs, in [−1, 1]; its peak is the interaural delay
      (positive: the left ear leads). Bins are counted once a frame with unit weight, those 40 dB below the frame's
      strongest not at all.
    - `ipd`: cos then sin of the interaural phase in 8 bands from 80 to 1500 Hz, energy-weighted, in [−1, 1]
      (above 741 Hz it is ambiguous for the largest delays).
    - `ild`: left-to-right level difference in 16 bands to fs/2, dB / 30, clipped to [−1, 1].
    - `level`: level of both ears in the 16 bands, (dBFS + 100) / 100, clipped to [0, 1].

    Args:
        fs: Hz, at least 4000.
        n: samples a block, at least one window.
    """

    def __init__(self, fs: int, n: int) -> None:
        self.fs = fs
        self.n = n
        self.window_length = 2 * round(WINDOW_SECONDS * fs / 2)
        if n < self.window_length:
            raise ValueError(
                f"a block of {n} samples is shorter than the {self.window_length} of one STFT window"
            )
        self.hop = self.window_length // 2
        self.frames = 1 + (n - self.window_length) // self.hop
        self.bins = self.window_length // 2 + 1
        half = round(MAX_LAG_SECONDS * 16000 / LAG_STEP)
        self.lags = np.arange(-half, half + 1) * (LAG_STEP / 16000)
        """float64 [L] s."""
        edges = {"gcc": len(self.lags), "ipd": 2 * IPD_BANDS, "ild": LEVEL_BANDS, "level": LEVEL_BANDS}
        self.slices: dict[str, slice] = {}
        start = 0
        for name, width in edges.items():
            self.slices[name] = slice(start, start + width)
            start += width
        self.size = start

    @cached_property
    def window(self) -> np.ndarray:
        """Periodic Hann window scaled so that a band's summed |X|² is its mean square; float32 [window]."""
        length = self.window_length
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
        return (hann * math.sqrt(2.0 / (length * np.sum(hann**2)))).astype(np.float32)

    @cached_property
    def steering(self) -> np.ndarray:
        """float32 [L, 2·bins]: real and imaginary weights that turn the whitened cross spectrum into lags."""
        frequency = np.arange(self.bins) * self.fs / self.window_length
        phase = 2 * np.pi * np.outer(self.lags, frequency)
        # The left ear leads by τ: L·conj(R) has phase +ωτ, undone by exp(−jωτ).
        return np.concatenate([np.cos(phase), np.sin(phase)], axis=1).astype(np.float32)

    @cached_property
    def band_edges(self) -> tuple[np.ndarray, np.ndarray]:
        """First bins of the IPD bands [9] and of the level bands [17], int64, spaced evenly in log frequency."""
        return (
            self._edges(IPD_BANDS, LOWEST_HZ, min(IPD_TOP_HZ, 0.4 * self.fs)),
            self._edges(LEVEL_BANDS, LOWEST_HZ, self.fs / 2),
        )

    def _edges(self, bands: int, low: float, high: float) -> np.ndarray:
        bins = np.geomspace(low, high, bands + 1) * self.window_length / self.fs
        edges = np.ceil(bins).astype(np.int64)
        for i in range(1, len(edges)):  # at least one bin a band
            edges[i] = max(edges[i], edges[i - 1] + 1)
        edges[-1] = min(edges[-1], self.bins)
        return edges

    @cached_property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Least and greatest value of each cue, float32 [size]."""
        low = np.full(self.size, -1.0, dtype=np.float32)
        low[self.slices["level"]] = 0.0
        return low, np.ones(self.size, dtype=np.float32)


def stft(audio: np.ndarray, config: CueConfig) -> np.ndarray:
    """Short-time spectra of blocks; no padding, frames lie inside them.

    Args:
        audio: float32 [..., n].
        config: sizes.

    Returns:
        complex64 [..., frames, bins].

    Raises:
        ValueError: blocks of another length than the sizes are for.
    """
    if audio.shape[-1] != config.n:  # as_strided would read past the end
        raise ValueError(f"a block has {audio.shape[-1]} samples; these cues are for {config.n}")
    stride = audio.strides[-1]
    frames = np.lib.stride_tricks.as_strided(
        audio,
        (*audio.shape[:-1], config.frames, config.window_length),
        (*audio.strides[:-1], config.hop * stride, stride),
        writeable=False,
    )
    return sfft.rfft(frames * config.window)


def log_spectrogram(spectra: np.ndarray) -> np.ndarray:
    """Compressed magnitudes log1p(1000·|STFT|): float32 [..., bins, frames], finite and ≥ 0.

    The factor puts the magnitudes of ordinary levels (1 m: −26 dBFS) where log1p bends.

    Args:
        spectra: complex64 [..., frames, bins].
    """
    return np.log1p(np.float32(1000.0) * np.abs(spectra)).swapaxes(-1, -2)


SPECTROGRAM_TOP = math.log1p(1000.0 * 4.0)
"""No block within ±1 has a larger log spectrogram value."""


def spatial_cues(spectra: np.ndarray, config: CueConfig) -> np.ndarray:
    """The cue vectors of blocks (layout in :class:`CueConfig`).

    Args:
        spectra: complex64 [2, frames, bins] or [R, 2, frames, bins], left and right.
        config: sizes and tables.

    Returns:
        float32 [size] or [R, size].
    """
    batch = spectra if spectra.ndim == 4 else spectra[None]
    out = np.empty((len(batch), config.size), dtype=np.float32)
    ipd_edges, level_edges = config.band_edges
    _cues_kernel(batch, ipd_edges, level_edges, config.steering, out)
    return out if spectra.ndim == 4 else out[0]


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _cue_kernel(spectra, ipd_edges, level_edges, cross, out):
    frames, bins = spectra.shape[1], spectra.shape[2]
    real = np.zeros(bins, dtype=np.float32)
    imag = np.zeros(bins, dtype=np.float32)
    left = np.zeros(bins, dtype=np.float32)
    right = np.zeros(bins, dtype=np.float32)
    white_real = cross[:bins]
    white_imag = cross[bins:]
    white_real[:] = np.float32(0)
    white_imag[:] = np.float32(0)
    power = np.empty(bins, dtype=np.float32)
    product_real = np.empty(bins, dtype=np.float32)
    product_imag = np.empty(bins, dtype=np.float32)
    counted = np.float32(0)
    for t in range(frames):
        l_row = spectra[0, t]
        r_row = spectra[1, t]
        strongest = np.float32(0)
        for k in range(bins):
            lr, li = l_row[k].real, l_row[k].imag
            rr, ri = r_row[k].real, r_row[k].imag
            a = lr * lr + li * li
            b = rr * rr + ri * ri
            left[k] += a
            right[k] += b
            cr = lr * rr + li * ri
            ci = li * rr - lr * ri
            real[k] += cr
            imag[k] += ci
            product_real[k] = cr
            product_imag[k] = ci
            power[k] = a * b
            strongest = max(strongest, a * b)
        if strongest > _SILENCE * _SILENCE:
            gate = strongest * np.float32(1e-8)  # 40 dB, of a power product
            for k in range(1, bins):
                weight = np.float32(1) / math.sqrt(power[k]) if power[k] > gate else np.float32(0)
                white_real[k] += product_real[k] * weight
                white_imag[k] += product_imag[k] * weight
                counted += np.float32(1) if power[k] > gate else np.float32(0)
    norm = np.float32(1) / counted if counted > 0 else np.float32(0)
    for k in range(bins):
        white_real[k] *= norm
        white_imag[k] *= norm
    bands = ipd_edges.shape[0] - 1
    for band in range(bands):
        sum_real, sum_imag, energy = 0.0, 0.0, _SILENCE
        for k in range(ipd_edges[band], ipd_edges[band + 1]):
            sum_real += real[k]
            sum_imag += imag[k]
            energy += math.sqrt(left[k] * right[k])
        out[band] = min(max(sum_real / energy, -1.0), 1.0)
        out[bands + band] = min(max(sum_imag / energy, -1.0), 1.0)
    levels = level_edges.shape[0] - 1
    for band in range(levels):
        sum_left, sum_right = 0.0, 0.0
        for k in range(level_edges[band], level_edges[band + 1]):
            sum_left += left[k]
            sum_right += right[k]
        sum_left = sum_left / frames + _SILENCE
        sum_right = sum_right / frames + _SILENCE
        ild = 10.0 * math.log10(sum_left / sum_right) / ILD_LIMIT_DB
        level = (10.0 * math.log10(0.5 * (sum_left + sum_right)) - LEVEL_FLOOR_DB) / -LEVEL_FLOOR_DB
        out[2 * bands + band] = min(max(ild, -1.0), 1.0)
        out[2 * bands + levels + band] = min(max(level, 0.0), 1.0)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _cues_kernel(batch, ipd_edges, level_edges, steering, out):
    lags = steering.shape[0]
    cross = np.empty(steering.shape[1], dtype=np.float32)
    for i in range(batch.shape[0]):
        _cue_kernel(batch[i], ipd_edges, level_edges, cross, out[i, lags:])
        for lag in range(lags):
            total = np.float32(0)
            row = steering[lag]
            for k in range(cross.shape[0]):
                total += row[k] * cross[k]
            out[i, lag] = min(max(total, np.float32(-1)), np.float32(1))
