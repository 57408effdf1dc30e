"""The scripted fighters of a world on the CPU: eight ships as lanes, over the arrays of `buffer`."""

from __future__ import annotations

import numpy as np

from auralnav.envs.dogfight import buffer as b
from auralnav.envs.dogfight.buffer import N
from auralnav.envs.dogfight.cpu_tick import kernel
from auralnav.envs.dogfight.lanes import bits, load, pick, places, root, splat, store
from auralnav.envs.dogfight.rng import CHOICE, philox, uniform
from auralnav.envs.dogfight.rules import FAR, ONE, ZERO, shortest
from auralnav.envs.dogfight.scripts import (
    ACTIONS,
    EVADER,
    FOCUS,
    HEALTH_WEIGHT,
    JOUSTER,
    MATES_WEIGHT,
    PURSUIT,
    RANDOM,
    evader,
    in_lane,
    jouster,
    pursuit,
    random_classes,
)

HUGE = np.float32(1e9)


@kernel
def scores(s):
    """Of each ship: its distance from all its living enemies and its health, weighted; low is a good target."""
    x, y, team = load(s, b.X), load(s, b.Y), load(s, b.TEAM)
    score = HEALTH_WEIGHT * load(s, b.HEALTH)
    for j in range(N):
        if s[b.HEALTH + j] > ZERO:
            dx, dy = shortest(s[b.X + j] - x), shortest(s[b.Y + j] - y)
            score = score + pick(team != s[b.TEAM + j], MATES_WEIGHT * root(dx * dx + dy * dy), ZERO)
    return score


@kernel
def look(s, m, focused):
    """Each ship's enemy: the nearest, or with `focused` that of lowest distance and score; of equals the lower slot.

    Returns:
        (dx, dy, vx, vy, cos, sin): the short way to it, its velocity and its attitude.
    """
    x, y, team = load(s, b.X), load(s, b.Y), load(s, b.TEAM)
    if focused:
        store(m, b.SHARE, scores(s))
    best = splat(HUGE)
    seen_dx, seen_dy, seen_vx, seen_vy = splat(FAR), splat(FAR), splat(ZERO), splat(ZERO)
    seen_cos, seen_sin = splat(ONE), splat(ZERO)
    for j in range(N):
        if s[b.HEALTH + j] > ZERO:
            dx, dy = shortest(s[b.X + j] - x), shortest(s[b.Y + j] - y)
            suits = dx * dx + dy * dy
            if focused:
                suits = root(suits) + m[b.SHARE + j]
            better = (team != s[b.TEAM + j]) & (suits < best)
            best = pick(better, suits, best)
            seen_dx, seen_dy = pick(better, dx, seen_dx), pick(better, dy, seen_dy)
            seen_vx, seen_vy = pick(better, s[b.VX + j], seen_vx), pick(better, s[b.VY + j], seen_vy)
            seen_cos, seen_sin = pick(better, s[b.COS + j], seen_cos), pick(better, s[b.SIN + j], seen_sin)
    return seen_dx, seen_dy, seen_vx, seen_vy, seen_cos, seen_sin


@kernel
def is_blocked(s, seen_dx, seen_dy):
    """1 for the ships between whose nose and enemy a living team mate is, else 0."""
    x, y, team, cos, sin = load(s, b.X), load(s, b.Y), load(s, b.TEAM), load(s, b.COS), load(s, b.SIN)
    reach = root(seen_dx * seen_dx + seen_dy * seen_dy)
    blocked = splat(ZERO)
    for j in range(N):
        if s[b.HEALTH + j] > ZERO:
            dx, dy = shortest(s[b.X + j] - x), shortest(s[b.Y + j] - y)
            mate = (team == s[b.TEAM + j]) & (places() != np.float32(j))
            blocked = pick(mate & in_lane(dx, dy, cos, sin, reach), ONE, blocked)
    return blocked


@kernel
def take(s, m, script, gear, turn, shoot):
    """Command the ships of one script with new classes."""
    mine = load(s, b.SCRIPT) == np.float32(script)
    store(m, b.GEAR, pick(mine, gear, load(m, b.GEAR)))
    store(m, b.TURN, pick(mine, turn, load(m, b.TURN)))
    store(m, b.SHOOT, pick(mine, shoot, load(m, b.SHOOT)))


@kernel
def chance(s, m, key, tick, episode):
    """What ships do at random: those of the script RANDOM always, those of another but for their SKILL."""
    for i in range(N):
        script, skill = s[b.SCRIPT + i], s[b.SKILL + i]
        if script == RANDOM or (script != ACTIONS and skill < ONE):
            words = philox(key, tick, i, CHOICE, episode)
            if script == RANDOM or uniform(words[0]) >= skill:
                m[b.GEAR + i], m[b.TURN + i], m[b.SHOOT + i] = random_classes(words[1], words[2], words[3])


@kernel
def decide(s, m, key, tick, episode):
    """GEAR, TURN and SHOOT of every ship that a script commands, and whether there is one; the others keep theirs."""
    script = load(s, b.SCRIPT)
    if not bits(script != np.float32(ACTIONS)):
        return False
    vx, vy, cos, sin, power = load(s, b.VX), load(s, b.VY), load(s, b.COS), load(s, b.SIN), load(s, b.POWER)
    pursues = bits(script == np.float32(PURSUIT))
    evades, jousts = bits(script == np.float32(EVADER)), bits(script == np.float32(JOUSTER))
    if pursues or evades or jousts:
        dx, dy, seen_vx, seen_vy, seen_cos, seen_sin = look(s, m, False)
        if pursues:
            gear, turn, shoot = pursuit(dx, dy, seen_vx, seen_vy, vx, vy, cos, sin, power)
            take(s, m, PURSUIT, gear, turn, shoot)
        if evades:
            gear, turn, shoot = evader(dx, dy, seen_vx, seen_vy, seen_cos, seen_sin, vx, vy, cos, sin, power)
            take(s, m, EVADER, gear, turn, shoot)
        if jousts:
            gear, turn, shoot = jouster(dx, dy, seen_vx, seen_vy, vx, vy, cos, sin, power)
            take(s, m, JOUSTER, gear, turn, shoot)
    if bits(script == np.float32(FOCUS)):
        dx, dy, seen_vx, seen_vy, seen_cos, seen_sin = look(s, m, True)
        gear, turn, shoot = pursuit(dx, dy, seen_vx, seen_vy, vx, vy, cos, sin, power)
        shoot = pick(is_blocked(s, dx, dy) > ZERO, ZERO, shoot)
        take(s, m, FOCUS, gear, turn, shoot)
    chance(s, m, key, tick, episode)
    return True
