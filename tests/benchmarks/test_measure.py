from __future__ import annotations

import pytest

from auralnav.benchmarks.measure import measure
from auralnav.benchmarks.timing import Peer


def counting(name: str, rates: list[float]) -> Peer:
    left = iter(rates)
    return Peer(name, lambda seconds: {name: next(left)})


def test_a_record_holds_medians_and_the_ratios_of_rounds():
    told: list[tuple[str, int, int]] = []
    record = measure(
        "toys",
        [counting("fast", [10.0, 30.0, 20.0]), counting("slow", [5.0, 3.0, 4.0])],
        {"fast": "a fast one", "slow": "a slow one"},
        [("fast", "slow")],
        0.1,
        3,
        {"colour": "red"},
        {"slow": {"size": 2}},
        lambda *turn: told.append(turn),
    )
    assert record.family == "toys"
    assert record.settings["colour"] == "red" and record.settings["rounds"] == 3
    assert record.measurement("fast").value == 20.0
    assert record.measurement("slow").settings == {"size": 2}
    [ratio] = record.ratios
    assert (ratio.name, ratio.reference, ratio.value) == ("fast", "slow", 5.0)
    assert ratio.rounds == [2.0, 10.0, 5.0]
    assert [done for _, done, _ in told] == [1, 2, 3, 4, 5, 6]
    assert told[0] == ("fast", 1, 6)


@pytest.mark.parametrize(("seconds", "rounds"), [(0.0, 1), (1.0, 0)])
def test_no_time_and_no_rounds_are_refused(seconds, rounds):
    with pytest.raises(ValueError, match="seconds must be > 0 and rounds >= 1"):
        measure("toys", [], {}, [], seconds, rounds, {})
