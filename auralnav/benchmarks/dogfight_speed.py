"""Speed of the dogfight, ticks with bullets of worlds of eight ships, beside VMAS where that is installed.

The floor of a figure is what the arithmetic of a tick (CPU) or the bytes of a world (CUDA: `dogfight_cuda`) take by
themselves at the rate that the same run measures; it is among the figure's settings.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

from auralnav.benchmarks.measure import Report, measure
from auralnav.benchmarks.records import SpeedRecord
from auralnav.benchmarks.timing import Peer, check_effort, count_for
from auralnav.envs.dogfight import layout as at
from auralnav.envs.dogfight.observe import Observer
from auralnav.envs.dogfight.world import DogfightWorld

WORLDS = (1024, 8192)
TEAMS = (4, 4)
SCRIPT = "pursuit"
WARM_STEPS = 150  # from where on games are at all ages, after the first ones that all began at once

# Arithmetic instructions, most on eight float32 at once, counted in the machine code: of a tick, of each bullet in it,
# of a step's decisions and bookkeeping, and of an observation.
OF_TICK, OF_BULLET, OF_STEP, OF_OBSERVATION = 86, 40, 360, 3400

Contents = tuple[list[Peer], dict[str, str], list[tuple[str, str]], dict[str, dict[str, Any]]]


def dogfight_speed(seconds: float = 2.0, rounds: int = 5, report: Report | None = None) -> SpeedRecord:
    """Ticks of worlds a second on the CPU with a thread a core and, where there is one, on a CUDA device.

    Args:
        seconds: how long each peer works in each round.
        rounds: how often all peers take their turn; medians over the rounds are recorded.
        report: called as (peer just measured, turns done, turns in all).

    Raises:
        ValueError: for a time that is not positive or no rounds.
    """
    from numba import cuda

    check_effort(seconds, rounds)  # before the peers are warmed up, which takes a while
    threads = DogfightWorld().threads
    left_out: dict[str, str] = {}
    peers, words, comparisons, settings = cpu_peers(threads)
    if cuda.is_available():
        from auralnav.benchmarks.dogfight_cuda import cuda_peers

        more = cuda_peers(left_out)
        peers, words, comparisons = peers + more[0], words | more[1], comparisons + more[2]
        settings |= more[3]
    else:
        left_out["cuda"] = "Numba sees no CUDA device; pip install 'auralnav[cuda]' beside a driver"
    if find_spec("vmas"):
        peers.append(Peer("vmas/1024/steps", vmas_steps(1024, threads)))
        words["vmas/1024/steps"] = f"VMAS simple_tag, four against four, 1024 worlds, {threads} torch threads: steps"
        comparisons.append((f"cpu/{WORLDS[0]}/steps+observed", "vmas/1024/steps"))
    else:
        left_out["vmas"] = "it is not installed; pip install vmas"
    for peer in peers:
        peer.run(0.0)
    whole = {
        "threads": threads,
        "teams": list(TEAMS),
        "script": SCRIPT,
        "action_repeat": at.ACTION_REPEAT,
        "lane_operations_per_s_and_thread": lane_rate(),
    }
    return measure("dogfight", peers, words, comparisons, seconds, rounds, whole, settings, report, left_out)


def cpu_peers(threads: int) -> Contents:
    """The peers of the CPU, warmed up, with words, comparisons and settings of each figure."""
    peers: list[Peer] = []
    words: dict[str, str] = {}
    settings: dict[str, dict[str, Any]] = {}
    rate = lane_rate() * threads
    for count in WORLDS:
        for observed in (False, True):
            world = games(count, "cpu")
            name = f"cpu/{count}/ticks" + "+observed" * observed
            peers.append(Peer(name, _ticks(name, world, Observer(world) if observed else None)))
            said = f"{count} worlds, eight ships of a script, {threads} threads"
            words[name] = f"{said}: ticks" + ", and factorised observations each step" * observed
            words[name.replace("ticks", "steps")] = f"{said}: steps, observed"
            settings[name] = {"floor_per_s": rate / operations(world, observed)}
    for name, teams in (("cpu/1/steps+observed", (2, 2)), ("cpu/1/steps+flat", (2, 2))):
        world = games(1, "cpu", teams)
        world.command("actions", slice(0, teams[0]))
        observer = Observer(world)
        peers.append(Peer(name, _steps_of_one(name, world, observer.flatten if "flat" in name else observer.observe)))
        words[name] = "one world, two ships commanded from outside against two of a script: steps with observation"
    return peers, words, [], settings


def games(count: int, device: str, teams: tuple[int, int] = TEAMS) -> DogfightWorld:
    """Worlds in which a script plays itself, somewhere in the middle of their games."""
    world = DogfightWorld(count, teams, device=device)
    world.command(SCRIPT)
    world.step(restart=True, steps=WARM_STEPS)
    return world


def operations(world: DogfightWorld, observed: bool) -> float:
    """Arithmetic instructions of a tick, with the bullets that are in the air now."""
    bullets = float((world.bullets[:, 4] > 0).sum()) / world.num_worlds
    of_step = OF_STEP + OF_OBSERVATION * observed
    return OF_TICK + OF_BULLET * bullets + of_step / at.ACTION_REPEAT


def lane_rate(seconds: float = 0.2) -> float:
    """Additions of eight float32 a second that one thread does when nothing waits for another."""
    from auralnav.benchmarks.lane_rate import ADDITIONS, additions

    additions(1)
    rounds = 20_000
    calls, took = count_for(lambda: additions(rounds), seconds)
    return calls * rounds * ADDITIONS / took


def _ticks(name: str, world: DogfightWorld, observer: Observer | None) -> Callable[[float], dict[str, float]]:
    def run(seconds: float) -> dict[str, float]:
        before = int(world.clock[:, at.CLOCK_TOTAL].sum())

        def step() -> None:
            world.step(restart=True, check=False)
            if observer is not None:
                observer.observe()

        steps, took = count_for(step, seconds)
        figures = {name: (int(world.clock[:, at.CLOCK_TOTAL].sum()) - before) / took}
        if observer is not None:
            figures[name.replace("ticks", "steps")] = steps * world.num_worlds / took
        return figures

    return run


def _steps_of_one(
    name: str, world: DogfightWorld, observe: Callable[[], Any]
) -> Callable[[float], dict[str, float]]:
    sizes = (at.POWER_CLASSES, at.TURN_CLASSES, at.SHOOT_CLASSES)
    rng = np.random.default_rng(0)
    actions = np.stack([rng.integers(0, n, (4096, 1, 2)) for n in sizes], -1).astype(np.int32)

    def run(seconds: float) -> dict[str, float]:
        steps, began = 0, time.perf_counter()
        while True:
            world.step(actions[steps % len(actions)], restart=True)
            observe()
            steps += 1
            elapsed = time.perf_counter() - began
            if elapsed >= seconds:
                return {name: steps / elapsed}

    return run


def vmas_steps(count: int, threads: int, device: str = "cpu") -> Callable[[float], dict[str, float]]:
    """VMAS's `simple_tag` with four against four and without landmarks: discrete random actions, its observations."""
    import torch
    import vmas  # pyright: ignore[reportMissingImports]  # a peer, in no extra: it asks for the old gym

    torch.set_num_threads(threads)
    env = vmas.make_env(
        "simple_tag", num_envs=count, device=device, continuous_actions=False, seed=0,
        num_good_agents=TEAMS[0], num_adversaries=TEAMS[1], num_landmarks=0,
    )  # fmt: skip
    env.reset()
    actions = [torch.randint(0, 5, (count, 1), device=device) for _ in env.agents]

    def run(seconds: float) -> dict[str, float]:
        steps, took = count_for(lambda: env.step(actions), seconds)
        if device != "cpu":
            torch.cuda.synchronize()
        return {"vmas/1024/steps": steps * count / took}

    return run
