"""The `auralnav` command. Each command is thin and imports what it needs, so that `--help` is quick."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from auralnav import cli_people
from auralnav.cli_bench import bench_app
from auralnav.errors import AuralNavError

app = typer.Typer(
    help="AuralNav: agents that act on what they can only partly sense.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(bench_app, name="bench")
cli_people.register(app)

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
    """Train an agent, or continue a training."""
    changes = list(overrides or ())
    if seed is not None:
        changes.append(f"train.seed={seed}")
    if steps is not None:
        changes.append(f"train.total_steps={steps}")
    if (config is None) == (resume is None):
        raise typer.BadParameter("give either an experiment or --resume RUN")
    if resume is not None and run_dir is not None:
        raise typer.BadParameter("--run-dir is for a new run; a resumed one stays in its folder")
    from auralnav.configs.load import load_config

    # Checked before the heavy imports: a typo answers at once.
    checked = load_config(config, changes) if config is not None else None
    from auralnav.agents import train as training

    console = _console()
    try:
        if checked is not None:
            result = training.start(checked, run_dir, track=track, export_zip=export_zip, console=console)
        else:
            assert resume is not None
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
    speed = f", {result.steps_per_second:,.0f} steps/s" if result.seconds > 0 else ""
    console.print(
        f"done: {result.steps:,} steps in {result.seconds:,.0f} s{speed}; run folder: {where}",
        highlight=False,
    )


@app.command()
def configs() -> None:
    """The experiments that come with the package."""
    from rich.table import Table

    from auralnav.configs.load import config_names, load_config

    table = Table("experiment", "environment", "algorithm", "steps", "about")
    for name in config_names():
        config = load_config(name)
        table.add_row(
            name, config.env.id, config.algorithm, f"{config.train.total_steps:,}", config.description
        )
    _console().print(table)


@app.command()
def envs() -> None:
    """The environments of this package."""
    from rich.table import Table

    from auralnav.envs.registration import ENTRIES

    table = Table("id", "task", "arguments")
    for entry in ENTRIES:
        table.add_row(
            entry.id, entry.summary, ", ".join(f"{key}={value}" for key, value in entry.kwargs.items())
        )
    _console().print(table)


@app.command()
def doctor() -> None:
    """What this machine has for AuralNav: versions, threads, sound, video, GPU, tracking."""
    from rich.markup import escape
    from rich.table import Table

    from auralnav.cli_doctor import checks

    table = Table("check", "found", "", show_edge=False)
    failed = False
    for check in checks():
        failed |= check.ok is False
        mark = {True: "[green]ok[/]", False: "[red]missing[/]", None: "[yellow]optional[/]"}[check.ok]
        table.add_row(check.name, escape(check.found), mark)
    _console().print(table)
    if failed:
        raise typer.Exit(1)


def _console() -> Any:
    from rich.console import Console

    return Console(soft_wrap=not sys.stdout.isatty())


def main(arguments: Iterable[str] | None = None) -> None:
    """Entry point: deliberate errors, and files that cannot be read or written, become one line and exit code 2."""
    try:
        app(args=None if arguments is None else list(arguments))
    except AuralNavError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(2) from error
    except OSError as error:
        if error.filename is None or error.strerror is None:
            raise
        where = f"{error.filename}: {error.strerror}"
        typer.echo(f"error: {where}; free some space or choose another place", err=True)
        raise SystemExit(2) from error


if __name__ == "__main__":
    main()
