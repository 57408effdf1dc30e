"""The late reverberant tail: diffuse Gaussian noise with an exponential decay, made once a room."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy import fft as sfft
from scipy.ndimage import uniform_filter1d

from auralnav.envs.acoustics.fractional import SPEED_OF_SOUND
from auralnav.envs.acoustics.head import EAR_DISTANCE, HeadModel
from auralnav.envs.acoustics.walls import BIN_SECONDS, JOIN_SECONDS

_BANK_SAMPLES = 2**19
_EVEN_SECONDS = 0.012
_DYNAMIC_DB = 60.0  # the tail ends where it has decayed this far


def diffuse_coherence(frequency: np.ndarray, distance: float = EAR_DISTANCE, c: float = SPEED_OF_SOUND):
    """Coherence of two points in a diffuse field, sin x / x with x = 2πfd/c (Cook et al., JASA 27, 1955)."""
    return np.sinc(2.0 * np.asarray(frequency) * distance / c)


def diffuse_noise(
    rng: np.random.Generator, channels: int, n: int, fs: int, power_gain: np.ndarray | None = None
) -> np.ndarray:
    """Stationary noise at two ears in a diffuse field: unit power before the head's gain.

    Args:
        rng: source of randomness.
        channels: number of independent ear pairs.
        n: samples.
        fs: Hz.
        power_gain: diffuse-field power gain of the head on a grid from 0 to fs/2, or None for 1.

    Returns:
        float32 [channels, 2, n]; circular (its end joins its start).
    """
    spectra = sfft.rfft(rng.standard_normal((channels, 2, n), dtype=np.float32))
    frequency = np.linspace(0.0, fs / 2, spectra.shape[-1])
    coherence = diffuse_coherence(frequency)
    gain = np.ones_like(frequency)
    if power_gain is not None:
        gain = np.sqrt(np.interp(frequency, np.linspace(0.0, fs / 2, len(power_gain)), power_gain))
    same = (gain * np.sqrt(0.5 * (1 + coherence))).astype(np.float32)
    apart = (gain * np.sqrt(0.5 * (1 - coherence))).astype(np.float32)
    common = spectra[:, 0] * same
    difference = spectra[:, 1] * apart
    pair = np.stack([common + difference, common - difference], axis=1)
    return sfft.irfft(pair, n)


def tail_samples(rt60: float, fs: int) -> int:
    """Length of a response with tail: the whole decay to −60 dB."""
    return max(math.ceil(rt60 * _DYNAMIC_DB / 60.0 * fs), math.ceil(2 * JOIN_SECONDS * fs))


@lru_cache(maxsize=4)
def noise_bank(head: HeadModel) -> np.ndarray:
    """Diffuse noise through a head, float32 [2, 2^19] circular: rooms cut their tails and background from it.

    One bank a process makes a reset cheap; where the cuts lie is what is random.
    """
    rng = np.random.default_rng(20_201_014)
    return _even(diffuse_noise(rng, 1, _BANK_SAMPLES, head.fs, head.power_gain), head.fs)[0]


def cut_noise(head: HeadModel, start: int, n: int) -> np.ndarray:
    """`n` samples of the bank from `start` on, float32 [2, n]."""
    bank = noise_bank(head)
    start %= bank.shape[1]
    if start + n <= bank.shape[1]:
        return bank[:, start : start + n]
    return np.take(bank, np.arange(start, start + n), axis=1, mode="wrap")


def late_tail(
    rng: np.random.Generator,
    sources: int,
    rt60: np.ndarray | float,
    head: HeadModel,
    late_energy: np.ndarray | float,
    missing_energy: np.ndarray | None = None,
    band_rt60: dict[float, float] | None = None,
) -> np.ndarray:
    """Tails of `sources` sources at two ears, from emission on (zero before the join but for what is missing).

    The level is the energy of the complete set of images: its sum after the join decays exponentially with
    `rt60`; before the join the tail stands in, bin by bin, for the images above the early order.

    Args:
        rng: source of randomness.
        sources: number of sources (each has its own noise).
        rt60: [sources] or scalar, s; with `band_rt60` the time of all bands not named.
        head: head model (sets the sampling rate and the diffuse field's colour).
        late_energy: [sources] or scalar, Σ g²/(4πd)² after the join, 1/m².
        missing_energy: float64 [sources, bins] or [bins] of BIN_SECONDS up to the join, 1/m², or None.
        band_rt60: octave centre, Hz → s, where a band decays at its own rate.

    Returns:
        float32 [sources, 2, n].
    """
    fs = head.fs
    n = tail_samples(max(float(np.max(rt60)), *(band_rt60 or {0.0: 0.0}).values()), fs)
    noise = np.stack([cut_noise(head, int(rng.integers(_BANK_SAMPLES)), n) for _ in range(sources)])
    if not band_rt60:
        return noise * _envelope(n, rt60, fs, late_energy, missing_energy)
    total = np.zeros_like(noise)
    for mask, seconds in _octaves(n, fs, rt60, band_rt60):
        band = sfft.irfft(sfft.rfft(noise) * mask, n)
        total += band * _envelope(n, seconds, fs, late_energy, missing_energy)
    return total


def _even(noise: np.ndarray, fs: int) -> np.ndarray:
    """Noise with its energy evened out over _EVEN_SECONDS.

    A short tail holds few independent samples of a band: left alone, their chance fluctuations move T20 by
    several per cent from room to room.
    """
    energy = uniform_filter1d(noise * noise, max(round(_EVEN_SECONDS * fs), 1), axis=-1, mode="wrap")
    return noise * np.sqrt(energy.mean(axis=-1, keepdims=True) / energy)


def _envelope(n, rt60, fs, late_energy, missing_energy) -> np.ndarray:
    """Standard deviation of the tail at each sample, float32 [sources or 1, 1, n]."""
    join = round(JOIN_SECONDS * fs)
    late = np.atleast_1d(np.asarray(late_energy, dtype=np.float64))[:, None]
    rate = 6 * math.log(10) / (np.atleast_1d(rt60)[:, None] * fs)  # of energy, a sample
    spread = np.exp(-0.5 * rate * np.arange(n - join)) * np.sqrt(late * rate)
    deviation = np.zeros((len(spread), n), dtype=np.float32)
    deviation[:, join:] = spread
    if missing_energy is not None:
        missing = np.atleast_2d(missing_energy)
        slots = np.minimum((np.arange(join) / (fs * BIN_SECONDS)).astype(int), missing.shape[1] - 1)
        deviation[:, :join] = np.sqrt(missing / (fs * BIN_SECONDS))[:, slots]
    return deviation[:, None, :]


def _octaves(n, fs, rt60, band_rt60):
    """Power-complementary octave masks over the rfft grid, each with its decay time."""
    frequency = np.maximum(np.linspace(0, fs / 2, n // 2 + 1), 1.0)
    position = np.log2(frequency / 1000.0)
    centres = np.arange(-4, math.ceil(math.log2(fs / 2000.0)) + 1)
    times = {round(math.log2(hz / 1000.0)): seconds for hz, seconds in band_rt60.items()}
    clipped = np.clip(position, centres[0], centres[-1])
    for centre in centres:
        # cos² ramps of neighbouring octaves sum to one in power.
        weight = np.cos(0.5 * math.pi * np.clip(np.abs(clipped - centre), 0, 1))
        if weight.any():
            yield weight.astype(np.float32), times.get(int(centre), rt60)
