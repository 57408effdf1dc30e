"""Train an agent: SB3 does the learning, this drives it, saves it and brings it back bit for bit."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import KVWriter, Logger

from auralnav.agents.algorithms import AuralDQN, build_model
from auralnav.agents.checkpoint import (
    apply,
    capture,
    check_policy,
    decode_policy,
    encode_policy,
    export_zip,
    load_weights,
)
from auralnav.agents.history import HistoryWrapper
from auralnav.agents.metrics_log import MetricsCsv, TensorBoardLog
from auralnav.agents.progress import TrainingProgress
from auralnav.agents.replay_store import ReplayIndex, ReplayStore
from auralnav.agents.resume_store import Manifest
from auralnav.agents.run_folder import RunFolder
from auralnav.agents.sb3_env import make_vector_adapter
from auralnav.agents.tensor_tree import decode, encode
from auralnav.agents.training_callback import StopTraining, TrainingCallback
from auralnav.agents.training_guards import (
    deterministic_torch,
    is_full_disk,
    quiet_writer_threads,
    stop_signals,
)
from auralnav.configs.schema import ExperimentConfig
from auralnav.errors import CheckpointError, ConfigError
from auralnav.files import write_bytes

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class TrainResult:
    """How a training ended.

    Attributes:
        run: the run's folder.
        steps: environment steps done in all.
        seconds: wall time of this process's share.
        steps_per_second: of this process's share.
        signal: the signal that stopped it, None when it came to its end.
        evaluations: one row an evaluation: `step` and the means of the episodes.
    """

    run: RunFolder
    steps: int
    seconds: float
    steps_per_second: float
    signal: int | None
    evaluations: list[dict[str, float]]


def make_training_env(config: ExperimentConfig) -> HistoryWrapper:
    """The worlds of a config as SB3 sees them: adapted, with the frames stacked."""
    learner = config.dqn if config.algorithm == "dqn" else config.ppo
    worlds, env = make_vector_adapter(config.env), config.env
    return HistoryWrapper(worlds, env.history, env.previous_action, learner.reward_scale)


def start(
    config: ExperimentConfig,
    run_dir: Path | None = None,
    *,
    track: bool = False,
    export_zip: bool = False,
    console: Console | None = None,
) -> TrainResult:
    """Train from the beginning in a new run folder.

    Raises:
        AuralNavError: a bad config, a divergence, or a checkpoint that cannot be saved.
    """
    config = with_absolute_paths(config)
    # What the task refuses is refused before there is a run folder.
    make_training_env(config).close()
    run = RunFolder.create(config, run_dir)
    return _guarded(config, run, None, track, export_zip, console)


def resume(
    run_dir: Path,
    overrides: tuple[str, ...] = (),
    *,
    track: bool = False,
    export_zip: bool = False,
    console: Console | None = None,
) -> TrainResult:
    """Continue a run from its last checkpoint (from its beginning where there is none yet).

    `overrides` may change the `train` section (but for the seed) and `tracking`.

    Raises:
        AuralNavError: no run there, a damaged checkpoint, or overrides that no resume can honour.
    """
    run = RunFolder.open(run_dir)
    saved = run.load_config()
    config = run.load_config(overrides)
    for section in ("algorithm", "env", "policy", "dqn", "ppo"):
        if getattr(config, section) != getattr(saved, section):
            raise ConfigError(
                f"--set {section}…: a resumed run keeps its {section}; start a new run to change it"
            )
    if config.train.seed != saved.train.seed:
        raise ConfigError("--set train.seed: a resumed run keeps its seed; start a new run to change it")
    manifest = run.resume.manifest()
    run.describe(config)
    if manifest is None and console is not None:
        console.print(f"{run_dir}: no checkpoint yet, starting from the beginning")
    return _guarded(config, run, manifest, track, export_zip, console)


def with_absolute_paths(config: ExperimentConfig) -> ExperimentConfig:
    """The config with its sound folder and SOFA file as absolute paths: a run may be continued from anywhere."""
    changes = {
        key: str(Path(value).absolute())
        for key, words in (("sounds", {"procedural"}), ("head", {"sphere", "none"}))
        if (value := getattr(config.env, key)) is not None and value not in words
    }
    return config.model_copy(update={"env": config.env.model_copy(update=changes)}) if changes else config


def _guarded(
    config: ExperimentConfig,
    run: RunFolder,
    manifest: Manifest | None,
    track: bool,
    zip_too: bool,
    console: Console | None,
) -> TrainResult:
    try:
        with quiet_writer_threads():
            return _train(config, run, manifest, track, zip_too, console)
    except OSError as error:
        # Here, and not where it is written: closing a log after an error may fail once more.
        if not is_full_disk(error):
            raise
        saved = run.resume.manifest() is not None
        raise CheckpointError(
            f"{run.path}: cannot be written ({error.strerror}); "
            f"{'the last checkpoint is intact' if saved else 'there is no checkpoint yet'}; "
            f"free some space and run again with --resume {run.path}"
        ) from error


def _train(
    config: ExperimentConfig,
    run: RunFolder,
    manifest: Manifest | None,
    track: bool,
    zip_too: bool,
    console: Console | None,
) -> TrainResult:
    torch.set_num_threads(config.train.torch_threads)
    with ExitStack() as stack:
        stack.enter_context(deterministic_torch(config.train.deterministic))
        env = make_training_env(config)
        stack.callback(env.close)
        model = build_model(config, env)
        session = TrainingSession(config, run, model, env)
        progress_start = 0 if manifest is None else int(manifest.about["step"])
        progress = TrainingProgress(config.train.total_steps, progress_start, console)
        stack.callback(lambda: progress.close(model.num_timesteps))
        stop = stack.enter_context(stop_signals(progress.say))
        callback = TrainingCallback(
            config,
            run,
            progress,
            lambda: session.save(callback),
            session.encode_policy,
            lambda: stop.number is not None,
        )
        log = session.attach_logger(
            0 if manifest is None else int(manifest.about["metrics_rows"]), progress_start, track
        )
        stack.callback(log.close)
        for line in session.lines:
            progress.say(line)
        if manifest is not None:
            session.load(manifest, callback)
            if session.env_restarted:
                progress.say(
                    f"{config.env.id} cannot save its state: its episodes start anew, the rest continues"
                )
        began, first = time.perf_counter(), model.num_timesteps
        stopped_by: int | None = None
        try:
            _learn(config, model, callback, fresh=manifest is None)
            if zip_too:
                export_zip(model, run.path / "policy.zip")
        except StopTraining:
            stopped_by = stop.number
        seconds = time.perf_counter() - began
        return TrainResult(
            run,
            model.num_timesteps,
            seconds,
            (model.num_timesteps - first) / max(seconds, 1e-9),
            stopped_by,
            callback.evaluations,
        )


def _learn(config: ExperimentConfig, model: BaseAlgorithm, callback: TrainingCallback, fresh: bool) -> None:
    remaining = config.train.total_steps - model.num_timesteps
    if remaining <= 0:
        return
    # A log interval of None: the callback logs by steps, SB3 would by episodes and far too often.
    try:
        model.learn(remaining, callback=callback, log_interval=None, reset_num_timesteps=fresh)  # type: ignore[arg-type]
    except ValueError:
        callback.check_finite()  # from NaN weights PPO cannot draw an action, and torch says so first
        raise
    callback.finish()


class TrainingSession:
    """One training in memory and its way to the run folder and back."""

    def __init__(
        self, config: ExperimentConfig, run: RunFolder, model: BaseAlgorithm, env: HistoryWrapper
    ) -> None:
        self._config, self._run, self._model, self._env = config, run, model, env
        self._manifest: Manifest | None = None
        self._replay = (
            ReplayStore(model.replay_buffer) if isinstance(model, AuralDQN) and model.replay_buffer else None
        )
        self._metrics: MetricsCsv | None = None
        self.lines: list[str] = []
        self.env_restarted = False

    def attach_logger(self, keep_rows: int, step: int, track: bool) -> Logger:
        """Give the model its log writers; rows after the checkpoint are taken back."""
        self._metrics = MetricsCsv(self._run.metrics, keep_rows)
        writers: list[KVWriter] = [self._metrics, TensorBoardLog(self._run.path, step)]
        if track:
            from auralnav.agents.tracking import WandbLog

            wandb_log = WandbLog(self._config, self._run.path)
            self.lines.append(wandb_log.describe())
            writers.append(wandb_log)
        logger = Logger(str(self._run.path), writers)
        self._model.set_logger(logger)
        return logger

    def encode_policy(self) -> bytes:
        """The policy file of the weights as they are now."""
        space, actions = self._env.venv.observation_space, self._env.action_space
        return encode_policy(self._model.policy, self._config, space, actions, self._model.num_timesteps)

    def save(self, callback: TrainingCallback) -> None:
        """Commit a checkpoint, then bring the run's policy.safetensors up to it.

        Raises:
            CheckpointError: it cannot be written; the previous checkpoint is intact.
        """
        assert self._metrics is not None
        generation = 1 if self._manifest is None else self._manifest.generation + 1
        policy = self.encode_policy()
        state = {"model": capture(self._model, self._env.state()), "callback": callback.state()}
        new = {
            f"policy-{generation:06d}.safetensors": policy,
            f"state-{generation:06d}.safetensors": encode(state, {"env_id": self._config.env.id}),
        }
        about: dict[str, Any] = {
            "step": self._model.num_timesteps,
            "metrics_rows": self._metrics.rows,
            "env_id": self._config.env.id,
            "algorithm": self._config.algorithm,
            "policy": f"policy-{generation:06d}.safetensors",
            "state": f"state-{generation:06d}.safetensors",
            "replay": None,
        }
        kept: set[str] = set()
        index: ReplayIndex | None = None
        if self._replay is not None:
            # DQN adds one row to the buffer a vector step, and counts the steps.
            index, chunks = self._replay.changes(self._model._n_calls, generation)  # type: ignore[attr-defined]
            kept = set(index.chunks.values()) - set(chunks)
            new.update(chunks)
            about["replay"] = vars(index)
        self._manifest = self._run.resume.commit(about, new, kept, self._manifest)
        if self._replay is not None and index is not None:
            self._replay.commit(index)
        write_bytes(self._run.policy, policy)

    def load(self, manifest: Manifest, callback: TrainingCallback) -> None:
        """Put the model, the worlds and the callback where the checkpoint left them.

        Raises:
            CheckpointError: a damaged checkpoint, or one of another environment.
        """
        store, about = self._run.resume, manifest.about
        folder = store.folder
        data = store.read(manifest, about["policy"])
        name = str(folder / about["policy"])
        weights, metadata = decode_policy(data, name)
        check_policy(metadata, self._config, name, self._env.venv.observation_space, self._env.action_space)
        load_weights(self._model.policy, weights, name)
        state, _ = decode(store.read(manifest, about["state"]), str(folder / about["state"]))
        if self._replay is not None:
            index = ReplayIndex(**about["replay"])
            assert isinstance(self._model, AuralDQN) and self._model.replay_buffer is not None
            self._replay = ReplayStore(self._model.replay_buffer, index)
            self._replay.load({file: store.read(manifest, file) for file in index.chunks.values()})
        env_state = state["model"]["env"]
        if env_state is None:
            self.env_restarted = True
            self._env.seed(self._config.train.seed + int(about["step"]))
            if self._replay is not None:
                self._replay.cut_episodes()
        self._env.reset()
        if env_state is not None:
            self._env.restore(env_state)
        callback.restore(state["callback"])
        apply(self._model, state["model"])
        self._manifest = manifest
        write_bytes(self._run.policy, data)
