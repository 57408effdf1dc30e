from __future__ import annotations

import numpy as np
import pytest

from auralnav.agents.statistics import bootstrap_mean


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
