"""The rules of one tick, each as a scalar function that Numba compiles for the CPU and for CUDA alike.

A kernel for CUDA that calls one of these gets it compiled for the device, so there is one source of the physics. Every
float is float32. Nothing here branches on data that differs from ship to ship where a selection does: on the CPU the
kernels call these in loops over eight ships, which LLVM turns into vector code.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from auralnav.envs.dogfight.layout import (
    BOOST,
    COAST,
    HALF_SIZE,
    LEFT,
    MAX_POWER,
    MAX_SPEED,
    RIGHT,
    SHARP_AIR_BRAKE,
    SHARP_LEFT,
    SHARP_RIGHT,
    SHIP_RADIUS,
    SIZE,
    STRAIGHT,
    TICK_RATE,
)

rule = njit(cache=True, error_model="numpy")
"""Decorator of a scalar function for both targets: division follows IEEE and raises nothing."""

ZERO, ONE, HALF, TWO = np.float32(0.0), np.float32(1.0), np.float32(0.5), np.float32(2.0)
DT = np.float32(1.0 / TICK_RATE)

# Thrust in units/s², and what a tick gives to or takes from the power: 10, -40 and 20 a second. The quotients are
# rounded here, once: a product in the kernel would be fused with the sum on CUDA and not on the CPU.
COAST_THRUST, BOOST_THRUST, REVERSE_THRUST = np.float32(8.0), np.float32(80.0), np.float32(-10.0)
COAST_GAIN = np.float32(10.0 / TICK_RATE)
BOOST_GAIN = np.float32(-40.0 / TICK_RATE)
REVERSE_GAIN = np.float32(20.0 / TICK_RATE)

# Attitude offsets of the turns: cosine, sine; drag and lift coefficients.
COS_TURN, SIN_TURN = np.float32(math.cos(math.radians(5.0))), np.float32(math.sin(math.radians(5.0)))
COS_SHARP, SIN_SHARP = np.float32(math.cos(math.radians(15.0))), np.float32(math.sin(math.radians(15.0)))
DRAG, DRAG_TURN, DRAG_SHARP = np.float32(8e-4), np.float32(1.2e-3), np.float32(5e-3)
LIFT_TURN, LIFT_SHARP = np.float32(15e-3), np.float32(27e-3)
STILL = np.float32(1e-6)  # a velocity below this has no direction

# float32 in [512, 1024) and 2^9 · 1.5 have steps of 2^-14: adding this and taking it away rounds to whole steps.
TO_LATTICE = np.float32(768.0)
NEVER = np.float32(2.0)


@rule
def on_lattice(length):
    """A length below 256 rounded to a whole multiple of 2^-14, half to even."""
    return (length + TO_LATTICE) - TO_LATTICE


@rule
def wrapped(place):
    """A coordinate in [-1024, 2048) brought into [0, 1024)."""
    place = place - SIZE if place >= SIZE else place
    return place + SIZE if place < ZERO else place


@rule
def shortest(difference):
    """The difference of two coordinates by the short way round the torus, in [-512, 512)."""
    difference = difference - SIZE if difference >= HALF_SIZE else difference
    return difference + SIZE if difference < -HALF_SIZE else difference


@rule
def engine(power, gear):
    """Power after a tick, and the tick's thrust in units/s²: 0 in a tick that begins without power.

    Args:
        power: before, [0, 100].
        gear: power class of the action.
    """
    gain = BOOST_GAIN if gear == BOOST else (COAST_GAIN if gear == COAST else REVERSE_GAIN)
    thrust = BOOST_THRUST if gear == BOOST else (COAST_THRUST if gear == COAST else REVERSE_THRUST)
    return min(max(power + gain, ZERO), MAX_POWER), (thrust if power > ZERO else ZERO)


@rule
def flight(vx, vy, cos, sin, thrust, turn):
    """Velocity and attitude after a tick.

    The attitude is the direction of the velocity turned by the offset of the turn class; a ship that stands still
    keeps the one it has. Then a = thrust · attitude - c_D |v| v + c_L |v| (i v), and v grows by a dt, up to MAX_SPEED.

    Args:
        vx: velocity to the right, units/s.
        vy: velocity down.
        cos: attitude, its component to the right.
        sin: attitude, its component down.
        thrust: units/s².
        turn: turn class of the action.

    Returns:
        (vx, vy, cos, sin) after.
    """
    speed = math.sqrt(vx * vx + vy * vy)
    moving = speed >= STILL
    inverse = ONE / max(speed, STILL)
    sharp = (turn == SHARP_LEFT) | (turn == SHARP_RIGHT)
    gentle = (turn == LEFT) | (turn == RIGHT)
    to_left = (turn == LEFT) | (turn == SHARP_LEFT)
    offset_cos = COS_SHARP if sharp else (COS_TURN if gentle else ONE)
    offset_sin = SIN_SHARP if sharp else (SIN_TURN if gentle else ZERO)
    lift = LIFT_SHARP if sharp else (LIFT_TURN if gentle else ZERO)
    offset_sin = -offset_sin if to_left else offset_sin
    lift = -lift if to_left else lift
    drag = DRAG_SHARP if sharp | (turn == SHARP_AIR_BRAKE) else (DRAG if turn == STRAIGHT else DRAG_TURN)
    ux, uy = vx * inverse, vy * inverse
    cos = ux * offset_cos - uy * offset_sin if moving else cos
    sin = ux * offset_sin + uy * offset_cos if moving else sin
    ax = thrust * cos - speed * (drag * vx + lift * vy)
    ay = thrust * sin - speed * (drag * vy - lift * vx)
    vx, vy = vx + ax * DT, vy + ay * DT
    speed = math.sqrt(vx * vx + vy * vy)
    scale = MAX_SPEED / speed if speed > MAX_SPEED else ONE
    return vx * scale, vy * scale, cos, sin


@rule
def contact(rx, ry, dx, dy):
    """When a bullet comes within a ship's radius, as a share of the tick, [0, 1]; NEVER when it does not.

    Both move on straight lines during the tick: |r + τ d| = 10 is solved for its first root.

    Args:
        rx: bullet's x minus the ship's when the tick begins, by the short way.
        ry: the same of y.
        dx: how far the bullet moves along x in the tick, less how far the ship does.
        dy: the same of y.
    """
    a = dx * dx + dy * dy
    b = rx * dx + ry * dy
    c = rx * rx + ry * ry - SHIP_RADIUS * SHIP_RADIUS
    under = b * b - a * c
    if c <= ZERO:
        return ZERO
    if b >= ZERO or under < ZERO:
        return NEVER
    # (-b - sqrt(under)) / a without its cancellation.
    share = c / (math.sqrt(under) - b)
    return share if share <= ONE else NEVER
