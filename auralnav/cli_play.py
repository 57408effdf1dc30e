"""`auralnav play`: walking by ear, or flying against scripts, by keyboard in the terminal."""

from __future__ import annotations

from contextlib import ExitStack, closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from auralnav import cli_people, cli_replay
from auralnav.errors import ConfigError

if TYPE_CHECKING:
    from auralnav.agents.play_dogfight import DogfightSession

WALKS = (".mp4", ".wav")
"""Suffixes of a recorded walk."""
GAMES = (".npz", *cli_replay.SUFFIXES)
"""Suffixes of a recorded dogfight."""


def register(app: typer.Typer) -> None:
    """Add this module's command to the application."""
    app.command("play")(play_command)


def play_command(
    env: Annotated[str, typer.Argument(help="Environment id.")] = "AuralNav-v0",
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the episode.")] = None,
    keys: Annotated[
        str | None, typer.Option(help="Press these keys instead of reading the terminal.")
    ] = None,
    blind: Annotated[bool, typer.Option("--blind", help="No map: find the sources by ear.")] = False,
    mute: Annotated[bool, typer.Option("--mute", help="Play no sound.")] = False,
    opponent: Annotated[
        str | None, typer.Option(help="Dogfight: the script of the other team (pursuit when left out).")
    ] = None,
    skill: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Dogfight: how often it does as its script says, not anything (1)."),
    ] = None,
    pace: Annotated[
        float | None,
        typer.Option(min=0.05, max=4, help="Dogfight: seconds of the game in one of yours (0.5)."),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="Save it at the end: a walk .mp4 or .wav; a dogfight .npz, .html, .mp4."),
    ] = None,
    overrides: cli_people.Overrides = None,
) -> None:
    """Walk by keyboard and hear what the agent hears; or fly a dogfight against scripts."""
    teams = dogfight_teams(env)
    if record is not None:
        suffixes = WALKS if teams is None else GAMES
        if record.suffix not in suffixes:
            raise typer.BadParameter(f"{record}: give a name that ends in {' or '.join(suffixes)}")
    if teams is None:
        if (opponent, skill, pace) != (None, None, None):
            raise ConfigError(f"{env}: --opponent, --skill and --pace are for dogfights only")
        _walk(env, seed, keys, blind, mute, record, tuple(overrides or ()))
    else:
        if blind or overrides:
            raise ConfigError(f"{env}: --blind and --set are for AuralNav environments")
        from auralnav.agents.play_dogfight import DogfightSession

        session = DogfightSession(
            teams,
            cli_people.console(),
            opponent="pursuit" if opponent is None else opponent,
            skill=1.0 if skill is None else skill,
            pace=0.5 if pace is None else pace,
        )
        _fly(session, seed, keys, record)


def dogfight_teams(env_id: str) -> tuple[int, int] | None:
    """Ships of both teams where the id is that of a dogfight, None where it is not."""
    from auralnav.envs.registration import ENTRIES

    for entry in ENTRIES:
        if entry.id == env_id and entry.entry_point.startswith("auralnav.envs.dogfight"):
            from auralnav.envs.dogfight.settings import teams_of

            return teams_of(entry.kwargs)
    return None


def _walk(
    env: str, seed: int | None, keys: str | None, blind: bool, mute: bool, record: Path | None, changes: tuple[str, ...]
) -> None:
    import gymnasium as gym

    import auralnav
    from auralnav.agents.baselines import task_settings
    from auralnav.agents.play import HELP, PlaySession, save_recording, scripted_keys, terminal_keys
    from auralnav.agents.speaker import open_speaker
    from auralnav.agents.video import Recorder

    screen = cli_people.console()
    config = cli_people.env_config(env, changes)
    task = task_settings(config)
    if not config.is_aural:
        raise ConfigError(f"{env}: only AuralNav environments can be played by ear")
    auralnav.register_envs()
    recorder = Recorder() if record is not None else None
    # What cannot be played is refused before anything is said or a player is started.
    with (
        closing(gym.make(config.id, **config.task_kwargs())) as world,
        nullcontext(scripted_keys(keys)) if keys is not None else terminal_keys() as pressed,
        ExitStack() as stack,
    ):
        session = PlaySession(world, screen, blind=blind, recorder=recorder)
        session.speaker, words = (None, "sound is off") if mute else open_speaker(int(task["fs"]))
        if session.speaker is not None:
            stack.callback(session.speaker.close)
        screen.print(f"{words}\n{HELP}", highlight=False)
        info = session.run(pressed, seed)
    metrics = info.get("episode_metrics")
    if metrics:
        shown = ", ".join(f"{key} {float(value):.2f}" for key, value in metrics.items() if value is not None)
        screen.print(f"episode over: {shown}", highlight=False)
    screen.print(f"return {session.total:.2f}", highlight=False)
    if recorder is not None and record is not None:
        screen.print(f"recording: {save_recording(recorder, record)}", soft_wrap=True, highlight=False)


def _fly(session: DogfightSession, seed: int | None, keys: str | None, record: Path | None) -> None:
    import secrets

    from auralnav.agents.play_dogfight import HELP, scripted_steps, terminal_steps

    with nullcontext(scripted_steps(keys)) if keys is not None else terminal_steps() as pressed:
        session.console.print(HELP, highlight=False)
        replay = session.run(pressed, secrets.randbelow(2**31) if seed is None else seed)
    session.console.print(cli_replay.told(replay), highlight=False, markup=False)
    if record is not None:
        cli_replay.write(record, replay, session.console)
