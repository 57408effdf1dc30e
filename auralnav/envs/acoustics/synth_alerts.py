"""Sounds made to be noticed: telephone, siren, alarm, car horn. Each takes a `Loop`, returns [n]."""

from __future__ import annotations

import numpy as np

from auralnav.envs.acoustics.synth_tools import FloatArray, Loop, band, resonance, unit


def telephone(loop: Loop) -> FloatArray:
    """A bell telephone: a clapper beats two gongs in turn, 20–30 blows a second; the gaps ring on."""
    gong = loop.log_uniform(800.0, 1300.0)
    interval = loop.uniform(1.10, 1.32)
    ratios = np.array([0.5, 1.0, 1.51, 2.02, 2.74, 4.1]) * loop.rng.uniform(0.97, 1.03, 6)
    amps = np.array([0.12, 1.0, 0.5, 0.6, 0.35, 0.2]) * loop.rng.uniform(0.6, 1.4, 6)
    decays = np.array([0.35, 0.4, 0.3, 0.22, 0.15, 0.08]) * loop.uniform(0.7, 1.2)
    rings = loop.cycles(loop.uniform(0.8, 1.9))
    ring = loop.seconds / rings
    on = max(ring * loop.uniform(0.6, 0.72), ring - 0.45)
    clapper = loop.uniform(20.0, 30.0)

    starts = (np.arange(rings) + 0.5) * ring
    beats = np.arange(max(4, int(on * clapper))) / clapper
    out = np.zeros(loop.n)
    for side, pitch in enumerate((gong, gong * interval)):
        times = (starts[:, None] + beats[side::2]).ravel()
        hits = loop.strikes(times, loop.rng.uniform(0.8, 1.2, len(times)))
        out += loop.rung(hits, ratios * pitch, amps, decays)
    clicks = loop.strikes((starts[:, None] + beats).ravel())
    rattle = loop.convolved(clicks, np.exp(-np.arange(int(0.012 * loop.fs)) / (0.003 * loop.fs)))
    return unit(out) + 0.25 * unit(rattle * loop.noise(band(1500.0, 5000.0)))


def siren(loop: Loop) -> FloatArray:
    """An emergency siren: a bright tone that wails (slow) or yelps (fast) over about an octave, no pause."""
    yelp = loop.rng.random() < 0.5
    sweeps = loop.cycles(loop.uniform(2.0, 4.0) if yelp else loop.uniform(0.3, 0.9))
    low = loop.log_uniform(450.0, 700.0)
    octaves = loop.uniform(0.8, 1.25)
    rise = loop.uniform(0.25, 0.65)
    colour = loop.uniform(0.9, 1.5)
    horn = resonance(loop.log_uniform(1200.0, 2200.0), 0.6, loop.uniform(0.5, 2.0))

    place = np.mod(np.arange(loop.n) * sweeps / loop.n, 1.0)
    rising = place < rise
    height = np.where(rising, place / rise, (1.0 - place) / (1.0 - rise))
    curve = 0.5 - 0.5 * np.cos(np.pi * height)
    freq = low * 2.0 ** (octaves * curve)
    tone = loop.filtered(loop.harmonics(freq, np.arange(1, 11) ** -colour), horn)
    hiss = loop.noise(band(600.0, 4000.0)) * (0.6 + 0.4 * curve)
    return unit(tone) + 0.05 * unit(hiss)


def alarm(loop: Loop) -> FloatArray:
    """An electronic alarm: a piezo beeps 3.5–6.5 times a second, on one high pitch or two in turn."""
    pitch = loop.log_uniform(1900.0, 2900.0)
    second = loop.uniform(1.1, 1.22) if loop.rng.random() < 0.5 else 1.0
    beeps = loop.cycles(loop.uniform(3.5, 6.5))
    beeps += beeps % 2 if second != 1.0 else 0
    duty = loop.uniform(0.45, 0.65)
    rattle = loop.uniform(0.15, 0.3)

    period = loop.seconds / beeps
    starts = (np.arange(beeps) + 0.25) * period
    on = loop.gates(starts, duty * period, 0.003, 0.012)
    out = np.zeros(loop.n)
    for voice, ratio in enumerate((1.0, second)):
        mine = loop.gates(starts[voice::2], duty * period, 0.003, 0.012) if second != 1.0 else 0.5 * on
        # The half-pitch partial is the case that rattles with the disc.
        out += mine * loop.harmonics(0.5 * pitch * ratio, [rattle, 1.0, 0.08, 0.1, 0.04, 0.3, 0.0, 0.08])
    buzz = loop.noise(band(500.0, 5000.0)) * on
    ring = loop.rung(loop.strikes(starts + duty * period), [0.5 * pitch, pitch], [0.5, 1.0], [0.08, 0.06])
    return unit(out) + 0.05 * unit(buzz) + 0.12 * unit(ring)


def car_horn(loop: Loop) -> FloatArray:
    """A car's two-tone horn: two brassy notes a third apart, in honks with short gaps."""
    note = loop.log_uniform(310.0, 460.0)
    third = loop.uniform(1.17, 1.29)
    honks = loop.cycles(loop.uniform(0.6, 2.2))
    gap = loop.uniform(0.08, 0.16)
    colour = loop.uniform(0.3, 0.7)
    bell = resonance(loop.log_uniform(1800.0, 2900.0), 0.45, loop.uniform(1.0, 3.0))

    period = loop.seconds / honks
    starts = (np.arange(honks) + 0.5) * period
    on = loop.gates(starts, period - gap - 0.06, 0.02, 0.06)
    slur = 1.0 - 0.05 * (1.0 - on)
    amps = np.arange(1, 19) ** -colour
    tone = loop.harmonics(note * slur, amps) + 0.9 * loop.harmonics(note * third * slur, amps)
    tone = loop.filtered(tone, lambda f: bell(f) * band(150.0, 4500.0)(f))
    return unit(tone * (0.03 + on)) + 0.04 * unit(loop.noise(band(400.0, 5000.0)) * on)
