"""The kernels of the CPU: worlds in parallel, the eight ships of a world as vector lanes.

A world is copied into one flat buffer that holds its state and all scratch, stepped there, and copied back: offsets
into one array are all that LLVM needs to see that no two loops touch the same place, and the ticks of a step stay in
the first-level cache.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

from auralnav.envs.dogfight import layout as at
from auralnav.envs.dogfight.rng import SPAWN, SPREAD, normal_pair, philox, uniform
from auralnav.envs.dogfight.rules import (
    DT,
    HALF,
    NEVER,
    ONE,
    ZERO,
    contact,
    engine,
    flight,
    on_lattice,
    shortest,
    wrapped,
)

N = at.SLOTS
BULLETS = at.BARRELS * N
STATE = at.ROWS * N
# Offsets into a world's buffer: its state, then scratch of one tick and of one step.
X, Y, VX, VY, COS, SIN = (row * N for row in (at.X, at.Y, at.VX, at.VY, at.COS, at.SIN))
HEALTH, POWER, COOLDOWN, BARREL = (row * N for row in (at.HEALTH, at.POWER, at.COOLDOWN, at.BARREL))
TEAM, SCRIPT, SKILL = (row * N for row in (at.TEAM, at.SCRIPT, at.SKILL))
ACC_X, ACC_Y, OMEGA, SHOTS = (row * N for row in (at.ACC_X, at.ACC_Y, at.OMEGA, at.SHOTS))
DEALT, FRIENDLY, TAKEN = (row * N for row in (at.DEALT, at.FRIENDLY, at.TAKEN))
BULLET_X, BULLET_Y = at.BULLET_X * N, at.BULLET_Y * N
BULLET_VX, BULLET_VY, BULLET_LIFE = at.BULLET_VX * N, at.BULLET_VY * N, at.BULLET_LIFE * N
GEAR, TURN, SHOOT, FIRES = STATE, STATE + N, STATE + 2 * N, STATE + 3 * N
MOVE_X, MOVE_Y, MID_X, MID_Y = STATE + 4 * N, STATE + 5 * N, STATE + 6 * N, STATE + 7 * N
HURT, OLD_VX, OLD_VY, OLD_COS, OLD_SIN = (STATE + k * N for k in range(8, 13))
BULLET_MID_X = STATE + 13 * N
BULLET_MID_Y = BULLET_MID_X + BULLETS
NEAREST = BULLET_MID_Y + BULLETS
BUFFER = NEAREST + BULLETS

FAR = np.float32(4096.0)  # where bullets and ships that are not there stand for the search of near pairs
HUGE = np.float32(1e9)
FULL_LIFE = np.float32(at.BULLET_TICKS)
RELOAD = np.float32(at.RELOAD_TICKS)
TAU = np.float32(2.0 * math.pi)

kernel = njit(cache=True, error_model="numpy", nogil=True)


@kernel
def fly(m):
    """Move the ships by one tick and reload; return how many fire."""
    firing = 0
    for i in range(N):
        alive = m[HEALTH + i] > ZERO
        power, thrust = engine(m[POWER + i], m[GEAR + i])
        vx, vy, cos, sin = flight(m[VX + i], m[VY + i], m[COS + i], m[SIN + i], thrust, m[TURN + i])
        move_x = on_lattice(vx * DT) if alive else ZERO
        move_y = on_lattice(vy * DT) if alive else ZERO
        cooldown = max(m[COOLDOWN + i] - ONE, ZERO)
        fires = alive & (m[SHOOT + i] > ZERO) & (cooldown <= ZERO) & (power >= at.SHOT_POWER)
        power = power - at.SHOT_POWER if fires else power
        m[POWER + i] = power if alive else m[POWER + i]
        m[COOLDOWN + i] = RELOAD if fires else cooldown
        m[FIRES + i] = ONE if fires else ZERO
        firing += 1 if fires else 0
        m[VX + i] = vx if alive else ZERO
        m[VY + i] = vy if alive else ZERO
        m[COS + i] = cos if alive else m[COS + i]
        m[SIN + i] = sin if alive else m[SIN + i]
        m[MOVE_X + i], m[MOVE_Y + i] = move_x, move_y
        x, y = wrapped(m[X + i] + move_x), wrapped(m[Y + i] + move_y)
        m[X + i], m[Y + i] = x, y
        m[MID_X + i] = x - HALF * move_x
        m[MID_Y + i] = y - HALF * move_y
        m[HURT + i] = ZERO
    return firing


@kernel
def fire(m, key, tick, episode, spread):
    """Put a bullet into the barrel of every ship that fires."""
    for i in range(N):
        if m[FIRES + i] > ZERO:
            words = philox(key, tick, i, SPREAD, episode)
            stray_x, stray_y = normal_pair(words[0], words[1])
            barrel = int(m[BARREL + i])
            n = barrel * N + i
            m[BULLET_X + n], m[BULLET_Y + n] = m[X + i], m[Y + i]
            m[BULLET_VX + n] = m[VX + i] + at.BULLET_SPEED * m[COS + i] + spread * stray_x
            m[BULLET_VY + n] = m[VY + i] + at.BULLET_SPEED * m[SIN + i] + spread * stray_y
            m[BULLET_LIFE + n] = FULL_LIFE
            m[BARREL + i] = ZERO if barrel == at.BARRELS - 1 else np.float32(barrel + 1)
            m[SHOTS + i] += ONE


@kernel
def move_bullets(m):
    """Move the bullets by one tick; those whose time is over count for this tick still."""
    for n in range(BULLETS):
        life = m[BULLET_LIFE + n]
        alive = life > ZERO
        move_x, move_y = on_lattice(m[BULLET_VX + n] * DT), on_lattice(m[BULLET_VY + n] * DT)
        x, y = wrapped(m[BULLET_X + n] + move_x), wrapped(m[BULLET_Y + n] + move_y)
        m[BULLET_X + n], m[BULLET_Y + n] = x, y
        m[BULLET_MID_X + n] = x - HALF * move_x if alive else FAR
        m[BULLET_MID_Y + n] = y - HALF * move_y if alive else FAR
        m[NEAREST + n] = HUGE
        m[BULLET_LIFE + n] = max(life - ONE, ZERO)


@kernel
def near_pairs(m, reach):
    """How many bullets come within `reach` (squared) of a living ship other than the one that fired them."""
    for j in range(N):
        if m[HEALTH + j] > ZERO:
            ship_x, ship_y = m[MID_X + j], m[MID_Y + j]
            for k in range(at.BARRELS):
                for i in range(N):
                    n = k * N + i
                    dx, dy = abs(m[BULLET_MID_X + n] - ship_x), abs(m[BULLET_MID_Y + n] - ship_y)
                    dx, dy = min(dx, at.SIZE - dx), min(dy, at.SIZE - dy)
                    squared = dx * dx + dy * dy
                    squared = HUGE if i == j else squared
                    m[NEAREST + n] = min(m[NEAREST + n], squared)
    count = 0
    for n in range(BULLETS):
        count += 1 if m[NEAREST + n] < reach else 0
    return count


@kernel
def hit(m, reach):
    """Let bullets that are near a ship hit it: the earliest contact in the tick wins, then the lower slot."""
    for n in range(BULLETS):
        if m[NEAREST + n] < reach:
            owner = n % N
            move_x, move_y = on_lattice(m[BULLET_VX + n] * DT), on_lattice(m[BULLET_VY + n] * DT)
            first, victim = NEVER, -1
            for j in range(N):
                if m[HEALTH + j] > ZERO and j != owner:
                    dx, dy = move_x - m[MOVE_X + j], move_y - m[MOVE_Y + j]
                    rx = shortest(m[BULLET_X + n] - m[X + j]) - dx
                    ry = shortest(m[BULLET_Y + n] - m[Y + j]) - dy
                    share = contact(rx, ry, dx, dy)
                    if share < first:
                        first, victim = share, j
            if victim >= 0:
                m[BULLET_LIFE + n] = ZERO
                m[HURT + victim] += at.BULLET_DAMAGE
                row = FRIENDLY if m[TEAM + victim] == m[TEAM + owner] else DEALT
                m[row + owner] += at.BULLET_DAMAGE


@kernel
def settle(m):
    """Take the damage of the tick; return how the game stands: RUNNING, who won, or DRAW when both are gone."""
    left_0, left_1 = 0, 0
    for i in range(N):
        health = max(m[HEALTH + i] - m[HURT + i], ZERO)
        alive = health > ZERO
        m[HEALTH + i] = health
        m[TAKEN + i] += m[HURT + i]
        m[VX + i] = m[VX + i] if alive else ZERO
        m[VY + i] = m[VY + i] if alive else ZERO
        left_0 += 1 if alive & (m[TEAM + i] == ZERO) else 0
        left_1 += 1 if alive & (m[TEAM + i] == ONE) else 0
    if left_0 and left_1:
        return at.RUNNING
    return at.TEAM_0_WON if left_0 else (at.TEAM_1_WON if left_1 else at.DRAW)


@kernel
def begin_step(m):
    """Remember what the step's changes are taken from and forget what the last step did."""
    for i in range(N):
        m[OLD_VX + i], m[OLD_VY + i] = m[VX + i], m[VY + i]
        m[OLD_COS + i], m[OLD_SIN + i] = m[COS + i], m[SIN + i]
        m[SHOTS + i], m[DEALT + i], m[FRIENDLY + i], m[TAKEN + i] = ZERO, ZERO, ZERO, ZERO


@kernel
def end_step(m, ticks):
    """Accelerations and turn rates over the ticks of the step; dead bullets leave zeros behind."""
    rate = np.float32(at.TICK_RATE) / np.float32(ticks)
    for i in range(N):
        alive = m[HEALTH + i] > ZERO
        m[ACC_X + i] = (m[VX + i] - m[OLD_VX + i]) * rate if alive else ZERO
        m[ACC_Y + i] = (m[VY + i] - m[OLD_VY + i]) * rate if alive else ZERO
        across = m[OLD_COS + i] * m[SIN + i] - m[OLD_SIN + i] * m[COS + i]
        along = m[OLD_COS + i] * m[COS + i] + m[OLD_SIN + i] * m[SIN + i]
        m[OMEGA + i] = np.float32(math.atan2(across, along)) * rate if alive else ZERO
    for field in (BULLET_X, BULLET_Y, BULLET_VX, BULLET_VY):
        for n in range(BULLETS):
            m[field + n] = m[field + n] if m[BULLET_LIFE + n] > ZERO else ZERO


@kernel
def advance(m, clock, key, ticks, horizon, spread, reach):
    """Run up to `ticks` ticks of the world in the buffer, fewer when the game ends."""
    begin_step(m)
    done = 0
    for _ in range(ticks):
        if fly(m):
            fire(m, key, clock[at.CLOCK_TICK], clock[at.CLOCK_EPISODE], spread)
        move_bullets(m)
        if near_pairs(m, reach):
            hit(m, reach)
        status = settle(m)
        done += 1
        clock[at.CLOCK_TICK] += 1
        clock[at.CLOCK_TOTAL] += 1
        if status == at.RUNNING and clock[at.CLOCK_TICK] >= horizon:
            status = at.DRAW
        clock[at.CLOCK_STATUS] = status
        if status != at.RUNNING:
            break
    end_step(m, done)


@kernel
def begin_game(state, clock, key):
    """Place the ships of one world anew: anywhere, heading anywhere, at SPAWN_SPEED, with full health and power.

    Teams and scripts stay. `state` is flat.
    """
    for n in range(STATE):
        if n < TEAM or n >= SKILL + N:
            state[n] = ZERO
    clock[at.CLOCK_TICK] = 0
    clock[at.CLOCK_STATUS] = at.RUNNING
    for i in range(N):
        if state[TEAM + i] >= ZERO:
            words = philox(key, 0, i, SPAWN, clock[at.CLOCK_EPISODE])
            angle = TAU * uniform(words[2])
            cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
            state[X + i], state[Y + i] = at.SIZE * uniform(words[0]), at.SIZE * uniform(words[1])
            state[VX + i], state[VY + i] = at.SPAWN_SPEED * cos, at.SPAWN_SPEED * sin
            state[COS + i], state[SIN + i] = cos, sin
            state[HEALTH + i], state[POWER + i] = at.MAX_HEALTH, at.MAX_POWER


@kernel
def begin_games(state, clock, key, mask):
    """Begin a game in every world of the mask; `clock` says which game it is."""
    for w in range(len(state)):
        if mask[w]:
            begin_game(state[w], clock[w], key[w])


@kernel
def step_world(m, state, clock, key, actions, ticks, horizon, spread, reach, restart):
    """One step of one world.

    Args:
        m: float32 [BUFFER], scratch.
        state: float32 [ROWS * SLOTS] of this world, as are the next ones, in `layout`.
        clock: int64 [4].
        key: int64.
        actions: int32 [SLOTS, 3].
        ticks: that the action is held.
        horizon: ticks after which the game is a draw.
        spread: standard deviation of a shot's noise, units/s.
        reach: squared distance at the middle of a tick beyond which no bullet can hit.
        restart: a world whose game is over begins the next one, which takes the step; it stays as it is otherwise.
    """
    if clock[at.CLOCK_STATUS] != at.RUNNING:
        if restart:
            clock[at.CLOCK_EPISODE] += 1
            begin_game(state, clock, key)
        return
    for n in range(STATE):
        m[n] = state[n]
    for i in range(N):
        m[GEAR + i], m[TURN + i], m[SHOOT + i] = actions[i, 0], actions[i, 1], actions[i, 2]
    advance(m, clock, key, ticks, horizon, spread, reach)
    for n in range(STATE):
        state[n] = m[n]


@njit(cache=True, error_model="numpy", nogil=True, parallel=True)
def step_worlds(state, clock, key, actions, ticks, horizon, spread, reach, restart, chunks):
    """One step of every world, shared by Numba's threads in `chunks` parts."""
    worlds = len(state)
    for part in prange(chunks):
        m = np.empty(BUFFER, np.float32)
        for w in range(part * worlds // chunks, (part + 1) * worlds // chunks):
            step_world(m, state[w], clock[w], key[w], actions[w], ticks, horizon, spread, reach, restart)
