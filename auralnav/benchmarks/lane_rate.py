"""How fast a thread adds eight float32 at a time: what arithmetic alone would take."""

from __future__ import annotations

import numpy as np
from numba import njit

from auralnav.envs.dogfight.lanes import splat, store

ADDITIONS = 8
"""Of a round: as many chains as it takes for the adders never to wait for a sum."""

_STEP = np.float32(1e-3)
_TWO, _THREE, _FOUR = np.float32(2.0), np.float32(3.0), np.float32(4.0)


@njit(error_model="numpy", nogil=True)
def additions(rounds):
    """Add to eight chains of eight float32, `rounds` times; return a sum, so that nothing is left out."""
    step = splat(_STEP)
    a, b, c, d = step, splat(_TWO), splat(_THREE), splat(_FOUR)  # chains of equal sums would be made one
    e, f, g, h = d + a, d + b, d + c, d + d
    for _ in range(rounds):
        a, b, c, d = a + step, b + step, c + step, d + step
        e, f, g, h = e + step, f + step, g + step, h + step
    out = np.empty(8, np.float32)
    store(out, 0, a + b + c + d + e + f + g + h)
    return out[0]
