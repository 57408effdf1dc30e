"""`auralnav league`: dogfight pilots against each other, and their ratings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from auralnav import cli_people

if TYPE_CHECKING:
    from auralnav.benchmarks.league import LeagueRecord


def register(app: typer.Typer) -> None:
    """Add this module's command to the application."""
    app.command("league")(league_command)


def league_command(
    players: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PLAYER",
            help="Scripts (pursuit, or pursuit:0.5 for one whose every step is random with that chance) and runs; "
            "without --only all scripts play too.",
        ),
    ] = None,
    ships: Annotated[int, typer.Option(min=1, max=4, help="Ships of each team.")] = 2,
    starts: Annotated[int, typer.Option(min=1, help="From each, every pair plays two games, changing sides.")] = 100,
    anchor: Annotated[str, typer.Option(help="The player whose rating is 1000.")] = "pursuit",
    only: Annotated[bool, typer.Option("--only", help="Nobody but the players named.")] = False,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the first start.", show_default=False)] = None,
    out: Annotated[Path | None, typer.Option(help="Write a JSON record to this file.", dir_okay=False)] = None,
) -> None:
    """Rate dogfight pilots: everybody against everybody, Elo with 95 % intervals."""
    import torch

    from auralnav.agents.pilots import FLYING, find_pilot
    from auralnav.benchmarks.league import FIRST_SEED, run_league
    from auralnav.benchmarks.records import write_record
    from auralnav.provenance import command_line

    named = list(players or ())
    everybody = named if only else [*(script for script in FLYING if script not in named), *named]
    console = cli_people.console()
    torch.set_num_threads(1)  # networks of this size are slower with more
    with console.status("playing") as status:
        record = run_league(
            [find_pilot(name) for name in everybody],
            ships,
            starts,
            anchor,
            FIRST_SEED if seed is None else seed,
            command_line(),
            lambda done, pairs: status.update(f"playing: {done} of {pairs} pairs done"),
        )
    console.print(standings(record))
    if out is not None:
        write_record(out, record)
        console.print(f"record: {out}", soft_wrap=True, highlight=False)


def standings(record: LeagueRecord) -> Table:
    """The table of a league, best first, with the points of each against each in percent."""
    best = [one.name for one in record.standings]
    table = Table(title=f"{record.ships} against {record.ships} ships, {2 * record.starts} games a pair", box=None)
    table.add_column("player")
    table.add_column("Elo", justify="right")
    table.add_column("95 %", justify="right")
    table.add_column("won/drawn/lost", justify="right")
    for place in range(len(best)):
        table.add_column(f"vs {place + 1}", justify="right")
    for place, one in enumerate(record.standings, start=1):
        row = record.points[record.names.index(one.name)]
        against = ["" if name == one.name else f"{100 * row[record.names.index(name)]:.0f}" for name in best]
        # Whoever won or lost everything has nothing to resample.
        interval = f"{one.low:.0f} to {one.high:.0f}" if one.high - one.low >= 1 else "–"
        table.add_row(
            f"{place} {one.name}", f"{one.elo:.0f}", interval, f"{one.won}/{one.drawn}/{one.lost}", *against
        )
    return table
