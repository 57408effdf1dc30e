"""The dogfight on a CUDA device: one step a launch, several, in a CUDA graph, and with observations."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from auralnav.benchmarks.timing import Peer
from auralnav.envs.dogfight import layout as at
from auralnav.envs.dogfight.observe import Observer
from auralnav.envs.dogfight.observe_rules import EDGE, INTRINSIC
from auralnav.envs.dogfight.world import DogfightWorld
from auralnav.errors import last_line

WORLDS = (4096, 65_536, 262_144)
STEPS = 16
"""Steps of one launch, and launches of one graph."""
FLOAT = 4  # bytes

Contents = tuple[list[Peer], dict[str, str], list[tuple[str, str]], dict[str, dict[str, Any]]]


def cuda_peers(left_out: dict[str, str]) -> Contents:
    """The peers of the current CUDA device, warmed up, with words, comparisons and settings of each figure.

    Args:
        left_out: what could not be measured, and why, is added here.
    """
    from auralnav.benchmarks.dogfight_speed import games

    peers: list[Peer] = []
    words: dict[str, str] = {}
    comparisons: list[tuple[str, str]] = []
    settings: dict[str, dict[str, Any]] = {}
    bandwidth = copy_rate()
    device = torch.cuda.get_device_name()
    for count in WORLDS:
        world = games(count, "cuda")
        said = f"{count} worlds, eight ships of a script, {device}"
        forms: list[tuple[str, str, Callable[[], object], int]] = [
            ("ticks", "ticks, a launch a step", _step(world), 1),
            ("ticks+launch16", f"ticks, {STEPS} steps a launch", _step(world, STEPS), STEPS),
            ("ticks+observed", "ticks, and factorised observations each step", _observed(world), 1),
        ]
        try:
            forms.append(("ticks+graph16", f"ticks, a graph of {STEPS} launches", _graph(games(count, "cuda")), 1))
        except RuntimeError as error:
            left_out[f"cuda/{count}/ticks+graph16"] = last_line(error)
        for form, meaning, work, steps in forms:
            name = f"cuda/{count}/{form}"
            peers.append(Peer(name, _timed(name, world, work)))
            words[name] = f"{said}: {meaning}"
            settings[name] = {
                "bytes_per_tick": bytes_per_tick(world, steps, "observed" in form),
                "copy_bytes_per_s": bandwidth,
                "floor_per_s": bandwidth / bytes_per_tick(world, steps, "observed" in form),
            }
        comparisons.append((f"cuda/{count}/ticks+launch16", f"cuda/{count}/ticks"))
    return peers, words, comparisons, settings


def bytes_per_tick(world: DogfightWorld, steps: int, observed: bool) -> float:
    """Bytes that a tick must read and write in memory when a launch runs `steps` steps.

    The rows of the ships and the lives of the bullets are read, the ships' rows are written, and of each bullet in the
    air the five fields are read and written; an observation is written once.
    """
    bullets = float((world.bullets[:, 4] > 0).sum()) / world.num_worlds
    of_launch = FLOAT * (at.SLOTS * (2 * at.SHIP_ROWS + at.BARRELS) + 2 * 5 * bullets)
    of_observation = FLOAT * at.SLOTS * (len(INTRINSIC) + at.SLOTS * len(EDGE)) * observed
    return (of_launch / steps + of_observation) / at.ACTION_REPEAT


def copy_rate(seconds: float = 0.2) -> float:
    """Bytes a second, read and written together, of a copy within the device's memory."""
    source = torch.zeros(2**28, device="cuda", dtype=torch.uint8)
    target = torch.empty_like(source)
    target.copy_(source)
    torch.cuda.synchronize()
    copies, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        for _ in range(10):
            target.copy_(source)
        torch.cuda.synchronize()
        copies += 10
    return 2 * copies * source.numel() / (time.perf_counter() - began)


def _step(world: DogfightWorld, steps: int = 1) -> Callable[[], object]:
    return lambda: world.step(restart=True, steps=steps)


def _observed(world: DogfightWorld) -> Callable[[], object]:
    observer = Observer(world)

    def work() -> None:
        world.step(restart=True)
        observer.observe()

    return work


class _Replay:
    """A CUDA graph of STEPS launches, and the world that it steps."""

    def __init__(self, world: DogfightWorld) -> None:
        self.world = world
        stream = torch.cuda.Stream()
        world.cuda.stream = stream.cuda_stream
        world.step(restart=True)
        torch.cuda.synchronize()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, stream=stream):
            for _ in range(STEPS):
                world.step(restart=True)

    def __call__(self) -> None:
        self.graph.replay()


def _graph(world: DogfightWorld) -> _Replay:
    return _Replay(world)


def _timed(name: str, world: DogfightWorld, work: Callable[[], object]) -> Callable[[float], dict[str, float]]:
    stepped = work.world if isinstance(work, _Replay) else world
    total = torch.as_tensor(stepped.clock, device="cuda")[:, at.CLOCK_TOTAL]

    def run(seconds: float) -> dict[str, float]:
        torch.cuda.synchronize()
        before = int(total.sum())
        began, batch = time.perf_counter(), 1
        while True:
            for _ in range(batch):
                work()
            torch.cuda.synchronize()
            elapsed = time.perf_counter() - began
            if elapsed >= seconds:
                return {name: (int(total.sum()) - before) / elapsed}
            batch = 10  # the device never waits for the clock

    return run
