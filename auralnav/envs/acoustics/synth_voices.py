"""Living voices: formant speech and birdsong. Each takes a `Loop` and returns [n] samples."""

from __future__ import annotations

import numba
import numpy as np

from auralnav.envs.acoustics.synth_tools import FloatArray, Loop, band, buzz, unit

# Formant frequencies F1–F3 (Hz) of an adult man's vowels: i e a o u ə, rounded from common phonetics tables.
_VOWELS = np.array(
    [
        [280, 2250, 2900],
        [420, 2000, 2600],
        [720, 1200, 2500],
        [460, 850, 2450],
        [310, 800, 2300],
        [500, 1450, 2450],
    ],
    float,
)
_BANDWIDTHS = np.array([70.0, 95.0, 140.0, 220.0])
_BLOCK = 32  # samples between updates of the formant filters


@numba.njit(cache=True, nogil=True)
def _formants(x: FloatArray, freqs: FloatArray, widths: FloatArray, fs: float, warm: int) -> FloatArray:
    """Cascade of two-pole resonators with unit gain at 0 Hz (Klatt, 1980) over a circle.

    x [n]; freqs [F, n] and widths [F] in Hz. The filters run over the last `warm` samples first, so that the
    clip's start rings with its end.
    """
    n, count = x.shape[0], freqs.shape[0]
    out = np.empty(n)
    a, b, c = np.zeros(count), np.zeros(count), np.zeros(count)
    y1, y2 = np.zeros(count), np.zeros(count)
    for step in range(-warm, n):
        i = step % n
        if i % _BLOCK == 0 or step == -warm:
            for j in range(count):
                r = np.exp(-np.pi * widths[j] / fs)
                c[j] = -r * r
                b[j] = 2.0 * r * np.cos(2.0 * np.pi * freqs[j, i] / fs)
                a[j] = 1.0 - b[j] - c[j]
        value = x[i]
        for j in range(count):
            value = a[j] * value + b[j] * y1[j] + c[j] * y2[j]
            y2[j] = y1[j]
            y1[j] = value
        if step >= 0:
            out[i] = value
    return out


def speech(loop: Loop) -> FloatArray:
    """Speech without words: glottal pulses through moving formants, four to six syllables a second.

    Some syllables begin with a fricative. Speakers differ in pitch, vocal-tract length, breath and pace.
    """
    small = loop.rng.random()  # 0: a large speaker, 1: a small one
    pitch = loop.uniform(95.0, 130.0) * 2.0 ** (1.05 * small)
    tract = 1.0 + 0.2 * small + loop.uniform(-0.04, 0.04)
    onsets = loop.beats(loop.uniform(4.0, 6.0), 0.15)
    count = len(onsets)
    period = loop.seconds / count
    vowels = _VOWELS[loop.rng.integers(0, len(_VOWELS), count)] * tract
    stress = loop.rng.uniform(0.55, 1.0, count)
    phrase = np.cos(2.0 * np.pi * np.arange(count) / max(3, count // 2))
    melody = loop.rng.normal(0.0, 0.09, count) + 0.08 * phrase
    hissing = loop.rng.random(count) < 0.4
    hiss_band = loop.rng.uniform(2300.0, 4500.0, count)
    breath = loop.uniform(0.02, 0.08)

    middles = onsets + 0.5 * period
    moving = [loop.contour(vowels[:, k], 0.06, middles) for k in range(3)]
    formants = np.stack([*moving, np.full(loop.n, 3500.0 * tract)])
    formants = formants[formants.max(axis=1) < 0.44 * loop.fs]
    f0 = pitch * np.exp(loop.contour(melody, 0.12, middles))
    voice = loop.gates(onsets + 0.03, 0.62 * period, 0.035, 0.07)
    voice *= np.clip(loop.contour(stress, 0.1, middles), 0.2, 1.2)
    # Glottal flow falls at 12 dB an octave; the mouth's radiation gives 6 back.
    glottis = loop.filtered(
        buzz(loop.phase(f0), loop.top_harmonic(f0)), lambda f: (f / 100.0) / (1.0 + (f / 150.0) ** 2)
    )
    source = unit(glottis) * (0.06 + voice) + breath * unit(loop.noise(band(500.0, 5000.0, 1))) * (
        0.3 + voice
    )
    warm = min(loop.n, int(0.1 * loop.fs))
    out = unit(_formants(source, formants, _BANDWIDTHS[: len(formants)], float(loop.fs), warm))
    out += breath * voice * unit(loop.noise(band(3500.0, 7000.0)))
    for sharp in (False, True):
        chosen = hissing & ((hiss_band > 3400.0) == sharp)
        if chosen.any():
            edge = float(hiss_band[chosen].mean())
            puff = loop.gates(onsets[chosen] - 0.04, 0.05, 0.025, 0.03)
            out += 0.3 * puff * unit(loop.noise(band(min(edge, 0.25 * loop.fs), 7500.0, 3)))
    return out


def bird(loop: Loop) -> FloatArray:
    """A songbird: phrases of swept whistles and trills, 1.3 to 3.7 kHz, and a faint second harmonic."""
    centre = loop.log_uniform(1900.0, 2600.0)
    kinds = int(loop.rng.integers(2, 5))
    lengths = loop.rng.uniform(0.05, 0.16, kinds)
    sweeps = loop.rng.uniform(0.25, 0.6, kinds) * loop.rng.choice([-1.0, 1.0], kinds)  # octaves, start to end
    bends = loop.rng.uniform(-0.35, 0.35, kinds)
    shifts = loop.rng.uniform(-0.2, 0.2, kinds)
    trills = np.where(loop.rng.random(kinds) < 0.5, loop.rng.uniform(25.0, 45.0, kinds), 0.0)
    repeats = loop.rng.integers(2, 6, kinds)
    pause = loop.uniform(0.025, 0.06)

    order: list[int] = []
    total, kind = 0.0, 0
    while total < loop.seconds or not order:
        kind = (kind + int(loop.rng.integers(1, kinds))) % kinds
        for _ in range(int(repeats[kind])):
            order.append(kind)
            total += lengths[kind] + pause
    # Drop what does not fit, then stretch the song to fill the clip exactly.
    while len(order) > 1 and total > loop.seconds + 0.5 * lengths.min():
        total -= lengths[order.pop()] + pause
    stretch = loop.seconds / total

    out, start = np.zeros(loop.n), 0.0
    for kind in order:
        seconds = lengths[kind] * stretch
        t = np.linspace(0.0, 1.0, max(8, int(seconds * loop.fs)), endpoint=False)
        octave = shifts[kind] + sweeps[kind] * (t - 0.5) + bends[kind] * (4.0 * t * (1.0 - t) - 0.67)
        octave += 0.1 * np.sin(2.0 * np.pi * trills[kind] * seconds * t)
        freq = np.clip(centre * 2.0**octave, 1300.0, min(3700.0, 0.43 * loop.fs))
        phase = 2.0 * np.pi * np.cumsum(freq) / loop.fs
        second = np.clip((0.47 * loop.fs - 2.0 * freq) / (0.05 * loop.fs), 0.0, 1.0)
        envelope = loop.uniform(0.6, 1.0) * np.sin(np.pi * t) ** 0.6
        chirp = envelope * (np.sin(phase) + 0.15 * second * np.sin(2.0 * phase))
        out += loop.scattered(np.array([start]), chirp[None])
        start += (lengths[kind] + pause) * stretch
    loudness = loop.filtered(np.abs(out), lambda f: np.exp(-((f / 40.0) ** 2)))
    return unit(out) + 0.1 * unit(loop.noise(band(700.0, 4500.0, 1)) * loudness)
