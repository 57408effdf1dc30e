"""Bootstrap intervals of means over episodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Interval:
    """A mean with its bootstrap interval."""

    mean: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        return f"{self.mean:.2f} [{self.low:.2f}, {self.high:.2f}]"


def bootstrap_mean(
    values: Sequence[float] | np.ndarray, level: float = 0.95, draws: int = 4_000, seed: int = 0
) -> Interval:
    """Mean of independent values with its percentile bootstrap interval (Efron 1979).

    The same values give the same interval, for the draws come from `seed`.

    Args:
        values: [n], n ≥ 1, finite.
        level: share of the bootstrap distribution inside the interval.
        draws: resamples.
        seed: of the resampling.

    Raises:
        ValueError: no values, or one that is not finite.
    """
    data = np.asarray(values, dtype=np.float64)
    if data.ndim != 1 or data.size == 0 or not np.isfinite(data).all():
        raise ValueError("a bootstrap needs at least one value and only finite ones")
    rng = np.random.default_rng(seed)
    means = np.empty(draws)
    block = max(1, 1_000_000 // data.size)  # bounds the memory of the resampled table
    for begin in range(0, draws, block):
        end = min(begin + block, draws)
        means[begin:end] = data[rng.integers(0, data.size, (end - begin, data.size))].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(data.mean()), float(low), float(high), int(data.size))
