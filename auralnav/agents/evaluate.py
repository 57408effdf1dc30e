"""Fixed evaluation episodes: the same rooms and sounds for every agent, with intervals, on record."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from auralnav.agents.baselines import Agent
from auralnav.agents.history import HistoryStack
from auralnav.agents.run_folder import RunFolder
from auralnav.agents.sb3_env import METRICS, make_vector_adapter, rows_per_episode
from auralnav.agents.source_cues import Listener, make_listener
from auralnav.agents.statistics import Interval, bootstrap_mean
from auralnav.configs.schema import AudioEnvConfig, ExperimentConfig
from auralnav.errors import CheckpointError, ConfigError
from auralnav.files import write_json
from auralnav.provenance import hardware, package_versions, source_commit

EVAL_SEED = 2_000_000
"""First seed of the evaluation episodes. Training never sees them, and neither does the choice of the best
policy during training (`train.eval_seed`, 1 000 000)."""

SOON = 60
"""Steps within which success is reported beside success at all."""

SCHEMA = "auralnav-evaluation-1"
SUMMARY = ("success", f"success_{SOON}", "draw", "spl", "sna", "return", "steps", "found_share")

Episode = dict[str, float | int | None]


def evaluate(
    agent: Agent,
    env: AudioEnvConfig,
    episodes: int = 100,
    seed: int = EVAL_SEED,
    split: str = "test",
    num_envs: int = 16,
    on_episode: Callable[[int], None] | None = None,
) -> list[Episode]:
    """Run the episodes seeded seed, seed + 1, … and return one dict for each, in the order of the seeds.

    Args:
        agent: reset here; the order in which worlds finish does not touch the episodes themselves.
        env: the task. Its observation mode gives way to the one the agent needs.
        episodes: how many.
        seed: of the first.
        split: "test" (sounds held out from training) or "train".
        num_envs: worlds stepped at once, or rows of them where an episode has several.
        on_episode: called with the number done so far after each episode.

    Returns:
        Each with seed, return, steps; success, success_60, spl, sna, found_share, bumps and distance_to_go
        (None where not defined); the task's other metrics; and the sum of each reward term.

    Raises:
        ConfigError: the environment refuses its arguments.
    """
    if episodes < 1:
        raise ConfigError(f"episodes: {episodes}; give at least 1")
    # The rows of an episode begin and end together; its first one stands for it.
    rows = rows_per_episode(env)
    count = rows * max(1, min(num_envs // rows, episodes))
    queue = [number for number in range(seed, seed + episodes) for _ in range(rows)]
    worlds = make_vector_adapter(env, num_envs=count, **agent_kwargs(agent, env, split))
    try:
        worlds.seed_queue = iter(queue)
        # The adapter hands seeds out in the order of worlds; this mirrors it, to know whose episode ended.
        current: list[int | None] = [*queue[:count]]
        coming = iter(queue[count:])
        agent.attach(worlds.venv)
        agent.reset(count, seed)
        observation: Any = worlds.reset()
        start = np.ones(count, dtype=bool)
        results: dict[int, Episode] = {}
        while len(results) < episodes:
            observation, _, done, infos = worlds.step(agent.act(observation, start))
            start = np.asarray(done, dtype=bool)
            for world in np.flatnonzero(start).tolist():
                finished = current[world]
                current[world] = next(coming, None)
                if finished is not None and finished not in results:
                    results[finished] = episode_result(finished, infos[world])
                    if on_episode is not None:
                        on_episode(len(results))
    finally:
        worlds.close()
    return [results[key] for key in sorted(results)]


def agent_kwargs(agent: Agent, env: AudioEnvConfig, split: str) -> dict[str, Any]:
    """The environment arguments that an evaluation sets itself: the split and what the agent observes."""
    if not env.is_aural:
        return {}
    return {"split": split, **({} if agent.obs_mode is None else {"obs_mode": agent.obs_mode})}


def episode_result(seed: int, info: dict[str, Any]) -> Episode:
    """One episode's line out of the adapter's last info."""
    metrics = {key: float(value) for key, value in info.get(METRICS, {}).items()}
    steps = int(info["episode"]["l"])
    success = bool(metrics["success"]) if "success" in metrics else None  # some tasks know no success
    line: Episode = {
        "seed": seed,
        "return": float(info["episode"]["r"]),
        "steps": steps,
        "success": None if success is None else int(success),
        # Of walks; other tasks have other times.
        f"success_{SOON}": int(success and steps <= SOON) if success is not None and "found_share" in metrics else None,
    }
    for key in ("spl", "sna", "found_share", "bumps", "distance_to_go"):
        value = metrics.get(key)
        line[key] = None if value is None or not np.isfinite(value) else value
    known = {*line, "length"}
    return line | {key: value for key, value in metrics.items() if key not in known and np.isfinite(value)}


def summarise(episodes: list[Episode]) -> dict[str, Interval]:
    """Mean and 95 % bootstrap interval of each of SUMMARY; measures that are never defined are left out."""
    summary: dict[str, Interval] = {}
    for key in SUMMARY:
        values = [value for line in episodes if (value := line.get(key)) is not None]
        if values:
            summary[key] = bootstrap_mean([float(value) for value in values])
    return summary


@dataclass(frozen=True)
class EvaluationRecord:
    """What is kept of an evaluation: one agent on one environment id.

    Attributes:
        env_id, env_kwargs: the task, and the arguments that differ from the id's own.
        agent: as shown in tables.
        split: whose sounds were heard, "train" or "test".
        first_seed: of the episodes, which are seeded one after another from it.
        episodes: one line each, see `evaluate`.
        wall_seconds: what the evaluation took.
        training: of an agent that has learned: steps, seed and wall time (s, over all resumes) that led to the
            weights evaluated.
        command: the command line.
        schema: version of this form.
        created: when, UTC.
        source, versions, hardware: commit, packages and machine.
    """

    env_id: str
    env_kwargs: dict[str, Any]
    agent: str
    split: str
    first_seed: int
    episodes: list[Episode]
    wall_seconds: float
    training: dict[str, Any] = field(default_factory=dict)
    command: str = ""
    schema: str = SCHEMA
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    source: dict[str, Any] = field(default_factory=source_commit)
    versions: dict[str, str] = field(default_factory=package_versions)
    hardware: dict[str, Any] = field(default_factory=hardware)

    @property
    def summary(self) -> dict[str, Interval]:
        """Means with intervals over the episodes."""
        return summarise(self.episodes)

    def as_json(self) -> dict[str, Any]:
        """The record as JSON values, with its summary."""
        values = asdict(self)
        episodes = values.pop("episodes")
        return {**values, "summary": {k: asdict(v) for k, v in self.summary.items()}, "episodes": episodes}

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the record atomically."""
        write_json(path, self.as_json())
        return Path(path)


def record(
    agent: Agent,
    env: AudioEnvConfig,
    episodes: int = 100,
    command: str = "",
    **options: Any,
) -> EvaluationRecord:
    """Evaluate (see `evaluate` for the options) and make the record, with what is known of the agent's training."""
    split = options.get("split", "test")
    began = time.perf_counter()
    lines = evaluate(agent, env, episodes, **options)
    kwargs = {**env.task_kwargs(), **agent_kwargs(agent, env, split)}
    return EvaluationRecord(
        env_id=env.id,
        env_kwargs={key: value for key, value in kwargs.items() if key != "split"},
        agent=agent.name,
        split=split,
        first_seed=options.get("seed", EVAL_SEED),
        episodes=lines,
        wall_seconds=round(time.perf_counter() - began, 3),
        training=agent.training if isinstance(agent, PolicyAgent) else {},
        command=command,
    )


class PolicyAgent:
    """A trained network of a run folder, acting greedily on the frames it was trained on.

    Args:
        policy: an SB3 policy.
        config: the run's config.
        name: as shown in tables.
    """

    obs_mode: str | None = None

    def __init__(self, policy: Any, config: ExperimentConfig, name: str | None = None) -> None:
        self.policy, self.config = policy, config
        self.name = name or config.algorithm
        self._stack: HistoryStack | None = None
        self._listener: Listener | None = None
        self._worlds: gym.vector.VectorEnv | None = None
        self._actions: np.ndarray | None = None
        self._memory: tuple[np.ndarray, ...] | None = None
        self.training: dict[str, Any] = {}
        """Steps, seed and wall time of its training, for records."""

    def attach(self, worlds: gym.vector.VectorEnv) -> None:
        """Take the spaces."""
        self._worlds = worlds

    def reset(self, num_envs: int, seed: int = 0) -> None:
        """Start empty frame stacks and memories."""
        assert self._worlds is not None
        env = self.config.env
        self._listener = make_listener(self.config, self._worlds)
        seen = self._worlds.single_observation_space if self._listener is None else self._listener.space
        self._stack = HistoryStack(seen, self._worlds.single_action_space, num_envs, env.history, env.previous_action)
        if self._stack.space != self.policy.observation_space:
            raise CheckpointError(
                f"{self.name}: trained on another observation than {env.id} gives with these arguments; "
                f"evaluate it with the arguments of its config.yaml"
            )
        self._actions, self._memory = None, None

    def act(self, observation: Any, start: np.ndarray) -> np.ndarray:
        """Greedy actions [N, …]; `start` (bool [N]) is true where an episode begins with the observation."""
        assert self._stack is not None
        if self._listener is not None:
            observation = self._listener.hear(observation, start)
        if self._actions is None:
            self._stack.reset(observation)
        else:
            self._stack.push(observation, self._actions)
            if start.any():
                self._stack.reset(observation, start)
        actions, self._memory = self.policy.predict(
            self._stack.value(), self._memory, start, deterministic=True
        )
        self._actions = np.asarray(actions)
        return self._actions


def load_policy_agent(
    path: str | os.PathLike[str], overrides: tuple[str, ...] = (), best: bool = True
) -> PolicyAgent:
    """The agent of a run folder; `agent.config` is the run's config with the overrides.

    Args:
        path: the run folder.
        overrides: `key.sub=value` changes of the config, for example "env.num_sources=3".
        best: take the best policy of the evaluations during training where there is one, else the newest.

    Raises:
        CheckpointError: no run there, or a damaged or foreign policy.
        ConfigError: a wrong override.
    """
    from auralnav.agents.checkpoint import decode_policy, rebuild_policy

    run = RunFolder.open(Path(path))
    config = run.load_config(overrides)
    file = run.best_policy if best and run.best_policy.is_file() else run.policy
    try:
        data = file.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{file}: cannot be read ({error.strerror}); train the run first") from error
    policy, _, _ = rebuild_policy(data, config, str(file))
    policy.set_training_mode(False)
    agent = PolicyAgent(policy, config, name=config.name)
    step = decode_policy(data, str(file))[1]["step"]
    agent.training = {**run.training_facts(file, step), "seed": config.train.seed}
    return agent


def load_zip_agent(
    path: str | os.PathLike[str], overrides: tuple[str, ...] = (), trust: bool = False
) -> PolicyAgent:
    """The agent of an SB3 zip that lies in its run folder, beside the run's config.yaml.

    Args:
        path: the zip.
        overrides: as for `load_policy_agent`.
        trust: reading the zip runs code from it; without this it is refused.

    Raises:
        CheckpointError: not trusted, no config beside it, or a damaged file.
        ConfigError: a wrong override.
    """
    from auralnav.agents.checkpoint import load_zip

    file = Path(path)
    run = RunFolder.open(file.parent)
    config = run.load_config(overrides)
    model = load_zip(file, config, trust)
    model.policy.set_training_mode(False)
    agent = PolicyAgent(model.policy, config, name=config.name)
    # The zip is written at the end of a training, from the weights that policy.safetensors holds then.
    agent.training = {**run.training_facts(run.policy, model.num_timesteps), "seed": config.train.seed}
    return agent
