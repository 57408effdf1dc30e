"""The ladder of scripted fighters, each as a scalar function of what one ship sees.

Like `rules`, they compile for the CPU and for CUDA. A fighter is asked once a step. It sees one enemy: the way there by
the short way, its velocity and its attitude. Turns and shots are decided on cosines, so no
angle is ever computed: an angle is above 10° where its cosine is below cos 10°. Classes are float32, as in `rules`.
"""

from __future__ import annotations

import math

import numpy as np

from auralnav.envs.dogfight.lanes import lower, pick, root, size, upper
from auralnav.envs.dogfight.layout import BULLET_SPEED, MAX_POWER, POWER_CLASSES, SHOOT_CLASSES, TURN_CLASSES
from auralnav.envs.dogfight.rules import (
    BOOST,
    COAST,
    LEFT,
    ONE,
    REVERSE,
    RIGHT,
    SHARP_LEFT,
    SHARP_RIGHT,
    STRAIGHT,
    ZERO,
    rule,
)

SCRIPTS = {"actions": 0, "random": 1, "pursuit": 2, "evader": 3, "jouster": 4, "focus": 5}
"""What stands in the row SCRIPT of a ship, by name; "actions" is the one that is commanded from outside.

random: every class with equal probability, anew each step.
pursuit: chases the nearest enemy, aims where it will be when a bullet arrives, backs off when almost upon it.
evader: runs from an enemy within 300 units, sideways out of its line of fire; turns on one that is farther, and shoots.
jouster: charges the nearest enemy, boosting while power lasts, passes through, gets clear and comes round again.
focus: as pursuit, at the enemy that is weak and near to its team as well as to itself, and holds its fire while a team
    mate is in the line of it.
"""
ACTIONS, RANDOM, PURSUIT, EVADER, JOUSTER, FOCUS = range(6)

FLYING = tuple(name for name in SCRIPTS if name != "actions")
"""Scripts that fly by themselves."""

COS_TURN_FROM = np.float32(math.cos(math.radians(10.0)))  # turn when off by more
COS_SHARP_FROM = np.float32(math.cos(math.radians(15.0)))
COS_NARROW, COS_WIDE = np.float32(math.cos(math.radians(1.0))), np.float32(math.cos(math.radians(45.0)))
TARGET_SIZE = np.float32(20.0)
RANGE = np.float32(600.0)
TOO_NEAR = np.float32(40.0)
SLOW = np.float32(30.0)
EAGER = np.float32(0.9)

FLIGHT_RANGE = np.float32(300.0)  # an evader runs when its enemy is nearer
COS_THREAT = np.float32(math.cos(math.radians(20.0)))  # the enemy's nose is on us
EVADER_RESERVE, JOUSTER_RESERVE = np.float32(20.0), np.float32(30.0)
JOUST_RANGE = np.float32(350.0)  # a jouster gets this far clear before it comes round

# What a unit of a mate's distance and a point of an enemy's health count beside a unit of the ship's own distance.
MATES_WEIGHT, HEALTH_WEIGHT = np.float32(0.25), np.float32(1.0)
LANE = np.float32(20.0)  # half the width of the line of fire that is kept clear of team mates

_32 = np.uint64(32)


@rule
def turn_towards(aim_x, aim_y, cos, sin):
    """The turn class that brings the nose to a direction: none within 10°, sharp from 15°."""
    length = root(aim_x * aim_x + aim_y * aim_y)
    along = aim_x * cos + aim_y * sin
    right = cos * aim_y - sin * aim_x > ZERO
    sharp, gentle = pick(right, SHARP_RIGHT, SHARP_LEFT), pick(right, RIGHT, LEFT)
    gentle = pick(along < COS_TURN_FROM * length, gentle, STRAIGHT)
    return pick(along < COS_SHARP_FROM * length, sharp, gentle)


@rule
def has_shot(aim_x, aim_y, cos, sin, distance, power):
    """Whether a shot at the aim point is worth taking.

    The nose is off by less than 2·atan(20 / distance), kept within 1° and 45°, and the distance is below
    600·√(power / 100). The cosine of twice an angle of tangent t is (1 - t²) / (1 + t²).
    """
    length = root(aim_x * aim_x + aim_y * aim_y)
    square, wide = distance * distance, TARGET_SIZE * TARGET_SIZE
    limit = lower(upper((square - wide) / (square + wide), COS_WIDE), COS_NARROW)
    in_range = square * MAX_POWER < RANGE * RANGE * power
    return in_range & (aim_x * cos + aim_y * sin > limit * length)


@rule
def pursuit(dx, dy, enemy_vx, enemy_vy, vx, vy, cos, sin, power):
    """Power, turn and shoot classes of a ship that chases an enemy.

    It aims at where the enemy will be after distance / 500 seconds, as seen from the ship, whose bullets take its own
    velocity along.

    Args:
        dx: to the enemy along x, by the short way.
        dy: the same along y.
        enemy_vx: velocity of the enemy.
        enemy_vy: its component down.
        vx: velocity of the ship.
        vy: its component down.
        cos: attitude of the ship.
        sin: its component down.
        power: of the ship.
    """
    distance = root(dx * dx + dy * dy)
    lead = distance / BULLET_SPEED
    aim_x, aim_y = dx + (enemy_vx - vx) * lead, dy + (enemy_vy - vy) * lead
    slow = vx * vx + vy * vy < SLOW * SLOW
    eager = power > MAX_POWER * EAGER * (ONE - distance / RANGE)
    gear = pick(slow, BOOST, pick(distance < TOO_NEAR, REVERSE, pick(eager, BOOST, COAST)))
    shoot = has_shot(aim_x, aim_y, cos, sin, distance, power)
    return gear, turn_towards(aim_x, aim_y, cos, sin), pick(shoot, ONE, ZERO)


@rule
def evader(dx, dy, enemy_vx, enemy_vy, enemy_cos, enemy_sin, vx, vy, cos, sin, power):
    """Power, turn and shoot classes of a ship that keeps away; arguments as of `pursuit`, with the enemy's attitude."""
    distance = root(dx * dx + dy * dy)
    lead = distance / BULLET_SPEED
    aim_x, aim_y = dx + (enemy_vx - vx) * lead, dy + (enemy_vy - vy) * lead
    near = distance < FLIGHT_RANGE
    threatened = near & (-(enemy_cos * dx + enemy_sin * dy) > COS_THREAT * distance)
    # Across the line of fire, to the side it already flies to; else straight away.
    side = pick(dx * vy - dy * vx > ZERO, ONE, -ONE)
    away_x, away_y = pick(threatened, -side * dy, -dx), pick(threatened, side * dx, -dy)
    slow = vx * vx + vy * vy < SLOW * SLOW
    gear = pick(slow | (near & (power > EVADER_RESERVE)), BOOST, COAST)
    turn = turn_towards(pick(near, away_x, aim_x), pick(near, away_y, aim_y), cos, sin)
    return gear, turn, pick(has_shot(aim_x, aim_y, cos, sin, distance, power), ONE, ZERO)


@rule
def jouster(dx, dy, enemy_vx, enemy_vy, vx, vy, cos, sin, power):
    """Power, turn and shoot classes of a ship that charges and passes; arguments as of `pursuit`."""
    distance = root(dx * dx + dy * dy)
    lead = distance / BULLET_SPEED
    towards_x, towards_y = enemy_vx - vx, enemy_vy - vy
    aim_x, aim_y = dx + towards_x * lead, dy + towards_y * lead
    charging = (distance > JOUST_RANGE) | (dx * towards_x + dy * towards_y < ZERO)
    slow = vx * vx + vy * vy < SLOW * SLOW
    gear = pick(slow | (power > JOUSTER_RESERVE), BOOST, COAST)
    turn = pick(charging, turn_towards(aim_x, aim_y, cos, sin), STRAIGHT)
    shoot = charging & has_shot(aim_x, aim_y, cos, sin, distance, power)
    return gear, turn, pick(shoot, ONE, ZERO)


@rule
def in_lane(dx, dy, cos, sin, reach):
    """Whether a team mate at (dx, dy) is in the line of fire up to `reach`."""
    along = dx * cos + dy * sin
    return (along > ZERO) & (along < reach) & (size(cos * dy - sin * dx) < LANE)


@rule
def any_class(word, classes):
    """One of `classes` classes, as float32, from a random word of 32 bits."""
    return np.float32((word * np.uint64(classes)) >> _32)


@rule
def random_classes(word0, word1, word2):
    """Power, turn and shoot classes from three random words of 32 bits."""
    return any_class(word0, POWER_CLASSES), any_class(word1, TURN_CLASSES), any_class(word2, SHOOT_CLASSES)
