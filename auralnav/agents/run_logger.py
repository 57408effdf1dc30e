"""The logs of a run: metrics.csv, TensorBoard and, where asked for, W&B, behind SB3's logger."""

from __future__ import annotations

from stable_baselines3.common.logger import KVWriter, Logger

from auralnav.agents.metrics_log import MetricsCsv, TensorBoardLog
from auralnav.agents.run_folder import RunFolder
from auralnav.configs.load import Experiment


def run_logger(
    run: RunFolder, config: Experiment, keep_rows: int, step: int, track: bool
) -> tuple[Logger, MetricsCsv, list[str]]:
    """Begin the logs; rows after the checkpoint are taken back.

    Args:
        run: where they lie.
        config: what W&B shows of the run.
        keep_rows: rows of metrics.csv at the checkpoint, 0 for a new run.
        step: of the checkpoint.
        track: whether to send them to W&B.

    Returns:
        The logger, its metrics.csv, and lines to tell the user.

    Raises:
        MissingDependencyError: `track` without wandb.
    """
    metrics = MetricsCsv(run.metrics, keep_rows)
    writers: list[KVWriter] = [metrics, TensorBoardLog(run.path, step)]
    lines: list[str] = []
    if track:
        from auralnav.agents.tracking import WandbLog

        wandb_log = WandbLog(config, run.path)
        lines.append(wandb_log.describe())
        writers.append(wandb_log)
    return Logger(str(run.path), writers), metrics, lines
