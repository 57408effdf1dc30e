"""Which bullets were fired and how each ended, read from the states of a world before and after its steps.

A state says where the bullets in flight are and not what became of the others. But a bullet flies straight for a known
time, a ship's column says how often it fired and what damage it took, so that its hits can be told. After single ticks
all of it is exact; after steps of several ticks the tick of a hit is that of the closest approach, with ships taken to
move straight in between. When a bullet that no state shows was fired is known where steps are no longer than a reload.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from auralnav.envs.dogfight import layout as at
from auralnav.envs.dogfight.replay import Bullets
from auralnav.envs.dogfight.replay_check import EXPIRED, FLYING, HIT
from auralnav.envs.dogfight.scene import wrap

DT = 1.0 / at.TICK_RATE
SIZE = float(at.SIZE)
LAST_LIFE = at.BULLET_TICKS - 1
"""Life of a bullet at the end of the tick that it was fired in, when it has flown one tick already."""


@dataclass
class _Shot:
    """One bullet: as in `Bullets`, with positions not yet brought onto the torus."""

    owner: int
    born: int
    position: np.ndarray
    velocity: np.ndarray
    end: int = 0
    fate: int = FLYING
    victim: int = -1

    def at(self, tick: float) -> np.ndarray:
        """Its place [2] at a moment in ticks; it left the muzzle a tick before its birth."""
        return self.position + (tick - self.born) * DT * self.velocity


class BulletLog:
    """Follows the bullets of one game.

    Args:
        state: float32 [ROWS, SLOTS], the world at the start, as in `layout`.
        tick: its tick.
    """

    def __init__(self, state: np.ndarray, tick: int) -> None:
        self._state, self._tick = state, tick
        self._shots: list[_Shot] = []
        self._flying: dict[tuple[int, int], _Shot] = {}  # by barrel and ship
        self._follow(state, tick)

    def add(self, state: np.ndarray, tick: int) -> None:
        """Take in the state after a step: the rows of the last step must tell of all ticks since the one before."""
        life = _field(state, at.BULLET_LIFE)
        gone = {
            place: shot
            for place, shot in self._flying.items()
            if life[place] <= 0 or tick - (LAST_LIFE - life[place]) != shot.born
        }
        for place in gone:
            del self._flying[place]
        seen = self._follow(state, tick)
        unseen = self._point_blank(state, tick, seen)
        self._settle([*gone.values(), *unseen], state, tick)
        self._state, self._tick = state, tick

    def bullets(self) -> Bullets:
        """All bullets so far by birth, then by owner; those in flight end at the last tick."""
        shots = sorted(self._shots, key=lambda shot: (shot.born, shot.owner))
        ends = [self._tick if shot.fate == FLYING else shot.end for shot in shots]
        places = np.array([shot.position for shot in shots]).reshape(-1, 2) % SIZE
        return Bullets(
            owner=np.array([shot.owner for shot in shots], dtype=np.uint8),
            born=np.array([shot.born for shot in shots], dtype=np.int32),
            position=places.astype(np.float32),
            velocity=np.array([shot.velocity for shot in shots], dtype=np.float32).reshape(-1, 2),
            end=np.array(ends, dtype=np.int32),
            fate=np.array([shot.fate for shot in shots], dtype=np.uint8),
            victim=np.array([shot.victim for shot in shots], dtype=np.int8),
        )

    def _follow(self, state: np.ndarray, tick: int) -> list[_Shot]:
        """Begin to follow the bullets of a state that are not followed yet; those are returned."""
        fields = (at.BULLET_X, at.BULLET_Y, at.BULLET_VX, at.BULLET_VY, at.BULLET_LIFE)
        x, y, vx, vy, life = (_field(state, row) for row in fields)
        found = []
        for barrel, owner in zip(*np.nonzero(life > 0), strict=True):
            place = (int(barrel), int(owner))
            if place in self._flying:
                continue
            flown = LAST_LIFE - int(life[place])
            velocity = np.array([vx[place], vy[place]], dtype=float)
            position = np.array([x[place], y[place]], dtype=float) - flown * DT * velocity
            found.append(_Shot(place[1], tick - flown, position, velocity))
            self._flying[place] = found[-1]
        self._shots += found
        return found

    def _point_blank(self, state: np.ndarray, tick: int, seen: list[_Shot]) -> list[_Shot]:
        """Bullets of this step that no state shows: they hit, or were spent, before it was over."""
        shots = []
        for owner in np.flatnonzero(state[at.SHOTS] > 0):
            born = {shot.born for shot in seen if shot.owner == owner}
            missing = round(float(state[at.SHOTS, owner])) - len(born)
            # A ship mostly fires again as soon as it has reloaded: every sixth tick, back from when it fired last.
            last = tick - at.RELOAD_TICKS + int(state[at.COOLDOWN, owner])
            ticks = (when for when in range(last, self._tick, -at.RELOAD_TICKS) if when not in born)
            shots += [self._shot_of(state, tick, int(owner), when) for when in itertools.islice(ticks, missing)]
        self._shots += shots
        return shots

    def _shot_of(self, state: np.ndarray, tick: int, owner: int, born: int) -> _Shot:
        """The bullet that a ship fired at a tick, without its noise."""
        muzzle = self._ship(state, tick, owner, born)
        aim = state[[at.COS, at.SIN], owner].astype(float)
        # A ship that is shot down stands still from then on: take what it flew before.
        ship = state if state[at.HEALTH, owner] > 0 else self._state
        velocity = ship[[at.VX, at.VY], owner] + float(at.BULLET_SPEED) * aim
        return _Shot(owner, born, muzzle + DT * velocity, velocity)

    def _ship(self, state: np.ndarray, tick: int, ship: int, when: float) -> np.ndarray:
        """Where a ship [2] is between the last state and this one, going straight."""
        start = self._state[[at.X, at.Y], ship].astype(float)
        way = wrap(state[[at.X, at.Y], ship] - start, SIZE)
        return start + way * (when - self._tick) / (tick - self._tick)

    def _settle(self, ended: list[_Shot], state: np.ndarray, tick: int) -> None:
        """Say of bullets that are no more how they ended: as many hits on each ship as its damage tells."""
        left = np.rint(state[at.TAKEN] / at.BULLET_DAMAGE).astype(int)
        pairs = []
        for index, shot in enumerate(ended):
            spent = shot.born + LAST_LIFE <= tick
            for ship in np.flatnonzero(left):
                if ship != shot.owner:
                    when, beyond = self._contact(shot, state, tick, int(ship))
                    # Who had time left must have hit something; then who came near enough, soonest, lowest slot.
                    pairs.append((spent, beyond, when, int(ship), index))
        for _, _, when, ship, index in sorted(pairs):
            shot = ended[index]
            if shot.victim < 0 and left[ship]:
                left[ship] -= 1
                shot.victim, shot.fate = ship, HIT
                shot.end = min(max(int(np.ceil(when)), shot.born), tick)
        for shot in ended:
            if shot.victim < 0:
                shot.fate, shot.end = EXPIRED, min(shot.born + LAST_LIFE, tick)

    def _contact(self, shot: _Shot, state: np.ndarray, tick: int, ship: int) -> tuple[float, float]:
        """When, in ticks, a bullet first touches a ship's circle, and how far beyond it it stays (0 = it touches)."""
        begin = max(self._tick, shot.born - 1)
        apart = wrap(shot.at(begin) - self._ship(state, tick, ship, begin), SIZE)
        nearing = shot.at(begin + 1) - shot.at(begin)
        nearing = nearing - (self._ship(state, tick, ship, begin + 1) - self._ship(state, tick, ship, begin))
        a, b = float(nearing @ nearing), float(apart @ nearing)
        c = float(apart @ apart) - float(at.SHIP_RADIUS) ** 2
        under = b * b - a * c
        if c <= 0:
            return float(begin), 0.0
        if b < 0 and under >= 0 and begin + c / (np.sqrt(under) - b) <= tick:
            return begin + c / (np.sqrt(under) - b), 0.0
        nearest = float(np.clip(-b / a, 0, tick - begin)) if a > 0 else 0.0
        distance = float(np.hypot(*(apart + nearest * nearing)))
        return begin + nearest, distance - float(at.SHIP_RADIUS)


def _field(state: np.ndarray, row: int) -> np.ndarray:
    """One field of the bullets, [BARRELS, SLOTS]."""
    return state[row : row + at.BARRELS]
