"""Where everything stands in the two flat float32 arrays that the CPU's kernels work on.

`s` is the `state` of one world, `m` the scratch of the thread that steps it.
"""

from __future__ import annotations

from auralnav.envs.dogfight import layout as at

N = at.SLOTS
BULLETS = at.BARRELS * N
STATE = at.ROWS * N

X, Y, VX, VY, COS, SIN = (row * N for row in (at.X, at.Y, at.VX, at.VY, at.COS, at.SIN))
HEALTH, POWER, COOLDOWN, BARREL = (row * N for row in (at.HEALTH, at.POWER, at.COOLDOWN, at.BARREL))
TEAM, SCRIPT, SKILL = (row * N for row in (at.TEAM, at.SCRIPT, at.SKILL))
ACC_X, ACC_Y, OMEGA, SHOTS = (row * N for row in (at.ACC_X, at.ACC_Y, at.OMEGA, at.SHOTS))
DEALT, FRIENDLY, TAKEN = (row * N for row in (at.DEALT, at.FRIENDLY, at.TAKEN))
BULLET_X, BULLET_Y = at.BULLET_X * N, at.BULLET_Y * N
BULLET_VX, BULLET_VY, BULLET_LIFE = at.BULLET_VX * N, at.BULLET_VY * N, at.BULLET_LIFE * N

# Scratch: the action that is held; of the tick, how far a ship moves, where it is at its middle (FAR when dead) and the
# damage it takes; velocity and attitude when the step began;
# when a bullet meets a ship.
GEAR, TURN, SHOOT, MOVE_X, MOVE_Y, MID_X, MID_Y, HURT, OLD_VX, OLD_VY, OLD_COS, OLD_SIN, SHARE = range(
    0, 13 * N, N
)
SCRATCH = 13 * N
