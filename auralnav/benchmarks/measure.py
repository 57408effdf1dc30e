"""From peers that take turns to a record: medians of their rates and the ratios between them."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from auralnav.benchmarks.records import Measurement, Ratio, SpeedRecord
from auralnav.benchmarks.timing import Peer, check_effort, median_ratio, take_turns

Report = Callable[[str, int, int], None]


def measure(
    family: str,
    peers: Sequence[Peer],
    words: Mapping[str, str],
    comparisons: Sequence[tuple[str, str]],
    seconds: float,
    rounds: int,
    settings: Mapping[str, Any],
    peer_settings: Mapping[str, dict[str, Any]] | None = None,
    report: Report | None = None,
    left_out: Mapping[str, str] | None = None,
) -> SpeedRecord:
    """Let warmed-up peers take turns and record every figure as a rate a second.

    Args:
        family: what is measured, the record's `family`.
        peers: each gives one or more figures.
        words: a line of words for every figure.
        comparisons: pairs of figures (better, reference) whose ratio is recorded.
        seconds: how long each peer works in each round, > 0.
        rounds: how often all peers take their turn; medians over the rounds are recorded.
        settings: of the whole run.
        peer_settings: of single figures.
        report: called as (peer just measured, turns done, turns in all).
        left_out: what could not be measured, and why.

    Raises:
        ValueError: a time that is not positive, or no rounds.
    """
    check_effort(seconds, rounds)
    load = os.getloadavg()[0]
    collected: dict[str, list[float]] = {}
    turns = len(peers) * rounds
    for done, (name, figures) in enumerate(take_turns(peers, seconds, rounds), start=1):
        for key, value in figures.items():
            collected.setdefault(key, []).append(value)
        if report is not None:
            report(name, done, turns)
    measurements = [
        Measurement(
            name=name,
            unit="1/s",
            description=words[name],
            value=statistics.median(values),
            rounds=values,
            settings=(peer_settings or {}).get(name, {}),
        )
        for name, values in collected.items()
    ]
    ratios = []
    for better, reference in comparisons:
        value, each = median_ratio(collected[better], collected[reference])
        ratios.append(Ratio(name=better, reference=reference, value=value, rounds=each))
    return SpeedRecord.of_this_machine(
        family=family,
        settings={"seconds": seconds, "rounds": rounds, "load_average_before": round(load, 2), **settings},
        measurements=measurements,
        ratios=ratios,
        left_out=dict(left_out or {}),
    )
