"""What the vector environments of every task ask alike: which worlds are reset, and from which seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from auralnav.errors import ConfigError

MASK = "reset_mask"
"""The option of `reset` that says which worlds begin anew."""

Seeds = int | Sequence[int | None] | np.ndarray | None


def draw_seed(rng: np.random.Generator) -> int:
    """The seed of the next episode, or of a series of them."""
    return int(rng.integers(2**62))


def checked_mask(options: Mapping[str, Any] | None, count: int) -> np.ndarray:
    """The option `reset_mask` of so many rows, bool [count]; without it all of them.

    Raises:
        ConfigError: another type or shape.
    """
    mask = np.asarray((options or {}).get(MASK, np.ones(count, dtype=bool)))
    if mask.shape != (count,) or mask.dtype != np.bool_:
        raise ConfigError(f"reset_mask must be bool of shape ({count},), got {mask.dtype} {mask.shape}")
    return mask


def checked_seeds(seed: Seeds, count: int, rows: str = "worlds") -> list[int | None]:
    """One seed for each of `count` rows, as Python's numbers: from a number the next ones, None for "go on".

    Raises:
        ConfigError: more or fewer than there are rows.
    """
    if isinstance(seed, (int, np.integer)):
        return [int(seed) + i for i in range(count)]
    given = [None] * count if seed is None else list(seed)
    if len(given) != count:
        raise ConfigError(f"{len(given)} seeds for {count} {rows}; give one number or one for each")
    return [int(number) if isinstance(number, np.integer) else number for number in given]
