"""`auralnav bench ablation`: what separation adds, by training the same agent with other masks and cues.

Every row has the same network, replay, history, budget, seeds and evaluation episodes; see `ablation_plan` for what
differs, `ablation_folder` for what lies where and `ablation_record` for the statistics.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from auralnav.agents.evaluate import EVAL_SEED
from auralnav.agents.progress import TrainingProgress
from auralnav.agents.training_guards import stop_signals
from auralnav.benchmarks.ablation_folder import AblationFolder, described
from auralnav.benchmarks.ablation_plan import TRACKER, Plan, Training
from auralnav.benchmarks.ablation_record import AblationRecord, Scores, leads_of, means_of, scores_of
from auralnav.benchmarks.jobs import run_jobs
from auralnav.errors import CheckpointError
from auralnav.provenance import command_line

if TYPE_CHECKING:
    from rich.console import Console


def run_ablation(plan: Plan, path: Path, at_once: int, console: Console | None) -> AblationRecord | int:
    """Train and evaluate what is missing, then compare.

    Args:
        plan: what is compared.
        path: folder of the ablation; a call that was stopped is continued by the same one.
        at_once: processes.
        console: where progress is shown; None: nowhere.

    Returns:
        The record, or the number of the signal that stopped it.

    Raises:
        ConfigError: the folder is not this ablation's, or another process works on it.
        AuralNavError: a training or an evaluation failed; the others are done.
    """
    folder = AblationFolder(plan, path)
    trainings = list(plan.trainings())
    total = sum(training.config.train.total_steps for training in trainings)

    def done() -> int:
        return sum(min(folder.steps_done(one), one.config.train.total_steps) for one in trainings)

    jobs = folder.jobs()
    progress = TrainingProgress(total, done(), console, "ablation")
    with stop_signals(progress.say, "stopping the processes, with their checkpoints") as stop:

        def tick(running: int, waiting: int) -> None:
            progress.note(f"{len(jobs) - running - waiting}/{len(jobs)} runs complete, {running} at work")
            progress.update(done())

        try:
            run_jobs(jobs, at_once, stop, progress.say, tick)
        finally:
            progress.close(done())
    if stop.number is not None:
        return stop.number
    return collect(folder, trainings)


def collect(folder: AblationFolder, trainings: list[Training]) -> AblationRecord:
    """The record of a folder in which everything is done.

    Raises:
        CheckpointError: an evaluation is missing.
    """
    plan = folder.plan
    rows: list[Scores] = []
    for variant in plan.variants:
        for row in plan.rows:
            if row != TRACKER:
                mine = [one for one in trainings if (one.variant, one.row) == (variant, row)]
                seeds = [one.config.train.seed for one in mine]
                rows.append(scores_of(variant, row, seeds, [_evaluation(folder, one.name) for one in mine]))
    if TRACKER in plan.rows:
        rows.append(scores_of("", TRACKER, [], [_evaluation(folder, TRACKER)]))
    return AblationRecord.of_this_machine(
        settings={name: described(config) for name, config in plan.variants.items()},
        command=command_line(),
        env_id=plan.env.id,
        env_kwargs=plan.env.task_kwargs(),
        first_seed=EVAL_SEED,
        episodes=plan.episodes,
        separator=plan.separator(),
        rows=rows,
        means=means_of(rows),
        leads=leads_of(rows),
    )


def _evaluation(folder: AblationFolder, name: str) -> dict:
    values = folder.evaluation(name)
    if values is None:
        raise CheckpointError(f"{folder.path}: the evaluation of {name} is missing; give the same command again")
    return values
