"""Speed of the audio environments beside a loop that does the same acoustic work with pyroomacoustics."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from auralnav.benchmarks.measure import Report, measure
from auralnav.benchmarks.pyroom_loop import (
    PyroomacousticsLoop,
    build_room,
    pyroomacoustics_settings,
    responses,
)
from auralnav.benchmarks.records import SpeedRecord
from auralnav.benchmarks.timing import Peer, count_for

FS = 16_000
STEP_SAMPLES = 4_000
RT60 = 0.3
ROOM = np.array([7.0, 7.0, 3.0])  # of the responses and of the pyroomacoustics loop, m
SOURCES = np.array([[1.5, 5.2, 1.4], [5.6, 2.1, 1.7]])
RIR_ORDER = 10
HYBRID_ORDER = 6
VECTOR_ENVS = 32
VECTOR_THREADS = 2
# So small that both sources stay unfound and sounding however the random walk goes.
FOUND_RADIUS = 0.05

# Every variant: two sources, spherical head, 0.25 s steps at 16 kHz, crossfade.
VARIANTS: dict[str, dict[str, Any]] = {
    "hybrid": {"rt60": RT60, "obs_mode": "waveform"},
    "hybrid-cues": {"rt60": RT60, "obs_mode": "cues"},
    "anechoic": {"rt60": 0.0, "obs_mode": "waveform"},
}
VARIANT_WORDS = {
    "hybrid": f"RT60 {RT60} s, waveform",
    "hybrid-cues": f"RT60 {RT60} s, cues",
    "anechoic": "anechoic, waveform",
}
# Ratio by ratio: (better, reference).
COMPARISONS = (
    ("rir/auralnav", "rir/pyroomacoustics"),
    ("rir/auralnav", "rir/pyroomacoustics-no-hpf"),
    ("env/hybrid", "loop/order-6"),
    ("env/hybrid", "loop/order-10"),
    ("env/hybrid", "loop/complete"),
    ("env/anechoic", "loop/anechoic"),
    ("vector/hybrid", "env/hybrid"),
    ("vector/hybrid-cues", "env/hybrid-cues"),
    ("vector/anechoic", "env/anechoic"),
)


def audio_speed(seconds: float = 2.0, rounds: int = 5, report: Report | None = None) -> SpeedRecord:
    """Measure the audio family: responses, single and vector environments, and the pyroomacoustics loop.

    Args:
        seconds: how long each peer works in each round.
        rounds: how often all peers take their turn; medians over the rounds are recorded.
        report: called as (peer just measured, turns done, turns in all).

    Returns:
        The record, with every figure as a rate (calls or environment steps a second).

    Raises:
        ValueError: for a time that is not positive or no rounds.
    """
    peers, words, settings = audio_peers()
    return measure(
        "audio",
        peers,
        words,
        COMPARISONS,
        seconds,
        rounds,
        {
            "fs": FS,
            "step_samples": STEP_SAMPLES,
            "num_sources": 2,
            "loop_room": ROOM.tolist(),
            "rir_parity_db": rir_parity_db(),
        },
        settings,
        report,
    )


def audio_peers() -> tuple[list[Peer], dict[str, str], dict[str, dict[str, Any]]]:
    """The peers, warmed up, with a line of words and the settings of each figure."""
    peers: list[Peer] = []
    words: dict[str, str] = {}
    settings: dict[str, dict[str, Any]] = {}

    rir_words = f"order {RIR_ORDER} in 3-D, 2 sources × 2 ears, one thread"
    for name, make, said in (
        ("rir/auralnav", _own_responses, "shoebox_rirs"),
        ("rir/pyroomacoustics", lambda: _reference_responses(True), "pyroomacoustics"),
        (
            "rir/pyroomacoustics-no-hpf",
            lambda: _reference_responses(False),
            "pyroomacoustics without its high-pass",
        ),
    ):
        peers.append(Peer(name, make()))
        words[name] = f"{said}, {rir_words}"
        settings[name] = {"max_order": RIR_ORDER, "reflection": loop_reflection(), "room": ROOM.tolist()}

    complete = complete_order()
    for name, order, said in (
        ("loop/order-6", HYBRID_ORDER, "the images the hybrid draws, no tail"),
        ("loop/order-10", RIR_ORDER, "OtoWorld's order, no tail"),
        ("loop/complete", complete, f"order {complete}: every image within RT60"),
        ("loop/anechoic", 0, "direct sound only"),
    ):
        peers.append(Peer(name, _loop(name, order)))
        words[name] = f"pyroomacoustics loop without head: {said}"
        settings[name] = {"max_order": order, "reflection": loop_reflection()}

    for variant, kwargs in VARIANTS.items():
        for form, run, said in (
            ("env", _single(variant, kwargs), "one environment"),
            ("vector", _vector(variant, kwargs), f"{VECTOR_ENVS} rooms, {VECTOR_THREADS} threads"),
        ):
            name = f"{form}/{variant}"
            peers.append(Peer(name, run))
            words[name] = f"{said}: {VARIANT_WORDS[variant]}"
            words[f"{name}+resets"] = f"{words[name]}, with resets"
            settings[name] = settings[f"{name}+resets"] = dict(kwargs)
    for peer in peers:
        peer.run(0.0)
    return peers, words, settings


@functools.cache
def loop_reflection() -> float:
    """Amplitude reflection that gives the reference room its RT60 (image-energy decay)."""
    from auralnav.envs.acoustics.walls import solve_reflection

    head = _ear_places().mean(axis=0)
    return solve_reflection(ROOM, SOURCES, head, RT60, HYBRID_ORDER, FS).reflection


def complete_order() -> int:
    """The order at which every image that arrives within RT60 is there (the shortest side decides)."""
    return math.ceil(343.0 * RT60 / float(ROOM.min()))


def _ear_places() -> np.ndarray:
    """[2, 3] m: a pose in the reference room."""
    return np.array([[3.4, 3.09, 1.5], [3.4, 2.91, 1.5]])


def _own_responses() -> Callable[[float], dict[str, float]]:
    from auralnav.envs.acoustics.ism import shoebox_rirs

    reflection = loop_reflection()

    def run(seconds: float) -> dict[str, float]:
        calls, took = count_for(
            lambda: shoebox_rirs(ROOM, SOURCES, _ear_places(), reflection, RIR_ORDER, FS), seconds
        )
        return {"rir/auralnav": calls / took}

    return run


def _reference_responses(high_pass: bool) -> Callable[[float], dict[str, float]]:
    reflection = loop_reflection()

    def run(seconds: float) -> dict[str, float]:
        name = "rir/pyroomacoustics" + ("" if high_pass else "-no-hpf")
        with pyroomacoustics_settings(high_pass) as pra:
            # The room is built outside the clock: only image sources and responses are compared.
            room = build_room(pra, ROOM, SOURCES, _ear_places(), reflection, RIR_ORDER, FS)

            def work() -> None:
                room.image_source_model()
                room.compute_rir()

            calls, took = count_for(work, seconds)
        return {name: calls / took}

    return run


def rir_parity_db() -> float:
    """20 log10 ‖h − h_pra‖ / ‖h_pra‖ of `shoebox_rirs` in the room that is timed."""
    from auralnav.envs.acoustics.ism import shoebox_rirs

    reflection = loop_reflection()
    own = shoebox_rirs(ROOM, SOURCES, _ear_places(), reflection, RIR_ORDER, FS)
    with pyroomacoustics_settings(high_pass=False) as pra:
        room = build_room(pra, ROOM, SOURCES, _ear_places(), reflection, RIR_ORDER, FS)
        reference = responses(room, own.shape[2])
    error = np.linalg.norm(own.astype(np.float64) - reference) / np.linalg.norm(reference)
    return 20.0 * math.log10(max(float(error), 1e-12))


def _loop(name: str, order: int) -> Callable[[float], dict[str, float]]:
    rng = np.random.default_rng(0)
    clips = (0.05 * rng.standard_normal((2, 4 * FS))).astype(np.float32)
    loop = PyroomacousticsLoop(ROOM, SOURCES, loop_reflection(), order, FS, STEP_SAMPLES, clips)

    def run(seconds: float) -> dict[str, float]:
        steps, took = count_for(lambda: loop.step(int(rng.integers(4))), seconds)
        return {name: steps / took}

    return run


def _single(variant: str, kwargs: dict[str, Any]) -> Callable[[float], dict[str, float]]:
    import gymnasium

    import auralnav

    auralnav.register_envs()
    env = gymnasium.make("AuralNav-v0", disable_env_checker=True, found_radius=FOUND_RADIUS, **kwargs)
    env.reset(seed=0)
    actions = np.random.default_rng(0).integers(0, 4, 100_000)
    cursor = 0

    def run(seconds: float) -> dict[str, float]:
        nonlocal cursor
        steps, resetting = 0, 0.0
        began = time.perf_counter()
        while True:
            _, _, terminated, truncated, _ = env.step(actions[cursor % actions.size])
            cursor += 1
            steps += 1
            if terminated or truncated:
                reset_began = time.perf_counter()
                env.reset()
                resetting += time.perf_counter() - reset_began
            elapsed = time.perf_counter() - began
            if elapsed >= seconds:
                break
        name = f"env/{variant}"
        return {name: steps / (elapsed - resetting), f"{name}+resets": steps / elapsed}

    return run


def _vector(variant: str, kwargs: dict[str, Any]) -> Callable[[float], dict[str, float]]:
    import gymnasium

    import auralnav

    auralnav.register_envs()
    envs = gymnasium.make_vec(
        "AuralNav-v0",
        num_envs=VECTOR_ENVS,
        vectorization_mode="vector_entry_point",
        threads=VECTOR_THREADS,
        found_radius=FOUND_RADIUS,
        **kwargs,
    )
    envs.reset(seed=0)
    actions = np.random.default_rng(0).integers(0, 4, (2_000, VECTOR_ENVS))
    cursor = 0
    ended = False

    def run(seconds: float) -> dict[str, float]:
        nonlocal cursor, ended
        steps, resetting, reset_steps = 0, 0.0, 0
        began = time.perf_counter()
        while True:
            call_began = time.perf_counter()
            _, _, terminated, truncated, _ = envs.step(actions[cursor % len(actions)])
            now = time.perf_counter()
            if ended:  # NEXT_STEP autoreset: this call reset the rooms that had ended
                resetting += now - call_began
                reset_steps += 1
            ended = bool((terminated | truncated).any())
            cursor += 1
            steps += 1
            if now - began >= seconds and steps > reset_steps:
                break
        elapsed = now - began
        name = f"vector/{variant}"
        return {
            name: VECTOR_ENVS * (steps - reset_steps) / (elapsed - resetting),
            f"{name}+resets": VECTOR_ENVS * steps / elapsed,
        }

    return run
