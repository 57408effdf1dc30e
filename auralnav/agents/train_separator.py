"""Train a separator in a run folder: the training itself is `auralnav.separation.training`, this saves and resumes it.

separator.safetensors   the best averaged weights so far by the validation's score (the newest without validations)
initial.safetensors     the weights it began with, where `train.initial` names some
eval/validation.json    one row a validation
pools/                  rooms and sounds of the training, made anew where they are missing: no need to carry them
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from stable_baselines3.common.logger import Logger

from auralnav.agents.progress import TrainingProgress
from auralnav.agents.resume_store import Manifest
from auralnav.agents.run_folder import RunFolder
from auralnav.agents.run_logger import run_logger
from auralnav.agents.separators import find_separator
from auralnav.agents.tensor_tree import decode, encode
from auralnav.agents.training_guards import (
    deterministic_torch,
    full_disk_in_one_line,
    refuse_changes,
    stop_signals,
)
from auralnav.configs.separator import SeparatorExperiment
from auralnav.devices import torch_device
from auralnav.envs.acoustics.head import spherical_head
from auralnav.envs.acoustics.tail import noise_bank
from auralnav.errors import CheckpointError, ConfigError, last_line
from auralnav.files import sha256, write_bytes, write_json
from auralnav.separation.clip_pool import clip_pool, training_seeds
from auralnav.separation.mixtures import MixtureRenderer
from auralnav.separation.room_pool import RoomRecipe, room_pool
from auralnav.separation.separator import DPRNNSeparator
from auralnav.separation.separator_config import SeparatorConfig
from auralnav.separation.training import SeparatorTraining
from auralnav.separation.validation import ValidationSet, figures, validation_sets

if TYPE_CHECKING:
    from rich.console import Console

_STATE = "state-{:06d}.safetensors"


@dataclass(frozen=True)
class SeparatorResult:
    """How a training ended.

    Attributes:
        run: the run's folder.
        steps: updates done in all.
        first_step: those done before this process began.
        seconds: wall time of this process's share, without what was made before its first update.
        signal: the signal that stopped it, None when it came to its end.
        timed_out: whether `train.time_limit` stopped it.
        validations: one row a validation: `step` and the figures.
    """

    run: RunFolder
    steps: int
    first_step: int
    seconds: float
    signal: int | None
    timed_out: bool
    validations: list[dict[str, float]]

    @property
    def steps_per_second(self) -> float:
        """Speed of this process's share."""
        return (self.steps - self.first_step) / max(self.seconds, 1e-9)


def start(
    config: SeparatorExperiment,
    run_dir: Path | None = None,
    *,
    track: bool = False,
    console: Console | None = None,
) -> SeparatorResult:
    """Train from the beginning in a new run folder.

    Raises:
        AuralNavError: a bad config, a divergence, asteroid missing, or a checkpoint that cannot be saved.
    """
    RunFolder.check_free(run_dir)
    separator = _fresh(config, track, None if config.train.initial is None else _initial(config.train.initial))
    run = RunFolder.create(config, run_dir)
    if config.train.initial is not None:
        _keep_initial(config.train.initial, run)
    return _train(config, run, separator, None, track, console)


def resume(
    run_dir: Path,
    overrides: tuple[str, ...] = (),
    *,
    track: bool = False,
    console: Console | None = None,
) -> SeparatorResult:
    """Continue a run from its last checkpoint (from its beginning where there is none yet).

    `overrides` may change the `train` section (but for `seed` and `initial`) and `tracking`.

    Raises:
        AuralNavError: no run there, a damaged checkpoint, or overrides that no resume can honour.
    """
    run = RunFolder.open(run_dir)
    saved, config = run.load_separator_config(), run.load_separator_config(overrides)
    refuse_changes(saved, config, ("separator", "mixtures"))
    initial = config.train.initial
    if initial != saved.train.initial:
        raise ConfigError(
            "--set train.initial: a resumed run keeps the weights it began with; start a new run to change them"
        )
    manifest = run.resume.manifest()
    if manifest is None and initial is not None and not run.initial.is_file():
        _keep_initial(initial, run)  # it was killed before they were copied
    separator = _fresh(config, track, run.initial if manifest is None and initial is not None else None)
    run.describe(config)
    if manifest is None and console is not None:
        console.print(f"{run_dir}: no checkpoint yet, starting from the beginning")
    return _train(config, run, separator, manifest, track, console)


def _fresh(config: SeparatorExperiment, track: bool, initial: Path | None) -> DPRNNSeparator:
    """The separator with its first weights, after a look whether all that the training needs is there."""
    if track:
        from auralnav.agents.tracking import import_wandb

        import_wandb()
    device = torch_device(config.train.device, "train.device")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        separator = DPRNNSeparator(SeparatorConfig(**config.separator.model_dump()))
    if initial is not None:
        separator.begin_with(DPRNNSeparator.load(initial))
    return separator.to(device)


def _initial(weights: str) -> Path:
    """The file of `train.initial`."""
    return find_separator(weights, "train.initial: ", "give the path of one, or leave it out")


def _keep_initial(weights: str, run: RunFolder) -> None:
    """Copy the file of `train.initial` into the run, which its changing or going must not change or end."""
    write_bytes(run.initial, _initial(weights).read_bytes())


def _notes(config: SeparatorExperiment, run: RunFolder) -> dict[str, Any]:
    """What is kept with the weights: experiment and command, and what is known of the weights it began with."""
    command = run.command.read_text(encoding="utf-8").splitlines()[0]
    notes: dict[str, Any] = {"experiment": config.model_dump(mode="json"), "command": command}
    if config.train.initial is not None:
        known = DPRNNSeparator.load(run.initial).notes
        notes["initial"] = {"sha256": sha256(run.initial), **known}
    return notes


def _train(
    config: SeparatorExperiment,
    run: RunFolder,
    separator: DPRNNSeparator,
    manifest: Manifest | None,
    track: bool,
    console: Console | None,
) -> SeparatorResult:
    began = time.perf_counter()
    torch.set_num_threads(config.train.threads)
    with ExitStack() as stack:
        stack.enter_context(full_disk_in_one_line(run))
        device = torch_device(config.train.device, "train.device")
        stack.enter_context(deterministic_torch(config.train.deterministic or device.type == "cpu"))
        separator.notes = _notes(config, run)
        training = SeparatorTraining(config, separator, _renderer(config, run, device, console))
        session = _Session(config, run, training, _validation(config))
        progress = TrainingProgress(
            config.train.total_steps, 0 if manifest is None else int(manifest.about["step"]), console
        )
        stack.callback(lambda: progress.close(training.steps))
        stop = stack.enter_context(stop_signals(progress.say, "stopping after this step, with a checkpoint"))
        stack.callback(session.attach_logger(manifest, track, progress).close)
        if manifest is not None:
            session.load(manifest)
        first = training.steps
        session.began = time.perf_counter()
        limit = config.train.time_limit
        timed_out = False
        while training.steps < config.train.total_steps and stop.number is None and not timed_out:
            training.step()
            progress.update(training.steps)
            session.after_step(progress)
            timed_out = limit is not None and time.perf_counter() - began > limit
        if training.steps > first:
            session.finish(progress, judged=stop.number is None)
        seconds = time.perf_counter() - session.began
        return SeparatorResult(run, training.steps, first, seconds, stop.number, timed_out, session.validations)


def _renderer(
    config: SeparatorExperiment, run: RunFolder, device: torch.device, console: Console | None
) -> MixtureRenderer:
    """The training's mixtures; its rooms and sounds are made before, each with a bar of its own."""
    mixtures, rate, folder = config.mixtures, config.separator.sample_rate, run.path / "pools"
    rooms = RoomRecipe(
        mixtures.rooms, mixtures.places, mixtures.rt60, mixtures.anechoic_share, rate, config.train.seed
    )
    with TrainingProgress.counting(mixtures.rooms, "rooms", console) as report:
        responses = room_pool(rooms, folder, config.train.threads, report)
    seeds = training_seeds(mixtures.instances)
    with TrainingProgress.counting(len(seeds), "sounds of each class", console) as report:
        clips = clip_pool(seeds, rate, folder, report)
    return MixtureRenderer(responses, clips, noise_bank(spherical_head(rate)), rate, device)


def _validation(config: SeparatorExperiment) -> list[ValidationSet]:
    if not config.train.eval_every:
        return []
    return validation_sets(
        config.train.eval_mixtures, config.separator.sample_rate, config.separator.sources
    )


@dataclass
class _Session:
    """A training's way to its run folder and back."""

    config: SeparatorExperiment
    run: RunFolder
    training: SeparatorTraining
    sets: list[ValidationSet]
    validations: list[dict[str, float]] = field(default_factory=list)
    began: float = 0.0

    def __post_init__(self) -> None:
        self._manifest: Manifest | None = None
        self._earlier_seconds = 0.0

    def attach_logger(self, manifest: Manifest | None, track: bool, progress: TrainingProgress) -> Logger:
        """Begin the logs; rows after the checkpoint are taken back."""
        rows, step = (0, 0) if manifest is None else (manifest.about["metrics_rows"], manifest.about["step"])
        self._logger, self._metrics, lines = run_logger(self.run, self.config, int(rows), int(step), track)
        for line in lines:
            progress.say(line)
        return self._logger

    def load(self, manifest: Manifest) -> None:
        """Put the training where the checkpoint left it.

        Raises:
            CheckpointError: it is damaged, or of another network than the config's.
        """
        name = manifest.about["state"]
        path = self.run.resume.folder / name
        state, _ = decode(self.run.resume.read(manifest, name), str(path))
        try:
            self.training.restore(state["training"])
        except (RuntimeError, ValueError) as error:
            raise CheckpointError(
                f"{path}: does not fit the network of config.yaml in this version ({last_line(error)}); start a new run"
            ) from error
        self.validations = list(state["validations"])
        self._manifest = manifest
        self._earlier_seconds = float(manifest.about["wall_seconds"])

    def after_step(self, progress: TrainingProgress) -> None:
        """Log, validate and save what is due."""
        train, step = self.config.train, self.training.steps
        if step % train.log_every == 0:
            self._log(progress)
        if train.eval_every and step % train.eval_every == 0:
            self._validate(progress)
        if train.checkpoint_every and step % train.checkpoint_every == 0:
            self._save()

    def finish(self, progress: TrainingProgress, judged: bool) -> None:
        """The last log row, validation (where wanted) and checkpoint."""
        step = self.training.steps
        if step % self.config.train.log_every:
            self._log(progress)
        if judged and self.sets and not (self.validations and self.validations[-1]["step"] == step):
            self._validate(progress)
        self._save()

    def _log(self, progress: TrainingProgress) -> None:
        values = self.training.figures()
        for key, value in values.items():
            self._logger.record(key, value)
        self._logger.dump(self.training.steps)
        progress.note(f"loss {values['train/loss']:.2f} dB")

    def _validate(self, progress: TrainingProgress) -> None:
        self.training.refuse_divergence()
        found = figures(self.training.averaged, self.sets, next(self.training.averaged.parameters()).device)
        best = max((row["score"] for row in self.validations), default=float("-inf"))
        self.validations.append({"step": self.training.steps, **found})
        write_json(self.run.eval / "validation.json", self.validations)
        if found["score"] > best:
            self._publish()
        for key, value in found.items():
            self._logger.record(f"eval/{key}", value)
        self._logger.dump(self.training.steps)
        shown = " · ".join(f"{key} {value:.1f}" for key, value in found.items())
        progress.say(f"validation at {self.training.steps:,} steps, dB: {shown}")

    def _publish(self) -> None:
        averaged = self.training.averaged
        assert isinstance(averaged, DPRNNSeparator)
        validation = self.validations[-1] if self.validations else None
        averaged.notes = {**averaged.notes, "steps": self.training.steps, "validation": validation}
        averaged.save(self.run.separator, torch.float16)

    def _save(self) -> None:
        """Commit a checkpoint.

        Raises:
            CheckpointError: it cannot be written; the previous checkpoint is intact.
            AuralNavError: the training has diverged since; the previous checkpoint is worth more.
        """
        self.training.refuse_divergence()
        generation = 1 if self._manifest is None else self._manifest.generation + 1
        name = _STATE.format(generation)
        about = {
            "step": self.training.steps,
            "wall_seconds": self._earlier_seconds + time.perf_counter() - self.began,
            "metrics_rows": self._metrics.rows,
            "state": name,
        }
        state = {"training": self.training.state(), "validations": self.validations}
        self._manifest = self.run.resume.commit(about, {name: encode(state)}, set(), self._manifest)
        write_json(self.run.training, {key: about[key] for key in ("step", "wall_seconds")})
        if not self.validations:
            self._publish()
