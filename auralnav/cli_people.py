"""`auralnav eval`, `auralnav demo`: what people see, hear and compare."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from auralnav.errors import AuralNavError, ConfigError, MissingDependencyError, did_you_mean
from auralnav.provenance import command_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

    from auralnav.agents.baselines import Agent
    from auralnav.agents.evaluate import EvaluationRecord, PolicyAgent
    from auralnav.configs.schema import AudioEnvConfig

DEMO_CONFIG = "auralnav-demo-dqn"
OBSERVED = ("obs_mode", "expose_pose")
"""Arguments that say what an agent observes: agents that differ in them only do the same task."""

COLUMNS = (
    ("success_60", "success in\n60 steps", 2),
    ("success", "success\nat all", 2),
    ("draw", "draw", 2),
    ("spl", "SPL", 2),
    ("sna", "SNA", 2),
    ("return", "return", 1),
)
"""Measure, title and decimals of each column; those that no agent of a table has are left out."""


class Split(StrEnum):
    """Halves of the sounds."""

    test = "test"
    train = "train"


Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="env.KEY=VALUE", help="Change a setting, for example env.sounds=DIR."),
]


def register(app: typer.Typer) -> None:
    """Add this module's commands to the application."""
    app.command("eval")(evaluate_command)
    app.command("demo")(demo_command)


def evaluate_command(
    agents: Annotated[
        list[str],
        typer.Argument(metavar="AGENT", help="Run folders, SB3 zips in them, or random, gcc-phat, oracle."),
    ],
    env: Annotated[
        str | None,
        typer.Option("--env", help="Environment id; else that of the first run folder, else AuralNav-v0."),
    ] = None,
    episodes: Annotated[int, typer.Option(min=1, help="Fixed evaluation episodes.")] = 100,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of the first episode (2 000 000 when left out).")
    ] = None,
    split: Annotated[Split, typer.Option(help="Whose sounds are heard.")] = Split.test,
    num_envs: Annotated[int, typer.Option(min=1, help="Worlds stepped at once.")] = 16,
    newest: Annotated[bool, typer.Option("--newest", help="The newest policy, not the best one.")] = False,
    video: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Film one episode with its sound, .mp4.")
    ] = None,
    record: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write the result, .json (several agents: one each).")
    ] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Read SB3 zips, which run code from the file.")
    ] = False,
    overrides: Overrides = None,
) -> None:
    """Evaluate agents on fixed episodes; several are compared on the same ones, in a table for each task."""
    changes = tuple(overrides or ())
    _only_env(changes)
    for path, suffix in ((video, ".mp4"), (record, ".json")):
        if path is not None and path.suffix != suffix:
            raise typer.BadParameter(f"{path}: give a name that ends in {suffix}")
    from auralnav.agents import evaluate as evaluation
    from auralnav.agents.demo import best_seed
    from auralnav.agents.filming import film

    screen = console()
    first = evaluation.EVAL_SEED if seed is None else seed
    chosen = _agents(agents, env, changes, not newest, trust)
    for _, config in chosen:
        if video is not None and not config.is_aural:
            raise ConfigError(f"--video: {config.id}: videos are of AuralNav environments only; leave it out")
    trained = [agent.config.train.torch_threads for agent, _ in chosen if isinstance(agent, evaluation.PolicyAgent)]
    if trained:
        import torch

        torch.set_num_threads(max(trained))  # small networks are slower with more
    records = []
    with progress_bars(screen) as progress:
        for agent, config in chosen:
            records.append(
                evaluation.record(
                    agent,
                    config,
                    episodes,
                    command=command_line(),
                    seed=first,
                    split=split.value,
                    num_envs=num_envs,
                    on_episode=episode_bar(progress, agent.name, episodes),
                )
            )
    tables: dict[str, list[EvaluationRecord]] = {}
    for (_, config), entry in zip(chosen, records, strict=True):
        tables.setdefault(_task_key(config), []).append(entry)
    for group in tables.values():
        screen.print(results_table(group))
    for (agent, config), entry, mark in zip(chosen, records, _marks(records), strict=True):
        if record is not None:
            where = entry.write(record.with_stem(record.stem + mark))
            screen.print(f"record: {where}", soft_wrap=True, highlight=False)
        if video is not None:
            recorder, _ = film(agent, config, best_seed(entry), split.value)
            where = recorder.write(video.with_stem(video.stem + mark))
            screen.print(f"video: {where}", soft_wrap=True, highlight=False)


def demo_command(
    minutes: Annotated[float, typer.Option(min=0.05, help="Training time.")] = 7.0,
    episodes: Annotated[int, typer.Option(min=1, help="Evaluation episodes for each agent.")] = 100,
    run_dir: Annotated[Path | None, typer.Option(help="Folder of the run.", file_okay=False)] = None,
    overrides: Overrides = None,
) -> None:
    """Train a DQN to walk to sounds, compare it with the baselines, draw its curve and film it; separate sounds."""
    from auralnav.configs.load import load_config

    config = load_config(DEMO_CONFIG, list(overrides or ()))
    from auralnav.agents.demo import run_demo

    screen = console()
    with progress_bars(screen) as progress:
        result = run_demo(
            config,
            minutes,
            episodes,
            run_dir,
            screen,
            # The training has its own bar; this one appears when the evaluation starts.
            lambda name, total: episode_bar(progress, name, total),
        )
    if result.stopped:
        screen.print(f"stopped; continue with: auralnav train --resume {result.run}", highlight=False)
        raise typer.Exit(130)
    screen.print(results_table(result.records))
    screen.print(
        f"trained {result.steps:,} steps in {result.seconds:,.0f} s\nrun folder: {result.run}\n"
        f"learning curve: {result.curve}\nvideo with sound: {result.video}",
        soft_wrap=True,
        highlight=False,
    )
    for line in _separation(result.run / "separation"):
        screen.print(line, soft_wrap=True, highlight=False)


def _separation(folder: Path) -> list[str]:
    """What separation adds, or why it is left out."""
    from auralnav.benchmarks.separation_demo import separation_demo

    try:
        return separation_demo(folder).lines()
    except MissingDependencyError as error:
        return [f"separation is left out: {error}"]


def results_table(records: Sequence[EvaluationRecord]) -> Table:
    """Agents as rows, measures as columns, each a mean with its 95 % bootstrap interval."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    first = records[0]
    # What an agent observes is its own affair and no part of the task.
    given = ", ".join(f"{key}={value}" for key, value in first.env_kwargs.items() if key not in OBSERVED)
    task = f"{first.env_id} ({given})" if given else first.env_id
    table = Table(
        title=escape(
            f"{task}: {len(first.episodes)} episodes, seeds from {first.first_seed}, mean and 95 % interval"
        ),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        # Eighty columns hold an experiment's name and all measures.
        padding=(0, 1, 0, 0),
    )
    table.add_column("agent", no_wrap=True)
    columns = [column for column in COLUMNS if any(column[0] in entry.summary for entry in records)]
    for _, title, _ in columns:
        table.add_column(title, justify="right", no_wrap=True)
    for entry in records:
        summary = entry.summary
        cells = []
        for key, _, digits in columns:
            value = summary.get(key)
            if value is None:
                cells.append("–")
            else:
                cells.append(
                    f"{value.mean:.{digits}f}\n[dim]{value.low:.{digits}f}–{value.high:.{digits}f}[/]"
                )
        table.add_row(entry.agent, *cells)
    return table


def env_config(env_id: str, changes: Sequence[str]) -> AudioEnvConfig:
    """The environment part of a config made of an id and `env.…` overrides.

    Raises:
        ConfigError: an override of something else, an unknown key or a bad value.
    """
    from auralnav.configs.load import parse_config

    _only_env(changes)
    # PPO stands here because it allows every action space; nothing is trained. JSON's quotes are YAML's.
    text = f"name: command-line\nalgorithm: ppo\nenv:\n  id: {json.dumps(env_id)}\n"
    return parse_config(text, list(changes), source="--set").env


def episode_bar(progress: Progress, name: str, total: int) -> Callable[[int], None]:
    """A new bar for an agent; what comes back is called with the number of episodes done."""
    task = progress.add_task(name, total=total)
    return lambda done: progress.update(task, completed=done)


def _agents(
    names: Sequence[str], env: str | None, changes: tuple[str, ...], best: bool, trust: bool
) -> list[tuple[Agent, AudioEnvConfig]]:
    """The agents by name, each with its task: baselines do that of the first run where no id is given."""
    from auralnav.agents.baselines import BASELINES, make_baseline, task_settings

    runs = {name: _learned(name, env, changes, best, trust) for name in names if name not in BASELINES}
    if env is None and runs:
        task = next(iter(runs.values())).config.env
    else:
        task = env_config(env or "AuralNav-v0", changes)
    return [
        (runs[name], runs[name].config.env) if name in runs else (make_baseline(name, task_settings(task)), task)
        for name in names
    ]


def _learned(name: str, env: str | None, changes: tuple[str, ...], best: bool, trust: bool) -> PolicyAgent:
    """The agent of a run folder, or of an SB3 zip in one."""
    from auralnav.agents.baselines import BASELINES
    from auralnav.agents.evaluate import load_policy_agent, load_zip_agent

    overrides = (*(() if env is None else (f"env.id={env}",)), *changes)
    if name.endswith(".zip"):
        return load_zip_agent(name, overrides, trust)
    if not Path(name).is_dir():
        hint = did_you_mean(name, BASELINES) or ";"
        raise AuralNavError(
            f"{name}: neither a run folder nor a baseline{hint} baselines are {', '.join(BASELINES)}"
        )
    return load_policy_agent(name, overrides, best)


def _task_key(config: AudioEnvConfig) -> str:
    """What two tasks have in common when their results may stand in one table."""
    from auralnav.agents.baselines import task_settings

    same = {key: value for key, value in task_settings(config).items() if key not in (*OBSERVED, "split")}
    return json.dumps([config.id, same], sort_keys=True, default=str)


def _only_env(changes: Sequence[str]) -> None:
    for change in changes:
        if not change.startswith("env."):
            raise ConfigError(f"--set {change}: only env.… can be set here, for example env.sounds=DIR")


def _marks(records: Sequence[EvaluationRecord]) -> list[str]:
    """What each agent's files have at the end of their name: nothing for one agent, else its name, never twice."""
    if len(records) == 1:
        return [""]
    marks: list[str] = []
    for entry in records:
        mark = "-" + "".join(c if c.isalnum() else "-" for c in entry.agent).strip("-")
        count = 2
        unique = mark
        while unique in marks:
            unique, count = f"{mark}-{count}", count + 1
        marks.append(unique)
    return marks


def progress_bars(screen: Console) -> Progress:
    """A bar with count and time for each task; nothing where the screen is no terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal)


def console() -> Console:
    """The screen; what goes to a file or a pipe keeps its long lines."""
    from rich.console import Console

    return Console(soft_wrap=not sys.stdout.isatty())
