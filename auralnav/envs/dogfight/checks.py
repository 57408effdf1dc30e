"""What a dogfight world refuses, each in one line that names the cause and the fix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

from auralnav.envs.dogfight import layout as at
from auralnav.envs.dogfight.scripts import SCRIPTS
from auralnav.errors import ActionError, ConfigError

CLASSES = (("power", at.POWER_CLASSES), ("turn", at.TURN_CLASSES), ("shoot", at.SHOOT_CLASSES))
"""The three parts of an action and how many classes each has."""

_LAST_PLACE = 1024 - 2**-14
RANGES = (
    *((row, 0, _LAST_PLACE) for row in (at.X, at.Y, *range(at.BULLET_X, at.BULLET_VX))),
    *((row, 0, 100) for row in (at.HEALTH, at.POWER)),
    (at.COOLDOWN, 0, at.RELOAD_TICKS),
    (at.BARREL, 0, at.BARRELS - 1),
    (at.TEAM, -1, 1),
    (at.SCRIPT, 0, len(SCRIPTS) - 1),
    (at.SKILL, 0, 1),
    *((row, 0, at.BULLET_TICKS) for row in range(at.BULLET_LIFE, at.ROWS)),
)
"""Rows of `state` that have bounds: (row, least, greatest)."""


def checked_count(name: str, value: Any) -> int:
    """A whole number of at least 1.

    Raises:
        ConfigError: something else, called by the argument's name.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ConfigError(f"{name}={value!r} is not a whole number of at least 1")
    return int(value)


def checked_scalars(num_worlds: Any, action_repeat: Any, horizon: Any, spread: Any) -> None:
    """Refuse counts that are not whole numbers of at least 1, and a spread outside [0, 100].

    Raises:
        ConfigError: for the first of them.
    """
    for name, value in (("num_worlds", num_worlds), ("action_repeat", action_repeat), ("horizon", horizon)):
        checked_count(name, value)
    if isinstance(spread, bool) or not isinstance(spread, Real) or not 0 <= float(spread) <= 100:
        raise ConfigError(f"spread={spread!r} is not a number from 0 to 100 units/s")


def checked_sizes(teams: tuple[int, int] | Sequence[tuple[int, int]], num_worlds: int) -> np.ndarray:
    """int64 [W, 2]: the ships of each team in each world.

    Raises:
        ConfigError: a team without ships, more than 8 ships, or another shape.
    """
    try:
        sizes = np.array(teams)
    except ValueError as error:
        raise ConfigError(f"teams={teams!r} are not pairs of numbers of ships") from error
    if sizes.shape not in ((2,), (num_worlds, 2)) or sizes.dtype.kind not in "iu":
        raise ConfigError(f"teams={teams!r} is not (ships of team 0, ships of team 1), or one such pair a world")
    sizes = np.broadcast_to(sizes, (num_worlds, 2)).astype(np.int64)
    for few, many in np.unique(sizes, axis=0):
        if few < 1 or many < 1 or few + many > at.SLOTS:
            raise ConfigError(f"teams=({few}, {many}): each needs a ship, and together they have {at.SLOTS} at most")
    return sizes


def team_rows(sizes: np.ndarray) -> np.ndarray:
    """float32 [W, SLOTS]: the row TEAM of worlds of these sizes, int64 [W, 2]."""
    slots, first, both = np.arange(at.SLOTS), sizes[:, :1], sizes.sum(1, keepdims=True)
    return np.where(slots < first, 0, np.where(slots < both, 1, -1)).astype(np.float32)


def checked_actions(actions: Any, num_worlds: int) -> np.ndarray:
    """Actions as an integer array [W, n, 3].

    Raises:
        ActionError: another shape, no integers (so no NaN), or a class that does not exist.
    """
    given = np.asarray(actions)
    if given.ndim != 3 or given.shape[0] != num_worlds or given.shape[2] != 3 or not 1 <= given.shape[1] <= at.SLOTS:
        raise ActionError(f"actions are {given.shape}, not ({num_worlds}, ships, 3) for up to {at.SLOTS} ships")
    if given.dtype.kind not in "iu":
        raise ActionError(f"actions are {given.dtype}, not integers: power 0 to 2, turn 0 to 6, shoot 0 or 1")
    for column, (name, classes) in enumerate(CLASSES):
        low, high = given[..., column].min(), given[..., column].max()
        if low < 0 or high >= classes:
            raise ActionError(f"{name}={low if low < 0 else high} is outside its classes, 0 to {classes - 1}")
    return given


def checked_snapshot(snapshot: Mapping[str, np.ndarray], arrays: Mapping[str, Any]) -> list[np.ndarray]:
    """The arrays of a snapshot, in the order of those of the world that it is for.

    Raises:
        ConfigError: an array is missing, of another shape or type, not finite, or a row of the state leaves RANGES.
    """
    checked = []
    for name, mine in arrays.items():
        if name not in snapshot:
            raise ConfigError(f"the snapshot holds no {name!r}; take one with snapshot()")
        given = np.asarray(snapshot[name])
        if given.shape != mine.shape or given.dtype != mine.dtype:
            raise ConfigError(f"snapshot[{name!r}] is {given.dtype} {given.shape}, not {mine.dtype} {mine.shape}")
        if not np.isfinite(given).all():
            raise ConfigError(f"snapshot[{name!r}] holds NaN or infinity")
        if name == "state":
            for row, low, high in RANGES:
                rows = given[:, row]
                if rows.min() < low or rows.max() > high:
                    raise ConfigError(f"row {row} of snapshot['state'] is not within {low} and {high:g}; see `layout`")
        checked.append(given)
    return checked
