"""The kernels of the CPU that Python calls: games begun and stepped, each call a range of worlds.

A step's ticks run through in one world before the next one is touched, so a world is read from memory once a step.
"""

from __future__ import annotations

import numpy as np

from auralnav.envs.dogfight import buffer as b
from auralnav.envs.dogfight import layout as at
from auralnav.envs.dogfight.buffer import N
from auralnav.envs.dogfight.cpu_scripts import decide
from auralnav.envs.dogfight.cpu_tick import (
    begin_step,
    end_step,
    entry,
    fire,
    fly,
    kernel,
    list_bullets,
    move_bullets,
    settle,
)
from auralnav.envs.dogfight.draws import spawn
from auralnav.envs.dogfight.rules import ZERO

SOURCES = "992d223e87ec"
"""Start of the SHA-256 of the modules below: Numba compiles anew when this file changes, not when those do."""


@kernel
def advance(s, m, listed, clock, key, rules, begins):
    """Run the ticks of a step in one world, fewer when the game ends; arguments as of `step_world`."""
    ticks, horizon, spread, reach = rules
    begin_step(s, m, begins)
    count = list_bullets(s, listed)
    done = 0
    status = at.RUNNING
    while status == at.RUNNING and done < ticks:
        firing = fly(s, m)
        if firing:
            tick, episode = clock[at.CLOCK_TICK] + done, clock[at.CLOCK_EPISODE]
            count = fire(s, firing, listed, count, key, tick, episode, spread)
        count, hits = move_bullets(s, m, listed, count, reach)
        if hits or done == 0:
            status = settle(s, m)
        done += 1
        if status == at.RUNNING and clock[at.CLOCK_TICK] + done >= horizon:
            status = at.DRAW
    end_step(s, m, done)
    clock[at.CLOCK_TICK] += done
    clock[at.CLOCK_TOTAL] += done
    clock[at.CLOCK_STATUS] = status


@kernel
def begin_game(s, clock, key):
    """Place the ships of one world anew, with full health and power.

    Teams and scripts stay. `s` is the flat state of the world.
    """
    for n in range(b.STATE):
        if n < b.TEAM or n >= b.SKILL + N:
            s[n] = ZERO
    clock[at.CLOCK_TICK] = 0
    clock[at.CLOCK_STATUS] = at.RUNNING
    for i in range(N):
        if s[b.TEAM + i] >= ZERO:
            s[b.X + i], s[b.Y + i], s[b.VX + i], s[b.VY + i], s[b.COS + i], s[b.SIN + i] = spawn(
                key, i, clock[at.CLOCK_EPISODE]
            )
            s[b.HEALTH + i], s[b.POWER + i] = at.MAX_HEALTH, at.MAX_POWER


@entry
def begin_games(state, clock, key, mask):
    """Begin a game in every world of the mask; `clock` says which game it is."""
    for w in range(len(state)):
        if mask[w]:
            begin_game(state[w], clock[w], key[w])


@kernel
def take_actions(m, actions):
    """The actions that are to be held, into the scratch."""
    for i in range(N):
        m[b.GEAR + i], m[b.TURN + i], m[b.SHOOT + i] = actions[i, 0], actions[i, 1], actions[i, 2]


@kernel
def keep_actions(m, actions):
    """Write down the actions that are held, those of scripts among them."""
    for i in range(N):
        actions[i, 0], actions[i, 1], actions[i, 2] = m[b.GEAR + i], m[b.TURN + i], m[b.SHOOT + i]


@kernel
def step_world(s, m, listed, clock, key, actions, rules, restart, decides, begins):
    """One step of one world.

    Args:
        s: float32 [ROWS * SLOTS], `state` of this world, as are the next ones.
        m: float32 [SCRATCH].
        listed: int64 [BULLETS], scratch.
        clock: int64 [4].
        key: int64.
        actions: int32 [SLOTS, 3].
        rules: (ticks that the action is held, ticks after which a game is a draw, standard deviation of a shot's noise
            in units/s, squared distance at the middle of a tick beyond which no bullet can hit).
        restart: a world whose game is over begins the next one, which takes the step; it stays as it is otherwise.
        decides: let the scripts choose their actions first.
        begins: the step begins here; what it adds up begins at zero.
    """
    if clock[at.CLOCK_STATUS] != at.RUNNING:
        if restart:
            clock[at.CLOCK_EPISODE] += 1
            begin_game(s, clock, key)
        return
    take_actions(m, actions)
    if decides and decide(s, m, key, clock[at.CLOCK_TICK], clock[at.CLOCK_EPISODE]):
        keep_actions(m, actions)
    advance(s, m, listed, clock, key, rules, begins)


@entry
def step_worlds(state, clock, key, actions, rules, restart, decides, begins, first, last):
    """One step of the worlds from `first` to before `last`; the other arguments as of `step_world`, of all worlds."""
    m, listed = np.empty(b.SCRATCH, np.float32), np.empty(b.BULLETS, np.int64)
    for w in range(first, last):
        step_world(state[w], m, listed, clock[w], key[w], actions[w], rules, restart, decides, begins)


@entry
def decide_worlds(state, clock, key, actions):
    """Write the actions that the scripts choose now; the world stays as it is."""
    m = np.empty(b.SCRATCH, np.float32)
    for w in range(len(state)):
        take_actions(m, actions[w])
        if decide(state[w], m, key[w], clock[w, at.CLOCK_TICK], clock[w, at.CLOCK_EPISODE]):
            keep_actions(m, actions[w])
