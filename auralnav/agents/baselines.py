"""Agents that do not learn, behind the protocol by which every agent is evaluated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from gymnasium import spaces
from gymnasium.vector import SyncVectorEnv, VectorEnv

from auralnav.agents.sb3_env import find_spec
from auralnav.agents.tracker import TrackerAgent
from auralnav.configs.schema import AudioEnvConfig
from auralnav.envs.audio.settings import AudioSettings
from auralnav.errors import AuralNavError, ConfigError

BASELINES = ("random", "gcc-phat", "oracle")


class Agent(Protocol):
    """What can be evaluated: it acts in N worlds at once.

    Attributes:
        name: as shown in tables.
        obs_mode: the observation mode it needs, None when any will do.
    """

    name: str
    obs_mode: str | None

    def attach(self, worlds: VectorEnv) -> None:
        """Learn about the worlds before the first reset; only a privileged agent keeps them."""
        ...

    def reset(self, num_envs: int, seed: int = 0) -> None:
        """Forget everything and prepare for `num_envs` worlds."""
        ...

    def act(self, observation: Any, start: np.ndarray) -> np.ndarray:
        """Actions [N, …] for batched observations; `start` bool [N] marks worlds whose episode just began."""
        ...


class RandomAgent:
    """Draws every action uniformly from the action space."""

    name = "random"
    obs_mode: str | None = None

    def attach(self, worlds: VectorEnv) -> None:
        """Take the action space."""
        self.space: spaces.Space = worlds.single_action_space

    def reset(self, num_envs: int, seed: int = 0) -> None:
        """Start the random stream anew."""
        self.rng = np.random.default_rng(seed)
        self.num_envs = num_envs

    def act(self, observation: Any, start: np.ndarray) -> np.ndarray:
        """Actions int64 [N], int64 [N, d] of a MultiDiscrete, or float32 [N, d] in a Box."""
        if isinstance(self.space, spaces.Discrete):
            return self.rng.integers(self.space.n, size=self.num_envs) + self.space.start
        if isinstance(self.space, spaces.MultiDiscrete):
            return self.rng.integers(self.space.nvec, size=(self.num_envs, *self.space.shape)) + self.space.start
        assert isinstance(self.space, spaces.Box)
        shape = (self.num_envs, *self.space.shape)
        return self.rng.uniform(self.space.low, self.space.high, shape).astype(self.space.dtype)


class OracleAgent:
    """Replays the minimum-step plan of the environment's own oracle: privileged, the upper bound.

    Raises:
        AuralNavError: from `act`, where the environment has no plan (sources that move).
    """

    name = "oracle"
    obs_mode: str | None = None

    def attach(self, worlds: VectorEnv) -> None:
        """Keep the worlds: plans come from their hidden state."""
        self._plan_of = plan_source(worlds)

    def reset(self, num_envs: int, seed: int = 0) -> None:
        """Forget all plans."""
        self.plans: list[list[int]] = [[] for _ in range(num_envs)]

    def act(self, observation: Any, start: np.ndarray) -> np.ndarray:
        """Actions int64 [N]."""
        for world in np.flatnonzero(start).tolist():
            plan = self._plan_of(world)
            if not plan:
                raise AuralNavError(
                    "the oracle has no plan here: it needs sources that stand still, discrete actions and a way "
                    "that its search finds; choose another agent"
                )
            self.plans[world] = list(plan)
        # A world whose counted episodes are over may run on; it then repeats a turn.
        return np.array([plan.pop(0) if plan else 2 for plan in self.plans], dtype=np.int64)


def plan_source(worlds: VectorEnv) -> Callable[[int], list[int] | None]:
    """The function world → oracle plan of a vector environment, native or synchronous.

    Raises:
        AuralNavError: the environment has no oracle.
    """
    base = worlds.unwrapped
    if isinstance(base, SyncVectorEnv):
        single = [env.unwrapped for env in base.envs]
        if all(hasattr(env, "oracle_actions") for env in single):
            return lambda world: single[world].oracle_actions()  # type: ignore[attr-defined]
    elif hasattr(base, "worlds"):
        return lambda world: base.worlds[world].oracle_actions()  # type: ignore[attr-defined]
    raise AuralNavError("the oracle knows AuralNav environments only; choose another agent")


def task_settings(env: AudioEnvConfig) -> dict[str, Any]:
    """All arguments of an environment: the package's defaults, the id's own, then the config's.

    Raises:
        ConfigError: unknown id, or arguments the environment refuses.
    """
    arguments = {**find_spec(env.id).kwargs, **env.task_kwargs()}
    return vars(AudioSettings.make(arguments)) if env.is_aural else arguments


def make_baseline(name: str, task: Mapping[str, Any]) -> Agent:
    """A baseline by name.

    Args:
        name: one of BASELINES.
        task: the environment's arguments (defaults filled in), from which the tracker learns its own body:
            fs, head, step_size, turn_deg, found_radius, moving.

    Raises:
        ConfigError: unknown name, or a task the baseline cannot do.
    """
    if name == "random":
        return RandomAgent()
    if name == "oracle":
        return OracleAgent()
    if name == "gcc-phat":
        if task.get("continuous"):
            raise ConfigError("the gcc-phat tracker walks in discrete steps: set continuous=False")
        known = ("fs", "step_size", "turn_deg", "found_radius", "moving")
        head = str(task.get("head", "sphere"))
        # A measured head is steered as a sphere, which is what is known without the measurement.
        body = {key: task[key] for key in known if task.get(key) is not None}
        return TrackerAgent(head=head if head == "none" else "sphere", **body)
    raise ConfigError(f"{name}: no such baseline; choose one of {', '.join(BASELINES)}")
