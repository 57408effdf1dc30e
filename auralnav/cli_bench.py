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

_COLUMNS = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())

bench_app = typer.Typer(help="Measure this machine.", no_args_is_help=True)


@bench_app.callback()
def bench() -> None:
    """Measure this machine."""


@bench_app.command("speed")
def speed(
    only: Annotated[
        str, typer.Option(metavar="FAMILY,…", help="Some of audio, ssm, agents and dogfight; all by default.")
    ] = "audio,ssm,agents,dogfight",
    out: Annotated[
        Path | None, typer.Option(help="Write a JSON record to this file.", dir_okay=False)
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            help="Seconds a peer works in each round; by default 2, for dogfight 1, for ssm 0.5.",
            min=0.01,
            show_default=False,
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(help="Rounds; medians over them are shown.", min=1)] = 5,
) -> None:
    """How fast it is here, beside others in the same run: environment steps (audio), state-space layers (ssm),
    trainings with memory (agents) and ticks of dogfights (dogfight).
    """
    from auralnav.benchmarks.families import chosen_families, measure_family
    from auralnav.benchmarks.records import joined, write_record

    try:
        families = chosen_families(only)
    except ConfigError as error:
        raise typer.BadParameter(str(error), param_hint="--only") from error
    console = Console()
    records = []
    for family in families:
        with Progress(*_COLUMNS, console=console, transient=True) as progress:
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
        _print_left_out(console, record.left_out)
    if out is not None:
        write_record(out, joined(records))
        console.print(f"record: {out}", soft_wrap=True)


@bench_app.command("separation")
def separation(
    separator: Annotated[
        str,
        typer.Option(metavar="NAME|PATH", help="One that comes with the package, a .safetensors file, or Asteroid's."),
    ] = "separator-small",
    mixtures: Annotated[int, typer.Option(help="Mixtures in each row of the table.", min=1, max=100_000)] = 200,
    pairs: Annotated[int, typer.Option(help="Mixtures of each pair of classes; 0: none.", min=0, max=10_000)] = 8,
    scenes: Annotated[int, typer.Option(help="Scenes of two directions a room; 0: none.", min=0, max=10_000)] = 200,
    rounds: Annotated[int, typer.Option(help="Rounds of timing; 0: none.", min=0)] = 5,
    seed: Annotated[int, typer.Option(help="Of mixtures, rooms and scenes.", min=0, max=2**31 - 1)] = 0,
    sounds: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Recordings of yours, in rows of their own.")
    ] = None,
    files: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write examples to listen to and to look at.")
    ] = None,
    examples: Annotated[int, typer.Option(help="How many of them.", min=1)] = 4,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    out: Annotated[
        Path | None, typer.Option(help="Write a JSON record to this file.", dir_okay=False)
    ] = None,
) -> None:
    """How well a separator tells sources apart that it never heard, beside the ideal ratio mask; where they are; how
    fast it is.
    """
    from auralnav.benchmarks.records import write_record
    from auralnav.benchmarks.separation import SeparationBench, separation_bench
    from auralnav.benchmarks.separation_tables import separation_tables

    if device not in ("cpu", "cuda", "auto"):
        raise typer.BadParameter(f"{device!r} is none of cpu, cuda, auto", param_hint="--device")
    bench = SeparationBench(
        separator=separator, mixtures=mixtures, pairs=pairs, scenes=scenes, seed=seed, device=device,
        sounds=sounds, files=files, examples=examples, rounds=rounds,
    )  # fmt: skip
    console = Console()
    with Progress(*_COLUMNS, console=console, transient=True) as progress:
        task = progress.add_task("rooms and sounds", total=None)

        def show(name: str, done: int, total: int) -> None:
            progress.update(task, description=name, completed=done, total=total)

        record = separation_bench(bench, show)
    for table in separation_tables(record):
        console.print(table)
    _print_left_out(console, record.left_out)
    if files is not None:
        console.print(f"examples: {files}", soft_wrap=True)
    if out is not None:
        write_record(out, record)
        console.print(f"record: {out}", soft_wrap=True)


def _print_left_out(console: Console, left_out: dict[str, str]) -> None:
    for what, why in left_out.items():
        console.print(f"left out: {what}: {why}", markup=False, highlight=False, soft_wrap=True)


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


@bench_app.command("ablation")
def ablation(
    experiments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CONFIG]…", help="Experiments with a frozen separator; else those of --memory."),
    ] = None,
    env: Annotated[str | None, typer.Option(help="AuralNav id; else the experiments' own.")] = None,
    rows: Annotated[
        str, typer.Option(metavar="ROW,…", help="Some of learned, oracle, mixture, seed and tracker.")
    ] = "learned,oracle,mixture,seed,tracker",
    memory: Annotated[
        str | None, typer.Option(metavar="KIND,…", help="none, mamba2, gru …; by default none,mamba2.")
    ] = None,
    seeds: Annotated[str, typer.Option(metavar="N,…", help="Of the trainings.")] = "10,11,12",
    steps: Annotated[
        int | None, typer.Option(help="Steps of each training; else the experiments' own.", min=1)
    ] = None,
    episodes: Annotated[int, typer.Option(help="Fixed evaluation episodes.", min=1)] = 200,
    separator: Annotated[
        str | None, typer.Option(metavar="NAME|PATH", help="Of learned masks; else the experiments' own.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(help="Processes at a time; by default as many as there are cores.", min=1)
    ] = None,
    folder: Annotated[Path, typer.Option(help="Where runs lie.", file_okay=False)] = Path("runs/ablation"),
    out: Annotated[
        Path | None, typer.Option(help="Write a JSON record to this file.", dir_okay=False)
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY.SUB=VALUE", help="Change a setting of all, for example env.distractors=2."),
    ] = None,
) -> None:
    """What separation adds: the same agent with learned masks, true masks, none, and the seed's cues, and the tracker.

    The same command given again continues what was stopped, and does not repeat what is done.
    """
    from auralnav.benchmarks.ablation import run_ablation
    from auralnav.benchmarks.ablation_plan import comma_list, make_plan, whole_numbers
    from auralnav.benchmarks.ablation_tables import ablation_tables
    from auralnav.benchmarks.records import write_record
    from auralnav.cli_people import console
    from auralnav.provenance import hardware

    plan = make_plan(
        experiments or (), env=env, rows=comma_list(rows), memory=comma_list(memory or ""),
        seeds=whole_numbers(seeds), steps=steps, episodes=episodes, separator=separator, overrides=overrides or (),
    )  # fmt: skip
    screen = console()
    record = run_ablation(plan, folder, jobs or int(hardware()["cores"]), screen)
    if isinstance(record, int):
        screen.print("stopped; the same command goes on from here", highlight=False)
        raise typer.Exit(128 + record)
    for table in ablation_tables(record):
        screen.print(table)
    if out is not None:
        write_record(out, record)
        screen.print(f"record: {out}", soft_wrap=True, highlight=False)
