"""Struck and plucked things: knocking, footsteps, a music box. Each takes a `Loop`, returns [n]."""

from __future__ import annotations

import numpy as np

from auralnav.envs.acoustics.synth_tools import FloatArray, Loop, band, unit

_SCALE = np.array([0, 2, 4, 7, 9, 12, 14, 16, 19])  # major pentatonic, semitones
_FREE_BAR = np.array([1.0, 2.0, 6.27, 17.55])  # a clamped bar's modes, and the octave of its sounding board


def _burst(loop: Loop, decay: float) -> FloatArray:
    """A noise burst [m] that decays with time constant `decay` (s)."""
    m = max(2, int(6.0 * decay * loop.fs))
    return loop.noise_rng.standard_normal(m) * np.exp(-np.arange(m) / (decay * loop.fs))


def knock(loop: Loop) -> FloatArray:
    """Knuckles on a door: four to seven dry blows a second, accented in groups, on a panel's low modes."""
    beats = loop.beats(loop.uniform(4.4, 7.0), 0.06)
    group = int(loop.rng.integers(2, 5))
    accents = np.where(np.arange(len(beats)) % group == 0, 1.0, loop.uniform(0.55, 0.8))
    accents = accents * loop.rng.uniform(0.9, 1.1, len(beats))
    first = loop.log_uniform(130.0, 260.0)
    ratios = np.array([1.0, 1.62, 2.41, 3.3, 5.1]) * loop.rng.uniform(0.93, 1.07, 5)
    decays = loop.uniform(0.018, 0.04) * np.array([1.3, 1.0, 0.8, 0.6, 0.3])
    knuckle = loop.log_uniform(700.0, 1600.0)

    hits = loop.strikes(beats, accents)
    panel = loop.rung(hits, ratios * first, np.array([1.0, 0.9, 0.7, 0.5, 0.35]), decays)
    click = loop.filtered(loop.convolved(hits, _burst(loop, 0.0025)), band(0.5 * knuckle, 2.0 * knuckle))
    return unit(panel) + 0.3 * unit(click)


def footsteps(loop: Loop) -> FloatArray:
    """Walking on gravel, leaves or snow: heel, then ball of the foot, each a thump and a crunch of grains."""
    steps = loop.beats(loop.uniform(1.9, 2.7), 0.03)
    period = loop.seconds / len(steps)
    weights = np.where(np.arange(len(steps)) % 2 == 0, 1.0, loop.uniform(0.75, 1.0))
    toe = loop.uniform(0.30, 0.42) * period
    crunch = loop.uniform(0.025, 0.05)
    density = loop.uniform(25.0, 60.0)
    grain = loop.log_uniform(0.0015, 0.006)
    low, high = loop.log_uniform(600.0, 1600.0), loop.log_uniform(3500.0, 8000.0)
    thump = loop.log_uniform(75.0, 130.0)
    heaviness = loop.uniform(0.5, 0.9)

    # Heel, ball of the foot, and the sole brushing forward: (delay, loudness, length of the crunch).
    times, amps = [], []
    for delay, loudness, stretch in ((0.0, 1.0, 1.0), (toe, 0.6, 1.2), (0.66 * period, 0.2, 2.5)):
        shape = (len(steps), int(density * stretch))
        times.append((steps[:, None] + delay + loop.rng.gamma(1.5, crunch * stretch / 1.5, shape)).ravel())
        amps.append((weights[:, None] * loudness / stretch * loop.rng.uniform(0.3, 1.7, shape)).ravel())
    grains = loop.strikes(np.concatenate(times), np.concatenate(amps))
    crackle = loop.convolved(grains, np.exp(-np.arange(int(6.0 * grain * loop.fs)) / (grain * loop.fs)))
    gravel = loop.noise(band(low, high, 1)) * crackle.clip(0.0) ** 0.8
    blows = loop.strikes(np.concatenate([steps, steps + toe]), np.concatenate([weights, 0.5 * weights]))
    body = loop.rung(blows, [thump, 2.3 * thump], [1.0, 0.4], [0.03, 0.015])
    return unit(gravel) + heaviness * unit(body)


def music_box(loop: Loop) -> FloatArray:
    """A music box: a comb plucked to a pentatonic tune, four to six notes a second, and some bass."""
    root = loop.log_uniform(480.0, 720.0)
    beats = loop.beats(loop.uniform(4.0, 6.2), 0.02)
    decay = loop.uniform(0.12, 0.25)
    walk = np.cumsum(loop.rng.integers(-2, 3, len(beats))) + int(loop.rng.integers(0, len(_SCALE)))
    # Reflect the walk at both ends of the scale.
    span = 2 * (len(_SCALE) - 1)
    degree = np.abs((walk + len(_SCALE) - 1) % span - (len(_SCALE) - 1))
    bass = np.arange(len(beats)) % int(loop.rng.integers(3, 5)) == 0
    loudness = loop.rng.uniform(0.7, 1.0, len(beats))
    bright = loop.uniform(0.12, 0.3)

    out = np.zeros(loop.n)
    amps, fading = np.array([1.0, 0.2, bright, 0.5 * bright]), np.array([1.0, 0.6, 0.15, 0.05])
    for d in np.unique(degree):
        tooth = root * 2.0 ** (_SCALE[d] / 12.0)
        plucks = loop.strikes(beats[degree == d], loudness[degree == d])
        out += loop.rung(plucks, tooth * _FREE_BAR, amps, decay * fading)
    out += 0.6 * loop.rung(loop.strikes(beats[bass]), 0.5 * root * _FREE_BAR, amps, 1.2 * decay * fading)
    pluck = loop.filtered(loop.convolved(loop.strikes(beats), _burst(loop, 0.002)), band(2000.0, 6000.0))
    return unit(out) + 0.08 * unit(pluck)
