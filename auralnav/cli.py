"""The `auralnav` command. Each command is thin and imports what it needs, so that `--help` is quick."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, TextIO

import typer

from auralnav import cli_league, cli_people, cli_play, cli_replay
from auralnav.cli_bench import bench_app
from auralnav.errors import AuralNavError
from auralnav.files import is_full_disk

app = typer.Typer(
    help="AuralNav: agents that act on what they can only partly sense.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(bench_app, name="bench")
cli_people.register(app)
cli_play.register(app)
cli_replay.register(app)
cli_league.register(app)

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY.SUB=VALUE", help="Change a setting, for example train.seed=1."),
]


@app.command()
def train(
    config: Annotated[
        str | None, typer.Argument(help="A YAML file, or the name of an experiment (see `auralnav configs`).")
    ] = None,
    overrides: Overrides = None,
    seed: Annotated[int | None, typer.Option(help="Short for --set train.seed=…")] = None,
    steps: Annotated[int | None, typer.Option(help="Short for --set train.total_steps=…")] = None,
    run_dir: Annotated[Path | None, typer.Option(help="Folder of the new run.", file_okay=False)] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Continue the run in this folder.", file_okay=False)
    ] = None,
    track: Annotated[bool, typer.Option("--track", help="Send figures to Weights & Biases.")] = False,
    export_zip: Annotated[
        bool, typer.Option("--export-zip", help="Also write SB3's policy.zip at the end.")
    ] = False,
) -> None:
    """Train an agent or a separator, or continue a training."""
    changes = list(overrides or ())
    if seed is not None:
        changes.append(f"train.seed={seed}")
    if steps is not None:
        changes.append(f"train.total_steps={steps}")
    if (config is None) == (resume is None):
        raise typer.BadParameter("give either an experiment or --resume RUN")
    if resume is not None and run_dir is not None:
        raise typer.BadParameter("--run-dir is for a new run; a resumed one stays in its folder")
    from auralnav.configs.load import load_experiment
    from auralnav.configs.separator import SeparatorExperiment

    # Checked before the heavy imports: a typo answers at once.
    if config is not None:
        checked = load_experiment(config, changes)
    else:
        from auralnav.agents.run_folder import RunFolder

        assert resume is not None
        checked = RunFolder.open(resume).load_experiment()
    console = cli_people.console()
    timed_out = False
    try:
        if isinstance(checked, SeparatorExperiment):
            if export_zip:
                raise typer.BadParameter("--export-zip is for agents; a separator has no policy")
            from auralnav.agents import train_separator

            if resume is None:
                result = train_separator.start(checked, run_dir, track=track, console=console)
            else:
                result = train_separator.resume(resume, tuple(changes), track=track, console=console)
            timed_out = result.timed_out
        else:
            from auralnav.agents import train as training

            if resume is None:
                result = training.start(checked, run_dir, track=track, export_zip=export_zip, console=console)
            else:
                result = training.resume(
                    resume, tuple(changes), track=track, export_zip=export_zip, console=console
                )
    except KeyboardInterrupt:
        typer.echo("quit at once; the last checkpoint stands", err=True)
        raise typer.Exit(130) from None
    where = result.run.path
    if result.signal is not None:
        console.print(
            f"stopped at {result.steps:,} steps; continue with: auralnav train --resume {where}",
            highlight=False,
        )
        raise typer.Exit(128 + result.signal)
    trained = result.steps - result.first_step
    if trained:
        share = f", {trained:,} of them now" if result.first_step else ""
        end = "time is up" if timed_out else "done"
        speed = f"{result.steps_per_second:,.{0 if result.steps_per_second >= 10 else 1}f}"
        words = (
            f"{end}: {result.steps:,} steps{share}, in {result.seconds:,.0f} s, {speed} steps/s; run folder: {where}"
        )
    else:
        words = (
            f"complete: all {result.steps:,} steps are done; to go on, raise train.total_steps: "
            f"auralnav train --resume {where} --steps {2 * result.steps}"
        )
    console.print(words, highlight=False, soft_wrap=True)


@app.command()
def configs() -> None:
    """The experiments that come with the package."""
    from auralnav.configs.load import config_names, load_experiment
    from auralnav.configs.separator import SeparatorExperiment

    rows = []
    for name in config_names():
        config = load_experiment(name)
        task = f"{config.separator.sources} sources" if isinstance(config, SeparatorExperiment) else config.env.id
        detail = f"{config.algorithm} on {task}, {config.train.total_steps:,} steps"
        rows.append((name, config.description, detail))
    _print_list("experiment", rows)


@app.command()
def envs() -> None:
    """The environments of this package."""
    from auralnav.envs.registration import ENTRIES

    _print_list(
        "id",
        [
            (entry.id, entry.summary, ", ".join(f"{key}={value}" for key, value in entry.kwargs.items()))
            for entry in ENTRIES
        ],
    )


@app.command()
def doctor() -> None:
    """What this machine has for AuralNav: versions, threads, state-space backends, sound, video, GPU, tracking."""
    from rich.markup import escape
    from rich.table import Table

    from auralnav.cli_doctor import checks

    table = Table("check", "found", "", show_edge=False)
    failed = False
    console = cli_people.console()
    with console.status("checking; the first time kernels are compiled, on CUDA for minutes"):
        for check in checks():
            failed |= check.ok is False
            mark = {True: "[green]ok[/]", False: "[red]not ok[/]", None: "[yellow]optional[/]"}[check.ok]
            table.add_row(check.name, escape(check.found), mark)
    console.print(table)
    if failed:
        raise typer.Exit(1)


def _print_list(title: str, rows: Sequence[tuple[str, str, str]]) -> None:
    """Names, each with what it is about and a line of details: names are whole in eighty columns too."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(title, no_wrap=True)
    table.add_column("about")
    for name, about, detail in rows:
        table.add_row(name, escape(about) + (f"\n[dim]{escape(detail)}[/]" if detail else ""))
    cli_people.console().print(table)


def _one_line_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """In place of `warnings.showwarning`: what is wrong, without the source line that noticed it."""
    typer.echo(f"warning: {' '.join(str(message).split())}", err=True)


def main(arguments: Iterable[str] | None = None) -> None:
    """Entry point: deliberate errors, and files that cannot be read or written, become one line and exit code 2."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _one_line_warning
            app(args=None if arguments is None else list(arguments))
    except AuralNavError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(2) from error
    except OSError as error:
        if error.filename is None or error.strerror is None:
            raise
        fix = "free some space" if is_full_disk(error) else "check the path and its permissions,"
        where = f"{error.filename}: {error.strerror}"
        typer.echo(f"error: {where}; {fix} or choose another place", err=True)
        raise SystemExit(2) from error


if __name__ == "__main__":
    main()
