"""Fair timing on a machine that is never quiet: peers take turns, and medians over the turns are kept."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

Run = Callable[[float], dict[str, float]]


@dataclass(frozen=True)
class Peer:
    """Something to measure: `run(seconds)` works for about that long and returns figures by name."""

    name: str
    run: Run


def check_effort(seconds: float, rounds: int) -> None:
    """Refuse a time that is not positive, or no rounds.

    Raises:
        ValueError: for either.
    """
    if seconds <= 0 or rounds < 1:
        raise ValueError(f"seconds must be > 0 and rounds >= 1, not {seconds} and {rounds}")


def take_turns(peers: Sequence[Peer], seconds: float, rounds: int) -> Iterator[tuple[str, dict[str, float]]]:
    """Run each peer for `seconds`, round after round, and yield (peer's name, its figures) after each turn.

    Peers of one round run within seconds of each other, so that what else the machine does hits them alike;
    every second round goes backwards, so that none always follows the same one.
    """
    for number in range(rounds):
        for peer in peers if number % 2 == 0 else reversed(peers):
            yield peer.name, peer.run(seconds)


def count_for(work: Callable[[], object], seconds: float) -> tuple[int, float]:
    """Call `work` for about `seconds`, at least once; return the number of calls and the seconds taken."""
    calls = 0
    began = time.perf_counter()
    while True:
        work()
        calls += 1
        elapsed = time.perf_counter() - began
        if elapsed >= seconds:
            return calls, elapsed


def median_ratio(better: Sequence[float], reference: Sequence[float]) -> tuple[float, list[float]]:
    """Median over the rounds of better / reference, and the ratio of each round.

    Raises:
        ValueError: when the two do not have the same number of rounds.
    """
    ratios = [a / b for a, b in zip(better, reference, strict=True)]
    return statistics.median(ratios), ratios
