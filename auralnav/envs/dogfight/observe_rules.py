"""What ships observe of themselves and of each other, each as a function of float32 or of `lanes`.

Nothing depends on a place but through differences of places, which are exact: moving a whole world by a multiple of
2^-14 changes no bit of an observation. Only sums, products and quotients are used, so both targets compute the same.
"""

from __future__ import annotations

import math

import numpy as np

from auralnav.envs.dogfight.lanes import lower, pick, root, upper
from auralnav.envs.dogfight.layout import SIZE
from auralnav.envs.dogfight.rules import HALF, ONE, STILL, TWO, ZERO, rule

INTRINSIC = ("vx", "vy", "omega", "ax", "ay", "cos", "sin", "speed", "health", "power", "shooting")
"""A ship's own features, in order."""
WAVES = 8
"""Octaves of the Fourier features of a distance."""
RELATION = (
    "dvx", "dvy", "sin_ata", "cos_ata", "sin_aa", "cos_aa", "sin_hca", "cos_hca",
    "log_distance", "closing", "time_to_go", "ux", "uy",
)  # fmt: skip
"""What one ship sees of another beside the Fourier features, in order; see `relation`."""
EDGE = tuple(f"{wave}_{axis}{k}" for axis in "xy" for wave in ("sin", "cos") for k in range(WAVES)) + RELATION
"""All features of an edge, in order: 32 Fourier features and the relation."""

SPEED_UNIT, ACCELERATION_UNIT, OMEGA_UNIT = np.float32(180.0), np.float32(150.0), np.float32(2 * math.pi)
FULL = np.float32(100.0)
LONGEST_TIME = np.float32(10.0)

TO_WHOLE = np.float32(12582912.0)  # 1.5 · 2^23: adding it and taking it away rounds to a whole number
PER_SIZE = np.float32(1.0) / SIZE

# sin(2πr) = r (SIN_1 + SIN_3 r² + …) and cos(2πr) on [-1/4, 1/4], fitted for the least greatest error: below 5e-9.
SIN_1, SIN_3, SIN_5 = np.float32(6.283185160089457), np.float32(-41.341655031411406), np.float32(81.6010040729774)
SIN_7, SIN_9 = np.float32(-76.54978228752101), np.float32(39.53670602277484)
COS_0, COS_2, COS_4 = np.float32(0.9999999997806518), np.float32(-19.73920854891341), np.float32(64.9393466294746)
COS_6, COS_8 = np.float32(-85.45357162614597), np.float32(60.144015079086216)
COS_10 = np.float32(-24.982237707790677)

# Octaves that the logarithm takes off its argument, one after the other.
UP_5, UP_3, UP_2 = np.float32(32.0), np.float32(8.0), np.float32(4.0)
DOWN_5, DOWN_3, DOWN_2 = np.float32(1 / 32), np.float32(1 / 8), np.float32(1 / 4)
LOG_5, LOG_3, LOG_2 = (np.float32(k * math.log(2)) for k in (5, 3, 2))
LOG_1, LOG_HALF = np.float32(math.log(2)), np.float32(math.log(2) / 2)
ROOT_2 = np.float32(math.sqrt(2))
SERIES_3, SERIES_5, SERIES_7 = np.float32(1 / 3), np.float32(1 / 5), np.float32(1 / 7)


@rule
def wave(turns):
    """(sin, cos) of 2π · `turns`, |turns| < 2^20, within 2e-7: exact steps down to a quarter turn, then polynomials."""
    turns = turns - ((turns + TO_WHOLE) - TO_WHOLE)
    half_turns = (TWO * turns + TO_WHOLE) - TO_WHOLE
    r = turns - HALF * half_turns
    sign = ONE - TWO * half_turns * half_turns
    square = r * r
    sin = SIN_3 + square * (SIN_5 + square * (SIN_7 + square * SIN_9))
    cos = COS_4 + square * (COS_6 + square * (COS_8 + square * COS_10))
    return sign * (r * (SIN_1 + square * sin)), sign * (COS_0 + square * (COS_2 + square * cos))


@rule
def log_of(value):
    """Natural logarithm of a value in [1, 1024), within 4e-7."""
    over = value >= UP_5
    result = pick(over, LOG_5, ZERO)
    value = pick(over, value * DOWN_5, value)
    over = value >= UP_3
    result = pick(over, result + LOG_3, result)
    value = pick(over, value * DOWN_3, value)
    over = value >= UP_2
    result = pick(over, result + LOG_2, result)
    value = pick(over, value * DOWN_2, value)
    over = value >= TWO
    result = pick(over, result + LOG_1, result)
    value = pick(over, value * HALF, value)
    z = (value - ROOT_2) / (value + ROOT_2)
    square = z * z
    series = ONE + square * (SERIES_3 + square * (SERIES_5 + square * SERIES_7))
    return result + (LOG_HALF + TWO * z * series)


@rule
def intrinsic(vx, vy, omega, ax, ay, cos, sin, health, power, shots):
    """The features INTRINSIC of a ship, zeros for a dead one.

    Args:
        vx: velocity, units/s.
        vy: its component down.
        omega: turn rate of the last step, rad/s.
        ax: acceleration of the last step, units/s².
        ay: its component down.
        cos: attitude.
        sin: its component down.
        health: [0, 100].
        power: [0, 100].
        shots: bullets fired in the last step.
    """
    alive = pick(health > ZERO, ONE, ZERO)
    speed = root(vx * vx + vy * vy)
    return (
        alive * (vx / SPEED_UNIT),
        alive * (vy / SPEED_UNIT),
        alive * (omega / OMEGA_UNIT),
        alive * (ax / ACCELERATION_UNIT),
        alive * (ay / ACCELERATION_UNIT),
        alive * cos,
        alive * sin,
        alive * (speed / SPEED_UNIT),
        health / FULL,
        alive * (power / FULL),
        alive * pick(shots > ZERO, ONE, ZERO),
    )


@rule
def relation(dx, dy, dvx, dvy, cos, sin, other_cos, other_sin):
    """The features RELATION of a ship that sees another.

    With u the unit direction to the other ship: ATA is the angle from the own nose to u, AA from the other's nose to u
    (0 when one is on its tail), HCA from the own nose to the other's; all clockwise. Closing is how fast the distance
    shrinks, in SPEED_UNIT; the time to go is the distance over that, in units of 10 s, and 1 where it is longer or the
    distance does not shrink.

    Args:
        dx: to the other ship by the short way.
        dy: its component down.
        dvx: velocity of the other ship less the own, units/s.
        dvy: its component down.
        cos: own attitude.
        sin: its component down.
        other_cos: attitude of the other ship.
        other_sin: its component down.
    """
    distance = root(dx * dx + dy * dy)
    inverse = ONE / upper(distance, STILL)
    ux, uy = dx * inverse, dy * inverse
    closing = -(dvx * ux + dvy * uy)
    time = distance / upper(closing, STILL)
    return (
        dvx / SPEED_UNIT,
        dvy / SPEED_UNIT,
        cos * uy - sin * ux,
        cos * ux + sin * uy,
        other_cos * uy - other_sin * ux,
        other_cos * ux + other_sin * uy,
        cos * other_sin - sin * other_cos,
        cos * other_cos + sin * other_sin,
        log_of(ONE + distance),
        closing / SPEED_UNIT,
        lower(time, LONGEST_TIME) / LONGEST_TIME,
        ux,
        uy,
    )
