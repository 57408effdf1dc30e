"""A sound file made into a loop that an environment can play: mono, its rate, level and ends in order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auralnav.envs.acoustics.sounds import limit_peak
from auralnav.errors import SoundError

SUFFIXES = frozenset(
    ".wav .wave .flac .ogg .oga .opus .mp3 .mp2 .aif .aiff .aifc .au .snd .caf .w64 .rf64 .voc .sd2"
    " .m4a .aac .wma .mp4 .webm .amr".split()
)
"""File names that are taken for sounds. The last six are not readable here; they are named in a warning."""

MAX_PEAK = 12.0
"""Largest |sample| of a recorded clip (its RMS over active parts is 1)."""

MIN_SECONDS = 0.02
MIN_LOOP_SECONDS = 0.5
_READ_SECONDS = 60.0  # how far into a long file to look for sound
_SILENT = 1e-4  # peak below which a file holds nothing (a few steps of 16 bits)
_TRIM_DB, _ACTIVE_DB = -40.0, -30.0  # frames against the loudest frame
_JOIN_SECONDS = 0.05


def load_recording(path: Path, fs: int, max_seconds: float = 10.0) -> NDArray[np.float32]:
    """Read a sound file and make a loop of it.

    Channels are averaged (or the louder one taken where they would cancel), the rate is converted by
    soxr (HQ), silence is trimmed from both ends, at most `max_seconds` are kept, the end is crossfaded
    into the start, a clip shorter than 0.5 s is repeated without a gap, and the RMS over the active
    parts is set to 1.

    Returns:
        Mono samples [n] at `fs` Hz, float32, |x| ≤ 12.

    Raises:
        SoundError: with the reason alone (such as "is silent"): the caller puts the file's name before it.
    """
    samples, rate = _read(path)
    x = _mono(samples)
    if np.abs(x).max() < _SILENT:
        raise SoundError(
            "is silent" if len(x) < _READ_SECONDS * rate else f"is silent for {_READ_SECONDS:.0f} s"
        )
    if rate != fs:
        import soxr

        x = np.asarray(soxr.resample(x, rate, fs, quality="HQ"))
    x = _trimmed(x, fs)[: round(max_seconds * fs)]
    return limit_peak(_looped(x - x.mean(), fs), MAX_PEAK, lambda y: active_rms(y, fs))


def _read(path: Path) -> tuple[NDArray[np.float64], int]:
    """Samples [n, channels] of at most the first minute, and their rate in Hz."""
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            rate = file.samplerate
            if not 1_000 <= rate <= 1_000_000:
                raise SoundError(f"has a sampling rate of {rate} Hz")
            samples = np.asarray(file.read(int(_READ_SECONDS * rate), dtype="float64", always_2d=True), float)
    except soundfile.LibsndfileError as error:
        raise SoundError(f"cannot be read ({error.error_string.strip().rstrip('.')})") from error
    except OSError as error:
        raise SoundError(f"cannot be read ({error.strerror or error})") from error
    if samples.shape[0] == 0:
        raise SoundError("holds no samples")
    if samples.shape[0] < MIN_SECONDS * rate:
        raise SoundError(f"is shorter than {1000 * MIN_SECONDS:.0f} ms")
    if not np.isfinite(samples).all():
        raise SoundError("holds NaN or infinite samples")
    return samples, rate


def _mono(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of the channels [n], without its offset; the loudest channel where the mean cancels most of it."""
    samples = samples - samples.mean(axis=0)
    mean = samples.mean(axis=1)
    power = np.mean(samples**2, axis=0)
    if np.mean(mean**2) < 0.1 * power.mean() / samples.shape[1]:
        return np.ascontiguousarray(samples[:, power.argmax()])
    return mean


def _frame_power(x: NDArray[Any], length: int) -> NDArray[np.float64]:
    """Mean power of consecutive frames of `length` samples; the last may be shorter."""
    starts = np.arange(0, len(x), length)
    sums = np.add.reduceat(np.square(x, dtype=float), starts)
    return sums / np.diff(np.append(starts, len(x)))


def _trimmed(x: NDArray[np.float64], fs: int) -> NDArray[np.float64]:
    """`x` without the silence at its ends (10 ms frames 40 dB under the loudest); at least 20 ms."""
    frame = max(1, fs // 100)
    power = _frame_power(x, frame)
    loud = np.flatnonzero(power > power.max() * 10.0 ** (_TRIM_DB / 10.0))
    start, stop = max(0, loud[0] - 1) * frame, min(len(x), (loud[-1] + 2) * frame)
    return x[start : max(stop, start + int(np.ceil(MIN_SECONDS * fs)))]


def _looped(x: NDArray[np.float64], fs: int) -> NDArray[np.float64]:
    """`x` with its last part crossfaded into its start, repeated until it lasts at least 0.5 s.

    The fade keeps the power of unrelated sounds (sin² + cos² = 1) and begins with the old end alone, so what
    follows the new last sample is what followed it before.
    """
    fade = max(1, min(int(_JOIN_SECONDS * fs), len(x) // 4))
    angle = 0.5 * np.pi * np.arange(fade) / fade
    loop = x[: len(x) - fade].copy()
    loop[:fade] = x[:fade] * np.sin(angle) + x[len(x) - fade :] * np.cos(angle)
    return np.tile(loop, max(1, int(np.ceil(MIN_LOOP_SECONDS * fs / len(loop)))))


def active_rms(x: NDArray[Any], fs: int) -> float:
    """RMS of `x` over its active parts: frames of 20 ms within 30 dB of the loudest."""
    power = _frame_power(x, max(1, fs // 50))
    return float(np.sqrt(power[power >= power.max() * 10.0 ** (_ACTIVE_DB / 10.0)].mean()))
