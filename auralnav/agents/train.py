"""Train an agent: SB3 does the learning, this drives it, saves it and brings it back bit for bit."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from stable_baselines3 import DQN
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import Logger

from auralnav.agents.algorithms import build_model, check_fits
from auralnav.agents.aural_dqn import LearnsSeparator
from auralnav.agents.checkpoint import (
    apply,
    capture,
    check_policy,
    decode_policy,
    encode_policy,
    export_zip,
    load_weights,
)
from auralnav.agents.frame_replay import FrameReplay
from auralnav.agents.history import HistoryWrapper
from auralnav.agents.memory_dqn import MemoryDQN
from auralnav.agents.metrics_log import MetricsCsv
from auralnav.agents.progress import TrainingProgress
from auralnav.agents.replay_store import ReplayIndex, ReplayStore
from auralnav.agents.resume_store import Manifest
from auralnav.agents.run_folder import RunFolder
from auralnav.agents.run_logger import run_logger
from auralnav.agents.sb3_env import VectorAdapter, make_worlds
from auralnav.agents.separators import find_separator, is_path
from auralnav.agents.sequence_store import SequenceIndex, SequenceStore
from auralnav.agents.source_cues import HeardWorlds, make_listener
from auralnav.agents.tensor_tree import decode, encode
from auralnav.agents.training_callback import StopTraining, TrainingCallback
from auralnav.agents.training_guards import (
    deterministic_torch,
    full_disk_in_one_line,
    refuse_changes,
    stop_signals,
)
from auralnav.configs.schema import ExperimentConfig
from auralnav.errors import ConfigError
from auralnav.files import write_bytes, write_json

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class TrainResult:
    """How a training ended.

    Attributes:
        run: the run's folder.
        steps: environment steps done in all.
        first_step: steps that were done before this process began.
        seconds: wall time of this process's share.
        signal: the signal that stopped it, None when it came to its end.
        evaluations: one row an evaluation: `step` and the means of the episodes.
    """

    run: RunFolder
    steps: int
    first_step: int
    seconds: float
    signal: int | None
    evaluations: list[dict[str, float]]

    @property
    def steps_per_second(self) -> float:
        """Speed of this process's share."""
        return (self.steps - self.first_step) / max(self.seconds, 1e-9)


def make_training_env(config: ExperimentConfig) -> HistoryWrapper:
    """The worlds of a config as SB3 sees them: adapted, with the frames stacked."""
    worlds, env = make_worlds(config.env), config.env
    if (listener := make_listener(config, worlds)) is not None:
        worlds = HeardWorlds(worlds, listener)
    return HistoryWrapper(VectorAdapter(worlds), env.history, env.previous_action, config.learner.reward_scale)


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
    RunFolder.check_free(run_dir)
    config = with_absolute_paths(config)
    with closing(_checked_env(config, track)) as env:
        # What the task, the machine or the tracker refuses is refused before there is a run folder.
        run = RunFolder.create(config, run_dir)
        if config.separates and config.separation.masks == "learned":
            # A copy of the separator: a file that changes or goes must not change or end the run.
            write_bytes(run.separator, find_separator(config.separation.weights).read_bytes())
        return _train(config, run, env, None, track, export_zip, console)


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
    refuse_changes(saved, config, ("algorithm", "env", "policy", "separation", "dqn", "ppo"))
    manifest = run.resume.manifest()
    with closing(_checked_env(config, track)) as env:
        run.describe(config)
        if manifest is None and console is not None:
            console.print(f"{run_dir}: no checkpoint yet, starting from the beginning")
        return _train(config, run, env, manifest, track, export_zip, console)


def with_absolute_paths(config: ExperimentConfig) -> ExperimentConfig:
    """The config with its files and folders as absolute paths: a run may be continued from anywhere."""
    changes = {
        key: str(Path(value).absolute())
        for key, words in (("sounds", {"procedural"}), ("head", {"sphere", "none"}))
        if (value := getattr(config.env, key)) is not None and value not in words
    }
    if changes:
        config = config.model_copy(update={"env": config.env.model_copy(update=changes)})
    if is_path(config.separation.weights):
        weights = {"weights": str(Path(config.separation.weights).absolute())}
        config = config.model_copy(update={"separation": config.separation.model_copy(update=weights)})
    return config


def _checked_env(config: ExperimentConfig, track: bool) -> HistoryWrapper:
    """The worlds of a config, after a look whether all that the training needs is there."""
    if track:
        from auralnav.agents.tracking import import_wandb

        import_wandb()
    env = make_training_env(config)
    try:
        check_fits(config, env.observation_space, env.action_space)
    except ConfigError:
        env.close()
        raise
    return env


def _train(
    config: ExperimentConfig,
    run: RunFolder,
    env: HistoryWrapper,
    manifest: Manifest | None,
    track: bool,
    zip_too: bool,
    console: Console | None,
) -> TrainResult:
    torch.set_num_threads(config.train.torch_threads)
    with ExitStack() as stack:
        stack.enter_context(full_disk_in_one_line(run))
        stack.enter_context(deterministic_torch(config.train.deterministic))
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
            session.wall_seconds,
        )
        log = session.attach_logger(
            0 if manifest is None else int(manifest.about["metrics_rows"]), progress_start, track
        )
        stack.callback(log.close)
        for line in session.lines:
            progress.say(line)
        if manifest is not None:
            session.load(manifest, callback)
            if session.env_restarted and model.num_timesteps < config.train.total_steps:
                progress.say(
                    f"{config.env.id} cannot save its state: its episodes start anew, the rest continues"
                )
        first = model.num_timesteps
        session.start_clock()
        stopped_by: int | None = None
        try:
            _learn(config, model, callback, fresh=manifest is None)
            if zip_too:
                export_zip(model, run.path / "policy.zip")
        except StopTraining:
            stopped_by = stop.number
        return TrainResult(
            run, model.num_timesteps, first, session.seconds, stopped_by, callback.evaluations
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
        self._replay = _replay_store(model)
        self._metrics: MetricsCsv | None = None
        self._earlier_seconds = 0.0
        self._began = time.perf_counter()
        self.lines: list[str] = []
        self.env_restarted = False

    def start_clock(self) -> None:
        """From here on time counts as training."""
        self._began = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Wall time of this process's share."""
        return time.perf_counter() - self._began

    def wall_seconds(self) -> float:
        """Wall time of the whole training: up to the checkpoint it continued from, and since."""
        return self._earlier_seconds + self.seconds

    def attach_logger(self, keep_rows: int, step: int, track: bool) -> Logger:
        """Give the model its log writers; rows after the checkpoint are taken back."""
        logger, self._metrics, lines = run_logger(self._run, self._config, keep_rows, step, track)
        self.lines += lines
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
            "wall_seconds": self.wall_seconds(),
            "metrics_rows": self._metrics.rows,
            "env_id": self._config.env.id,
            "algorithm": self._config.algorithm,
            "policy": f"policy-{generation:06d}.safetensors",
            "state": f"state-{generation:06d}.safetensors",
            "replay": None,
        }
        kept: set[str] = set()
        index, chunks = self._replay_changes(generation)
        if index is not None:
            kept = set(index.chunks.values()) - set(chunks)
            new.update(chunks)
            about["replay"] = vars(index)
        self._manifest = self._run.resume.commit(about, new, kept, self._manifest)
        if self._replay is not None and index is not None:
            self._replay.commit(index)
        self._publish(policy, about)

    def _replay_changes(self, generation: int) -> tuple[Any, dict[str, bytes]]:
        """The replay's index (None without a replay), and the files that a checkpoint adds for it."""
        if self._replay is None:
            return None, {}
        if isinstance(self._replay, SequenceStore):
            return self._replay.changes(generation)
        assert isinstance(self._model, DQN)
        # DQN adds one row to the buffer a vector step, and counts the steps.
        return self._replay.changes(self._model._n_calls, generation)

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
            self._replay = _replay_store(self._model, about["replay"])
            assert self._replay is not None
            chunks = self._replay.index.chunks.values()
            self._replay.load({file: store.read(manifest, file) for file in chunks})
        env_state = state["model"]["env"]
        if env_state is None:
            self.env_restarted = True
            self._env.seed(self._config.train.seed + int(about["step"]))
            if isinstance(self._replay, ReplayStore):  # MemoryDQN cuts its own when the worlds are reset
                self._replay.cut_episodes()
        self._env.reset()
        if env_state is not None:
            self._env.restore(env_state)
        callback.restore(state["callback"], int(about["step"]))
        apply(self._model, state["model"])
        self._manifest = manifest
        self._earlier_seconds = float(about.get("wall_seconds", 0.0))
        self._publish(data, about)

    def _publish(self, policy: bytes, about: dict[str, Any]) -> None:
        """Bring policy.safetensors, and what is known of its training, up to the committed checkpoint.

        A separator that learns along has a file of its own, to be measured and used as any other.
        """
        write_bytes(self._run.policy, policy)
        if isinstance(self._model, LearnsSeparator) and self._model.separator is not None:
            self._model.separator.save(self._run.separator)
        write_json(self._run.training, {key: about[key] for key in ("step", "wall_seconds") if key in about})


def _replay_store(
    model: BaseAlgorithm, saved: dict[str, Any] | None = None
) -> ReplayStore | SequenceStore | None:
    """The store of an algorithm's replay, None for one without; `saved` is what a manifest holds of it."""
    if isinstance(model, MemoryDQN):
        return SequenceStore(model.replay, None if saved is None else SequenceIndex(**saved))
    if isinstance(model, DQN) and isinstance(model.replay_buffer, FrameReplay):
        return SequenceStore(model.replay_buffer.sequences, None if saved is None else SequenceIndex(**saved))
    if isinstance(model, DQN) and model.replay_buffer is not None:
        return ReplayStore(model.replay_buffer, None if saved is None else ReplayIndex(**saved))
    return None
