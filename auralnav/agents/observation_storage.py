"""In which type observations are kept, so that a replay takes little memory and loses nothing that counts."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces

from auralnav.errors import ConfigError

HALF_MAX = float(np.finfo(np.float16).max)


def storage_dtype(space: spaces.Space, exact: bool = False) -> np.dtype:
    """The smallest type that holds the observations of a space without harm.

    Whole numbers (Discrete, MultiDiscrete, MultiBinary, integer boxes): the smallest integer type that holds
    the space's bounds, exactly. Floats with two axes or more (spectrograms, waveforms, depth images), whose
    bounds float16 can hold: float16, unless `exact`; it rounds by at most 2^-11 of the value (66 dB below a
    sound) or 3e-8, whichever is more. All other floats: float32, for vectors are small, and a clock or a
    place far out needs its digits.

    Raises:
        ConfigError: a space that SB3's networks cannot take either, or whole numbers beyond int64.
    """
    if isinstance(space, spaces.Discrete):
        return smallest_integer(int(space.start), int(space.start + space.n) - 1)
    if isinstance(space, spaces.MultiDiscrete):
        return smallest_integer(int(space.start.min()), int((space.start + space.nvec).max()) - 1)
    if isinstance(space, spaces.MultiBinary):
        return np.dtype(np.uint8)
    if not isinstance(space, spaces.Box):
        raise ConfigError(f"{space}: the replay stores Box, Discrete, MultiDiscrete and MultiBinary spaces")
    if space.dtype is not None and space.dtype.kind in "iub":
        return smallest_integer(int(space.low.min()), int(space.high.max()))
    bound = max(np.abs(space.low).max(), np.abs(space.high).max())
    return np.dtype(np.float16 if len(space.shape) >= 2 and bound <= HALF_MAX and not exact else np.float32)


def smallest_integer(low: int, high: int) -> np.dtype:
    """The smallest integer type that holds both bounds.

    Raises:
        ConfigError: not even int64 does.
    """
    for kind in (np.uint8, np.int8, np.int16, np.int32, np.int64):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return np.dtype(kind)
    raise ConfigError(f"whole numbers from {low} to {high} do not fit into int64; give the space narrower bounds")
