"""`auralnav bench …`: measurements of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from auralnav.errors import ConfigError

if TYPE_CHECKING:
    from auralnav.benchmarks.records import SpeedRecord

WIDE = 120
"""Columns of a terminal that has room for words beside the figures; the JSON record always has them."""

bench_app = typer.Typer(help="Measure this machine.", no_args_is_help=True)


@bench_app.callback()
def bench() -> None:
    """Measure this machine."""


@bench_app.command("speed")
def speed(
    only: Annotated[
        str, typer.Option(metavar="FAMILY,…", help="Some of audio, ssm and agents; all by default.")
    ] = "audio,ssm,agents",
    out: Annotated[
        Path | None, typer.Option(help="Write a JSON record to this file.", dir_okay=False)
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            help="Seconds a peer works in each round; by default 2, for ssm 0.5.", min=0.01, show_default=False
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(help="Rounds; medians over them are shown.", min=1)] = 5,
) -> None:
    """How fast it is here, beside others in the same run: environment steps (audio), state-space layers (ssm) and
    trainings with memory (agents).
    """
    from auralnav.benchmarks.families import chosen_families, measure_family
    from auralnav.benchmarks.records import joined, write_record

    try:
        families = chosen_families(only)
    except ConfigError as error:
        raise typer.BadParameter(str(error), param_hint="--only") from error
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    records = []
    for family in families:
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task(f"{family}: compiling and warming up", total=None)

            def show(name: str, done: int, turns: int, progress: Progress = progress, task: TaskID = task) -> None:
                progress.update(task, description=name, completed=done, total=turns)

            record = measure_family(family, seconds, rounds, show)
        records.append(record)
        for table in speed_tables(record, words=console.width >= WIDE):
            console.print(table)
        for one in record.measurements:
            if "first_call_s" in one.settings:
                took = _duration(one.settings["first_call_s"])
                console.print(f"first call: {one.name}: {took}", markup=False, highlight=False, soft_wrap=True)
        for what, why in record.left_out.items():
            console.print(f"left out: {what}: {why}", markup=False, highlight=False, soft_wrap=True)
    if out is not None:
        write_record(out, joined(records))
        console.print(f"record: {out}", soft_wrap=True)


def speed_tables(record: SpeedRecord, words: bool = True) -> tuple[Table, Table]:
    """The figures, with or without a line of words for each, and the ratios of a record, as tables."""
    machine = f"{record.hardware.get('processor', '?')}, {record.hardware.get('cores', '?')} cores"
    figures = Table(title=f"{record.family}: rates a second on {machine}", title_justify="left")
    figures.add_column("what", no_wrap=True)
    for column in ("median", "best", "one takes"):
        figures.add_column(column, justify="right", no_wrap=True)
    if words:
        figures.add_column("")
    for one in record.measurements:
        rates = (f"{rate:,.0f}" for rate in (one.value, max(one.rounds)))
        description = (one.description,) if words else ()
        figures.add_row(one.name, *rates, _duration(1.0 / one.value), *description)
    ratios = Table(title="times as fast (rounds paired)", title_justify="left")
    for column in ("what", "as what"):
        ratios.add_column(column, no_wrap=True)
    for column in ("median", "least", "most"):
        ratios.add_column(column, justify="right", no_wrap=True, min_width=6)
    for one in record.ratios:
        spread = (one.value, min(one.rounds), max(one.rounds))
        group, _, member = one.reference.rpartition("/")
        shared = one.name.rpartition("/")[0] == group  # said once, so that a line fits in eighty columns
        ratios.add_row(one.name, member if shared else one.reference, *(f"{value:.3g}" for value in spread))
    return figures, ratios


def _duration(seconds: float) -> str:
    """A time with three figures, in µs, ms or s."""
    for scale, unit in ((1e6, "µs"), (1e3, "ms")):
        if seconds * scale < 1000:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds:.3g} s"
