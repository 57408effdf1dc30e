"""The rules of one tick, each as a function of a ship's numbers that Numba compiles for the CPU and for CUDA alike.

There is one source of the physics. A kernel for CUDA that calls one of these gets it compiled for the device, where a
number is a float32 and a thread has one ship; the kernels of the CPU call them with `lanes`, the numbers of eight
ships. So conditions are spelled `pick` here, and nothing branches on a number that differs from ship to ship.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from auralnav.envs.dogfight import layout
from auralnav.envs.dogfight.lanes import lower, pick, root, size, upper
from auralnav.envs.dogfight.layout import HALF_SIZE, MAX_POWER, MAX_SPEED, SHIP_RADIUS, SIZE, TICK_RATE

rule = njit(error_model="numpy")
"""Decorator of a scalar function for both targets: division follows IEEE and raises nothing."""

# Actions reach the rules as float32, so that comparing them with a class needs no conversion.
COAST, BOOST, REVERSE = np.float32(layout.COAST), np.float32(layout.BOOST), np.float32(layout.REVERSE)
STRAIGHT, LEFT, RIGHT = np.float32(layout.STRAIGHT), np.float32(layout.LEFT), np.float32(layout.RIGHT)
SHARP_LEFT, SHARP_RIGHT = np.float32(layout.SHARP_LEFT), np.float32(layout.SHARP_RIGHT)
SHARP_AIR_BRAKE = np.float32(layout.SHARP_AIR_BRAKE)

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
FAR = np.float32(4096.0)  # where a ship stands that is not there
FULL_LIFE, RELOAD = np.float32(layout.BULLET_TICKS), np.float32(layout.RELOAD_TICKS)
HALF_TURN, QUARTER_TURN = np.float32(math.pi), np.float32(math.pi / 2)
# atan(t) = t (ATAN_1 + ATAN_3 t^2 + …) on [0, 1], fitted for the least greatest error: 4e-8.
ATAN_1, ATAN_3 = np.float32(0.9999993443489075), np.float32(-0.33329859375953674)
ATAN_5, ATAN_7 = np.float32(0.19946563243865967), np.float32(-0.13908620178699493)
ATAN_9, ATAN_11 = np.float32(0.0964217483997345), np.float32(-0.05591205507516861)
ATAN_13, ATAN_15 = np.float32(0.021862788125872612), np.float32(-0.004054523538798094)


@rule
def on_lattice(length):
    """A length below 256 rounded to a whole multiple of 2^-14, half to even."""
    return (length + TO_LATTICE) - TO_LATTICE


@rule
def moved(place, way):
    """A coordinate in [0, 1024) moved by less than 256, back in [0, 1024).

    The sum itself would be rounded to 2^-13 where it is above 1024; less the size first, it is exact.
    """
    beyond, plain = (place - SIZE) + way, place + way
    return pick(beyond >= ZERO, beyond, pick(plain < ZERO, plain + SIZE, plain))


@rule
def shortest(difference):
    """The difference of two coordinates by the short way round the torus, in [-512, 512)."""
    difference = pick(difference >= HALF_SIZE, difference - SIZE, difference)
    return pick(difference < -HALF_SIZE, difference + SIZE, difference)


@rule
def squared_distance(dx, dy):
    """Squared distance by the short way of two points that differ by dx and dy, each in (-1024, 1024)."""
    dx, dy = size(dx), size(dy)
    dx, dy = lower(dx, SIZE - dx), lower(dy, SIZE - dy)
    return dx * dx + dy * dy


@rule
def glide(x, y, vx, vy):
    """A tick's way along a velocity: where it ends, how far it goes, and where it is at the tick's middle.

    Args:
        x: place, [0, 1024).
        y: the same, down.
        vx: velocity, units/s.
        vy: its component down.

    Returns:
        (x, y, way_x, way_y, mid_x, mid_y); the middle may lie beyond the edge.
    """
    way_x, way_y = on_lattice(vx * DT), on_lattice(vy * DT)
    x, y = moved(x, way_x), moved(y, way_y)
    return x, y, way_x, way_y, x - HALF * way_x, y - HALF * way_y


@rule
def engine(power, gear):
    """Power after a tick, and the tick's thrust in units/s²: 0 in a tick that begins without power.

    Args:
        power: before, [0, 100].
        gear: power class of the action, as float32.
    """
    gain = pick(gear == BOOST, BOOST_GAIN, pick(gear == COAST, COAST_GAIN, REVERSE_GAIN))
    thrust = pick(gear == BOOST, BOOST_THRUST, pick(gear == COAST, COAST_THRUST, REVERSE_THRUST))
    return lower(upper(power + gain, ZERO), MAX_POWER), pick(power > ZERO, thrust, ZERO)


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
        turn: turn class of the action, as float32.

    Returns:
        (vx, vy, cos, sin) after.
    """
    speed = root(vx * vx + vy * vy)
    inverse = ONE / upper(speed, STILL)
    sharp = (turn == SHARP_LEFT) | (turn == SHARP_RIGHT)
    gentle = (turn == LEFT) | (turn == RIGHT)
    side = pick((turn == LEFT) | (turn == SHARP_LEFT), -ONE, ONE)
    offset_cos = pick(sharp, COS_SHARP, pick(gentle, COS_TURN, ONE))
    offset_sin = side * pick(sharp, SIN_SHARP, pick(gentle, SIN_TURN, ZERO))
    lift = side * pick(sharp, LIFT_SHARP, pick(gentle, LIFT_TURN, ZERO))
    drag = pick(sharp | (turn == SHARP_AIR_BRAKE), DRAG_SHARP, pick(turn == STRAIGHT, DRAG, DRAG_TURN))
    ux, uy = vx * inverse, vy * inverse
    moving = speed >= STILL
    cos = pick(moving, ux * offset_cos - uy * offset_sin, cos)
    sin = pick(moving, ux * offset_sin + uy * offset_cos, sin)
    ax = thrust * cos - speed * (drag * vx + lift * vy)
    ay = thrust * sin - speed * (drag * vy - lift * vx)
    vx, vy = vx + ax * DT, vy + ay * DT
    speed = root(vx * vx + vy * vy)
    scale = pick(speed > MAX_SPEED, MAX_SPEED / upper(speed, ONE), ONE)
    return vx * scale, vy * scale, cos, sin


@rule
def angle_of(along, across):
    """Angle [-π, π] of the vector (along, across): atan2 within 3e-7."""
    wide, high = size(along), size(across)
    flat = lower(wide, high) / upper(upper(wide, high), STILL)
    square = flat * flat
    value = square * ATAN_15 + ATAN_13
    value = square * value + ATAN_11
    value = square * value + ATAN_9
    value = square * value + ATAN_7
    value = square * value + ATAN_5
    value = square * value + ATAN_3
    value = (square * value + ATAN_1) * flat
    value = pick(high > wide, QUARTER_TURN - value, value)
    value = pick(along < ZERO, HALF_TURN - value, value)
    return pick(across < ZERO, -value, value)


@rule
def changes(vx, vy, cos, sin, old_vx, old_vy, old_cos, old_sin, rate):
    """(acceleration x and y, turn rate) from an old velocity and attitude to new ones; `rate` is one over the time."""
    turned = angle_of(old_cos * cos + old_sin * sin, old_cos * sin - old_sin * cos)
    return (vx - old_vx) * rate, (vy - old_vy) * rate, turned * rate


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
    meets = (b < ZERO) & (under >= ZERO)
    # (-b - sqrt(under)) / a without its cancellation.
    share = c / pick(meets, root(upper(under, ZERO)) - b, ONE)
    share = pick(meets & (share <= ONE), share, NEVER)
    return pick(c <= ZERO, ZERO, share)
