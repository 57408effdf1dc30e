"""The late reverberant tail: diffuse Gaussian noise with an exponential decay, made once a room."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import lru_cache

import numpy as np
from scipy import fft as sfft
from scipy.ndimage import uniform_filter1d

from auralnav.envs.acoustics.fractional import SPEED_OF_SOUND
from auralnav.envs.acoustics.head import EAR_DISTANCE, HeadModel
from auralnav.envs.acoustics.walls import BIN_SECONDS, TailDesign

_BANK_SAMPLES = 2**19
_EVEN_SECONDS = 0.012


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


def tail_samples(tail: TailDesign, fs: int) -> int:
    """Length of a response with its tail: the slowest decay to −60 dB, and twice the time to the join at least."""
    return max(math.ceil(float(np.max(tail.rt60)) * fs), math.ceil(2 * tail.join * fs))


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
    head: HeadModel,
    tail: TailDesign,
    bands: Mapping[float, TailDesign] | None = None,
) -> np.ndarray:
    """Tails of `sources` sources at two ears, from emission on (zero before the join but for what is missing).

    The level is the energy of the complete set of images: its sum after the join decays exponentially; before
    the join the tail stands in, bin by bin, for the images above the early order.

    Args:
        rng: source of randomness.
        sources: number of sources (each has its own noise).
        head: head model (sets the sampling rate and the diffuse field's colour).
        tail: energies and decay times.
        bands: octave centre, Hz → what holds in its stead for bands that decay at their own rate; the lowest and
            the highest octave reach to 0 and fs/2.

    Returns:
        float32 [sources, 2, n].
    """
    fs = head.fs
    bands = bands or {}
    n = max(tail_samples(design, fs) for design in (tail, *bands.values()))
    noise = np.stack([cut_noise(head, int(rng.integers(_BANK_SAMPLES)), n) for _ in range(sources)])
    if not bands:
        return noise * _envelope(n, fs, tail)
    total = np.zeros_like(noise)
    spectra = sfft.rfft(noise)
    own = {_octave(centre): design for centre, design in bands.items()}
    for octave, mask in _octave_masks(n, fs):
        total += sfft.irfft(spectra * mask, n) * _envelope(n, fs, own.get(octave, tail))
    return total


def _even(noise: np.ndarray, fs: int) -> np.ndarray:
    """Noise with its energy evened out over _EVEN_SECONDS.

    A short tail holds few independent samples of a band: left alone, their chance fluctuations move T20 by
    several per cent from room to room.
    """
    energy = uniform_filter1d(noise * noise, max(round(_EVEN_SECONDS * fs), 1), axis=-1, mode="wrap")
    return noise * np.sqrt(energy.mean(axis=-1, keepdims=True) / energy)


def _envelope(n: int, fs: int, tail: TailDesign) -> np.ndarray:
    """Standard deviation of the tail at each sample, float32 [S, 1, n]."""
    join = round(tail.join * fs)
    rate = 6 * math.log(10) / (tail.rt60[:, None] * fs)  # of energy, a sample
    spread = np.exp(-0.5 * rate * np.arange(n - join)) * np.sqrt(tail.late_energy[:, None] * rate)
    deviation = np.zeros((len(spread), n), dtype=np.float32)
    deviation[:, join:] = spread
    missing = tail.missing_energy
    slots = np.minimum((np.arange(join) / (fs * BIN_SECONDS)).astype(int), missing.shape[1] - 1)
    deviation[:, :join] = np.sqrt(missing / (fs * BIN_SECONDS))[:, slots]
    return deviation[:, None, :]


def _octave(hz: float) -> int:
    """Number of the octave around `hz`, 0 for 1 kHz."""
    return round(math.log2(hz / 1000.0))


def _octave_masks(n: int, fs: int) -> Iterator[tuple[int, np.ndarray]]:
    """The octaves up to fs/2 and their amplitude masks float32 [n // 2 + 1], whose squares sum to 1.

    Flat over the middle two thirds of an octave, cosine ramps across the edges.
    """
    position = np.log2(np.maximum(np.linspace(0, fs / 2, n // 2 + 1), 1.0) / 1000.0)
    octaves = range(_octave(62.5), _octave(fs / 2) + 1)
    position = np.clip(position, octaves[0], octaves[-1])
    for octave in octaves:
        ramp = np.clip(3.0 * np.abs(position - octave) - 1.0, 0.0, 1.0)
        yield octave, np.cos(0.5 * math.pi * ramp).astype(np.float32)
