"""Gymnasium's vector environments as SB3's `VecEnv`: reset in the same step, cheap infos, whole state.

The vector environment runs with autoreset DISABLED; finished worlds are reset here through
`reset(options={"reset_mask": mask})`, so the terminal observation is the real last one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any, Protocol, cast, runtime_checkable

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from auralnav.configs.schema import AudioEnvConfig
from auralnav.envs.registration import ENTRIES
from auralnav.errors import ConfigError, did_you_mean

METRICS = "episode_metrics"
_RUN_ARGUMENTS = {
    "threads": "give env.threads",
    "num_envs": "give env.num_envs",
    "autoreset_mode": "a training resets its worlds itself; leave it out",
    "device": "a training steps its worlds on the CPU; leave it out, and set train.device for the network",
}
"""Arguments of worlds that an experiment says elsewhere or cannot have."""
REWARD_PREFIX = "reward/"


@runtime_checkable
class Restorable(Protocol):
    """Environments, single or many, that give their whole state and continue from it bit for bit."""

    def state(self) -> Any:
        """A copy of the state, or None where it cannot be given after all."""
        ...

    def restore(self, state: Any) -> None:
        """Continue from a `state()`."""
        ...


class VectorAdapter(VecEnv):
    """SB3's `VecEnv` on a Gymnasium `VectorEnv` whose autoreset is DISABLED.

    A finished world's info holds `terminal_observation`, `TimeLimit.truncated`, `episode` (return `r`, length
    `l`, seconds `t`), `episode_metrics` (with the sum of each reward term under its `reward/` name) and
    `is_success`; a running world's info is empty, for SB3 walks over all of them in Python at every step.

    Raises:
        ConfigError: the vector environment resets by itself.
    """

    def __init__(self, venv: VectorEnv) -> None:
        if venv.metadata.get("autoreset_mode") != AutoresetMode.DISABLED:
            raise ConfigError("the vector environment resets by itself; make it with autoreset_mode=DISABLED")
        self.venv = venv
        self.seed_queue: Iterator[int] | None = None
        """Seeds of the episodes to come, for fixed evaluation episodes; None = the worlds' own streams."""
        super().__init__(venv.num_envs, venv.single_observation_space, venv.single_action_space)
        self._actions: np.ndarray | None = None
        self._returns = np.zeros(self.num_envs)
        self._lengths = np.zeros(self.num_envs, np.int64)
        self._terms: dict[str, np.ndarray] = {}
        self._start = time.perf_counter()

    def reset(self) -> VecEnvObs:
        """Start a new episode in every world; world i after `seed(s)` is seeded s + i."""
        if self.seed_queue is not None:
            seed: Any = [next(self.seed_queue) for _ in range(self.num_envs)]  # VectorEnv's types know no list
        else:
            seed = self._seeds[0]
        obs, _ = self.venv.reset(seed=seed)
        self._reset_seeds()
        self._reset_options()
        self._returns[:] = 0.0
        self._lengths[:] = 0
        self._terms = {}
        return obs

    def step_async(self, actions: np.ndarray) -> None:
        """Begin a step (SB3's interface)."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Observations, rewards, dones and infos; finished worlds have begun their next episode."""
        obs, rewards, terminated, truncated, info = self.venv.step(self._actions)
        done = np.logical_or(terminated, truncated)
        self._returns += rewards
        self._lengths += 1
        for key, value in info.items():
            if key.startswith(REWARD_PREFIX):
                if key not in self._terms:
                    self._terms[key] = np.zeros(self.num_envs)
                self._terms[key] += value
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if done.any():
            seconds = time.perf_counter() - self._start
            for world in np.flatnonzero(done).tolist():
                infos[world] = self._final_info(
                    world, obs, bool(truncated[world] and not terminated[world]), info
                )
                infos[world]["episode"]["t"] = seconds
            obs = self._reset_worlds(done)
        return obs, rewards.astype(np.float32), done, infos

    def _final_info(self, world: int, obs: VecEnvObs, cut_off: bool, info: dict[str, Any]) -> dict[str, Any]:
        metrics = world_info(info.get(METRICS), world)
        metrics.update({key: float(total[world]) for key, total in self._terms.items()})
        final = {
            "terminal_observation": take_world(obs, world),
            "TimeLimit.truncated": cut_off,
            "episode": {"r": float(self._returns[world]), "l": int(self._lengths[world])},
            METRICS: metrics,
        }
        if "success" in metrics:
            final["is_success"] = bool(metrics["success"])
        return final

    def _reset_worlds(self, mask: np.ndarray) -> VecEnvObs:
        seeds: Any = None
        if self.seed_queue is not None:
            # A queue that has run dry leaves the world to its own stream; those episodes are not counted.
            seeds = [next(self.seed_queue, None) if due else None for due in mask]
        obs, _ = self.venv.reset(seed=seeds, options={"reset_mask": mask})
        self._returns[mask] = 0.0
        self._lengths[mask] = 0
        for total in self._terms.values():
            total[mask] = 0.0
        return obs

    def state(self) -> dict[str, Any] | None:
        """The whole state of all worlds, or None where the environment cannot give it."""
        worlds = self._world_states()
        if worlds is None:
            return None
        return {"worlds": worlds, "returns": self._returns.copy(), "lengths": self._lengths.copy(),
                "terms": {key: total.copy() for key, total in self._terms.items()}}  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a `state()` bit for bit (call `reset()` once before, on a fresh environment)."""
        if isinstance(self.venv, SyncVectorEnv):
            for env, world in zip(self.venv.envs, state["worlds"], strict=True):
                cast(Restorable, env.unwrapped).restore(world)
        else:
            cast(Restorable, self._stateful()).restore(state["worlds"])
        self._returns[:] = state["returns"]
        self._lengths[:] = state["lengths"]
        self._terms = {key: np.array(total) for key, total in state["terms"].items()}

    def _world_states(self) -> list[Any] | None:
        if isinstance(self.venv, SyncVectorEnv):
            # Gymnasium's TimeLimit counts outside the environment: such a world cannot be restored whole.
            single = [env.unwrapped for env in self.venv.envs if not _has_time_limit(env)]
            whole = [world for world in single if isinstance(world, Restorable)]
            return [world.state() for world in whole] if len(whole) == self.num_envs else None
        worlds = self._stateful()
        return worlds.state() if isinstance(worlds, Restorable) else None

    def _stateful(self) -> VectorEnv:
        """What gives the whole state: a wrapper that has a share of it, or the worlds themselves."""
        return self.venv if isinstance(self.venv, Restorable) else self.venv.unwrapped

    def close(self) -> None:
        """Close the worlds."""
        self.venv.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """An attribute of the vector environment, once a world."""
        count = len(list(self._get_indices(indices)))
        if attr_name == "render_mode":
            return [self.venv.render_mode] * count
        return [getattr(self.venv.unwrapped, attr_name)] * count

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Not possible: the worlds share their settings."""
        raise NotImplementedError("the worlds of a native vector environment share their settings")

    def env_method(
        self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any
    ) -> list[Any]:
        """Not possible: the worlds have no methods of their own."""
        raise NotImplementedError("the worlds of a native vector environment have no methods of their own")

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper], indices: VecEnvIndices = None) -> list[bool]:
        """False for each world: wrappers of single worlds do not exist here."""
        return [False] * len(list(self._get_indices(indices)))

    def get_images(self) -> Sequence[np.ndarray | None]:
        """A picture of each world."""
        images = self.venv.render()
        return [None] * self.num_envs if images is None else list(cast(Sequence[np.ndarray], images))


def take_world(obs: VecEnvObs, world: int) -> Any:
    """A copy of one world's observation out of a batched one."""
    if isinstance(obs, dict):
        return {key: np.array(value[world]) for key, value in obs.items()}
    return np.array(cast(np.ndarray, obs)[world])


def world_info(batched: dict[str, Any] | None, world: int) -> dict[str, float]:
    """One world's numbers out of Gymnasium's batched info: `{key: array, "_key": mask}`."""
    if batched is None:
        return {}
    numbers: dict[str, float] = {}
    for key, values in batched.items():
        mask = batched.get(f"_{key}")
        if not key.startswith("_") and (mask is None or mask[world]) and values[world] is not None:
            numbers[key] = float(values[world])
    return numbers


def _has_time_limit(env: gym.Env) -> bool:
    while isinstance(env, gym.Wrapper):
        if isinstance(env, gym.wrappers.TimeLimit):
            return True
        env = env.env
    return False


def find_spec(env_id: str) -> EnvSpec:
    """Gymnasium's entry of an id; "package:Id-v0" imports the package first, which registers the id.

    Raises:
        ConfigError: there is no such environment.
    """
    import auralnav

    auralnav.register_envs()
    module, _, name = env_id.rpartition(":")
    try:
        if module:
            import_module(module)
        return gym.spec(name)
    except (gym.error.Error, ImportError) as error:
        hint = did_you_mean(name, gym.registry) or ";"
        raise ConfigError(
            f"env.id: {env_id}: no such environment{hint} `auralnav envs` lists the ids"
        ) from error


def rows_per_episode(config: AudioEnvConfig) -> int:
    """Rows of the worlds that show one episode: a dogfight `per_ship` has one for each ship of the team."""
    if config.is_aural or not config.kwargs.get("per_ship"):
        return 1
    from auralnav.envs.dogfight.settings import teams_of

    return teams_of({**find_spec(config.id).kwargs, **config.kwargs})[0]


def make_vector_adapter(
    config: AudioEnvConfig, num_envs: int | None = None, **overrides: Any
) -> VectorAdapter:
    """The worlds of `make_worlds` as SB3 sees them."""
    return VectorAdapter(make_worlds(config, num_envs, **overrides))


def make_worlds(config: AudioEnvConfig, num_envs: int | None = None, **overrides: Any) -> VectorEnv:
    """The worlds of a config: the native vector form where the id has one, else Gymnasium's sync form.

    Args:
        config: id, arguments, worlds and threads.
        num_envs: worlds, instead of `config.num_envs`.
        overrides: environment arguments that take the place of the config's (for example `split="test"`).

    Raises:
        ConfigError: unknown id, or arguments the environment refuses.
    """
    worlds = config.num_envs if num_envs is None else num_envs
    kwargs = {**config.task_kwargs(), **overrides}
    for name, words in _RUN_ARGUMENTS.items():
        if name in kwargs:
            raise ConfigError(f"env.kwargs.{name}: {words}")
    spec = find_spec(config.id)
    name = spec.id
    try:
        if any(entry.id == name for entry in ENTRIES):
            return gym.make_vec(
                name, num_envs=worlds, vectorization_mode="vector_entry_point",
                autoreset_mode=AutoresetMode.DISABLED, threads=min(config.threads, worlds), **kwargs,
            )  # fmt: skip
        return gym.make_vec(
            name, num_envs=worlds, vectorization_mode="sync",
            vector_kwargs={"autoreset_mode": AutoresetMode.DISABLED}, **kwargs,
        )  # fmt: skip
    except TypeError as error:
        raise ConfigError(f"env: {config.id} refuses its arguments: {error}; check env.kwargs") from error
