"""Walls and late tail of a polygon room from diffuse-field statistics, one figure a room.

A shoebox has all its images counted (:mod:`auralnav.envs.acoustics.walls`); a polygon's would take a beam
tree of millions. Statistics stand in for them: in a room of volume V the images of a source arrive at the
rate 4πc³t²/V and each brings 1/(4πct)², so the energy arriving is c/(4πV) a second times the walls' share
(Kuttruff, "Room Acoustics", chapters 4 and 5). Against complete images of L-shaped rooms and two rooms with
a door that is right to some 2 dB from 10 ms on, which `tests/envs/acoustics/test_polygon_rooms.py` checks.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from auralnav.envs.acoustics.fractional import SPEED_OF_SOUND
from auralnav.envs.acoustics.walls import BIN_SECONDS, JOIN_SECONDS
from auralnav.errors import RoomError

PATH_VARIANCE = 0.4
"""γ²: variance of the free paths over their squared mean 4V/S; 0.3 to 0.6 in ordinary rooms (Kuttruff)."""


def mean_reflection_for_rt60(volume: float, surface: float, rt60: float, c: float = SPEED_OF_SOUND) -> float:
    """Amplitude coefficient of all walls, in (0, 1), for the reverberation time asked for.

    Kuttruff's refinement of Eyring: rt60 = 24 ln10 V / (c S a (1 − γ² a / 2)) with a = −ln(1 − α) = −2 ln β.
    Free paths of unequal length let some sound live longer than Eyring's equal ones, so β must be lower than
    his.

    Args:
        volume: m³.
        surface: of all walls, floor and ceiling, m².
        rt60: s. So short a time that no wall is dead enough gives the deadest wall of the formula, β = 0.29.
        c: speed of sound, m/s.

    Raises:
        RoomError: a value that is not positive.
    """
    _check(volume=volume, surface=surface, rt60=rt60)
    wanted = 24.0 * math.log(10.0) * volume / (c * surface * rt60)
    exponent = (1.0 - math.sqrt(max(1.0 - 2.0 * PATH_VARIANCE * wanted, 0.0))) / PATH_VARIANCE
    return math.exp(-0.5 * exponent)


def late_energy(volume: float, rt60: float, start: float = JOIN_SECONDS, c: float = SPEED_OF_SOUND) -> float:
    """Energy Σ g²/(4πd)² of all images arriving at `start` s after emission or later, 1/m².

    The integral of c/(4πV) · e^(−kt) from `start` on, k = 6 ln10 / rt60: c/(4πVk) · e^(−k·start). It is the
    late level of Barron & Lee, JASA 84 (1988): 31 200 (rt60/V) e^(−k·start) against the direct sound at 10 m.

    Args:
        volume: m³.
        rt60: s.
        start: s after emission, >= 0.
        c: speed of sound, m/s.

    Raises:
        RoomError: a volume or a time that is not positive.
    """
    _check(volume=volume, rt60=rt60)
    rate = 6.0 * math.log(10.0) / rt60
    return c / (4.0 * math.pi * volume * rate) * math.exp(-rate * start)


def missing_energy(
    volume: float,
    surface: float,
    rt60: float,
    early_order: int,
    join: float = JOIN_SECONDS,
    c: float = SPEED_OF_SOUND,
) -> NDArray[np.float64]:
    """Energy before the join of the images above `early_order`, in bins of BIN_SECONDS.

    At time t sound has met walls n̄ = c t S/(4V) times on average, with variance γ² n̄ (Kuttruff); weighting
    each count with what those walls leave moves the mean to n̄ (1 − γ² a), a as in
    :func:`mean_reflection_for_rt60`.

    Args:
        volume: m³.
        surface: m².
        rt60: s.
        early_order: highest order drawn as single images.
        join: s after emission.
        c: speed of sound, m/s.

    Returns:
        float64 [round(join / BIN_SECONDS)], 1/m², as `tail.late_tail` takes it.

    Raises:
        RoomError: a value that is not positive.
    """
    exponent = -2.0 * math.log(mean_reflection_for_rt60(volume, surface, rt60, c))
    times = (np.arange(round(join / BIN_SECONDS)) + 0.5) * BIN_SECONDS
    met = c * times * surface / (4.0 * volume)
    mean = met * max(1.0 - PATH_VARIANCE * exponent, 0.0)
    above = ndtr((mean - early_order - 0.5) / np.sqrt(PATH_VARIANCE * met))
    density = c / (4.0 * math.pi * volume) * np.exp(-6.0 * math.log(10.0) / rt60 * times)
    return above * density * BIN_SECONDS


def _check(**values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0.0):
            raise RoomError(f"{name} is {value}; it must be positive and finite")
