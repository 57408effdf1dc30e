"""What happens between rollouts: logging, evaluation, checkpoints, the check for NaN, stopping.

SB3 calls `on_rollout_start` when the last transition is stored, the update is done and the next action is not
chosen yet. Only there is the whole state of a training consistent, for DQN and PPO alike.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback

from auralnav.agents.progress import TrainingProgress
from auralnav.agents.run_folder import RunFolder
from auralnav.agents.sb3_env import METRICS, REWARD_PREFIX
from auralnav.agents.training_eval import SHOWN, evaluate_model, score
from auralnav.configs.schema import ExperimentConfig
from auralnav.errors import AuralNavError
from auralnav.files import write_bytes, write_json

WINDOW = 100  # episodes in the running means of task metrics


class StopTraining(Exception):
    """Raised between rollouts, after the checkpoint, when the person asked to stop."""


class TrainingCallback(BaseCallback):
    """Drives log, evaluation and checkpoints by environment steps; a checkpoint holds its counters too.

    Args:
        config: the experiment.
        run: where results go.
        progress: what the person sees.
        save: writes a checkpoint.
        encode: the policy's bytes, for the best policy.
        stop_requested: whether to stop at the next consistent moment.
        wall_seconds: wall time of the training so far, over all resumes.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        run: RunFolder,
        progress: TrainingProgress,
        save: Callable[[], None],
        encode: Callable[[], bytes],
        stop_requested: Callable[[], bool],
        wall_seconds: Callable[[], float],
    ) -> None:
        super().__init__()
        self._config, self._run, self._progress = config, run, progress
        self._save, self._encode, self._stop_requested = save, encode, stop_requested
        self._wall_seconds = wall_seconds
        self._recent: deque[dict[str, float]] = deque(maxlen=WINDOW)
        self.evaluations: list[dict[str, float]] = []
        train = config.train
        self._periods = {
            "log": train.log_every,
            "eval": train.eval_every,
            "checkpoint": train.checkpoint_every,
        }
        self._seen = 0  # steps at the last rollout start

    def state(self) -> dict[str, Any]:
        """What must continue after a resume."""
        return {"recent": list(self._recent), "evaluations": list(self.evaluations)}

    def restore(self, state: dict[str, Any], step: int) -> None:
        """Continue from `state()`, taken at `step`; evaluations after the checkpoint are taken back."""
        self._recent = deque(state["recent"], maxlen=WINDOW)
        self.evaluations = list(state["evaluations"])
        self._seen = step

    def _on_step(self) -> bool:
        dones = self.locals["dones"]
        if dones.any():
            infos = self.locals["infos"]
            self._recent.extend(infos[world][METRICS] for world in np.flatnonzero(dones).tolist())
        self._progress.update(self.num_timesteps)
        return True

    def _on_rollout_start(self) -> None:
        self.check_finite()
        # Due is what has a multiple of its period since the last look: periods changed by a resume act at once.
        before, self._seen = self._seen, self.model.num_timesteps
        due = {name for name, every in self._periods.items() if every and self._seen // every > before // every}
        if "log" in due:
            self._log()
        if "eval" in due:
            self.evaluate()
        stop = self._stop_requested()
        if "checkpoint" in due or stop:
            self._save()
        if stop:
            raise StopTraining

    def finish(self) -> None:
        """The last log row, evaluation and checkpoint of a training that came to its end."""
        self.check_finite()
        self._seen = self.model.num_timesteps
        self._log()
        done = self.evaluations and self.evaluations[-1]["step"] == self.model.num_timesteps
        if self._config.train.eval_every and not done:
            self.evaluate()
        self._save()

    def evaluate(self) -> dict[str, float]:
        """Evaluate the policy as it is now, note the result, keep the best weights."""
        self.model.policy.set_training_mode(False)
        means = evaluate_model(self.model, self._config)
        step = self.model.num_timesteps
        best = max((score(row) for row in self.evaluations), default=(-np.inf, -np.inf))
        self.evaluations.append({"step": step, **means})
        write_json(self._run.eval / "evaluations.json", self.evaluations)
        if score(means) > best:
            write_bytes(self._run.best_policy, self._encode())
            # The wall time stays out of evaluations.json, which a resumed run writes as an uninterrupted one does.
            write_json(self._run.best, {**self.evaluations[-1], "wall_seconds": self._wall_seconds()})
        for key, value in means.items():
            self.logger.record(f"eval/{key.removeprefix(REWARD_PREFIX)}", value)
        self.logger.dump(step)
        shown = " · ".join(f"{key} {means[key]:.2f}" for key in SHOWN if key in means)
        self._progress.say(
            f"evaluation at {step:,} steps ({self._config.train.eval_episodes} episodes): {shown}"
        )
        return means

    def _log(self) -> None:
        for key in sorted({key for metrics in self._recent for key in metrics}):
            values = [
                metrics[key] for metrics in self._recent if key in metrics and np.isfinite(metrics[key])
            ]
            if values:
                name = key if key.startswith(REWARD_PREFIX) else f"task/{key}"
                self.logger.record(name, float(np.mean(values)))
        self._progress.note(self._summary())
        self.model.dump_logs()

    def _summary(self) -> str:
        successes = [metrics["success"] for metrics in self._recent if "success" in metrics]
        if successes:
            return f"success {np.mean(successes):.0%}"
        returns = [episode["r"] for episode in self.model.ep_info_buffer or ()]
        return f"return {np.mean(returns):.1f}" if returns else ""

    def check_finite(self) -> None:
        """Raise AuralNavError where the last loss or a weight is NaN or infinite."""
        loss = self.logger.name_to_value.get("train/loss", 0.0)
        # One sum over all weights: a NaN or an infinity anywhere makes it one.
        with torch.no_grad():
            total = sum(float(weight.sum()) for weight in self.model.policy.parameters())
        if not (np.isfinite(loss) and np.isfinite(total)):
            raise AuralNavError(
                f"training diverged at step {self.model.num_timesteps} (a loss or weight is not finite); "
                f"{self._run.resume.standing()}; "
                f"lower {self._config.algorithm}.learning_rate or max_grad_norm"
            )
