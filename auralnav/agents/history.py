"""Frame stacks: the last k observations, with the previous actions, as what a network without memory sees.

All one-dimensional parts of the observation (cues, odometry, pose …) and the one-hot previous action make a
frame; the last k frames, oldest first, make one flat vector. Parts with more axes (a spectrogram, a waveform)
keep their key and are stacked along their first axis. Frames before the episode's start are zero.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from auralnav.agents.sb3_env import Restorable
from auralnav.errors import ConfigError

VECTOR = "vector"
MAP = "map"  # what a plain Box with more than one axis is called beside the vector
_SELF = ""  # key of an observation that is a plain Box


class HistoryStack:
    """The stacks of N worlds. Pure bookkeeping, usable without SB3.

    Args:
        observation_space: one world's space: a Box, or a Dict of Boxes.
        action_space: one world's space: Discrete, MultiDiscrete or a Box, of one axis.
        num_envs: worlds.
        history: frames stacked, k ≥ 1.
        previous_action: append the action that led to a frame (zeros at the start of an episode).

    Raises:
        ConfigError: a part of the observation is no Box.
    """

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        num_envs: int,
        history: int = 1,
        previous_action: bool = False,
    ) -> None:
        parts = (
            observation_space.spaces
            if isinstance(observation_space, spaces.Dict)
            else {_SELF: observation_space}
        )
        self.num_envs, self.history = num_envs, history
        self._action_space = action_space
        self._action_size = _action_size(action_space) if previous_action else 0
        self._flat: dict[str, slice] = {}
        self._stacked: dict[str, int] = {}
        lows: list[np.ndarray] = []
        highs: list[np.ndarray] = []
        maps: dict[str, spaces.Box] = {}
        size = 0
        for key, space in parts.items():
            if not isinstance(space, spaces.Box):
                raise ConfigError(
                    f"observation {key or 'space'}: {space} cannot be stacked; only Box parts can"
                )
            if len(space.shape) <= 1:
                width = int(np.prod(space.shape))
                self._flat[key] = slice(size, size + width)
                lows.append(np.minimum(space.low, 0.0).reshape(-1))
                highs.append(np.maximum(space.high, 0.0).reshape(-1))
                size += width
            else:
                self._stacked[key] = space.shape[0]
                repeats = (history,) + (1,) * (len(space.shape) - 1)
                maps[key or MAP] = spaces.Box(
                    np.tile(np.minimum(space.low, 0), repeats),
                    np.tile(np.maximum(space.high, 0), repeats),
                    dtype=cast(Any, space.dtype),
                )
        if previous_action:
            size += self._action_size
            least, greatest = _action_bounds(action_space)
            lows.append(np.minimum(least, 0.0))
            highs.append(np.maximum(greatest, 0.0))
        self.frame_size = size
        low, high = (
            np.tile(np.concatenate([np.zeros(0), *ends]), history).astype(np.float32)
            for ends in (lows, highs)
        )
        vector = spaces.Box(low, high, dtype=np.float32)
        self.space: spaces.Space = (
            spaces.Dict({**({VECTOR: vector} if size else {}), **maps}) if maps else vector
        )
        self._frames = np.zeros((num_envs, history, size), np.float32)
        self._maps = {name: np.zeros((num_envs, *box.shape), box.dtype) for name, box in maps.items()}

    def reset(self, obs: VecEnvObs, mask: np.ndarray | None = None) -> None:
        """Start new stacks from a batched first observation in the worlds of `mask` (bool [N], or all)."""
        rows: Any = slice(None) if mask is None else mask
        self._frames[rows] = 0.0
        self._write(self._frames[:, -1], obs, rows, None)
        for key, channels in self._stacked.items():
            stack = self._maps[key or MAP]
            stack[rows] = 0
            stack[rows, -channels:] = _part(obs, key)[rows]

    def push(self, obs: VecEnvObs, actions: np.ndarray) -> None:
        """Append a batched observation and the actions that led to it."""
        if self.history > 1:
            self._frames[:, :-1] = self._frames[:, 1:]
        self._write(self._frames[:, -1], obs, slice(None), actions)
        for key, channels in self._stacked.items():
            stack = self._maps[key or MAP]
            if self.history > 1:
                stack[:, :-channels] = stack[:, channels:]
            stack[:, -channels:] = _part(obs, key)

    def push_world(self, world: int, obs: Any, action: Any) -> None:
        """Correct the newest frame of one world: `obs` is its single, not batched observation."""
        newest = self._frames[world, -1]
        for key, part in self._flat.items():
            newest[part] = np.asarray(obs[key] if key else obs).reshape(-1)
        if self._action_size:
            newest[-self._action_size :] = self._encode(np.asarray([action]))[0]
        for key, channels in self._stacked.items():
            self._maps[key or MAP][world, -channels:] = obs[key] if key else obs

    def value(self) -> VecEnvObs:
        """The stacked observation of all worlds, as fresh arrays."""
        maps = {name: value.copy() for name, value in self._maps.items()}
        return self._observation(self._frames.reshape(self.num_envs, -1).copy(), maps)

    def world_value(self, world: int) -> Any:
        """The stacked observation of one world, as fresh arrays."""
        maps = {name: value[world].copy() for name, value in self._maps.items()}
        return self._observation(self._frames[world].reshape(-1).copy(), maps)

    def _observation(self, vector: np.ndarray, maps: dict[str, np.ndarray]) -> VecEnvObs:
        if not maps:
            return vector
        return {VECTOR: vector, **maps} if self.frame_size else maps

    def state(self) -> dict[str, Any]:
        """A copy of the stacks."""
        return {
            "frames": self._frames.copy(),
            "maps": {name: value.copy() for name, value in self._maps.items()},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a `state()`."""
        self._frames[:] = state["frames"]
        for name, value in self._maps.items():
            value[:] = state["maps"][name]

    def _write(self, newest: np.ndarray, obs: VecEnvObs, rows: Any, actions: np.ndarray | None) -> None:
        for key, part in self._flat.items():
            newest[rows, part] = _part(obs, key).reshape(self.num_envs, -1)[rows]
        if self._action_size:
            newest[rows, -self._action_size :] = 0.0 if actions is None else self._encode(actions)

    def _encode(self, actions: np.ndarray) -> np.ndarray:
        if isinstance(self._action_space, spaces.Discrete):
            codes = actions.reshape(-1).astype(np.int64) - int(self._action_space.start)
            return (codes[:, None] == np.arange(self._action_size)).astype(np.float32)
        if isinstance(self._action_space, spaces.MultiDiscrete):
            classes = self._action_space.nvec
            codes = actions.reshape(-1, len(classes)) + (np.cumsum(classes) - classes)
            return (codes[:, :, None] == np.arange(self._action_size)).any(1).astype(np.float32)
        return actions.reshape(-1, self._action_size).astype(np.float32)


class HistoryWrapper(VecEnvWrapper):
    """SB3 `VecEnv` wrapper that stacks as `HistoryStack` does, right at the borders of episodes.

    Rewards are given out times `reward_scale`; the episode's return in the infos stays the task's own.
    """

    def __init__(
        self, venv: VecEnv, history: int = 1, previous_action: bool = False, reward_scale: float = 1.0
    ) -> None:
        self.reward_scale = reward_scale
        self.stack = HistoryStack(
            venv.observation_space, venv.action_space, venv.num_envs, history, previous_action
        )
        super().__init__(venv, observation_space=self.stack.space)
        self._actions: np.ndarray = np.zeros(0)

    def reset(self) -> VecEnvObs:
        """First stacked observation of all worlds."""
        self.stack.reset(self.venv.reset())
        return self.stack.value()

    def step_async(self, actions: np.ndarray) -> None:
        """Begin a step (SB3's interface)."""
        self._actions = actions
        self.venv.step_async(actions)

    def step_wait(self) -> VecEnvStepReturn:
        """Stacked observations, rewards, dones and infos of the step."""
        obs, rewards, dones, infos = self.venv.step_wait()
        self.stack.push(obs, self._actions)
        if dones.any():
            for world in np.flatnonzero(dones).tolist():
                self.stack.push_world(world, infos[world]["terminal_observation"], self._actions[world])
                infos[world]["terminal_observation"] = self.stack.world_value(world)
            self.stack.reset(obs, dones)
        return self.stack.value(), rewards * np.float32(self.reward_scale), dones, infos

    def state(self) -> dict[str, Any] | None:
        """The state of the worlds and of the stacks, or None where the worlds cannot give theirs."""
        worlds = cast(Restorable, self.venv).state()
        return None if worlds is None else {"venv": worlds, "stack": self.stack.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a `state()` (call `reset()` once before)."""
        cast(Restorable, self.venv).restore(state["venv"])
        self.stack.restore(state["stack"])


def _part(obs: VecEnvObs, key: str) -> np.ndarray:
    return cast(dict[str, np.ndarray], obs)[key] if key else cast(np.ndarray, obs)


def _action_size(space: spaces.Space) -> int:
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if isinstance(space, spaces.MultiDiscrete) and space.nvec.ndim == 1 and not space.start.any():
        return int(space.nvec.sum())
    if isinstance(space, spaces.Box):
        return int(np.prod(space.shape))
    raise ConfigError(f"env.previous_action: {space} cannot be appended to a frame; set it to false")


def _action_bounds(space: spaces.Space) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest values of an action as it is appended: one-hot, or the numbers themselves."""
    if isinstance(space, spaces.Box):
        return space.low.reshape(-1), space.high.reshape(-1)
    size = _action_size(space)
    return np.zeros(size), np.ones(size)
