"""Building blocks for sounds that loop: everything here lives on a circle of `n` samples.

Oscillators complete whole cycles in the clip, filters and noise are circular (made by FFT over exactly the
clip), and events that run past the end wrap to the start. So a clip joins itself without a click, whatever is
built from these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.floating[Any]]
Gain = Callable[[FloatArray], NDArray[Any]]

# Oscillators fade out between these shares of the sampling rate, so that nothing folds back.
_FADE_FROM, _FADE_TO = 0.42, 0.47

# Points a second on the grid of slow curves.
_CONTOUR_HZ = 500


class Loop:
    """The circle a sound is drawn on.

    `rng` gives the instance's parameters (pitch, tempo, timbre), `noise_rng` its noise. They are separate
    so that one instance has the same parameters at every sampling rate.
    """

    def __init__(self, fs: int, n: int, rng: np.random.Generator, noise_rng: np.random.Generator) -> None:
        """Take the sampling rate in Hz, the number of samples, and the two generators."""
        self.fs, self.n, self.rng, self.noise_rng = fs, n, rng, noise_rng
        self.seconds = n / fs

    @cached_property
    def freqs(self) -> FloatArray:
        """Bin frequencies of the clip's rfft, [n // 2 + 1] Hz; bin 0 is 1 µHz so that powers of it exist."""
        freqs = np.fft.rfftfreq(self.n, 1.0 / self.fs)
        freqs[0] = 1e-6
        return freqs

    def cycles(self, rate: float) -> int:
        """Whole number of cycles of `rate` (Hz) nearest to what fits into the clip, at least one."""
        return max(1, round(rate * self.seconds))

    def uniform(self, low: float, high: float) -> float:
        """One parameter of the instance, uniform in [low, high)."""
        return float(self.rng.uniform(low, high))

    def log_uniform(self, low: float, high: float) -> float:
        """One parameter of the instance, log-uniform in [low, high)."""
        return float(np.exp(self.rng.uniform(np.log(low), np.log(high))))

    def beats(self, rate: float, swing: float = 0.0) -> FloatArray:
        """Event times in s, as many as fit at `rate` (Hz), each moved by at most `swing` of the period.

        The first comes after half a period, so that the clip does not begin with a blow.
        """
        count = self.cycles(rate)
        period = self.seconds / count
        return (0.5 + np.arange(count) + self.rng.uniform(-swing, swing, count)) * period

    def noise(self, gain: Gain) -> FloatArray:
        """Gaussian noise [n] of amplitude spectrum `gain(frequency in Hz)`, drawn in the frequency domain."""
        parts = self.noise_rng.standard_normal((2, self.n // 2 + 1))
        return np.fft.irfft((parts[0] + 1j * parts[1]) * gain(self.freqs), self.n)

    def filtered(self, x: FloatArray, gain: Gain) -> FloatArray:
        """`x` [n] through a circular filter of response `gain(frequency in Hz)` (real: zero phase)."""
        return np.fft.irfft(np.fft.rfft(x) * gain(self.freqs), self.n)

    def convolved(self, x: FloatArray, response: FloatArray) -> FloatArray:
        """Circular convolution of `x` [n] with `response` [m], any m (it wraps)."""
        folded = np.zeros(self.n)
        for start in range(0, len(response), self.n):
            part = response[start : start + self.n]
            folded[: len(part)] += part
        return np.fft.irfft(np.fft.rfft(x) * np.fft.rfft(folded), self.n)

    def rung(self, x: FloatArray, freqs: ArrayLike, amps: ArrayLike, decays: ArrayLike) -> FloatArray:
        """`x` [n] through decaying modes (Hz, amplitudes, time constants in s), steady on the circle.

        The closed form of a two-pole resonator's response on the unit circle: nothing is cut off however long
        a mode rings. Modes near half the sampling rate are left out.
        """
        back = np.exp(-2j * np.pi / self.n * np.arange(self.n // 2 + 1))
        response = np.zeros_like(back)
        for freq, amp, decay in zip(*np.broadcast_arrays(freqs, amps, decays), strict=True):
            if freq < _FADE_FROM * self.fs:
                radius, angle = np.exp(-1.0 / (decay * self.fs)), 2.0 * np.pi * freq / self.fs
                pole = (2.0 * radius * np.cos(angle) - radius**2 * back) * back
                response += (amp * radius * np.sin(angle)) / (1.0 - pole)
        return np.fft.irfft(np.fft.rfft(x) * response * back, self.n)

    def strikes(self, times: FloatArray, amps: FloatArray | float = 1.0) -> FloatArray:
        """Impulses [n] of the given amplitudes at `times` (s, wrapped), spread over two samples."""
        position = np.mod(np.asarray(times) * self.fs, self.n)
        index = position.astype(np.int64)
        part = position - index
        amps = np.broadcast_to(amps, position.shape)
        out = np.bincount(index % self.n, amps * (1.0 - part), self.n)
        out = out + np.bincount((index + 1) % self.n, amps * part, self.n)
        return out.astype(float)

    def scattered(self, times: FloatArray, grains: FloatArray) -> FloatArray:
        """Sum [n] of grains [E, m] that begin at `times` [E] (s, wrapped)."""
        first = np.round(np.asarray(times) * self.fs).astype(np.int64)
        index = (first[:, None] + np.arange(grains.shape[1])) % self.n
        return np.bincount(index.ravel(), grains.ravel(), self.n).astype(float)

    def gates(self, starts: FloatArray, lengths: FloatArray | float, rise: float, fall: float) -> FloatArray:
        """Envelope [n] in [0, 1]: up over `rise`, held for `length` in all, down over `fall` (s, wrapped)."""
        env = np.zeros(self.n)
        for start, length in zip(starts, np.broadcast_to(lengths, np.shape(starts)), strict=True):
            t = np.arange(min(self.n, int((length + fall) * self.fs) + 1)) / self.fs
            shape = np.minimum(np.minimum(1.0, t / rise), (length + fall - t) / fall)
            index = (round(start * self.fs) + np.arange(len(t))) % self.n
            env[index] = np.maximum(env[index], np.sin(0.5 * np.pi * np.clip(shape, 0.0, 1.0)) ** 2)
        return env

    def contour(self, values: FloatArray, smooth: float, times: FloatArray | None = None) -> FloatArray:
        """Periodic curve [n] through `values` at `times` (s; None: even), smoothed over `smooth` s."""
        values = np.asarray(values, float)
        knots = np.arange(len(values)) * self.seconds / len(values) if times is None else np.asarray(times)
        # Drawn and smoothed on a coarse grid, as such curves are slow, and read off linearly.
        count = min(self.n, round(_CONTOUR_HZ * self.seconds))
        grid = np.arange(count + 1) * (self.seconds / count)
        coarse = np.interp(grid[:-1], knots, values, period=self.seconds)
        freqs = np.fft.rfftfreq(count, self.seconds / count)
        curve = np.fft.irfft(np.fft.rfft(coarse) * np.exp(-0.5 * (2.2 * freqs * smooth) ** 2), count)
        return np.interp(np.arange(self.n) / self.fs, grid, np.append(curve, curve[0]))

    def phase(self, freq: FloatArray | float) -> FloatArray:
        """Phase [n] (rad) of an oscillator at `freq` (Hz, scalar or [n]), bent to whole cycles in the clip.

        It begins anywhere, by the instance.
        """
        freq = np.broadcast_to(np.asarray(freq, float), (self.n,))
        total = freq.sum() / self.fs
        steps = np.cumsum(freq) * (2.0 * np.pi / self.fs * max(1, round(total)) / total)
        return steps + self.uniform(0.0, 2.0 * np.pi)

    def harmonics(self, freq: FloatArray | float, amps: Sequence[float] | FloatArray) -> FloatArray:
        """Σₖ amps[k−1] sin(kφ) [n] at `freq` (Hz); harmonics fade out near half the sampling rate."""
        freq = np.asarray(freq, float)
        phase = self.phase(freq)
        turn = np.cos(phase) + 1j * np.sin(phase)
        now, out = turn.copy(), np.zeros(self.n)
        for k, amp in enumerate(amps, start=1):
            if k * freq.min() > _FADE_TO * self.fs:
                break
            part = amp * now.imag
            if k * freq.max() > _FADE_FROM * self.fs:
                part *= np.clip(
                    (_FADE_TO * self.fs - k * freq) / ((_FADE_TO - _FADE_FROM) * self.fs), 0.0, 1.0
                )
            out += part
            now *= turn
        return out

    def top_harmonic(self, freq: ArrayLike) -> FloatArray:
        """How many harmonics of `freq` (Hz) fit below 0.45 of the sampling rate, as a fraction."""
        return 0.45 * self.fs / np.asarray(freq, float)


def buzz(phase: FloatArray, order: FloatArray | float) -> FloatArray:
    """Band-limited pulse train [n]: the closed form of Σ cos(kφ), k = 1 … `order` (scalar or [n]).

    A fractional order adds the next harmonic by that fraction, so that a moving pitch makes no clicks.
    """
    whole = np.floor(order)
    half = np.sin(0.5 * phase)
    small = np.abs(half) < 1e-6
    out = np.where(small, whole, 0.5 * (np.sin((whole + 0.5) * phase) / np.where(small, 1.0, half) - 1.0))
    if np.any(order > whole):
        out += (order - whole) * np.cos((whole + 1.0) * phase)
    return out


def band(low: float, high: float, order: int = 2) -> Gain:
    """Amplitude response of a Butterworth-like band, `low` to `high` Hz; `order` × 6 dB an octave outside."""

    def gain(f: FloatArray) -> FloatArray:
        return 1.0 / np.sqrt((1.0 + (low / f) ** (2 * order)) * (1.0 + (f / high) ** (2 * order)))

    return gain


def resonance(centre: float, octaves: float, boost: float) -> Gain:
    """Amplitude response 1 + a bell on a log-frequency axis, `octaves` wide, `boost` high."""

    def gain(f: FloatArray) -> FloatArray:
        return 1.0 + boost * np.exp(-0.5 * (np.log2(f / centre) / octaves) ** 2)

    return gain


def unit(x: FloatArray) -> FloatArray:
    """`x` scaled to an RMS of 1 (left alone if silent)."""
    rms = np.sqrt(np.mean(x**2))
    return x / rms if rms > 0.0 else x
