"""Elo ratings of players who met in games, by the model of Bradley and Terry (Biometrika 39, 1952).

A player rated r wins against one rated s with probability 1 / (1 + 10^((s − r) / 400)); a draw is half a win and half a
loss. The ratings are those that make all games together most likely. One draw is added between any two players who
met, a prior without which the rating of a player who never lost would be infinite.
"""

from __future__ import annotations

import math

import numpy as np

from auralnav.agents.statistics import Interval

ANCHOR = 1000.0
"""Rating of the player that the others are measured against."""

PRIOR_DRAWS = 1.0

_SLOPE = math.log(10.0) / 400.0
_LARGEST_STEP = 400.0  # of Newton's method: far from the solution the likelihood is flat
_ITERATIONS = 100
_CLOSE = 1e-6


def fit_ratings(points: np.ndarray, games: np.ndarray, anchor: int) -> np.ndarray:
    """The most likely ratings, by Newton's method; for many tables of results at once.

    Args:
        points: [..., P, P], what the player of the row took from that of the column: a win is 1, a draw ½.
        games: [P, P], how many games they played; the diagonal is 0. Everybody met everybody, if only through others.
        anchor: the player whose rating is ANCHOR.

    Returns:
        float64 [..., P].

    Raises:
        ValueError: points that are not those of the games, or players without a common opponent, near or far.
    """
    points, games = np.asarray(points, np.float64), np.asarray(games, np.float64)
    players = len(games)
    both = points + np.swapaxes(points, -1, -2)
    if games.shape != (players, players) or np.diagonal(games).any() or not np.allclose(both, games):
        raise ValueError("the points of two players must add up to their games, and nobody plays alone")
    met = games > 0
    if not np.linalg.matrix_power(met + np.eye(players), players).all():
        raise ValueError("ratings compare players who met, if only through others")
    points, games = points + 0.5 * PRIOR_DRAWS * met, games + PRIOR_DRAWS * met
    rest = np.arange(players) != anchor
    ratings = np.zeros(points.shape[:-1])
    for _ in range(_ITERATIONS):
        expected = 1.0 / (1.0 + np.exp(-_SLOPE * (ratings[..., :, None] - ratings[..., None, :])))
        gradient = (points - games * expected).sum(axis=-1)
        weight = games * expected * (1.0 - expected)
        curvature = -weight
        curvature[..., np.arange(players), np.arange(players)] += weight.sum(axis=-1)
        kept = curvature[..., rest, :][..., rest] * _SLOPE
        step = np.linalg.solve(kept, gradient[..., rest, None])[..., 0]
        step = np.clip(step, -_LARGEST_STEP, _LARGEST_STEP)
        ratings[..., rest] += step
        if np.abs(step).max(initial=0.0) < _CLOSE:
            return ratings + ANCHOR
    raise ValueError(f"no ratings were found in {_ITERATIONS} rounds; play more games")


def bootstrap_ratings(
    scores: np.ndarray, games: int, anchor: int, level: float = 0.95, draws: int = 1_000, seed: int = 0
) -> list[Interval]:
    """Ratings with percentile bootstrap intervals over the starts of the games.

    All pairs play from the same starts, so a resample takes the same starts for all of them.

    Args:
        scores: [P, P, S], points of the player of the row against that of the column in the games from start s, a mean
            over them in [0, 1]; the diagonal is not read.
        games: of each pair from each start.
        anchor: the player whose rating is ANCHOR, with no interval to it.
        level: share of the bootstrap distribution inside the interval.
        draws: resamples.
        seed: of the resampling.

    Raises:
        ValueError: as `fit_ratings`, or no start.
    """
    scores = np.asarray(scores, np.float64)
    players, starts = scores.shape[1:]
    if not starts:
        raise ValueError("ratings need at least one game of each pair")
    points = games * np.where(np.eye(players, dtype=bool)[:, :, None], 0.0, scores)
    played = float(games * starts) * (1.0 - np.eye(players))
    best = fit_ratings(points.sum(axis=-1), played, anchor)
    picked = np.random.default_rng(seed).multinomial(starts, np.full(starts, 1.0 / starts), draws)  # [draws, S]
    resampled = fit_ratings(np.einsum("ijs,ds->dij", points, picked.astype(np.float64)), played, anchor)
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return [Interval(float(a), float(b), float(c), starts) for a, b, c in zip(best, low, high, strict=True)]
