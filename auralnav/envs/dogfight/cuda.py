"""The kernel of CUDA: eight threads a world, one for each ship and its ten bullets, the rules of `rules` and `scripts`.

Ships stay in registers and bullets in shared memory while the ticks of a step, or of several, run; a world is read from
memory and written to it once a launch. Every thread of a block takes part in every barrier, so a world whose game is
over idles along.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import config
from numba import cuda as _numba_cuda

from auralnav.envs.dogfight import cuda_scripts as see
from auralnav.envs.dogfight import layout as at
from auralnav.envs.dogfight.draws import shot, spawn
from auralnav.envs.dogfight.lanes import upper
from auralnav.envs.dogfight.rules import (
    FAR,
    FULL_LIFE,
    NEVER,
    ONE,
    RELOAD,
    ZERO,
    changes,
    contact,
    engine,
    flight,
    glide,
    shortest,
    squared_distance,
)

# Its attributes are made at run time, for the simulator others than for a device.
cuda: Any = _numba_cuda
_simulated: bool = getattr(config, "ENABLE_CUDASIM", False)

THREADS = 64
"""Of a block: eight worlds."""
OPTIONS = {} if _simulated else {"max_registers": 128}
"""Of the compiler, which Numba's simulator has not: more registers a thread would mean fewer blocks at a time."""
BULLETS = at.BARRELS
# Rows of the bullets in shared memory, BARRELS each.
BX, BY, BVX, BVY, BLIFE = (field * BULLETS for field in range(5))
# Rows of what the ships of a world share in a tick.
MID_X, MID_Y, NEW_X, NEW_Y, MOVE_X, MOVE_Y, HURT, TICK_ROWS = range(8)
SEEN_SHAPE, SHOTS_SHAPE, SHIPS_SHAPE = (see.SEEN, THREADS), (5 * BULLETS, THREADS), (TICK_ROWS, THREADS)


@see.device
def begin_ship(key, slot, episode, team):
    """(x, y, vx, vy, cos, sin, health, power) of a ship at the begin of a game; zeros for an empty slot."""
    if team < ZERO:
        return ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO
    x, y, vx, vy, cos, sin = spawn(key, slot, episode)
    return x, y, vx, vy, cos, sin, at.MAX_HEALTH, at.MAX_POWER


@see.device
def move_bullet(ships, seen, shots, first, me, k, reach):
    """Move the bullet of barrel k by a tick; return the column of the ship that it hits, -1 for none."""
    vx, vy = shots[BVX + k, me], shots[BVY + k, me]
    x, y, move_x, move_y, mid_x, mid_y = glide(shots[BX + k, me], shots[BY + k, me], vx, vy)
    shots[BX + k, me], shots[BY + k, me] = x, y
    shots[BLIFE + k, me] -= ONE
    near = 0
    for j in range(at.SLOTS):
        squared = squared_distance(mid_x - ships[MID_X, first + j], mid_y - ships[MID_Y, first + j])
        near |= (1 if squared < reach else 0) << j
    near &= ~(1 << (me - first))
    earliest, victim = NEVER, -1
    if near:
        for j in range(first, first + at.SLOTS):
            if (near >> (j - first)) & 1:
                dx, dy = move_x - ships[MOVE_X, j], move_y - ships[MOVE_Y, j]
                share = contact(shortest(x - ships[NEW_X, j]) - dx, shortest(y - ships[NEW_Y, j]) - dy, dx, dy)
                if share < earliest:
                    earliest, victim = share, j
    return victim


@see.device
def standing(seen, first):
    """How a game stands: RUNNING, who won, or DRAW when both teams are gone."""
    left_0, left_1 = False, False
    for j in range(first, first + at.SLOTS):
        if seen[see.SEEN_HEALTH, j] > ZERO:
            left_0 = left_0 or seen[see.SEEN_TEAM, j] == ZERO
            left_1 = left_1 or seen[see.SEEN_TEAM, j] == ONE
    if left_0 and left_1:
        return at.RUNNING
    return at.TEAM_0_WON if left_0 else (at.TEAM_1_WON if left_1 else at.DRAW)


@cuda.jit(**OPTIONS)
def step_kernel(state, clock, key, actions, rules, restart, decides, steps):
    """Run `steps` steps of every world; arguments as of `cpu.step_world`, arrays of all worlds.

    A world whose game ends waits for the next step, which begins its next game with `restart` and does nothing without.
    """
    seen = cuda.shared.array(SEEN_SHAPE, np.float32)
    shots = cuda.shared.array(SHOTS_SHAPE, np.float32)
    ships = cuda.shared.array(SHIPS_SHAPE, np.float32)
    ticks, horizon, spread, reach = rules
    me = cuda.threadIdx.x
    slot = me % at.SLOTS
    first = me - slot
    w = cuda.blockIdx.x * (THREADS // at.SLOTS) + me // at.SLOTS
    there = w < state.shape[0]
    if not there:
        w = 0  # read some world, write none
    row = state[w]

    x, y, vx, vy = row[at.X, slot], row[at.Y, slot], row[at.VX, slot], row[at.VY, slot]
    cos, sin, health, power = row[at.COS, slot], row[at.SIN, slot], row[at.HEALTH, slot], row[at.POWER, slot]
    cooldown, barrel, team = row[at.COOLDOWN, slot], int(row[at.BARREL, slot]) % at.BARRELS, row[at.TEAM, slot]
    script, skill = int(row[at.SCRIPT, slot]), row[at.SKILL, slot]
    acc_x, acc_y, omega = row[at.ACC_X, slot], row[at.ACC_Y, slot], row[at.OMEGA, slot]
    fired, dealt = row[at.SHOTS, slot], row[at.DEALT, slot]
    friendly, taken = row[at.FRIENDLY, slot], row[at.TAKEN, slot]
    gear = np.float32(actions[w, slot, 0])
    turn = np.float32(actions[w, slot, 1])
    shoot = np.float32(actions[w, slot, 2])
    tick, status = clock[w, at.CLOCK_TICK], clock[w, at.CLOCK_STATUS]
    episode, total = clock[w, at.CLOCK_EPISODE], clock[w, at.CLOCK_TOTAL]
    seed = key[w]

    aloft = 0  # bit k: a bullet of barrel k is in the air
    touched = 0  # bit k: barrel k is not as it is in memory
    for k in range(BULLETS):
        life = row[at.BULLET_LIFE + k, slot]
        shots[BLIFE + k, me] = life
        if life > ZERO:
            aloft |= 1 << k
            shots[BX + k, me], shots[BY + k, me] = row[at.BULLET_X + k, slot], row[at.BULLET_Y + k, slot]
            shots[BVX + k, me], shots[BVY + k, me] = row[at.BULLET_VX + k, slot], row[at.BULLET_VY + k, slot]

    for _ in range(steps):
        playing = status == at.RUNNING
        if restart and not playing:
            episode += 1
            tick, status = 0, at.RUNNING
            touched |= aloft
            for k in range(BULLETS):
                shots[BLIFE + k, me] = ZERO
            aloft = 0
            x, y, vx, vy, cos, sin, health, power = begin_ship(seed, slot, episode, team)
            cooldown, barrel = ZERO, 0
            acc_x, acc_y, omega = ZERO, ZERO, ZERO
            fired, dealt, friendly, taken = ZERO, ZERO, ZERO, ZERO
        elif playing:
            fired, dealt, friendly, taken = ZERO, ZERO, ZERO, ZERO
        seen[see.SEEN_X, me], seen[see.SEEN_Y, me] = x, y
        seen[see.SEEN_VX, me], seen[see.SEEN_VY, me] = vx, vy
        seen[see.SEEN_COS, me], seen[see.SEEN_SIN, me] = cos, sin
        seen[see.SEEN_HEALTH, me], seen[see.SEEN_TEAM, me] = health, team
        cuda.syncthreads()
        if decides:
            seen[see.SEEN_SCORE, me] = see.score(seen, first, me)
            cuda.syncthreads()
            if playing:
                gear, turn, shoot = see.decide(
                    seen, first, me, script, skill, power, gear, turn, shoot, seed, tick, episode
                )
        old_vx, old_vy, old_cos, old_sin = vx, vy, cos, sin
        done = 0
        for _ in range(ticks):
            alive = health > ZERO
            if playing:
                new_power, thrust = engine(power, gear)
                new_vx, new_vy, new_cos, new_sin = flight(vx, vy, cos, sin, thrust, turn)
                cooldown = upper(cooldown - ONE, ZERO)
                if alive:
                    vx, vy, cos, sin, power = new_vx, new_vy, new_cos, new_sin, new_power
                else:
                    vx, vy = ZERO, ZERO
                x, y, move_x, move_y, mid_x, mid_y = glide(x, y, vx, vy)
                ships[MOVE_X, me], ships[MOVE_Y, me] = move_x, move_y
                ships[NEW_X, me], ships[NEW_Y, me] = x, y
                ships[MID_X, me] = mid_x if alive else FAR
                ships[MID_Y, me] = mid_y if alive else FAR
                if alive and shoot > ZERO and cooldown <= ZERO and power >= at.SHOT_POWER:
                    power -= at.SHOT_POWER
                    cooldown = RELOAD
                    shots[BX + barrel, me], shots[BY + barrel, me] = x, y
                    shot_vx, shot_vy = shot(vx, vy, cos, sin, spread, seed, tick, slot, episode)
                    shots[BVX + barrel, me], shots[BVY + barrel, me] = shot_vx, shot_vy
                    shots[BLIFE + barrel, me] = FULL_LIFE
                    aloft |= 1 << barrel
                    barrel = (barrel + 1) % at.BARRELS
                    fired += ONE
            ships[HURT, me] = ZERO
            cuda.syncthreads()
            if playing:
                touched |= aloft
                for k in range(BULLETS):
                    if (aloft >> k) & 1:
                        victim = move_bullet(ships, seen, shots, first, me, k, reach)
                        if victim >= 0:
                            cuda.atomic.add(ships, (HURT, victim), at.BULLET_DAMAGE)
                            shots[BLIFE + k, me] = ZERO
                            if seen[see.SEEN_TEAM, victim] == team:
                                friendly += at.BULLET_DAMAGE
                            else:
                                dealt += at.BULLET_DAMAGE
                        if shots[BLIFE + k, me] <= ZERO:
                            aloft &= ~(1 << k)
            cuda.syncthreads()
            if playing:
                hurt = ships[HURT, me]
                health = upper(health - hurt, ZERO)
                taken += hurt
                if health <= ZERO:
                    vx, vy = ZERO, ZERO
                seen[see.SEEN_HEALTH, me] = health
            cuda.syncthreads()
            if playing:
                done += 1
                tick += 1
                total += 1
                status = standing(seen, first)
                if status == at.RUNNING and tick >= horizon:
                    status = at.DRAW
                playing = status == at.RUNNING
        if done:
            rate = np.float32(at.TICK_RATE) / np.float32(done)
            acc_x, acc_y, omega = ZERO, ZERO, ZERO
            if health > ZERO:
                acc_x, acc_y, omega = changes(vx, vy, cos, sin, old_vx, old_vy, old_cos, old_sin, rate)

    if not there:
        return
    row[at.X, slot], row[at.Y, slot], row[at.VX, slot], row[at.VY, slot] = x, y, vx, vy
    row[at.COS, slot], row[at.SIN, slot], row[at.HEALTH, slot], row[at.POWER, slot] = cos, sin, health, power
    row[at.COOLDOWN, slot], row[at.BARREL, slot] = cooldown, np.float32(barrel)
    row[at.ACC_X, slot], row[at.ACC_Y, slot], row[at.OMEGA, slot] = acc_x, acc_y, omega
    row[at.SHOTS, slot], row[at.DEALT, slot] = fired, dealt
    row[at.FRIENDLY, slot], row[at.TAKEN, slot] = friendly, taken
    for k in range(BULLETS):
        if (touched >> k) & 1:
            keeps = (aloft >> k) & 1
            row[at.BULLET_X + k, slot] = shots[BX + k, me] if keeps else ZERO
            row[at.BULLET_Y + k, slot] = shots[BY + k, me] if keeps else ZERO
            row[at.BULLET_VX + k, slot] = shots[BVX + k, me] if keeps else ZERO
            row[at.BULLET_VY + k, slot] = shots[BVY + k, me] if keeps else ZERO
            row[at.BULLET_LIFE + k, slot] = shots[BLIFE + k, me] if keeps else ZERO
    if decides and script:
        actions[w, slot, 0], actions[w, slot, 1], actions[w, slot, 2] = int(gear), int(turn), int(shoot)
    if slot == 0:
        clock[w, at.CLOCK_TICK], clock[w, at.CLOCK_STATUS] = tick, status
        clock[w, at.CLOCK_EPISODE], clock[w, at.CLOCK_TOTAL] = episode, total


@cuda.jit
def take_actions_kernel(given, actions, wrong):
    """Copy integer actions [W, n, 3] to the first n slots; set wrong[0] where one is outside its classes."""
    k = cuda.grid(1)
    ships = given.shape[1]
    if k >= given.shape[0] * ships:
        return
    w, i = k // ships, k % ships
    gear, turn, shoot = given[w, i, 0], given[w, i, 1], given[w, i, 2]
    if not (
        0 <= gear < at.POWER_CLASSES and 0 <= turn < at.TURN_CLASSES and 0 <= shoot < at.SHOOT_CLASSES
    ):
        wrong[0] = 1
    actions[w, i, 0], actions[w, i, 1], actions[w, i, 2] = gear, turn, shoot
