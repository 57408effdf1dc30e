"""The folder of a run: where each file is, how it begins, and what is known about it.

config.yaml          the whole resolved config          policy.safetensors   the newest weights
command.txt          each command that worked on it     training.json        their steps and wall time
env.json             ids, arguments, versions, commit   resume/              the newest whole checkpoint
events.out.tfevents* TensorBoard                        metrics.csv          one row a log step
separator.safetensors  the separator of a run with one  eval/                evaluations, best policy
initial.safetensors    what a separator's training began with (`train.initial`)
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from auralnav.agents.resume_store import ResumeStore
from auralnav.configs.load import Experiment, dump_config, parse_config, parse_experiment
from auralnav.configs.schema import ExperimentConfig
from auralnav.configs.separator import SeparatorExperiment
from auralnav.errors import CheckpointError, ConfigError
from auralnav.files import write_json, write_text
from auralnav.provenance import command_line, hardware, package_versions, source_commit


class RunFolder:
    """Paths and descriptions of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.command = path / "command.txt"
        self.env = path / "env.json"
        self.policy = path / "policy.safetensors"
        self.training = path / "training.json"
        self.separator = path / "separator.safetensors"
        self.initial = path / "initial.safetensors"
        self.metrics = path / "metrics.csv"
        self.eval = path / "eval"
        self.best_policy = self.eval / "best.safetensors"
        self.best = self.eval / "best.json"
        self.resume = ResumeStore(path / "resume")

    @classmethod
    def create(cls, config: Experiment, path: Path | None) -> RunFolder:
        """Make the folder of a new run; without a path it is `runs/<name>-seed<seed>-<time>`.

        Raises:
            ConfigError: the folder holds a run already, or cannot be made.
        """
        if path is None:
            stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
            stem = f"{config.name}-seed{config.train.seed}-{stamp}"
            path = Path("runs") / stem
            count = 1
            while path.exists():
                count += 1
                path = Path("runs") / f"{stem}-{count}"
        cls.check_free(path)
        run = cls(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"{path}: cannot be made ({error.strerror}); choose another --run-dir"
            ) from error
        run.describe(config)
        return run

    @staticmethod
    def check_free(path: Path | None) -> None:
        """Raise ConfigError where a run lies in `path` already."""
        if path is not None and RunFolder(path).config.exists():
            raise ConfigError(
                f"{path}: holds a run already; continue it with --resume {path} or choose another folder"
            )

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """An existing run.

        Raises:
            CheckpointError: no run lies there.
        """
        run = cls(path)
        if not run.config.is_file():
            raise CheckpointError(
                f"{path}: no run lies there (config.yaml is missing); give the folder of a run"
            )
        return run

    def load_experiment(self, overrides: tuple[str, ...] = ()) -> Experiment:
        """The run's own config, with overrides, whatever it trains.

        Raises:
            ConfigError: it has been edited into something wrong.
        """
        return parse_experiment(self.config.read_text(encoding="utf-8"), overrides, source=str(self.config))

    def load_config(self, overrides: tuple[str, ...] = ()) -> ExperimentConfig:
        """The run's own config, with overrides, of a run that trains an agent.

        The separator is the run's own copy, unless the overrides name another.

        Raises:
            ConfigError: it has been edited into something wrong, or trains a separator.
        """
        config = parse_config(self.config.read_text(encoding="utf-8"), overrides, source=str(self.config))
        named = any(override.partition("=")[0].strip() == "separation.weights" for override in overrides)
        if config.separates and self.separator.is_file() and not named:
            own = config.separation.model_copy(update={"weights": str(self.separator.absolute())})
            config = config.model_copy(update={"separation": own})
        return config

    def load_separator_config(self, overrides: tuple[str, ...] = ()) -> SeparatorExperiment:
        """The run's own config, with overrides, of a run that trains a separator.

        Raises:
            ConfigError: it has been edited into something wrong, or trains an agent.
        """
        config = self.load_experiment(overrides)
        if not isinstance(config, SeparatorExperiment):
            raise ConfigError(f"{self.config}: trains an agent, not a separator; give the run of a separator")
        return config

    def training_facts(self, policy: Path, step: int) -> dict[str, Any]:
        """{"steps", "wall_seconds"} of the training that led to the weights in `policy`, saved at `step`.

        The wall time, over all resumes, is left out where the file beside the weights is missing or speaks of
        other weights (a crash came between the two).
        """
        file = self.best if policy == self.best_policy else self.training
        known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        same = known.get("step") == step and "wall_seconds" in known
        return {"steps": step, **({"wall_seconds": known["wall_seconds"]} if same else {})}

    def describe(self, config: Experiment) -> None:
        """Write config.yaml and env.json, and append this process's command to command.txt."""
        write_text(self.config, dump_config(config))
        write_json(self.env, describe_environment(config))
        earlier = self.command.read_text(encoding="utf-8") if self.command.is_file() else ""
        write_text(self.command, f"{earlier}{command_line()}\n")


def describe_environment(config: Experiment) -> dict[str, Any]:
    """Ids, arguments, package versions, machine and commit."""
    task: dict[str, Any] = {}
    if isinstance(config, ExperimentConfig):
        task = {"env_id": config.env.id, "env_kwargs": config.env.model_dump(mode="json", exclude_none=True)}
    return {
        **task,
        "algorithm": config.algorithm,
        "seed": config.train.seed,
        "packages": package_versions(),
        "hardware": hardware(),
        **source_commit(),
    }
