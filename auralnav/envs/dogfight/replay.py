"""A recorded dogfight: everything that is needed to show it, without the rules that made it.

Ships are kept as frames, one every few ticks; bullets as one row each, because between birth and end a bullet flies
straight. Axes are the world's: x right, y down, angles clockwise as seen, positions on a torus.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from types import MappingProxyType

import numpy as np

from auralnav.envs.dogfight import layout
from auralnav.envs.dogfight.replay_check import HIT, check_replay
from auralnav.errors import ReplayError

LARGEST = 1_000_000
"""Of what a replay may say of its world: no game comes near it, and float32 tells wholes apart up to there."""

Setting = bool | int | float | str | None


@dataclass(frozen=True)
class Arena:
    """The constants of a world that a picture of it needs, kept in the file: they may change, a recording does not.

    Attributes:
        size: side of the torus, units.
        radius: of a ship, units.
        tick_seconds: duration of a tick.
        max_health, max_power: what full bars stand for.
        horizon: ticks after which the game is a draw.
        action_repeat: ticks that a pilot's action is held.
    """

    size: float = float(layout.SIZE)
    radius: float = float(layout.SHIP_RADIUS)
    tick_seconds: float = 1.0 / layout.TICK_RATE
    max_health: float = float(layout.MAX_HEALTH)
    max_power: float = float(layout.MAX_POWER)
    horizon: int = layout.HORIZON
    action_repeat: int = layout.ACTION_REPEAT

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ReplayError(f"the replay's {item.name} is {value!r}: give a number")
            if not 0 < value <= LARGEST:
                raise ReplayError(f"the replay's {item.name} is {value}: it must be above 0, up to {LARGEST}")
            if item.type == "int" and value != int(value):
                raise ReplayError(f"the replay's {item.name} is {value}: it must be a whole number")


@dataclass(frozen=True, eq=False)
class Bullets:
    """Every bullet of a game, by the tick of its birth; K of them.

    Attributes:
        owner: uint8 [K], the ship that fired it.
        born: int32 [K], the tick at whose end it was at `position`.
        position: float32 [K, 2], in [0, size).
        velocity: float32 [K, 2], units/s, constant.
        end: int32 [K], the last tick of its flight.
        fate: uint8 [K], FLYING, EXPIRED or HIT.
        victim: int8 [K], the ship that it hit, −1 where none.
    """

    owner: np.ndarray
    born: np.ndarray
    position: np.ndarray
    velocity: np.ndarray
    end: np.ndarray
    fate: np.ndarray
    victim: np.ndarray


@dataclass(frozen=True, eq=False)
class Replay:
    """One game of N ships in F frames. Checked when it is made.

    Attributes:
        team: int8 [N], 0 or 1.
        names: N names of pilots.
        tick: int32 [F], the tick at whose end a frame was taken, strictly rising; the start is tick 0.
        position: float32 [F, N, 2], in [0, size).
        velocity: float32 [F, N, 2], units/s.
        attitude: float32 [F, N], radians.
        health, power: float32 [F, N], 0 to `max_health` and `max_power`; a ship lives while its health is above 0.
        action: uint8 [F, N, 3], power, turn and shoot as held until the frame was taken; frame 0 has zeros.
        bullets: all that were fired.
        winner: 0, 1, or None for a draw or a game that was left.
        finished: whether the game came to its end.
        seed: that the world was reset with, None where it is not known.
        arena: constants of the world.
        settings: other settings of the game, for people.
        versions: of Python and of the packages that recorded it.

    Raises:
        ReplayError: an array has the wrong shape or dtype, a value is out of its range or is not finite.
    """

    team: np.ndarray
    names: tuple[str, ...]
    tick: np.ndarray
    position: np.ndarray
    velocity: np.ndarray
    attitude: np.ndarray
    health: np.ndarray
    power: np.ndarray
    action: np.ndarray
    bullets: Bullets
    winner: int | None = None
    finished: bool = False
    seed: int | None = None
    arena: Arena = field(default_factory=Arena)
    settings: Mapping[str, Setting] = field(default_factory=lambda: MappingProxyType({}))
    versions: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        check_replay(self)

    @property
    def ships(self) -> int:
        """Number of ships N."""
        return len(self.names)

    @property
    def last_tick(self) -> int:
        """Tick of the last frame."""
        return int(self.tick[-1])

    @property
    def seconds(self) -> float:
        """Duration of what was recorded."""
        return self.last_tick * self.arena.tick_seconds

    @cached_property
    def death_tick(self) -> np.ndarray:
        """int32 [N]: the tick at whose end each ship was dead, −1 for those that lived on.

        Where frames are several ticks apart, the last bullet that hit the ship between them tells the tick.
        """
        deaths = np.full(self.ships, -1, dtype=np.int32)
        for ship in range(self.ships):
            dead = np.flatnonzero(self.health[:, ship] <= 0)
            if dead.size == 0:
                continue
            last = int(self.tick[dead[0]])
            first = int(self.tick[dead[0] - 1]) if dead[0] else -1
            end = self.bullets.end[(self.bullets.fate == HIT) & (self.bullets.victim == ship)]
            inside = end[(end > first) & (end <= last)]
            deaths[ship] = inside.max() if inside.size else last
        return deaths

    @cached_property
    def killing_bullet(self) -> np.ndarray:
        """int32 [N]: index of the bullet that killed each ship, −1 where none did."""
        killers = np.full(self.ships, -1, dtype=np.int32)
        for ship in np.flatnonzero(self.death_tick >= 0):
            hits = np.flatnonzero(
                (self.bullets.fate == HIT)
                & (self.bullets.victim == ship)
                & (self.bullets.end == self.death_tick[ship])
            )
            if hits.size:
                killers[ship] = hits[-1]
        return killers

    @property
    def result(self) -> str:
        """The outcome in words, by the names of the teams' pilots."""
        if not self.finished:
            return "unfinished"
        return "draw" if self.winner is None else f"{self.team_name(self.winner)} wins"

    def team_name(self, team: int) -> str:
        """The names of a team's pilots, each once, in the order of the ships."""
        names = (name for name, side in zip(self.names, self.team, strict=True) if side == team)
        return " + ".join(dict.fromkeys(names))
