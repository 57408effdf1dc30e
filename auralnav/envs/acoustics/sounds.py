"""Procedural sound sources: eleven classes made from a seed, so that nothing has to be downloaded.

What every clip guarantees, at any sampling rate from 8 to 48 kHz (`test_sounds.py` checks it):

- RMS 1, peak at most 8;
- it loops: the last sample is followed by the first without a click;
- every window of 0.25 s, wherever it begins, has an RMS of at least 0.1 (20 dB below the clip), so that an
  agent that hears 0.25 s a step hears every source in every step;
- at least two octave bands lie within 30 dB of the loudest, one of them between 300 and 4 000 Hz.
"""

from __future__ import annotations

import difflib
import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from auralnav.envs.acoustics.synth_alerts import alarm, car_horn, siren, telephone
from auralnav.envs.acoustics.synth_impacts import footsteps, knock, music_box
from auralnav.envs.acoustics.synth_textures import rotor, running_water
from auralnav.envs.acoustics.synth_tools import FloatArray, Loop
from auralnav.envs.acoustics.synth_voices import bird, speech
from auralnav.errors import SoundError

_RECIPES: dict[str, Callable[[Loop], FloatArray]] = {
    "telephone": telephone,
    "siren": siren,
    "alarm": alarm,
    "car_horn": car_horn,
    "knock": knock,
    "footsteps": footsteps,
    "bird": bird,
    "running_water": running_water,
    "rotor": rotor,
    "music_box": music_box,
    "speech": speech,
}

CLASSES: tuple[str, ...] = tuple(_RECIPES)
"""Names of the procedural classes."""

TRAIN_SEEDS = range(0, 16)
"""Instances that training hears."""

TEST_SEEDS = range(1000, 1016)
"""Instances held out for evaluation; disjoint from TRAIN_SEEDS."""

MAX_PEAK = 8.0
"""Largest |sample| of a procedural clip (its RMS is 1)."""

MIN_FS, MAX_FS = 8_000, 48_000
MIN_SECONDS, MAX_SECONDS = 0.5, 60.0


def check_class(name: str) -> str:
    """Return `name` if it is one of CLASSES.

    Raises:
        SoundError: otherwise, with the nearest known name.
    """
    if name in _RECIPES:
        return name
    near = difflib.get_close_matches(name, CLASSES, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(CLASSES)}"
    raise SoundError(f"unknown sound class {name!r}: {hint}")


def synthesise(name: str, seed: int, fs: int = 16_000, duration: float = 3.0) -> NDArray[np.float32]:
    """Make one instance of a sound class.

    The same arguments give the same samples. A seed is one instance (pitch, tempo, timbre) at every `fs`.

    Args:
        name: one of CLASSES.
        seed: the instance, ≥ 0.
        fs: sampling rate in Hz, 8 000 to 48 000.
        duration: length of the loop in s, 0.5 to 60.

    Returns:
        Mono samples [round(fs · duration)], float32, with the guarantees of this module's page.

    Raises:
        SoundError: unknown class, or an argument outside its range.
    """
    recipe = _RECIPES[check_class(name)]
    if seed < 0:
        raise SoundError(f"sound seed {seed} is negative: use 0 or more")
    if not MIN_FS <= fs <= MAX_FS:
        raise SoundError(f"procedural sounds have no sampling rate of {fs} Hz: use {MIN_FS} to {MAX_FS}")
    if not MIN_SECONDS <= duration <= MAX_SECONDS:
        raise SoundError(f"a procedural clip cannot last {duration} s: use {MIN_SECONDS} to {MAX_SECONDS}")
    key = [zlib.crc32(name.encode()), int(seed)]
    rng, noise_rng = (np.random.default_rng([*key, stream]) for stream in (0, 1))
    loop = Loop(int(fs), round(fs * duration), rng, noise_rng)
    return limit_peak(loop.filtered(recipe(loop), _channel(fs)), MAX_PEAK)


def _channel(fs: int) -> Callable[[FloatArray], FloatArray]:
    """Drop rumble below 50 Hz and fade out from 0.45 fs to 0.49 fs."""

    def gain(f: FloatArray) -> FloatArray:
        top = np.clip((0.49 * fs - f) / (0.04 * fs), 0.0, 1.0)
        return np.sin(0.5 * np.pi * top) ** 2 / np.sqrt(1.0 + (50.0 / f) ** 8)

    return gain


def root_mean_square(x: FloatArray) -> float:
    """RMS of `x`."""
    return float(np.sqrt(np.mean(np.square(x))))


def limit_peak(
    x: FloatArray, peak: float, level: Callable[[FloatArray], float] = root_mean_square
) -> NDArray[np.float32]:
    """Scale `x` so that `level(x)` is 1 and bend what lies above 0.6 `peak` smoothly below `peak`.

    Returns float32 of the same shape. `x` must not be silent.
    """
    x = x / level(x)
    knee, top = 0.6 * peak, 0.97 * peak
    # Bending takes energy away and the next scaling raises the peak again; each round brings less.
    for _ in range(20):
        size = np.abs(x)
        if size.max() <= peak:
            break
        bent = np.where(size > knee, knee + (top - knee) * np.tanh((size - knee) / (top - knee)), size)
        x = np.copysign(bent, x)
        x /= level(x)
    return np.ascontiguousarray(x, np.float32)
