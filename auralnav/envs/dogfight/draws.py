"""What is drawn at random in a game: where ships begin, and how shots stray."""

from __future__ import annotations

import math

import numpy as np

from auralnav.envs.dogfight.layout import BULLET_SPEED, SIZE, SPAWN_SPEED
from auralnav.envs.dogfight.rng import SPAWN, SPREAD, normal_pair, philox, uniform
from auralnav.envs.dogfight.rules import rule

TAU = np.float32(2.0 * math.pi)


@rule
def spawn(key, slot, episode):
    """(x, y, vx, vy, cos, sin) of a ship when a game begins: anywhere, heading anywhere, at SPAWN_SPEED."""
    words = philox(key, 0, slot, SPAWN, episode)
    angle = TAU * uniform(words[2])
    cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    return SIZE * uniform(words[0]), SIZE * uniform(words[1]), SPAWN_SPEED * cos, SPAWN_SPEED * sin, cos, sin


@rule
def shot(vx, vy, cos, sin, spread, key, tick, slot, episode):
    """Velocity of a bullet: the ship's, BULLET_SPEED along its nose, and normal noise on each component.

    Args:
        vx: velocity of the ship, units/s.
        vy: its component down.
        cos: attitude of the ship.
        sin: its component down.
        spread: standard deviation of the noise, units/s.
        key: seed of the world.
        tick: of the game.
        slot: of the ship.
        episode: which game of that key it is.
    """
    words = philox(key, tick, slot, SPREAD, episode)
    stray_x, stray_y = normal_pair(words[0], words[1])
    return vx + BULLET_SPEED * cos + spread * stray_x, vy + BULLET_SPEED * sin + spread * stray_y
