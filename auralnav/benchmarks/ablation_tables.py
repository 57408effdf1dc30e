"""The tables of an ablation, in eighty columns: rows, and what they lead by."""

from __future__ import annotations

from collections.abc import Iterable

from rich import box
from rich.markup import escape
from rich.table import Table

from auralnav.benchmarks.ablation_record import AblationRecord, Estimate

SHOWN = (("success_60", "success in 60 steps"), ("spl", "SPL"), ("sna", "SNA"))
"""Measure and title of each column; the record has more."""

WITH_DISTRACTORS = (*SHOWN[:2], ("return", "return"))
"""The same where there is something that must not be approached: only the return says whether it was."""


def ablation_tables(record: AblationRecord) -> list[Table]:
    """Means of the rows, and differences; below each figure its 95 % interval, below each row its memory."""
    given = ", ".join(f"{key}={value}" for key, value in record.env_kwargs.items() if key != "obs_mode")
    task = f"{record.env_id} ({given})" if given else record.env_id
    seeds = next((one.seeds for one in record.rows if one.seeds), [])
    trained = f"training seeds {', '.join(map(str, seeds))}, " if seeds else ""
    columns = WITH_DISTRACTORS if record.env_kwargs.get("distractors") else SHOWN
    tables = (
        (f"{task}: {record.episodes} episodes, {trained}mean and 95 % interval", record.means),
        ("difference, paired by episode and by seed, and 95 % interval", record.leads),
    )
    return [_table(title, estimates, columns) for title, estimates in tables if estimates]


def _table(title: str, estimates: Iterable[Estimate], columns: Iterable[tuple[str, str]]) -> Table:
    table = Table(title=escape(title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("row", no_wrap=True)
    lines: dict[tuple[str, str], dict[str, Estimate]] = {}
    for one in estimates:
        lines.setdefault(_words(one), {})[one.measure] = one
    shown = [(measure, heading) for measure, heading in columns if any(measure in line for line in lines.values())]
    for _, heading in shown:
        table.add_column(heading, justify="right", no_wrap=True)
    for (words, memory), line in lines.items():
        cells = [_cell(line[measure]) if measure in line else "–" for measure, _ in shown]
        table.add_row(f"{escape(words)}\n[dim]{escape(memory)}[/]", *cells)
    return table


def _words(one: Estimate) -> tuple[str, str]:
    """What a line is of, and with which memory."""
    memory, other = ("no memory" if name == "none" else name for name in (one.variant, one.over_variant))
    if one.over_row is None:
        return one.row, memory or ""
    if one.row == one.over_row:
        return one.row, f"{memory} − {other}"
    return f"{one.row} − {one.over_row}", memory or ""


def _cell(one: Estimate) -> str:
    sign = "" if one.over_row is None else "+"
    return f"{one.mean:{sign}.3f}\n[dim]{one.low:{sign}.3f} to {one.high:{sign}.3f}[/]"
