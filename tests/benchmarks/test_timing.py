from __future__ import annotations

import pytest

from auralnav.benchmarks.timing import Peer, count_for, median_ratio, take_turns


def test_peers_alternate_and_every_second_round_goes_backwards():
    order: list[str] = []

    def peer(name: str) -> Peer:
        def run(seconds: float) -> dict[str, float]:
            order.append(name)
            return {name: seconds}

        return Peer(name, run)

    turns = list(take_turns([peer("a"), peer("b"), peer("c")], 0.5, 3))
    assert order == ["a", "b", "c", "c", "b", "a", "a", "b", "c"]
    assert turns[0] == ("a", {"a": 0.5})


def test_counting_stops_after_the_time_and_never_before_one_call():
    calls, took = count_for(lambda: None, 0.0)
    assert calls == 1 and took > 0
    calls, took = count_for(lambda: None, 0.02)
    assert calls > 1 and took >= 0.02


def test_the_ratio_is_the_median_of_pairs_and_not_the_ratio_of_medians():
    # The machine was ten times slower in the second round, for both.
    value, each = median_ratio([100.0, 10.0, 90.0], [50.0, 5.0, 30.0])
    assert each == [2.0, 2.0, 3.0]
    assert value == 2.0
    with pytest.raises(ValueError):
        median_ratio([1.0], [1.0, 2.0])
