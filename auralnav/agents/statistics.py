"""Bootstrap intervals of means over episodes, and of statistics over trainings and episodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Interval:
    """A mean, of whatever kind, with its bootstrap interval."""

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


def interquartile_mean(values: np.ndarray) -> np.ndarray:
    """Mean of the middle half of the last axis: the lowest and highest floor(n / 4) of n values are left out.

    Agarwal et al., NeurIPS 2021; scipy's `trim_mean(values, 0.25)`, for many rows at once.
    """
    cut = values.shape[-1] // 4
    return np.sort(values, axis=-1)[..., cut : values.shape[-1] - cut].mean(axis=-1)


def mean_of_rows(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis."""
    return values.mean(axis=-1)


def bootstrap_iqm(
    scores: Sequence[Sequence[float]] | np.ndarray,
    peer: Sequence[Sequence[float]] | np.ndarray | None = None,
    level: float = 0.95,
    draws: int = 4_000,
    seed: int = 0,
) -> Interval:
    """`bootstrap_trainings` of the interquartile mean."""
    return bootstrap_trainings(scores, peer, interquartile_mean, level=level, draws=draws, seed=seed)


def bootstrap_trainings(
    scores: Sequence[Sequence[float]] | np.ndarray,
    peer: Sequence[Sequence[float]] | np.ndarray | None = None,
    statistic: Callable[[np.ndarray], np.ndarray] = mean_of_rows,
    *,
    paired: bool = False,
    level: float = 0.95,
    draws: int = 4_000,
    seed: int = 0,
) -> Interval:
    """A statistic of several trainings' scores on the same episodes, or its lead over a peer's.

    Trainings and episodes are both drawn anew in each resample, so the interval speaks of other seeds and other
    episodes, not of these. A peer is drawn with the same episodes, and with trainings of its own unless `paired`.

    Args:
        scores: [trainings, episodes], finite.
        peer: [trainings of the peer, episodes]; None for the statistic itself.
        statistic: of the last axis.
        paired: each training of the peer belongs to the one of the same row (the same seed), and is drawn with it.
        level: share of the bootstrap distribution inside the interval.
        draws: resamples.
        seed: of the resampling.

    Raises:
        ValueError: no values, one that is not finite, or a peer with another number of episodes or, paired, of
            trainings.
    """
    tables = [np.asarray(table, dtype=np.float64) for table in (scores, peer) if table is not None]
    for table in tables:
        if table.ndim != 2 or table.size == 0 or not np.isfinite(table).all():
            raise ValueError("an interval over trainings needs finite scores [trainings, episodes]")
        if table.shape[1] != tables[0].shape[1]:
            raise ValueError(f"a peer on {table.shape[1]} episodes cannot be paired with {tables[0].shape[1]}")
        if paired and len(table) != len(tables[0]):
            raise ValueError(f"{len(table)} trainings of a peer cannot be paired with {len(tables[0])}")
    rng = np.random.default_rng(seed)
    values = np.zeros((2, draws))
    for draw in range(draws):
        episodes = rng.integers(0, tables[0].shape[1], tables[0].shape[1])
        runs = rng.integers(0, len(tables[0]), len(tables[0]))
        for row, table in enumerate(tables):
            if row and not paired:
                runs = rng.integers(0, len(table), len(table))
            values[row, draw] = statistic(table[runs[:, None], episodes].ravel())
    low, high = np.quantile(values[0] - values[1], [(1 - level) / 2, (1 + level) / 2])
    middle = [float(statistic(table.ravel())) for table in tables]
    return Interval(middle[0] - sum(middle[1:]), float(low), float(high), int(tables[0].size))
