"""`auralnav replay`: what is in a recorded dogfight, and the pictures, videos and pages made of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from auralnav import cli_people
from auralnav.errors import ReplayError

if TYPE_CHECKING:
    from rich.console import Console

    from auralnav.envs.dogfight.replay import Replay

SUFFIXES = (".html", ".mp4", ".png")


def register(app: typer.Typer) -> None:
    """Add this module's command to the application."""
    app.command("replay")(replay_command)


def replay_command(
    file: Annotated[Path, typer.Argument(metavar="REPLAY", help="A recorded dogfight, .npz.", dir_okay=False)],
    out: Annotated[
        list[Path] | None,
        typer.Argument(metavar="OUT", help="What to make of it: a page that plays it (.html), .mp4, .png."),
    ] = None,
    fps: Annotated[float, typer.Option(min=1, max=240, help="Pictures a second of an .mp4.")] = 60.0,
    at: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="The moment of a .png; the last when left out.")
    ] = None,
    follow: Annotated[
        int | None, typer.Option(min=1, max=8, metavar="SHIP", help="Keep this ship in the middle (.mp4, .png).")
    ] = None,
) -> None:
    """Show a recorded dogfight: in words, and as a page, a video or a picture."""
    for path in out or ():
        if path.suffix not in SUFFIXES:
            raise typer.BadParameter(f"{path}: give a name that ends in {', '.join(SUFFIXES)}")
    from auralnav.envs.dogfight.replay_file import load_replay

    replay = load_replay(file)
    screen = cli_people.console()
    screen.print(told(replay), highlight=False, markup=False)
    for path in out or ():
        write(path, replay, screen, fps=fps, at=at, ship=None if follow is None else follow - 1)


def told(replay: Replay) -> str:
    """A replay in a line of words."""
    hits = int((replay.bullets.victim >= 0).sum())
    return (
        f"{replay.team_name(0)} against {replay.team_name(1)}: {replay.result} after {replay.seconds:.1f} s "
        f"({replay.last_tick} ticks); {len(replay.bullets.owner)} shots, {hits} hits"
    )


def write(
    path: Path, replay: Replay, screen: Console, *, fps: float = 60.0, at: float | None = None, ship: int | None = None
) -> None:
    """Write a replay as what the path's suffix says, and say so."""
    if path.suffix == ".npz":
        from auralnav.envs.dogfight.replay_file import save_replay

        save_replay(path, replay)
    elif path.suffix == ".html":
        from auralnav.envs.dogfight.html import write_page

        if ship is not None:
            raise ReplayError(f"{path}: a page follows the ship that its reader selects; leave out --follow")
        write_page(path, replay)
    elif path.suffix == ".png":
        from auralnav.agents.replay_film import write_still

        write_still(path, replay, replay.seconds if at is None else at, follow=ship)
    else:
        _film(path, replay, fps, ship)
    screen.print(f"written: {path}", soft_wrap=True, highlight=False, markup=False)


def _film(path: Path, replay: Replay, fps: float, ship: int | None) -> None:
    """Write the video, with a bar."""
    from auralnav.agents.replay_film import write_film

    with cli_people.progress_bars(cli_people.console()) as bars:
        task = bars.add_task(path.name)
        write_film(
            path,
            replay,
            fps=fps,
            follow=ship,
            on_frame=lambda done, total: bars.update(task, completed=done, total=total),
        )
