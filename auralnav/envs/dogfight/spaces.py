"""Observation and action spaces of a dogfight; every bound is finite."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces

from auralnav.envs.dogfight import layout as at
from auralnav.envs.dogfight.observe_rules import (
    ACCELERATION_UNIT,
    EDGE,
    INTRINSIC,
    OMEGA_UNIT,
    RELATION,
    SPEED_UNIT,
)
from auralnav.envs.dogfight.settings import DogfightSettings

_FASTEST = float(at.MAX_SPEED / SPEED_UNIT)
_TICK = 1.0 / at.TICK_RATE  # a game may end after one tick of a step

_HARDEST = 2.0 * float(at.MAX_SPEED / _TICK / ACCELERATION_UNIT)

LIMITS = {
    "vx": _FASTEST, "vy": _FASTEST, "speed": _FASTEST,
    "omega": float(np.pi / _TICK / OMEGA_UNIT), "ax": _HARDEST, "ay": _HARDEST,
    "dvx": 2.0 * _FASTEST, "dvy": 2.0 * _FASTEST, "closing": 2.0 * _FASTEST,
    "log_distance": float(np.log1p(at.SIZE)),
}  # fmt: skip
"""Largest size of each feature; of those that are not listed, 1."""

_ROUNDING = 1.0 + 1e-5


def observation_space(settings: DogfightSettings) -> spaces.Space:
    """What one world's observation lies in: a Box, or a Dict of `intrinsic` and `edges`."""
    n = settings.ships
    own, pair, edge = (_limits(names) for names in (INTRINSIC, RELATION, EDGE))
    if settings.observation == "flat":
        return _box(np.concatenate([np.tile(own, n), np.tile(pair, n * (n - 1))]))
    return spaces.Dict({"intrinsic": _box(np.tile(own, (n, 1))), "edges": _box(np.tile(edge, (n, n, 1)))})


def action_space(ships: int) -> spaces.MultiDiscrete:
    """Power, turn and shoot classes of so many ships, ship by ship."""
    return spaces.MultiDiscrete([at.POWER_CLASSES, at.TURN_CLASSES, at.SHOOT_CLASSES] * ships)


def _limits(names: tuple[str, ...]) -> np.ndarray:
    return np.array([LIMITS.get(name, 1.0) * _ROUNDING for name in names], np.float32)


def _box(limits: np.ndarray) -> spaces.Box:
    return spaces.Box(-limits, limits, dtype=np.float32)
