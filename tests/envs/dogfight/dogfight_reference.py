"""The tick once more, by hand: NumPy and plain loops in float64, velocities as complex numbers, nothing of the kernels.

Written from the rules as they are documented. What is float32 in the world for a reason is float32 here too: power,
whose rounding decides in which tick it ends, and positions, which are multiples of 2^-14.
"""

from __future__ import annotations

import cmath
import math

import numpy as np

DT = 1 / 60
THRUST = (8.0, 80.0, -10.0)
GAIN = tuple(np.float32(g / 60) for g in (10.0, -40.0, 20.0))
OFFSET = tuple(math.radians(d) for d in (0, -5, 5, -15, 15, 0, 0))
DRAG = (8e-4, 1.2e-3, 1.2e-3, 5e-3, 5e-3, 1.2e-3, 5e-3)
LIFT = (0.0, -15e-3, 15e-3, -27e-3, 27e-3, 0.0, 0.0)


def philox4x32(key: int, counter: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """Ten rounds on Python's integers, after Salmon et al. 2011."""
    low = 0xFFFFFFFF
    k = [key & low, key >> 32]
    c = [part & low for part in counter]
    for _ in range(10):
        left, right = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(right >> 32) ^ c[1] ^ k[0], right & low, (left >> 32) ^ c[3] ^ k[1], left & low]
        k = [(k[0] + 0x9E3779B9) & low, (k[1] + 0xBB67AE85) & low]
    return c[0], c[1], c[2], c[3]


def minimum_image(difference: float) -> float:
    return (difference + 512) % 1024 - 512


def lattice(length: float) -> float:
    return round(length * 2**14) / 2**14


class ReferenceWorld:
    """One world; attributes are arrays over the eight ships, `bullets` a list of dicts in no order."""

    def __init__(self, state: np.ndarray, clock: np.ndarray, key: int, spread: float, horizon: int) -> None:
        rows = state.astype(np.float64)
        self.p = rows[0] + 1j * rows[1]
        self.v = rows[2] + 1j * rows[3]
        self.att = rows[4] + 1j * rows[5]
        self.health = rows[6].copy()
        self.power = state[7].copy()
        self.cooldown = rows[8].astype(int)
        self.team = rows[10].astype(int)
        self.tick, self.status, self.episode = (int(c) for c in clock[:3])
        self.key, self.spread, self.horizon = key, spread, horizon
        self.bullets = [
            {"owner": i, "p": complex(rows[20 + k, i], rows[30 + k, i]),
             "v": complex(rows[40 + k, i], rows[50 + k, i]), "life": int(rows[60 + k, i])}
            for k in range(10) for i in range(8) if rows[60 + k, i] > 0
        ]  # fmt: skip
        self.hits = 0
        self.margin = math.inf  # how near to 10 any bullet's least distance from a ship in a tick was

    def run(self, actions: np.ndarray, ticks: int) -> None:
        """Hold [8, 3] classes for that many ticks, or until the game ends."""
        for _ in range(ticks):
            if self.status == 0:
                self._one(actions)

    def _one(self, actions: np.ndarray) -> None:
        before, fresh = self.p.copy(), []
        for i in range(8):
            self.cooldown[i] = max(self.cooldown[i] - 1, 0)
            if self.health[i] > 0:
                self._fly(i, *(int(a) for a in actions[i, :2]))
                if actions[i, 2] and self.cooldown[i] == 0 and self.power[i] >= 3:
                    fresh.append(self._shoot(i))
        self.bullets += fresh
        hurt = np.zeros(8)
        left = []
        for bullet in self.bullets:
            victim = self._fly_bullet(bullet, before)
            if victim is not None:
                hurt[victim] += 10
                self.hits += 1
            elif bullet["life"] > 0:
                left.append(bullet)
        self.bullets = left
        self.health = np.maximum(self.health - hurt, 0)
        self.v[self.health <= 0] = 0
        self.tick += 1
        standing = [bool((self.health[self.team == team] > 0).any()) for team in (0, 1)]
        if not all(standing):
            self.status = {(True, False): 1, (False, True): 2, (False, False): 3}[tuple(standing)]
        elif self.tick >= self.horizon:
            self.status = 3

    def _fly(self, i: int, gear: int, turn: int) -> None:
        thrust = THRUST[gear] if self.power[i] > 0 else 0.0
        self.power[i] = np.clip(np.float32(self.power[i] + GAIN[gear]), 0, 100)
        v = self.v[i]
        if abs(v) >= 1e-6:
            self.att[i] = v / abs(v) * cmath.exp(1j * OFFSET[turn])
        a = thrust * self.att[i] - DRAG[turn] * abs(v) * v + LIFT[turn] * abs(v) * 1j * v
        v = v + a * DT
        if abs(v) > 400:
            v *= 400 / abs(v)
        self.v[i] = v
        moved = self.p[i] + complex(lattice(v.real * DT), lattice(v.imag * DT))
        self.p[i] = complex(moved.real % 1024, moved.imag % 1024)

    def _shoot(self, i: int) -> dict:
        self.power[i] -= np.float32(3)
        self.cooldown[i] = 6
        words = philox4x32(self.key, (self.tick, i, 1, self.episode))
        u0, u1 = ((word >> 8) / 2**24 for word in words[:2])
        stray = math.sqrt(-2 * math.log(1 - u0)) * cmath.exp(2j * math.pi * u1)
        return {"owner": i, "p": self.p[i], "v": self.v[i] + 500 * self.att[i] + self.spread * stray, "life": 60}

    def _fly_bullet(self, bullet: dict, before: np.ndarray) -> int | None:
        step = complex(lattice(bullet["v"].real * DT), lattice(bullet["v"].imag * DT))
        start = bullet["p"]
        moved = start + step
        bullet["p"] = complex(moved.real % 1024, moved.imag % 1024)
        bullet["life"] -= 1
        meetings = []
        for j in range(8):
            if self.health[j] <= 0 or j == bullet["owner"]:
                continue
            gone = self.p[j] - before[j]
            d = step - complex(minimum_image(gone.real), minimum_image(gone.imag))
            apart = start - before[j]
            r = complex(minimum_image(apart.real), minimum_image(apart.imag))
            if abs(r) > 10 + abs(d) + 1:
                continue
            nearest = r + d * (np.clip(-(r * d.conjugate()).real / abs(d) ** 2, 0, 1) if d else 0)
            self.margin = min(self.margin, abs(abs(nearest) - 10))
            share = self._contact(r, d)
            if share is not None:
                meetings.append((share, j))
        return min(meetings)[1] if meetings else None

    @staticmethod
    def _contact(r: complex, d: complex) -> float | None:
        if abs(r) <= 10:
            return 0.0
        if d == 0:
            return None
        roots = np.roots([abs(d) ** 2, 2 * (r * d.conjugate()).real, abs(r) ** 2 - 100])
        if np.iscomplex(roots).any():
            return None
        first = roots.real.min()
        return float(first) if 0 <= first <= 1 else None
