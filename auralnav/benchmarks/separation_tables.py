"""What `auralnav bench separation` shows: the record as tables of at most eighty columns."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.table import Table

from auralnav.agents.statistics import Interval
from auralnav.benchmarks.separation_record import SeparationRecord
from auralnav.benchmarks.separation_speed import GOAL_MS


def separation_tables(record: SeparationRecord) -> list[Table]:
    """The tables that the record has something for."""
    tables = [_scores(record)]
    if record.streaming:
        tables.append(_streaming(record))
    if record.pairs:
        tables.append(_pairs(record))
    if record.direction:
        tables.append(_direction(record))
    if record.speed:
        tables.append(_speed(record))
    return tables


def _table(title: str, first: str, *columns: str, gap: int = 1) -> Table:
    table = Table(
        title=title, title_justify="left", caption_justify="left", box=SIMPLE_HEAD, padding=(0, 0, 0, gap)
    )
    table.add_column(first, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _interval(value: Interval) -> str:
    return f"{value.mean:.1f} [{value.low:.1f}, {value.high:.1f}]"


def _verdict(bar: float | None, met: bool, sign: str) -> str:
    return "" if bar is None else f"{sign} {bar:.1f} {'yes' if met else 'NO'}"


def _scores(record: SeparationRecord) -> Table:
    count = record.settings["mixtures"]
    title = f"SI-SDRi, dB, of {count} held-out mixtures (a source alone: SI-SDR) [95 % interval]"
    table = _table(title, "mixtures", "separated", "mask", "bar", "level", "leak")
    for row in record.rows:
        name = row.name + ("*" if row.recorded else "")
        bar = row.bar
        verdict = _verdict(bar, bar is not None and row.value.mean >= bar, "≥")
        ceiling = "" if row.ceiling is None else f"{row.ceiling.mean:.1f}"
        table.add_row(
            name, _interval(row.value), ceiling, verdict, f"±{row.level_error:.1f}", f"{row.leak:.0f}"
        )
    silence = "zeros" if record.silence == 0 else f"NOT zeros: up to {record.silence:.1e}"
    table.caption = (
        f"mask: the ideal ratio mask's; bar: what is wanted, or the mask's − 2 dB where that is lower; "
        f"silence gives {silence}"
    )
    if any(row.recorded for row in record.rows):
        table.caption += "; * real recordings, never trained on"
    return table


def _streaming(record: SeparationRecord) -> Table:
    table = _table(
        "SI-SDRi, dB, of single steps of 0.25 s", "mixtures", "heard", "separated", "ideal ratio mask", "kept"
    )
    for row in record.streaming:
        heard = f"all {row.window:g} s" if row.later else f"{row.window:g} s"
        kept = "" if row.kept is None else f"{100 * row.kept:.0f} %"
        table.add_row(row.name, heard, _interval(row.value), _interval(row.ceiling), kept)
    table.caption = "heard: up to the step's end, but for all; kept: sources in the same output as a step before"
    return table


def _pairs(record: SeparationRecord) -> Table:
    names = list(dict.fromkeys(row.a for row in record.pairs))
    each = record.pairs[0].mixtures
    table = _table(
        f"SI-SDRi, dB, of each pair of classes without reflections: means over {each}, the mask's below",
        "",
        *(str(number) for number in range(1, len(names) + 1)),
        gap=0,
    )
    found = {(row.a, row.b): row for row in record.pairs}
    for i, a in enumerate(names):
        pairs = [found.get((a, b)) or found[b, a] for b in names[: i + 1]]
        cells = [f"{pair.value:.1f}\n[dim]{pair.ceiling:.1f}[/]" for pair in pairs]
        table.add_row(f"{i + 1} {a}", *cells)
    return table


def _direction(record: SeparationRecord) -> Table:
    count = record.settings["scenes"]
    title = f"error of the azimuth of two sources, degrees, {count} scenes [95 % interval]"
    table = _table(title, "RT60", "masks", "median", "90th percentile", "bar")
    for row in record.direction:
        verdict = _verdict(row.goal, row.goal is not None and row.median.mean <= row.goal, "≤")
        table.add_row(f"{row.rt60:g} s", row.masks, _interval(row.median), f"{row.p90:.1f}", verdict)
    return table


def _speed(record: SeparationRecord) -> Table:
    machine = record.hardware.get("processor", "?")
    table = _table(f"a step of 0.25 s on one thread of {machine}", "what", "ms", "of real time", "bar")
    for one in record.speed:
        bar = GOAL_MS if one.name.startswith("step/") else None
        share = f"{100 * one.settings['real_time_factor']:.1f} %"
        table.add_row(one.name, f"{one.value:.2f}", share, _verdict(bar, one.value <= GOAL_MS, "≤"))
    return table
