"""What a dogfight world is made of: its constants, and where everything stands in its arrays.

The frame is x right and y **down**, as on a screen, so angles turn clockwise as seen and a turn to the left is
negative. Lengths are units of the torus (1024 × 1024), times seconds, angles radians.

A batch of W worlds is four arrays, the same on the CPU and on a CUDA device:

    state    float32 [W, ROWS, SLOTS]   everything that moves; one column a ship slot
    clock    int64   [W, 4]             CLOCK_TICK, CLOCK_STATUS, CLOCK_EPISODE, CLOCK_TOTAL
    key      int64   [W]                seed of the world: the key of its random numbers
    actions  int32   [W, SLOTS, 3]      (power, turn, shoot) that the next step takes or the last one took

The first SHIP_ROWS rows of `state` hold one number a ship; the rest is five fields of BARRELS rows, one number a
bullet: row `BULLET_X + k` is the x of the bullet in barrel k of each ship. A bullet lives 60 ticks and a ship fires
every 6th at most, so ten barrels used in turn always suffice, and a bullet's column says who fired it.

Positions are whole multiples of 2^-14, which float32 holds exactly everywhere in [0, 1024): shifting a world by such a
multiple changes no difference of two positions, and so not one bit of anything else.
"""

from __future__ import annotations

import numpy as np

SLOTS = 8
"""Ships a world can hold, of both teams together."""
BARRELS = 10
"""Bullets a ship can have in the air."""

# Rows of `state` that hold one number a ship.
X, Y = 0, 1  # position, [0, 1024)
VX, VY = 2, 3  # velocity, units/s, speed at most 400
COS, SIN = 4, 5  # attitude: where the nose points, a unit vector
HEALTH = 6  # [0, 100], 0 = dead or no ship in this slot
POWER = 7  # [0, 100]
COOLDOWN = 8  # ticks before it can fire, a whole number
BARREL = 9  # the barrel that fires next, 0 … 9
TEAM = 10  # 0, 1, or -1: no ship in this slot
SCRIPT = 11  # who commands it: 0 = `actions`, else a script of `scripts.SCRIPTS`
SKILL = 12  # probability that a script's action is taken rather than a random one, drawn each step
# Of the last step: what happened between its first tick and its last.
ACC_X, ACC_Y = 13, 14  # change of velocity over the step's time, units/s²
OMEGA = 15  # change of the attitude's angle over the step's time, rad/s, clockwise
SHOTS = 16  # bullets fired
DEALT = 17  # damage its bullets did to the other team
FRIENDLY = 18  # damage its bullets did to its own team
TAKEN = 19  # damage it took
SHIP_ROWS = 20

# First rows of the bullets' fields, BARRELS rows each.
BULLET_X, BULLET_Y = 20, 30  # position, [0, 1024)
BULLET_VX, BULLET_VY = 40, 50  # velocity, units/s
BULLET_LIFE = 60  # ticks left, a whole number; 0 = no bullet
ROWS = 70

CLOCK_TICK = 0  # ticks of this game
CLOCK_STATUS = 1  # RUNNING, or how it ended
CLOCK_EPISODE = 2  # games before this one
CLOCK_TOTAL = 3  # ticks of all games of this world
RUNNING, TEAM_0_WON, TEAM_1_WON, DRAW = 0, 1, 2, 3

POWER_CLASSES, TURN_CLASSES, SHOOT_CLASSES = 3, 7, 2
COAST, BOOST, REVERSE = 0, 1, 2
STRAIGHT, LEFT, RIGHT, SHARP_LEFT, SHARP_RIGHT, AIR_BRAKE, SHARP_AIR_BRAKE = 0, 1, 2, 3, 4, 5, 6

TICK_RATE = 60
"""Ticks a second."""
ACTION_REPEAT = 4
"""Ticks that one action is held: 15 decisions a second."""
HORIZON = 1024
"""Ticks after which a game is a draw."""
BULLET_TICKS = 60
RELOAD_TICKS = 6

SIZE = np.float32(1024.0)
HALF_SIZE = np.float32(512.0)
SHIP_RADIUS = np.float32(10.0)
MAX_HEALTH = np.float32(100.0)
MAX_POWER = np.float32(100.0)
SPAWN_SPEED = np.float32(100.0)
MAX_SPEED = np.float32(400.0)
"""Cap of a ship's speed. Boosting through a turn would otherwise feed on itself: lift grows with speed squared."""
BULLET_SPEED = np.float32(500.0)
BULLET_SPREAD = 12.0
"""Standard deviation of the noise on each component of a bullet's velocity, units/s."""
BULLET_DAMAGE = np.float32(10.0)
SHOT_POWER = np.float32(3.0)
