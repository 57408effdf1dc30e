"""Sounds without beginning or end: running water and a multirotor. Each takes a `Loop`, returns [n]."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from auralnav.envs.acoustics.synth_tools import FloatArray, Loop, band, buzz, unit


def running_water(loop: Loop) -> FloatArray:
    """A tap or a brook: a smooth rush, and many bubbles, each a short tone that rises as it decays."""
    tilt = loop.uniform(0.35, 0.75)
    low, high = loop.log_uniform(250.0, 500.0), loop.log_uniform(4500.0, 9000.0)
    rate = loop.log_uniform(50.0, 140.0)
    centre = loop.log_uniform(650.0, 1300.0)
    bubbles = loop.uniform(0.35, 0.8)
    swell = np.exp(loop.contour(loop.rng.normal(0.0, 0.18, loop.cycles(5.0)), 0.15))

    rush = loop.noise(lambda f: band(low, high)(f) * (f / 1000.0) ** -tilt)
    count = loop.cycles(rate)
    freq = np.clip(centre * np.exp(loop.rng.normal(0.0, 0.45, count)), 350.0, 3200.0)
    decay = 6.0 / freq + 0.002
    t = np.arange(int(0.05 * loop.fs)) / loop.fs
    rise = 1.0 + loop.rng.uniform(2.0, 8.0, (count, 1)) * t
    grains = np.sin(2.0 * np.pi * freq[:, None] * t * rise) * np.exp(-t / decay[:, None])
    grains *= loop.rng.exponential(1.0, (count, 1)) * np.minimum(1.0, (0.05 - t) / 0.01)
    drops = loop.scattered(loop.rng.uniform(0.0, loop.seconds, count), grains)
    return unit(rush * swell) + bubbles * unit(drops)


def rotor(loop: Loop) -> FloatArray:
    """A hovering multirotor: four buzzing propellers not quite at one speed, wash, and motor whine."""
    blade = loop.log_uniform(85.0, 170.0)
    spread = loop.uniform(0.004, 0.025)
    poles = int(loop.rng.choice([6, 7, 11]))
    tilt = loop.uniform(0.35, 0.6)
    wash = loop.uniform(0.12, 0.3)
    whine = loop.uniform(0.1, 0.25)

    tones, motors = np.zeros(loop.n), np.zeros(loop.n)
    for offset in np.linspace(-spread, spread, 4):
        wander = loop.contour(loop.rng.normal(0.0, 0.0015, loop.cycles(2.0)), 0.3)
        speed = blade * (1.0 + offset + wander)
        phase = loop.phase(speed)
        tones += buzz(phase, np.floor(loop.top_harmonic(speed.max())))
        motors += np.sin(poles * phase)  # poles is whole, so these close on the circle too

    def body(f: FloatArray) -> NDArray[Any]:
        # The quadratic phase spreads each pulse over some 6 ms, as a blade's passage is, and tames the peaks.
        spread_phase = np.pi * 1.5e-6 * np.minimum(f, 4000.0) ** 2
        return band(70.0, 3000.0)(f) * (f / 200.0) ** -tilt * np.exp(-1j * spread_phase)

    tones = loop.filtered(tones, body)
    air = loop.noise(lambda f: band(300.0, 5000.0)(f) * (f / 1000.0) ** -0.5) * (1.0 + 0.6 * np.sin(phase))
    return unit(tones) + wash * unit(air) + whine * unit(motors)
