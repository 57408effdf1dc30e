"""What must hold of a replay, whoever made it: shapes, dtypes, ranges, and that its parts fit each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from auralnav.envs.dogfight.layout import POWER_CLASSES, SHOOT_CLASSES, SLOTS, TURN_CLASSES
from auralnav.errors import ReplayError

if TYPE_CHECKING:
    from auralnav.envs.dogfight.replay import Replay

FLYING, EXPIRED, HIT = 0, 1, 2
"""How a bullet ended: not before the recording did, by its age, in a ship."""

SHIP_ARRAYS: dict[str, tuple[type[np.generic], str]] = {
    "team": (np.int8, "N"),
    "tick": (np.int32, "F"),
    "position": (np.float32, "FN2"),
    "velocity": (np.float32, "FN2"),
    "attitude": (np.float32, "FN"),
    "health": (np.float32, "FN"),
    "power": (np.float32, "FN"),
    "action": (np.uint8, "FN3"),
}
"""dtype and shape of each array of a replay: F frames, N ships."""

BULLET_ARRAYS: dict[str, tuple[type[np.generic], str]] = {
    "owner": (np.uint8, "K"),
    "born": (np.int32, "K"),
    "position": (np.float32, "K2"),
    "velocity": (np.float32, "K2"),
    "end": (np.int32, "K"),
    "fate": (np.uint8, "K"),
    "victim": (np.int8, "K"),
}
"""dtype and shape of each array of its bullets: K bullets."""


def check_replay(replay: Replay) -> None:
    """Raise ReplayError, one line, at the first thing about `replay` that cannot be."""
    ships = len(replay.names)
    if not 1 <= ships <= SLOTS:
        raise ReplayError(f"a replay has 1 to {SLOTS} ships, this one has {ships} names")
    for name in replay.names:
        if not (isinstance(name, str) and name.isprintable()):
            raise ReplayError(f"a pilot of the replay is named {name!r}: a name is text without control characters")
    sizes = {"N": ships, "F": np.size(replay.tick), "K": np.size(replay.bullets.owner)}
    for name, (dtype, shape) in SHIP_ARRAYS.items():
        _check_array(name, getattr(replay, name), dtype, shape, sizes)
    for name, (dtype, shape) in BULLET_ARRAYS.items():
        _check_array(f"bullets.{name}", getattr(replay.bullets, name), dtype, shape, sizes)
    if sizes["F"] == 0:
        raise ReplayError("the replay has no frames: record the start of the game at least")

    arena = replay.arena
    _check_range("team", replay.team, 0, 1)
    _check_range("position", replay.position, 0, arena.size)
    _check_range("health", replay.health, 0, arena.max_health)
    _check_range("power", replay.power, 0, arena.max_power)
    choices = {"power": POWER_CLASSES, "turn": TURN_CLASSES, "shoot": SHOOT_CLASSES}
    for index, (name, count) in enumerate(choices.items()):
        _check_range(f"action.{name}", replay.action[..., index], 0, count - 1)
    if replay.tick[0] < 0 or (np.diff(replay.tick) <= 0).any():
        raise ReplayError("the replay's frames are out of order: their ticks must rise from 0")
    _check_bullets(replay)
    if replay.winner is not None and (not replay.finished or replay.winner not in (0, 1)):
        raise ReplayError(f"the replay's winner is {replay.winner!r}: a finished game has 0, 1 or None")


def _check_bullets(replay: Replay) -> None:
    bullets, ships = replay.bullets, len(replay.names)
    _check_range("bullets.owner", bullets.owner, 0, ships - 1)
    _check_range("bullets.position", bullets.position, 0, replay.arena.size)
    _check_range("bullets.fate", bullets.fate, FLYING, HIT)
    _check_range("bullets.victim", bullets.victim, -1, ships - 1)
    if ((bullets.victim >= 0) != (bullets.fate == HIT)).any():
        raise ReplayError("the replay's bullets contradict themselves: exactly those that hit have a victim")
    if (np.diff(bullets.born) < 0).any():
        raise ReplayError("the replay's bullets are out of order: sort them by the tick of their birth")
    if (bullets.end < bullets.born).any() or (bullets.end > replay.last_tick).any() or (bullets.born < 0).any():
        raise ReplayError("a bullet of the replay ends before its birth or outside the recording")


def _check_array(name: str, value: Any, dtype: type[np.generic], shape: str, sizes: dict[str, int]) -> None:
    """The dtype and shape of one array, and that its numbers are finite."""
    wanted = tuple(sizes[symbol] if symbol in sizes else int(symbol) for symbol in shape)
    if not isinstance(value, np.ndarray) or value.dtype != dtype or value.shape != wanted:
        found = f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else repr(value)
        raise ReplayError(f"the replay's {name} is {found}: it must be {np.dtype(dtype)} {list(wanted)}")
    if not np.isfinite(value).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(value))[0])
        raise ReplayError(f"the replay's {name}{list(where)} is {value[where]}: it must be finite")


def _check_range(name: str, value: np.ndarray, low: float, high: float) -> None:
    outside = (value < low) | (value > high)
    if outside.any():
        where = tuple(int(i) for i in np.argwhere(outside)[0])
        raise ReplayError(f"the replay's {name}{list(where)} is {value[where]}: it must be in {low}..{high}")
