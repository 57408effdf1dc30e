"""The scripted fighters on CUDA: a thread decides for one ship, over what the threads of its world have shared.

`seen` is float32 [SEEN, threads of a block] in shared memory, one column a ship; the ships of a world are the eight
columns from `first` on.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import cuda as _numba_cuda

from auralnav.envs.dogfight import layout as at
from auralnav.envs.dogfight.lanes import root
from auralnav.envs.dogfight.rng import CHOICE, philox, uniform
from auralnav.envs.dogfight.rules import FAR, ONE, ZERO, shortest
from auralnav.envs.dogfight.scripts import (
    ACTIONS,
    EVADER,
    FOCUS,
    HEALTH_WEIGHT,
    JOUSTER,
    MATES_WEIGHT,
    RANDOM,
    evader,
    in_lane,
    jouster,
    pursuit,
    random_classes,
)

SEEN_X, SEEN_Y, SEEN_VX, SEEN_VY, SEEN_COS, SEEN_SIN, SEEN_HEALTH, SEEN_TEAM, SEEN_SCORE = range(9)
SEEN = 9
HUGE = np.float32(1e9)

cuda: Any = _numba_cuda
device = cuda.jit(device=True)


@device
def score(seen, first, me):
    """How good a target a ship is: its distance from all its living enemies together and its health, weighted."""
    total = HEALTH_WEIGHT * seen[SEEN_HEALTH, me]
    for j in range(first, first + at.SLOTS):
        if seen[SEEN_HEALTH, j] > ZERO and seen[SEEN_TEAM, j] != seen[SEEN_TEAM, me]:
            dx, dy = shortest(seen[SEEN_X, j] - seen[SEEN_X, me]), shortest(seen[SEEN_Y, j] - seen[SEEN_Y, me])
            total = total + MATES_WEIGHT * root(dx * dx + dy * dy)
    return total


@device
def look(seen, first, me, focused):
    """The column of a ship's enemy, -1 for none, and the short way to it.

    The nearest, or with `focused` that of the lowest distance and score; of equals the lower slot.
    """
    best, enemy, to_x, to_y = HUGE, -1, FAR, FAR
    for j in range(first, first + at.SLOTS):
        if seen[SEEN_HEALTH, j] > ZERO and seen[SEEN_TEAM, j] != seen[SEEN_TEAM, me]:
            dx, dy = shortest(seen[SEEN_X, j] - seen[SEEN_X, me]), shortest(seen[SEEN_Y, j] - seen[SEEN_Y, me])
            suits = dx * dx + dy * dy
            if focused:
                suits = root(suits) + seen[SEEN_SCORE, j]
            if suits < best:
                best, enemy, to_x, to_y = suits, j, dx, dy
    return enemy, to_x, to_y


@device
def is_blocked(seen, first, me, dx, dy):
    """Whether a living team mate is between a ship's nose and its enemy at (dx, dy)."""
    reach = root(dx * dx + dy * dy)
    blocked = False
    for j in range(first, first + at.SLOTS):
        if seen[SEEN_HEALTH, j] > ZERO and j != me and seen[SEEN_TEAM, j] == seen[SEEN_TEAM, me]:
            x, y = shortest(seen[SEEN_X, j] - seen[SEEN_X, me]), shortest(seen[SEEN_Y, j] - seen[SEEN_Y, me])
            blocked = blocked or in_lane(x, y, seen[SEEN_COS, me], seen[SEEN_SIN, me], reach)
    return blocked


@device
def decide(seen, first, me, script, skill, power, gear, turn, shoot, key, tick, episode):
    """Power, turn and shoot classes of one ship; those given where no script commands it."""
    if script == ACTIONS:
        return gear, turn, shoot
    random = script == RANDOM
    if random or skill < ONE:
        words = philox(key, tick, me - first, CHOICE, episode)
        if random or uniform(words[0]) >= skill:
            return random_classes(words[1], words[2], words[3])
    enemy, dx, dy = look(seen, first, me, script == FOCUS)
    enemy_vx, enemy_vy, enemy_cos, enemy_sin = ZERO, ZERO, ONE, ZERO
    if enemy >= 0:
        enemy_vx, enemy_vy = seen[SEEN_VX, enemy], seen[SEEN_VY, enemy]
        enemy_cos, enemy_sin = seen[SEEN_COS, enemy], seen[SEEN_SIN, enemy]
    vx, vy, cos, sin = seen[SEEN_VX, me], seen[SEEN_VY, me], seen[SEEN_COS, me], seen[SEEN_SIN, me]
    if script == EVADER:
        return evader(dx, dy, enemy_vx, enemy_vy, enemy_cos, enemy_sin, vx, vy, cos, sin, power)
    if script == JOUSTER:
        return jouster(dx, dy, enemy_vx, enemy_vy, vx, vy, cos, sin, power)
    gear, turn, shoot = pursuit(dx, dy, enemy_vx, enemy_vy, vx, vy, cos, sin, power)
    if script == FOCUS and is_blocked(seen, first, me, dx, dy):
        shoot = ZERO
    return gear, turn, shoot
