"""How long one step of the agent takes on one thread: separated, and turned into cues."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from auralnav.benchmarks.records import Measurement
from auralnav.benchmarks.separation_scores import WINDOWS
from auralnav.benchmarks.timing import Peer, count_for, take_turns
from auralnav.separation.cues import SpatialCues
from auralnav.separation.mixtures import STEP_SECONDS
from auralnav.separation.separator import DPRNNSeparator
from auralnav.separation.streaming import StreamingSeparator

ROOMS = 8
"""Rooms that share a call."""

PEERS = 1 + 3 * len(WINDOWS)
"""That take turns."""

GOAL_MS = 15.0
"""Of a step separated and turned into cues."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread, and then on as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def speed_peers(separator: DPRNNSeparator) -> tuple[list[Peer], dict[str, str]]:
    """What is timed, each a figure in ms a step and room, and a line of words for each."""
    peers: list[Peer] = []
    words: dict[str, str] = {}
    cpu = copy.deepcopy(separator).cpu().eval()
    rate = cpu.config.sample_rate
    n = round(STEP_SECONDS * rate)
    cues = SpatialCues(rate, n)
    sound = 0.1 * torch.randn(ROOMS, 2, n, generator=torch.Generator().manual_seed(0))

    def add(name: str, said: str, rooms: int, work: Callable[[], object]) -> None:
        def run(seconds: float) -> dict[str, float]:
            with one_thread(), torch.no_grad():
                calls, took = count_for(work, seconds)
            return {name: 1e3 * took / calls / rooms}

        peers.append(Peer(name, run))
        words[name] = said

    estimates = torch.rand(1, cpu.config.sources, n) * sound[:1].mean(dim=1, keepdim=True)
    said = "a step's estimates and its mixture turned into cues"
    add("cues", said, 1, lambda: cues.with_mixture(sound[:1], estimates))
    for window in WINDOWS:
        one, many = (StreamingSeparator(cpu, n, window, rooms) for rooms in (1, ROOMS))

        def both(stream: StreamingSeparator, audio: Tensor) -> Tensor:
            heard = stream.push(audio)
            return cues.with_mixture(heard.audio, heard.sources)

        name = f"{window:g}s"
        add(f"separate/{name}", f"separated in {window:g} s", 1, lambda one=one: one.push(sound[:1]))
        add(f"step/{name}", "separated and turned into cues", 1, lambda one=one: both(one, sound[:1]))
        said = f"the same of {ROOMS} rooms in one call, a room"
        add(f"step/{name}/{ROOMS}-rooms", said, ROOMS, lambda many=many: both(many, sound))
    return peers, words


def separation_speed(
    separator: DPRNNSeparator,
    seconds: float = 0.5,
    rounds: int = 5,
    done: Callable[[int], None] = lambda turns: None,
) -> list[Measurement]:
    """Medians over rounds in which all take turns; `seconds` each. On the CPU, wherever the separator is."""
    peers, words = speed_peers(separator)
    for peer in peers:
        peer.run(0.0)
    collected: dict[str, list[float]] = {}
    for _, figures in take_turns(peers, seconds, rounds):
        for name, value in figures.items():
            collected.setdefault(name, []).append(value)
        done(1)
    return [
        Measurement(
            name=name,
            unit="ms",
            description=words[name],
            value=statistics.median(values),
            rounds=values,
            settings={"real_time_factor": statistics.median(values) / (1e3 * STEP_SECONDS)},
        )
        for name, values in collected.items()
    ]
