from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import trim_mean

from auralnav.agents.statistics import bootstrap_iqm, bootstrap_mean, bootstrap_trainings, interquartile_mean


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        interval = bootstrap_mean(rng.exponential(1.0, 60), draws=500)
        hits += interval.low <= 1.0 <= interval.high
    assert 0.88 <= hits / 200 <= 0.98


def test_the_interval_is_that_of_the_normal_law_for_many_values():
    values = np.random.default_rng(1).normal(3.0, 2.0, 2_000)
    interval = bootstrap_mean(values)
    half = 1.96 * values.std() / np.sqrt(2_000)
    assert interval.mean == pytest.approx(values.mean())
    assert interval.high - interval.low == pytest.approx(2 * half, rel=0.08)
    assert interval == bootstrap_mean(values)


def test_equal_values_have_no_spread_and_bad_ones_are_refused():
    interval = bootstrap_mean([1.0] * 7)
    assert (interval.low, interval.high, interval.count) == (1.0, 1.0, 7)
    for bad in ([], [1.0, float("nan")]):
        with pytest.raises(ValueError, match="finite"):
            bootstrap_mean(bad)


@pytest.mark.parametrize("count", [1, 3, 4, 7, 600])
def test_the_interquartile_mean_is_that_of_scipy(count):
    values = np.random.default_rng(count).exponential(size=(5, count))
    np.testing.assert_allclose(interquartile_mean(values), trim_mean(values, 0.25, axis=1))


def test_an_interquartile_mean_varies_with_the_trainings_and_with_the_episodes():
    """Scores that differ by training alone, or by episode alone, give the law of a mean over that axis."""
    rng = np.random.default_rng(2)
    trainings = np.repeat(rng.normal(size=(40, 1)), 30, axis=1)
    episodes = np.repeat(rng.normal(size=(1, 40)), 30, axis=0)
    for scores in (trainings, episodes):
        interval = bootstrap_iqm(scores, draws=2_000)
        resampled = np.sort(rng.choice(np.unique(scores), (2_000, 40)), axis=1)[:, 10:30].mean(axis=1)
        assert interval.high - interval.low == pytest.approx(
            np.subtract(*np.quantile(resampled, [0.975, 0.025])), rel=0.15
        )


def test_a_lead_is_paired_by_episode():
    """Hard and easy episodes spread both sides' scores and leave their difference alone."""
    rng = np.random.default_rng(3)
    hard = rng.uniform(0, 1, 100)
    ours, peer = hard + 0.1 + rng.normal(0, 0.01, (3, 100)), hard + rng.normal(0, 0.01, (3, 100))
    lead = bootstrap_iqm(ours, peer, draws=1_000)
    assert lead.mean == pytest.approx(0.1, abs=0.01)
    assert lead.high - lead.low < 0.2 * (bootstrap_iqm(ours).high - bootstrap_iqm(ours).low)


def test_a_lead_over_the_trainings_of_the_same_seeds_is_paired_by_seed_too():
    """Good and bad seeds spread both sides' scores: paired, they leave the difference alone, and else they do not."""
    rng = np.random.default_rng(4)
    luck = np.array([[0.0], [0.3], [0.9]]) + np.zeros((3, 50))
    ours, peer = luck + 0.1 + rng.normal(0, 0.01, (3, 50)), luck + rng.normal(0, 0.01, (3, 50))
    paired, apart = (bootstrap_trainings(ours, peer, paired=both, draws=1_000) for both in (True, False))
    assert paired.mean == apart.mean == pytest.approx(0.1, abs=0.01)
    assert paired.high - paired.low < 0.02 and apart.low < 0.0 < apart.high
    differences = bootstrap_trainings(ours - peer, draws=1_000)
    assert (paired.low, paired.high) == pytest.approx((differences.low, differences.high), abs=1e-12)


def test_hand_made_scores_have_the_interval_of_all_their_resamples():
    """One training of two episodes: its resamples are both episodes, or one of them twice (a quarter each)."""
    lead = bootstrap_trainings([[1.0, 3.0]], [[0.0, 1.0]], paired=True, level=0.4)
    assert (lead.mean, lead.low, lead.high, lead.count) == (1.5, 1.5, 1.5, 2)
    wide = bootstrap_trainings([[1.0, 3.0]], [[0.0, 1.0]], paired=True)
    assert (wide.mean, wide.low, wide.high) == (1.5, 1.0, 2.0)
    alone = bootstrap_trainings([[1.0, 3.0]], [[0.0, 0.0], [4.0, 4.0]])
    assert (alone.mean, alone.low, alone.high) == (0.0, -3.0, 3.0), "two trainings of the peer, three means of ours"


def test_scores_that_do_not_fit_have_no_interquartile_mean():
    for bad in ([], [1.0, 2.0], [[1.0, float("nan")]]):
        with pytest.raises(ValueError, match=r"\[trainings, episodes\]"):
            bootstrap_iqm(bad)
    with pytest.raises(ValueError, match="2 episodes cannot be paired with 3"):
        bootstrap_iqm([[1.0, 2.0, 3.0]], [[1.0, 2.0]])
    with pytest.raises(ValueError, match="2 trainings of a peer cannot be paired with 1"):
        bootstrap_trainings([[1.0, 2.0]], [[1.0, 2.0], [3.0, 4.0]], paired=True)
