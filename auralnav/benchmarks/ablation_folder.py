"""The folder of an ablation: whose it is, what is done in it, and what is to be done next.

ablation.json   what all rows have in common          runs/   a run folder for each training
configs/        the experiment of each training       eval/   an evaluation record for each, and the tracker's
logs/           what the processes said
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from auralnav.agents.evaluate import EVAL_SEED
from auralnav.agents.evaluate import SCHEMA as EVALUATION
from auralnav.agents.run_folder import RunFolder
from auralnav.benchmarks.ablation_plan import TRACKER, Plan, Training
from auralnav.benchmarks.jobs import Job
from auralnav.configs.load import dump_config
from auralnav.configs.schema import RUN_KEYS, ExperimentConfig
from auralnav.errors import ConfigError
from auralnav.files import write_json, write_text

FORMAT = 1


class AblationFolder:
    """Files of a plan, and its jobs.

    Args:
        plan: what the ablation is.
        path: of the folder; taken for the plan. Rows, seeds and variants may be added to an ablation that lies there.

    Raises:
        ConfigError: another ablation, or something else, lies there.
    """

    def __init__(self, plan: Plan, path: Path) -> None:
        self.plan, self.path = plan, path
        self._claim()

    def run(self, training: Training) -> RunFolder:
        """The run folder of a training."""
        return RunFolder(self.path / "runs" / training.name)

    def steps_done(self, training: Training) -> int:
        """Environment steps by the newest line of its log of figures."""
        metrics = self.run(training).metrics
        if not metrics.is_file():
            return 0
        first = metrics.read_text(encoding="utf-8").rstrip().rpartition("\n")[2].partition(",")[0]
        return int(first) if first.isdigit() else 0

    def evaluation(self, name: str) -> dict[str, Any] | None:
        """The evaluation record of a training, or of the tracker, as JSON values; None where it is still to be made."""
        try:
            values = json.loads(self._record(name).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        current = isinstance(values, dict) and values.get("schema") == EVALUATION
        fits = current and values["first_seed"] == EVAL_SEED and len(values["episodes"]) == self.plan.episodes
        return values if fits else None

    def jobs(self) -> list[Job]:
        """What is still to be done: trainings, each with its evaluation, and the tracker's evaluation."""
        jobs = [self._job(training) for training in self.plan.trainings()]
        if TRACKER in self.plan.rows:
            jobs.append(Job(TRACKER, self._log(TRACKER), self._next_of_tracker))
        return [job for job in jobs if job.next_command() is not None]

    def _job(self, training: Training) -> Job:
        def next_command() -> list[str] | None:
            run = self.run(training)
            if self.evaluation(training.name) is not None:
                return None
            manifest = run.resume.manifest()
            if manifest is not None and int(manifest.about["step"]) >= training.config.train.total_steps:
                return self._evaluate(training.name, str(run.path))
            if run.config.is_file():
                return ["train", "--resume", str(run.path)]
            config = self.path / "configs" / f"{training.name}.yaml"
            write_text(config, dump_config(training.config))
            return ["train", str(config), "--run-dir", str(run.path)]

        return Job(training.name, self._log(training.name), next_command)

    def _next_of_tracker(self) -> list[str] | None:
        if self.evaluation(TRACKER) is not None:
            return None
        env = self.plan.env
        values = env.model_dump(mode="json", exclude=set(RUN_KEYS) | {"obs_mode"}, exclude_none=True)
        values |= {"kwargs": env.kwargs} if env.kwargs else {}
        sets = [part for key, value in values.items() for part in ("--set", f"env.{key}={json.dumps(value)}")]
        task = ["--env", env.id, *sets]
        return [*self._evaluate(TRACKER, "gcc-phat"), *task]

    def _evaluate(self, name: str, agent: str) -> list[str]:
        return ["eval", agent, "--episodes", str(self.plan.episodes), "--record", str(self._record(name))]

    def _record(self, name: str) -> Path:
        return self.path / "eval" / f"{name}.json"

    def _log(self, name: str) -> Path:
        return self.path / "logs" / f"{name}.txt"

    def _claim(self) -> None:
        file = self.path / "ablation.json"
        separator = self.plan.separator()
        variants = {name: described(config) for name, config in self.plan.variants.items()}
        if file.is_file():
            earlier = _read(file)
            for name, config in variants.items():
                self._refuse_other(_flat(earlier["variants"].get(name, config)), _flat(config))
            # What the tracker did on one task must not stand beside agents on another.
            for config in earlier["variants"].values():
                self._refuse_other(_task(config), _task(next(iter(variants.values()))))
            if separator and earlier["separator"]:
                before, now = ({"separator sha256": one["sha256"]} for one in (earlier["separator"], separator))
                self._refuse_other(before, now)
            variants = {**earlier["variants"], **variants}
            separator = separator or earlier["separator"]
        elif self.path.is_dir() and any(self.path.iterdir()):
            raise ConfigError(f"{self.path}: holds something else than an ablation; choose another --folder")
        write_json(file, {"format": FORMAT, "variants": variants, "separator": separator})

    def _refuse_other(self, before: dict[str, Any], now: dict[str, Any]) -> None:
        for key in sorted({*before, *now}):
            if before.get(key) != now.get(key):
                raise ConfigError(
                    f"{self.path}: holds an ablation with {key} {before.get(key)}, not {now.get(key)}; "
                    f"choose another --folder"
                )


def _read(file: Path) -> dict[str, Any]:
    """What `_claim` wrote."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        known = values["format"] == FORMAT and {"variants", "separator"} <= values.keys()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{file}: damaged ({error}); choose another --folder") from error
    if not known:
        raise ConfigError(f"{file}: of another version of this package; choose another --folder")
    return values


def described(config: ExperimentConfig) -> dict[str, Any]:
    """What all rows and seeds of a variant have in common, as JSON values. Of the separator only its content counts."""
    values = config.model_dump(mode="json")
    for section, keys in (("separation", ("masks", "cues", "weights")), ("train", ("seed",))):
        for key in keys:
            del values[section][key]
    return values


def _task(values: dict[str, Any]) -> dict[str, Any]:
    """The task of a described experiment, with dotted keys; how its worlds are run and observed is no part of it."""
    observed = {*RUN_KEYS, "obs_mode"} - {"id", "kwargs"}
    return _flat({key: value for key, value in values["env"].items() if key not in observed}, "env.")


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one, with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        inner = _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
        flat.update(inner)
    return flat
