"""`auralnav bench separation`: how well a separator tells held-out sources apart, where from, and how fast."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from auralnav.agents.separators import SUFFIX, find_separator, shipped_separators
from auralnav.benchmarks.listening import separated_example, write_example
from auralnav.benchmarks.measure import Report
from auralnav.benchmarks.separation_direction import RT60S, direction_rows, front_scenes
from auralnav.benchmarks.separation_mixtures import RECORDED, HeldOut, Row
from auralnav.benchmarks.separation_record import SeparationRecord
from auralnav.benchmarks.separation_scores import (
    largest_of_silence,
    pair_rows,
    streaming_rows,
    table_row,
)
from auralnav.benchmarks.separation_speed import PEERS, separation_speed
from auralnav.devices import torch_device
from auralnav.envs.acoustics.sounds import CLASSES
from auralnav.errors import ConfigError
from auralnav.files import sha256
from auralnav.separation.separator import DPRNNSeparator

STREAMED = ("2_anechoic", "2_rt60_0.3")
"""Rows whose mixtures are also heard step by step."""


@dataclass(frozen=True)
class SeparationBench:
    """What to measure.

    Attributes:
        separator: the name of one that comes with the package, or a path: ours (.safetensors) or Asteroid's.
        mixtures: in each row of the table.
        pairs: mixtures of each pair of classes; 0: none.
        scenes: in each room of the directions; 0: none.
        seed: of all that is drawn, below 2^31.
        device: "cpu", "cuda" or "auto"; speed is always that of one CPU thread.
        sounds: a folder of recordings, which get rows of their own.
        files: a folder for examples to listen to.
        examples: how many, the first mixtures of the rows in turn, those of recordings first.
        rounds: of timing; 0: none.
        seconds: each peer works in a round.
    """

    separator: str = "separator-small"
    mixtures: int = 200
    pairs: int = 8
    scenes: int = 200
    seed: int = 0
    device: str = "auto"
    sounds: Path | None = None
    files: Path | None = None
    examples: int = 4
    rounds: int = 5
    seconds: float = 0.5


def open_separator(name: str) -> tuple[DPRNNSeparator, Path]:
    """A separator by name or path, and its file.

    Raises:
        CheckpointError: there is none, or its file is damaged.
        MissingDependencyError: asteroid is not installed.
    """
    path = Path(name)
    # A checkpoint of Asteroid's may lie here under any name.
    if name in shipped_separators() or not path.is_file():
        path = find_separator(name, key="", fix="or give the path of one's file")
    ours = path.suffix == SUFFIX
    return (DPRNNSeparator.load(path) if ours else DPRNNSeparator.from_asteroid(path)), path


def separation_bench(
    bench: SeparationBench, report: Report = lambda name, done, total: None
) -> SeparationRecord:
    """Measure a separator.

    Args:
        bench: what to measure.
        report: called as (what is being measured, units of work done, in all).

    Raises:
        AuralNavError: no such separator, folder or device, or one that cannot be used.
    """
    load = round(os.getloadavg()[0], 2)
    separator, path = open_separator(bench.separator)
    device = torch_device(bench.device, "device")
    separator.to(device).eval()
    rate, outputs = separator.config.sample_rate, separator.config.sources
    if outputs < 2:
        raise ConfigError(f"{path}: has one output; give a separator that tells sources apart")
    held_out = HeldOut(rate, bench.seed, bench.sounds)
    rows = [row for row in held_out.rows if row.kind.active <= outputs]
    left_out = _left_out(bench, held_out, rows, outputs)
    steps = _Steps(report, _work(bench, rows))
    found = [
        table_row(
            row, held_out.mixtures(row, bench.mixtures), separator, rate, device, steps.of(row.kind.name)
        )
        for row in rows
    ]
    streaming = [
        one
        for row in rows
        if row.kind.name in STREAMED
        for one in streaming_rows(
            row.kind.name,
            held_out.mixtures(row, bench.mixtures),
            separator,
            rate,
            device,
            steps.of("streaming"),
        )
    ]
    pairs = pair_rows(held_out.pairs(bench.pairs), separator, rate, device, steps.of("pairs of classes"))
    direction = []
    for rt60 in RT60S if bench.scenes else ():
        scenes = front_scenes(rt60, bench.scenes, bench.seed, rate, steps.of("directions"))
        direction += direction_rows(rt60, scenes, separator, rate, device)
    speed = []
    if bench.rounds:
        speed = separation_speed(separator, bench.seconds, bench.rounds, steps.of("speed"))
    if bench.files is not None:
        _write_examples(bench, bench.files, held_out, rows, separator, device)
    return SeparationRecord.of_this_machine(
        settings={
            **{name: getattr(bench, name) for name in ("mixtures", "pairs", "scenes", "seed", "rounds", "seconds")},
            "recordings": held_out.recordings,
            "device": str(device),
            "torch_threads": torch.get_num_threads(),
            "load_average_before": load,
        },
        separator=_about(bench.separator, separator, path),
        rows=found,
        pairs=pairs,
        silence=largest_of_silence(separator, rate, device),
        streaming=streaming,
        direction=direction,
        speed=speed,
        left_out=left_out,
    )


class _Steps:
    """Counts the work done over all that is measured."""

    def __init__(self, report: Report, total: int) -> None:
        self._report, self._total, self._done = report, total, 0
        report("rooms and sounds", 0, total)

    def of(self, name: str) -> Callable[[int], None]:
        def done(count: int) -> None:
            self._done += count
            self._report(name, self._done, self._total)

        return done


def _work(bench: SeparationBench, rows: list[Row]) -> int:
    """Mixtures, scenes and turns in all."""
    pairs = bench.pairs * len(CLASSES) * (len(CLASSES) + 1) // 2
    return (len(rows) + len(STREAMED)) * bench.mixtures + pairs + len(RT60S) * bench.scenes + PEERS * bench.rounds


def _left_out(bench: SeparationBench, held_out: HeldOut, rows: list[Row], outputs: int) -> dict[str, str]:
    reasons = {row.kind.name: f"the separator has {outputs} outputs" for row in held_out.rows if row not in rows}
    if bench.sounds is None:
        reasons["real recordings"] = "give a folder of them with --sounds"
    for what, count in (("pairs of classes", bench.pairs), ("directions", bench.scenes), ("speed", bench.rounds)):
        if not count:
            reasons[what] = "0 were asked for"
    return reasons


def _about(name: str, separator: DPRNNSeparator, path: Path) -> dict[str, Any]:
    return {
        "name": name,
        "sha256": sha256(path),
        "bytes": path.stat().st_size,
        "parameters": sum(weight.numel() for weight in separator.parameters()),
        "sources": separator.config.sources,
        "sample_rate": separator.config.sample_rate,
    }


def _write_examples(
    bench: SeparationBench,
    folder: Path,
    held_out: HeldOut,
    rows: list[Row],
    separator: DPRNNSeparator,
    device: torch.device,
) -> None:
    """The first mixtures of the rows with several sources, in turn: none is chosen by how it sounds."""
    several = sorted((row for row in rows if row.kind.active > 1), key=lambda row: row not in RECORDED)
    for number in range(bench.examples):
        row, index = several[number % len(several)], number // len(several)
        mixtures = next(held_out.mixtures(row, bench.mixtures))
        if index < len(mixtures.audio):
            name, rate = f"{row.kind.name}_{index + 1}", separator.config.sample_rate
            write_example(folder, separated_example(name, mixtures, index, separator, rate, device))
