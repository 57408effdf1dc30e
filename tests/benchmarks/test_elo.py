"""Elo ratings: exact for two players, recovered from played games, with intervals that hold what they should."""

from __future__ import annotations

import math

import numpy as np
import pytest

from auralnav.benchmarks.elo import ANCHOR, bootstrap_ratings, fit_ratings


def table(wins: dict[tuple[int, int], float], players: int) -> np.ndarray:
    points = np.zeros((players, players))
    for pair, won in wins.items():
        points[pair] = won
    return points


def play(ratings: np.ndarray, starts: int, seed: int) -> np.ndarray:
    """Scores [P, P, S] of games without draws between players of these ratings."""
    rng = np.random.default_rng(seed)
    odds = 1 / (1 + 10 ** ((ratings[None, :] - ratings[:, None]) / 400))
    scores = (rng.random((*odds.shape, starts)) < odds[:, :, None]).astype(float)
    upper = np.triu(np.ones(odds.shape, bool), 1)[:, :, None]
    return np.where(upper, scores, 1 - scores.transpose(1, 0, 2))


@pytest.mark.parametrize(("won", "games"), [(7.5, 10), (5, 10), (10, 10), (0, 3), (0.5, 1)])
def test_two_players_are_apart_by_the_log_of_their_odds_with_one_draw_added(won: float, games: int):
    points = table({(0, 1): won, (1, 0): games - won}, 2)
    ratings = fit_ratings(points, points + points.T, 1)
    odds = (won + 0.5) / (games - won + 0.5)
    assert ratings == pytest.approx([ANCHOR + 400 * math.log10(odds), ANCHOR], abs=1e-3)


def test_ratings_do_not_hang_on_the_order_of_the_players():
    points = play(np.array([1000, 1100, 900, 1300]), 40, 0).sum(-1) * (1 - np.eye(4))
    order = np.array([2, 0, 3, 1])
    ratings = fit_ratings(points, points + points.T, 0)
    again = fit_ratings(points[np.ix_(order, order)], (points + points.T)[np.ix_(order, order)], 1)
    assert again == pytest.approx(ratings[order], abs=1e-3)


def test_at_the_solution_everybody_took_the_points_that_were_expected():
    points = play(np.array([1000, 1500, 700, 1200, 1250]), 25, 1).sum(-1) * (1 - np.eye(5))
    games = points + points.T
    ratings = fit_ratings(points, games, 3)
    expected = (games + (games > 0)) / (1 + 10 ** ((ratings[None] - ratings[:, None]) / 400))
    assert expected.sum(1) == pytest.approx((points + 0.5 * (games > 0)).sum(1), abs=1e-4)
    assert ratings[3] == ANCHOR


def test_a_player_who_always_won_is_far_ahead_and_not_infinitely():
    points = table({(0, 1): 1000, (1, 2): 1000}, 3)
    ratings = fit_ratings(points, points + points.T, 2)
    assert 1000 < ratings[0] - ratings[1] < 2000 and 1000 < ratings[1] - ratings[2] < 2000


def test_intervals_hold_the_true_ratings_about_as_often_as_they_say():
    truth = np.array([1000.0, 1120.0, 930.0])
    inside = []
    for seed in range(60):
        intervals = bootstrap_ratings(play(truth, 80, seed), 1, 0, draws=200, seed=seed)
        rated = list(zip(intervals, truth, strict=True))[1:]  # without the anchor
        inside += [interval.low <= rating <= interval.high for interval, rating in rated]
    assert 0.88 < np.mean(inside) < 0.99


def test_the_anchor_has_no_interval_and_the_same_games_give_the_same_ones():
    scores = play(np.array([1000.0, 1200.0]), 30, 2)
    first, second = (bootstrap_ratings(scores, 1, 0, draws=100) for _ in range(2))
    assert first == second
    assert (first[0].mean, first[0].low, first[0].high, first[0].count) == (ANCHOR, ANCHOR, ANCHOR, 30)
    assert first[1].low < first[1].mean < first[1].high


def test_games_from_a_start_count_each() -> None:
    scores = np.zeros((2, 2, 50))
    scores[0, 1] = 1.0
    best = bootstrap_ratings(scores, 2, 1, draws=10)[0]
    assert best.mean == pytest.approx(ANCHOR + 400 * math.log10(100.5 / 0.5), abs=1e-3)


@pytest.mark.parametrize(
    ("points", "games", "words"),
    [
        ([[0, 3], [1, 0]], [[0, 5], [5, 0]], "add up"),
        ([[1, 3], [1, 0]], [[1, 4], [4, 0]], "alone"),
        ([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]],
         [[0, 2, 0, 0], [2, 0, 0, 0], [0, 0, 0, 2], [0, 0, 2, 0]], "through others"),
    ],
)  # fmt: skip
def test_results_that_cannot_be_are_refused(points, games, words):
    with pytest.raises(ValueError, match=words):
        fit_ratings(np.array(points), np.array(games), 0)


def test_no_games_give_no_ratings():
    with pytest.raises(ValueError, match="at least one game"):
        bootstrap_ratings(np.zeros((2, 2, 0)), 1, 0)
