"""A replay in whole numbers: what replay files and the page that plays them store in place of floats.

Positions are 65 536ths of the torus' side and attitudes 65 536ths of a turn, which wrap as 16 bits do; velocities,
health and power are 32nds. Health is rounded up, so that whoever lives still lives in the file. What has been through
these steps once goes through them again unchanged.
"""

from __future__ import annotations

import numpy as np

from auralnav.envs.dogfight.replay import Arena, Replay
from auralnav.envs.dogfight.replay_check import BULLET_ARRAYS, SHIP_ARRAYS
from auralnav.errors import ReplayError

PLACES = 65536
STEPS: dict[str, type[np.integer]] = {
    "position": np.uint16,
    "velocity": np.int16,
    "attitude": np.uint16,
    "health": np.uint16,
    "power": np.uint16,
}
"""Stored type of each float array."""


def step_of(name: str, arena: Arena) -> float | None:
    """The step of an array's whole numbers in its own unit; None for arrays that are whole numbers anyway."""
    if name not in STEPS:
        return None
    if name == "position":
        return arena.size / PLACES
    return 2 * np.pi / PLACES if name == "attitude" else 1 / 32


def whole_arrays(replay: Replay) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The arrays of a replay's ships and those of its bullets, by name, in whole steps.

    Raises:
        ReplayError: a velocity of 1024 units/s or more, or a health or power of 2048 or more.
    """
    ships = {name: _whole(name, getattr(replay, name), replay.arena) for name in SHIP_ARRAYS}
    bullets = {name: _whole(name, getattr(replay.bullets, name), replay.arena) for name in BULLET_ARRAYS}
    return ships, bullets


def in_units(name: str, whole: np.ndarray, dtype: type[np.generic], arena: Arena) -> np.ndarray:
    """Whole steps as `dtype` in the array's own unit."""
    step = step_of(name, arena)
    return whole if step is None else (whole * step).astype(dtype)


def _whole(name: str, value: np.ndarray, arena: Arena) -> np.ndarray:
    step = step_of(name, arena)
    if step is None:
        return value
    kind = STEPS[name]
    scaled = value.astype(np.float64) / step
    whole = (np.ceil(scaled) if name == "health" else np.rint(scaled)).astype(np.int64)
    if name in ("position", "attitude"):
        return (whole % PLACES).astype(kind)
    limits = np.iinfo(kind)
    if whole.size and (whole.min() < limits.min or whole.max() > limits.max):
        largest = np.abs(value).max()
        raise ReplayError(f"a {name} of {largest:g} does not fit the format (at most {limits.max * step:g})")
    return whole.astype(kind)
