"""`auralnav bench …`: measurements of this machine."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

if TYPE_CHECKING:
    from auralnav.benchmarks.records import SpeedRecord

bench_app = typer.Typer(help="Measure this machine.", no_args_is_help=True)


class Family(StrEnum):
    """Task families that can be measured."""

    audio = "audio"


@bench_app.callback()
def bench() -> None:
    """Measure this machine."""


@bench_app.command("speed")
def speed(
    only: Annotated[Family, typer.Option(help="The task family to measure.")] = Family.audio,
    out: Annotated[
        Path | None, typer.Option(help="Write a JSON record to this file.", dir_okay=False)
    ] = None,
    seconds: Annotated[float, typer.Option(help="Seconds a peer works in each round.", min=0.01)] = 2.0,
    rounds: Annotated[int, typer.Option(help="Rounds; medians over them are shown.", min=1)] = 5,
) -> None:
    """Environment steps a second, single and vector, beside the same acoustic work with pyroomacoustics."""
    from auralnav.benchmarks.records import write_record
    from auralnav.benchmarks.speed import audio_speed

    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("compiling and warming up", total=None)
        record = audio_speed(
            seconds,
            rounds,
            lambda name, done, turns: progress.update(task, description=name, completed=done, total=turns),
        )
    for table in speed_tables(record):
        console.print(table)
    if out is not None:
        write_record(out, record)
        console.print(f"record: {out}", soft_wrap=True)


def speed_tables(record: SpeedRecord) -> tuple[Table, Table]:
    """The figures and the ratios of a record, as tables."""
    machine = f"{record.hardware.get('processor', '?')}, {record.hardware.get('cores', '?')} cores"
    figures = Table(title=f"{record.family}: rates a second on {machine}", title_justify="left")
    figures.add_column("what", no_wrap=True)
    for column in ("median", "best", "one takes"):
        figures.add_column(column, justify="right", no_wrap=True)
    figures.add_column("")
    for one in record.measurements:
        rates = (f"{rate:,.0f}" for rate in (one.value, max(one.rounds)))
        figures.add_row(one.name, *rates, _duration(1.0 / one.value), one.description)
    ratios = Table(title="times as fast (rounds paired)", title_justify="left")
    for column in ("what", "as what"):
        ratios.add_column(column, no_wrap=True)
    for column in ("median", "least", "most"):
        ratios.add_column(column, justify="right", no_wrap=True)
    for one in record.ratios:
        spread = (one.value, min(one.rounds), max(one.rounds))
        ratios.add_row(one.name, one.reference, *(f"{value:.3g}" for value in spread))
    return figures, ratios


def _duration(seconds: float) -> str:
    """A time with three figures, in µs, ms or s."""
    for scale, unit in ((1e6, "µs"), (1e3, "ms")):
        if seconds * scale < 1000:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds:.3g} s"
