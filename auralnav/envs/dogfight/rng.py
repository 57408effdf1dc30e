"""Random numbers by counter: the same bits for the same key and counter, whatever else was drawn, on CPU and CUDA.

Philox4x32 with ten rounds (Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011). The
key is the seed of a world, the counter says what the numbers are for: (tick, slot, purpose, game).
"""

from __future__ import annotations

import math

import numpy as np

from auralnav.envs.dogfight.rules import ONE, TWO, rule

SPAWN, SPREAD, CHOICE, OPPONENT = 0, 1, 2, 3
"""Purposes: where a ship begins, how a shot strays, what a script chooses, who flies the other team."""

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_32, _8 = np.uint64(32), np.uint64(8)
_UNIT = np.float32(2.0**-24)
_TAU = np.float32(2.0 * math.pi)


@rule
def philox(key, c0, c1, c2, c3):
    """Four random words of 32 bits as uint64, from a key of 64 bits and a counter of four words."""
    k0, k1 = np.uint64(key) & _LOW, np.uint64(key) >> _32
    c0, c1 = np.uint64(c0) & _LOW, np.uint64(c1) & _LOW
    c2, c3 = np.uint64(c2) & _LOW, np.uint64(c3) & _LOW
    for _ in range(10):
        p0, p1 = _M0 * c0, _M1 * c2
        c0, c1, c2, c3 = (p1 >> _32) ^ c1 ^ k0, p1 & _LOW, (p0 >> _32) ^ c3 ^ k1, p0 & _LOW
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    return c0, c1, c2, c3


@rule
def uniform(word):
    """A float32 in [0, 1) from the upper 24 bits of a word."""
    return np.float32(word >> _8) * _UNIT


@rule
def normal_pair(word0, word1):
    """Two independent standard normal float32 from two words (Box & Muller 1958); none exceeds 5.8."""
    radius = math.sqrt(-TWO * math.log(ONE - uniform(word0)))
    angle = _TAU * uniform(word1)
    return radius * math.cos(angle), radius * math.sin(angle)
