"""The demonstration: train within a time budget, compare with the baselines, draw and film."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from auralnav.agents import train
from auralnav.agents.baselines import BASELINES, Agent, make_baseline, task_settings
from auralnav.agents.curves import plot_curves
from auralnav.agents.evaluate import EvaluationRecord, load_policy_agent, record
from auralnav.agents.filming import film
from auralnav.agents.run_folder import RunFolder
from auralnav.configs.schema import ExperimentConfig

PROBE_STEPS = 6_000
FEWEST_STEPS = 20_000


@dataclass(frozen=True)
class DemoResult:
    """What the demonstration made.

    Attributes:
        run: the run folder.
        records: one evaluation for each agent.
        curve: the learning curve's picture.
        video: the film of the trained agent.
        steps: environment steps trained.
        seconds: of training.
        stopped: whether training was interrupted (nothing after it was made).
    """

    run: Path
    records: list[EvaluationRecord]
    curve: Path
    video: Path
    steps: int
    seconds: float
    stopped: bool = False


def steps_for(config: ExperimentConfig, minutes: float) -> int:
    """Training steps that fit into `minutes` on this machine, at most the config's own.

    A short training of the same kind is timed twice: the first pays for compiling.
    """
    probe = config.model_copy(deep=True)
    probe.train.total_steps = PROBE_STEPS
    probe.train.eval_every = probe.train.checkpoint_every = 0
    probe.train.log_every = PROBE_STEPS
    if probe.algorithm == "dqn":
        early = max(PROBE_STEPS // 6, probe.fewest_learning_starts)
        probe.dqn.learning_starts = min(probe.dqn.learning_starts, early)
        # The buffer is sized by the config; a probe need not touch so much memory. A sequence replay is left
        # as it is, for it must hold whole sequences of every world.
        if not probe.remembers:
            probe.dqn.buffer_size = min(probe.dqn.buffer_size, PROBE_STEPS)
    speed = 1.0
    for _ in range(2):
        with tempfile.TemporaryDirectory() as folder:
            timed = train.start(probe, Path(folder) / "probe")
        if timed.signal is not None:
            raise KeyboardInterrupt
        speed = timed.steps_per_second
    # A tenth is left for evaluations and checkpoints on the way.
    fitting = int(0.9 * speed * 60.0 * minutes)
    return min(config.train.total_steps, max(FEWEST_STEPS, fitting // 1_000 * 1_000))


def run_demo(
    config: ExperimentConfig,
    minutes: float,
    episodes: int = 100,
    run_dir: Path | None = None,
    console: Console | None = None,
    on_agent: Callable[[str, int], Callable[[int], None] | None] | None = None,
) -> DemoResult:
    """Train, evaluate beside the baselines on fixed episodes, draw and film; files lie in the run folder.

    Args:
        config: the experiment; its steps are cut to what fits.
        minutes: training time.
        episodes: evaluation episodes for each agent.
        run_dir: the run folder (a new one under runs/ when left out).
        console: where progress is said; None is silent.
        on_agent: called with an agent's name and its episodes before its evaluation; gives back what is
            called with the number of episodes done.
    """

    def say(text: str) -> None:
        if console is not None:
            console.print(text, highlight=False)

    RunFolder.check_free(run_dir)
    say(
        f"timing this machine with two short trainings ({PROBE_STEPS:,} steps each, the first one compiles): "
        f"how much fits into {minutes:g} minutes?"
    )
    plan = config.model_copy(deep=True)
    plan.train.total_steps = steps_for(config, minutes)
    plan.train.eval_every = min(plan.train.eval_every, max(5_000, plan.train.total_steps // 8))
    say(f"training {plan.name} on {plan.env.id}: {plan.train.total_steps:,} steps, about {minutes:g} minutes")
    result = train.start(plan, run_dir, console=console)
    folder = result.run.path
    curve, video = folder / "learning_curve.png", folder / "episode.mp4"
    if result.signal is not None:
        return DemoResult(folder, [], curve, video, result.steps, result.seconds, stopped=True)

    learner = load_policy_agent(folder)
    task = task_settings(plan.env)
    # The oracle has no plan to sources that walk.
    names = [name for name in BASELINES if name != "oracle" or not task["moving"]]
    agents: list[Agent] = [learner, *(make_baseline(name, task) for name in names)]
    records = []
    for agent in agents:
        done = record(
            agent,
            plan.env,
            episodes,
            on_episode=on_agent(agent.name, episodes) if on_agent is not None else None,
        )
        label = "policy" if agent is learner else agent.name
        done.write(folder / "eval" / f"demo-{label}.json")
        records.append(done)
    levels = {
        entry.agent: {key: value.mean for key, value in entry.summary.items()}
        for entry in records[1:]
        if entry.agent != "oracle"
    }
    plot_curves({plan.name: folder}, curve, levels, f"{plan.algorithm.upper()} on {plan.env.id}")
    say("filming an episode …")
    film(learner, plan.env, best_seed(records[0]))[0].write(video)
    return DemoResult(folder, records, curve, video, result.steps, result.seconds)


def best_seed(entry: EvaluationRecord) -> int:
    """An episode worth showing: solved, and of median length among the solved; else the first."""
    solved = sorted((line for line in entry.episodes if line["success"]), key=lambda line: line["steps"] or 0)
    return int(solved[len(solved) // 2]["seed"] or 0) if solved else entry.first_seed
