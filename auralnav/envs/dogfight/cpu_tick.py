"""One tick of a world on the CPU: the eight ships as lanes, the bullets in the air one by one.

Positions in the arrays `s` and `m` are those of `buffer`. A bullet meets all eight ships at once; what costs more, the
exact contact, is asked only of bullets that are near a ship.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from auralnav.envs.dogfight import buffer as b
from auralnav.envs.dogfight import layout as at
from auralnav.envs.dogfight.buffer import N
from auralnav.envs.dogfight.draws import shot
from auralnav.envs.dogfight.lanes import bits, load, pick, splat, store, upper
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

kernel = njit(error_model="numpy", nogil=True)
"""Decorator of what other kernels call; those that Python calls are kept on disk by `entry`."""
entry = njit(cache=True, error_model="numpy", nogil=True)


@kernel
def fly(s, m):
    """Move the ships by one tick and reload; return who fires, bit i for ship i."""
    alive = load(s, b.HEALTH) > ZERO
    old_power, old_cos, old_sin = load(s, b.POWER), load(s, b.COS), load(s, b.SIN)
    power, thrust = engine(old_power, load(m, b.GEAR))
    vx, vy, cos, sin = flight(load(s, b.VX), load(s, b.VY), old_cos, old_sin, thrust, load(m, b.TURN))
    vx, vy = pick(alive, vx, ZERO), pick(alive, vy, ZERO)
    x, y, move_x, move_y, mid_x, mid_y = glide(load(s, b.X), load(s, b.Y), vx, vy)
    cooldown = upper(load(s, b.COOLDOWN) - ONE, ZERO)
    fires = alive & (load(m, b.SHOOT) > ZERO) & (cooldown <= ZERO) & (power >= at.SHOT_POWER)
    store(s, b.X, x)
    store(s, b.Y, y)
    store(s, b.VX, vx)
    store(s, b.VY, vy)
    store(s, b.COS, pick(alive, cos, old_cos))
    store(s, b.SIN, pick(alive, sin, old_sin))
    store(s, b.POWER, pick(alive, pick(fires, power - at.SHOT_POWER, power), old_power))
    store(s, b.COOLDOWN, pick(fires, RELOAD, cooldown))
    store(m, b.MOVE_X, move_x)
    store(m, b.MOVE_Y, move_y)
    store(m, b.MID_X, pick(alive, mid_x, FAR))
    store(m, b.MID_Y, pick(alive, mid_y, FAR))
    return bits(fires)


@kernel
def list_bullets(s, listed):
    """Write down which bullets are in the air; return how many."""
    count = 0
    for first in range(0, b.BULLETS, N):
        alive = bits(load(s, b.BULLET_LIFE + first) > ZERO)
        if alive:
            for i in range(N):
                listed[count] = first + i
                count += (alive >> i) & 1
    return count


@kernel
def fire(s, firing, listed, count, key, tick, episode, spread):
    """Put a bullet into the barrel of every ship that fires; return how many bullets are in the air."""
    for i in range(N):
        if (firing >> i) & 1:
            barrel = int(s[b.BARREL + i]) % at.BARRELS  # whatever was written there
            n = barrel * N + i
            s[b.BULLET_X + n], s[b.BULLET_Y + n] = s[b.X + i], s[b.Y + i]
            vx, vy, cos, sin = s[b.VX + i], s[b.VY + i], s[b.COS + i], s[b.SIN + i]
            s[b.BULLET_VX + n], s[b.BULLET_VY + n] = shot(vx, vy, cos, sin, spread, key, tick, i, episode)
            s[b.BULLET_LIFE + n] = FULL_LIFE
            s[b.BARREL + i] = np.float32((barrel + 1) % at.BARRELS)
            s[b.SHOTS + i] += ONE
            listed[count] = n
            count += 1
    return count


@kernel
def first_hit(s, m, x, y, move_x, move_y, owner):
    """The ship that a bullet hits in the tick that took it to (x, y), -1 for none.

    The earliest contact wins, of equals the lower slot. Dead ships and the one that fired it are not hit.
    """
    dx, dy = move_x - load(m, b.MOVE_X), move_y - load(m, b.MOVE_Y)
    rx, ry = shortest(x - load(s, b.X)) - dx, shortest(y - load(s, b.Y)) - dy
    store(m, b.SHARE, pick(load(s, b.HEALTH) > ZERO, contact(rx, ry, dx, dy), NEVER))
    first, victim = NEVER, -1
    for j in range(N):
        if m[b.SHARE + j] < first and j != owner:
            first, victim = m[b.SHARE + j], j
    return victim


@kernel
def move_bullets(s, m, listed, count, reach):
    """Move the bullets by one tick, let them hit, and strike off those that are gone.

    Args:
        s: the world.
        m: scratch.
        listed: int64 [BULLETS], the bullets in the air; kept up to date.
        count: how many.
        reach: squared distance at the middle of the tick beyond which a bullet cannot hit.

    Returns:
        How many bullets are left, and how many have hit.
    """
    left, hits = 0, 0
    ships_x, ships_y = load(m, b.MID_X), load(m, b.MID_Y)
    for k in range(count):
        n = listed[k]
        owner = n % N
        vx, vy = s[b.BULLET_VX + n], s[b.BULLET_VY + n]
        x, y, move_x, move_y, mid_x, mid_y = glide(s[b.BULLET_X + n], s[b.BULLET_Y + n], vx, vy)
        near = bits(squared_distance(mid_x - ships_x, mid_y - ships_y) < reach)
        life = s[b.BULLET_LIFE + n] - ONE
        if near & ~(1 << owner):
            victim = first_hit(s, m, x, y, move_x, move_y, owner)
            if victim >= 0:
                life = ZERO
                hits += 1
                m[b.HURT + victim] += at.BULLET_DAMAGE
                row = b.FRIENDLY if s[b.TEAM + victim] == s[b.TEAM + owner] else b.DEALT
                s[row + owner] += at.BULLET_DAMAGE
        s[b.BULLET_LIFE + n] = life
        s[b.BULLET_X + n], s[b.BULLET_Y + n] = x, y
        listed[left] = n
        left += 1
        if life <= ZERO:
            left -= 1
            s[b.BULLET_X + n], s[b.BULLET_Y + n] = ZERO, ZERO
            s[b.BULLET_VX + n], s[b.BULLET_VY + n] = ZERO, ZERO
    return left, hits


@kernel
def settle(s, m):
    """Take the damage of the tick; return how the game stands: RUNNING, who won, or DRAW when both are gone."""
    hurt, team = load(m, b.HURT), load(s, b.TEAM)
    health = upper(load(s, b.HEALTH) - hurt, ZERO)
    alive = health > ZERO
    store(s, b.HEALTH, health)
    store(s, b.TAKEN, load(s, b.TAKEN) + hurt)
    store(s, b.VX, pick(alive, load(s, b.VX), ZERO))
    store(s, b.VY, pick(alive, load(s, b.VY), ZERO))
    store(m, b.HURT, splat(ZERO))
    left_0, left_1 = bits(alive & (team == ZERO)), bits(alive & (team == ONE))
    if left_0 and left_1:
        return at.RUNNING
    return at.TEAM_0_WON if left_0 else (at.TEAM_1_WON if left_1 else at.DRAW)


@kernel
def begin_step(s, m, first):
    """Remember what the step's changes are taken from; forget what the last step did where this is a `first` part."""
    store(m, b.OLD_VX, load(s, b.VX))
    store(m, b.OLD_VY, load(s, b.VY))
    store(m, b.OLD_COS, load(s, b.COS))
    store(m, b.OLD_SIN, load(s, b.SIN))
    store(m, b.HURT, splat(ZERO))
    if first:
        store(s, b.SHOTS, splat(ZERO))
        store(s, b.DEALT, splat(ZERO))
        store(s, b.FRIENDLY, splat(ZERO))
        store(s, b.TAKEN, splat(ZERO))


@kernel
def end_step(s, m, ticks):
    """Accelerations and turn rates over the ticks of the step."""
    rate = np.float32(at.TICK_RATE) / np.float32(ticks)
    alive = load(s, b.HEALTH) > ZERO
    acc_x, acc_y, omega = changes(
        load(s, b.VX), load(s, b.VY), load(s, b.COS), load(s, b.SIN),
        load(m, b.OLD_VX), load(m, b.OLD_VY), load(m, b.OLD_COS), load(m, b.OLD_SIN), rate,
    )  # fmt: skip
    store(s, b.ACC_X, pick(alive, acc_x, ZERO))
    store(s, b.ACC_Y, pick(alive, acc_y, ZERO))
    store(s, b.OMEGA, pick(alive, omega, ZERO))
