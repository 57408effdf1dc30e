"""What a step was worth to team 0, and whether it was the last: compiled, for worlds on the CPU.

The terms, each of one step, before their scales:

| term | value |
|---|---|
| win | 1 when the step wins the game, −1 when it loses it |
| hit | hits on the enemy, less hits taken, a team mate's among these |
| dealt | damage to the enemy, in ships' full healths |
| taken | damage taken, likewise, negative |
| facing | cosine of the angle from the nose to the nearest living enemy, mean over the own living ships |
| closing | how fast that enemy comes nearer, in units of the speed at the start, likewise |

`facing` and `closing` are 0 once a side is gone.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from auralnav.envs.dogfight import layout as at

SUMS = (at.DEALT, at.TAKEN, at.FRIENDLY)
"""Rows of the ships that are summed up over a game."""

SOURCES = "567bf1b87a0d"
"""Start of the SHA-256 of `layout`: Numba compiles anew when this file changes, not when that does."""

SIZE = float(at.SIZE)

NEAREST = 1e-3
"""Added to a distance that is divided by, units."""

TERM_WIN, TERM_HIT, TERM_DEALT, TERM_TAKEN, TERM_FACING, TERM_CLOSING = range(6)
"""Places of the terms, in the order of REWARD_TERMS."""


@njit(cache=True, nogil=True)
def _pointing(state, own, ships):
    """(facing, closing) of one world's team 0."""
    facing, closing, living = 0.0, 0.0, 0
    for i in range(own):
        if state[at.HEALTH, i] > 0:
            cosine, speed = _towards(state, i, own, ships)
            facing, closing, living = facing + cosine, closing + speed, living + 1
    return (facing / living, closing / living) if living else (0.0, 0.0)


@njit(cache=True, nogil=True)
def _towards(state, i, first, last):
    """(facing, closing) of ship i and the nearest living one of slots `first` to `last` − 1; zeros without any."""
    nearest, at_x, at_y, other = math.inf, 0.0, 0.0, -1
    for j in range(first, last):
        if state[at.HEALTH, j] > 0:
            dx, dy = state[at.X, j] - state[at.X, i], state[at.Y, j] - state[at.Y, i]
            dx -= SIZE * math.floor(dx / SIZE + 0.5)
            dy -= SIZE * math.floor(dy / SIZE + 0.5)
            distance = math.sqrt(dx * dx + dy * dy)
            if distance < nearest:
                nearest, at_x, at_y, other = distance, dx, dy, j
    if other < 0:
        return 0.0, 0.0
    nearest += NEAREST
    dvx, dvy = state[at.VX, i] - state[at.VX, other], state[at.VY, i] - state[at.VY, other]
    return (
        (at_x * state[at.COS, i] + at_y * state[at.SIN, i]) / nearest,
        (dvx * at_x + dvy * at_y) / nearest / at.SPAWN_SPEED,
    )


@njit(cache=True, nogil=True)
def _write_terms(terms, scales, outcome, dealt, taken, facing, closing):
    """Scale the terms of a team or a ship into float64 [REWARD_TERMS]; `outcome` is 1, 0 or −1."""
    terms[TERM_WIN] = scales[TERM_WIN] * outcome
    terms[TERM_HIT] = scales[TERM_HIT] * (dealt - taken) / at.BULLET_DAMAGE
    terms[TERM_DEALT] = scales[TERM_DEALT] * dealt / at.MAX_HEALTH
    terms[TERM_TAKEN] = -scales[TERM_TAKEN] * taken / at.MAX_HEALTH
    terms[TERM_FACING], terms[TERM_CLOSING] = scales[TERM_FACING] * facing, scales[TERM_CLOSING] * closing


@njit(cache=True, nogil=True)
def score_games(state, clock, teams, scales, over, restart, sums, terms, terminated, truncated):
    """Score the last step of every world.

    Args:
        state: float32 [W, ROWS, SLOTS].
        clock: int64 [W, 4].
        teams: ships of both teams.
        scales: of the terms, in the order of REWARD_TERMS.
        over: bool [W], games that were over before the step; their terms are 0.
        restart: those have begun anew.
        sums: float32 [W, SUMS], added to; from 0 in a new game.
        terms: float64 [W, REWARD_TERMS], written, scaled.
        terminated: bool [W], written: a side is gone.
        truncated: bool [W], written: both are left at the horizon.
    """
    own, ships = teams[0], teams[0] + teams[1]
    for w in range(len(state)):
        s = state[w]
        if over[w]:
            terms[w] = 0.0
            if restart:
                sums[w], terminated[w], truncated[w] = 0.0, False, False
            continue
        dealt, taken, friendly, mine, theirs = 0.0, 0.0, 0.0, False, False
        for i in range(own):
            dealt, taken, friendly = dealt + s[at.DEALT, i], taken + s[at.TAKEN, i], friendly + s[at.FRIENDLY, i]
            mine = mine or s[at.HEALTH, i] > 0
        for j in range(own, ships):
            theirs = theirs or s[at.HEALTH, j] > 0
        sums[w, 0] += dealt
        sums[w, 1] += taken
        sums[w, 2] += friendly
        status = clock[w, at.CLOCK_STATUS]
        terminated[w] = status != at.RUNNING and not (mine and theirs)
        truncated[w] = status != at.RUNNING and mine and theirs
        facing, closing = 0.0, 0.0
        if scales[TERM_FACING] != 0.0 or scales[TERM_CLOSING] != 0.0:
            facing, closing = _pointing(s, own, ships)
        outcome = int(status == at.TEAM_0_WON) - int(status == at.TEAM_1_WON)
        _write_terms(terms[w], scales, outcome, dealt, taken, facing, closing)


@njit(cache=True, nogil=True)
def score_ships(state, clock, teams, scales):
    """The terms of the last step for each ship of one world by itself, of both teams.

    Args:
        state: float32 [ROWS, SLOTS].
        clock: int64 [4].
        teams: ships of both teams.
        scales: of the terms, in the order of REWARD_TERMS.

    Returns:
        float64 [ships, REWARD_TERMS], scaled.
    """
    own, ships = teams[0], teams[0] + teams[1]
    terms = np.zeros((ships, 6))
    won = int(clock[at.CLOCK_STATUS] == at.TEAM_0_WON) - int(clock[at.CLOCK_STATUS] == at.TEAM_1_WON)
    for i in range(ships):
        facing, closing = 0.0, 0.0
        if state[at.HEALTH, i] > 0 and (scales[TERM_FACING] != 0.0 or scales[TERM_CLOSING] != 0.0):
            first, last = (own, ships) if i < own else (0, own)
            facing, closing = _towards(state, i, first, last)
        outcome = won if i < own else -won
        _write_terms(terms[i], scales, outcome, state[at.DEALT, i], state[at.TAKEN, i], facing, closing)
    return terms
