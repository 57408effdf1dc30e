"""What a room response or a binaural recording tells: decay, direct-to-reverberant ratio, interaural cues."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import signal

from auralnav.errors import RoomError

FLOOR_DB = -300.0
"""Level given to silence, dB."""


def schroeder(response: ArrayLike) -> NDArray[np.float64]:
    """Energy decay curve by backward integration (Schroeder, JASA 37, 1965).

    Args:
        response: [..., n] impulse responses.

    Returns:
        float64 [..., n] dB: the energy still to come at each sample, 0 at the first, FLOOR_DB where there is
        none.

    Raises:
        RoomError: a response is silent or not finite.
    """
    energy = np.square(np.asarray(response, dtype=np.float64))
    left = np.cumsum(energy[..., ::-1], axis=-1)[..., ::-1]
    if not (np.isfinite(left[..., 0]) & (left[..., 0] > 0)).all():
        raise RoomError("the response is silent or not finite; measure one that holds sound")
    share = left / left[..., :1]
    return 10.0 * np.log10(np.maximum(share, 10.0 ** (FLOOR_DB / 10)))


def decay_time(response: ArrayLike, fs: float, start_db: float = -5.0, stop_db: float = -25.0) -> float:
    """Reverberation time, s: the line through the decay curve between two levels, extrapolated to 60 dB.

    The defaults give T20, (-5, -35) gives T30 (ISO 3382-1, least squares on the Schroeder curve). The
    response must go on some 15 dB below `stop_db`, or its end bends the curve down unseen.

    Args:
        response: [n] impulse response.
        fs: sampling rate, Hz.
        start_db: upper level re the whole energy, at most 0.
        stop_db: lower level, below start_db.

    Raises:
        RoomError: levels out of order, or a response that does not decay through both over 2 samples or more.
    """
    if not 0.0 >= start_db > stop_db:
        raise RoomError(f"start_db={start_db:g} and stop_db={stop_db:g}; give 0 >= start_db > stop_db")
    curve = schroeder(response)
    if curve.ndim != 1:
        raise RoomError(f"the response has shape {curve.shape}; give one response [n]")
    first = int(np.argmax(curve <= start_db))
    last = int(np.argmax(curve < stop_db))
    if curve[-1] >= stop_db or last - first < 2:
        raise RoomError(
            f"the response has no decay to fit between {start_db:g} and {stop_db:g} dB; make it longer"
        )
    slope = np.polyfit(np.arange(first, last) / fs, curve[first:last], 1)[0]
    return float(-60.0 / slope)


@lru_cache(maxsize=16)
def highpass_sections(fs: float, cutoff: float = 125.0, order: int = 4) -> NDArray[np.float64]:
    """Second-order sections [order / 2, 6] of a Butterworth high-pass; `cutoff` and `fs` in Hz.

    One array for all callers: not to be written to.
    """
    return signal.butter(order, cutoff, "highpass", fs=fs, output="sos")


def highpass(response: ArrayLike, fs: float, cutoff: float = 125.0, order: int = 4) -> NDArray[np.float64]:
    """Causal Butterworth high-pass: takes away the rumble that images of one sign pile up at low frequencies.

    Args:
        response: [..., n].
        fs: sampling rate, Hz.
        cutoff: -3 dB frequency, Hz, below fs/2.
        order: of the filter.

    Returns:
        float64 [..., n].
    """
    sections = highpass_sections(fs, cutoff, order)
    return np.asarray(signal.sosfilt(sections, np.asarray(response, dtype=np.float64), axis=-1))


def direct_to_reverberant(
    response: ArrayLike, fs: float, direct_sample: float, window: float = 0.0025
) -> float:
    """Direct-to-reverberant ratio, dB.

    Args:
        response: [n] impulse response.
        fs: sampling rate, Hz.
        direct_sample: arrival of the direct sound, samples (a fraction is allowed).
        window: seconds after the arrival that still count as direct; everything before counts too, since a
            band-limited impulse rings before its peak.

    Raises:
        RoomError: no sound on one of the two sides.
    """
    energy = np.square(np.asarray(response, dtype=np.float64))
    split = math.floor(direct_sample + window * fs) + 1
    direct, late = float(energy[: max(split, 0)].sum()), float(energy[max(split, 0) :].sum())
    if direct <= 0.0 or late <= 0.0:
        side = "direct" if direct <= 0.0 else "reverberant"
        raise RoomError(
            f"the response holds no {side} sound around sample {direct_sample:g}; check the arrival"
        )
    return 10.0 * math.log10(direct / late)


def interaural(ears: ArrayLike, fs: float, max_delay: float = 1e-3, phat: bool = True) -> tuple[float, float]:
    """Interaural level difference, dB, and time difference, s; both positive for a sound on the left.

    Level: left re right energy. Delay: peak of the cross-correlation within ±`max_delay`, whitened (GCC-PHAT,
    Knapp & Carter 1976) unless `phat` is false, on a grid of 1/16 sample with a parabola through the peak.
    Whitening is for broadband sounds; a tone or an octave band wants `phat=False`.

    Args:
        ears: [2, n], left then right.
        fs: sampling rate, Hz.
        max_delay: largest delay looked for, s.
        phat: whiten the spectrum.

    Raises:
        RoomError: a shape other than [2, n], or a silent ear.
    """
    pair = np.asarray(ears, dtype=np.float64)
    if pair.ndim != 2 or pair.shape[0] != 2:
        raise RoomError(f"the recording has shape {pair.shape}; give two ears [2, n], left first")
    energy = np.square(pair).sum(axis=1)
    if not (np.isfinite(energy) & (energy > 0)).all():
        raise RoomError("an ear is silent or not finite; interaural cues need sound in both")
    ild = 10.0 * math.log10(energy[0] / energy[1])
    n = 2 * pair.shape[1]
    spectrum = np.fft.rfft(pair, n)
    cross = np.conj(spectrum[0]) * spectrum[1]
    if phat:
        cross = cross / (np.abs(cross) + 1e-9 * np.abs(cross).max())
    factor = 16
    correlation = np.fft.irfft(cross, n * factor)
    reach = min(math.ceil(max_delay * fs * factor), n * factor // 2 - 1)
    lags = np.concatenate([correlation[-reach:], correlation[: reach + 1]])
    peak = int(np.argmax(lags))
    offset = 0.0
    if 0 < peak < len(lags) - 1:
        before, here, after = lags[peak - 1 : peak + 2]
        bend = before - 2.0 * here + after
        offset = 0.5 * (before - after) / bend if bend < 0 else 0.0
    return ild, (peak - reach + offset) / (fs * factor)


def coherence(
    ears: ArrayLike, fs: float, segment: int = 512
) -> tuple[NDArray[np.float64], NDArray[np.complex128]]:
    """Complex coherence of two channels by Welch's average, S₀₁ / √(S₀₀ S₁₁).

    In a diffuse field two open points at a distance d have the real coherence sin x / x, x = 2πfd/c (Cook et
    al., JASA 27, 1955).

    Args:
        ears: [2, n] with n >= segment; the estimate's bias is about segment/n.
        fs: sampling rate, Hz.
        segment: samples in one window.

    Returns:
        frequencies float64 [segment//2 + 1] Hz, coherence complex128 [segment//2 + 1], magnitude at most 1.

    Raises:
        RoomError: a shape other than [2, n >= segment].
    """
    pair = np.asarray(ears, dtype=np.float64)
    if pair.ndim != 2 or pair.shape[0] != 2 or pair.shape[1] < segment:
        raise RoomError(f"the recording has shape {pair.shape}; give two channels [2, n >= {segment}]")
    frequencies, cross = signal.csd(pair[0], pair[1], fs, nperseg=segment)
    _, power = signal.welch(pair, fs, nperseg=segment)
    return frequencies, cross / np.sqrt(np.maximum(power[0] * power[1], np.finfo(float).tiny))
