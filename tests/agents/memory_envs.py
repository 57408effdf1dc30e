"""Small tasks that need memory: a cart without speeds, a T-maze, and repeating what was seen k steps ago."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import TransformObservation
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv


def cart_without_speeds() -> gym.Env:
    """CartPole-v1 that shows positions and hides velocities."""
    env = gym.make("CartPole-v1")
    space = env.observation_space
    assert isinstance(space, spaces.Box)
    seen = [0, 2]
    bound = np.array([4.8, 0.42], np.float32)  # beyond which the episode has ended
    return TransformObservation(env, lambda obs: obs[seen], spaces.Box(-bound, bound, dtype=np.float32))


class TMaze(gym.Env):
    """Walk a corridor of `length` steps to a junction and turn to the side that was shown at its beginning.

    Observation: [2] cue (±1 in the first step, else 0) and 1 at the junction. Actions: 0 forward, 1 left,
    2 right. A turn inside the corridor and going on at the junction leave the agent where it is, and each step
    but the shortest way costs 1/length. The right turn is worth 1, the wrong one 0; both end the episode, as
    does the time limit of twice the shortest way. (After Bakker, 2002; the cost after Ni et al., 2023.)
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}

    def __init__(self, length: int = 50) -> None:
        self.observation_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.action_space = spaces.Discrete(3)
        self.length = length
        self.place = self.steps = 0
        self.side = 1

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.place = self.steps = 0
        self.side = int(self.np_random.choice([-1, 1]))
        return self._observe(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        turn = (0, -1, 1)[int(action)]
        self.steps += 1
        truncated = self.steps >= 2 * (self.length + 1)
        if self.place == self.length and turn:
            won = turn == self.side
            return self._observe(), float(won), True, False, {"is_success": won}
        forward = self.place < self.length and not turn
        self.place += forward
        info = {"is_success": False} if truncated else {}
        return self._observe(), 0.0 if forward else -1.0 / self.length, False, truncated, info

    def _observe(self) -> np.ndarray:
        cue = self.side if self.steps == 0 else 0
        return np.array([cue, self.place == self.length], np.float32)


class RepeatPrevious(gym.Env):
    """Name the suit that was shown k steps ago, after POPGym's RepeatPrevious (Morad et al., 2023).

    Observation: [4] the suit now, one-hot. Action: a suit. From step k on a right answer earns
    1/(length − k), a wrong one costs as much, so a perfect episode is worth 1 and guessing −0.5.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}

    def __init__(self, k: int = 4, length: int = 52) -> None:
        self.observation_space = spaces.Box(0.0, 1.0, (4,), np.float32)
        self.action_space = spaces.Discrete(4)
        self.k, self.length = k, length
        self.suits = np.zeros(length + 1, np.int64)
        self.steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.suits = self.np_random.integers(4, size=self.length + 1)
        self.steps = 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        reward = 0.0
        if self.steps >= self.k:
            right = int(action) == self.suits[self.steps - self.k]
            reward = (1.0 if right else -1.0) / (self.length - self.k)
        self.steps += 1
        return self._observe(), reward, self.steps == self.length, False, {}

    def _observe(self) -> np.ndarray:
        return np.eye(4, dtype=np.float32)[self.suits[self.steps]]


TASKS = {"cart": cart_without_speeds, "t-maze": TMaze, "repeat": RepeatPrevious}


def vector(task: str, num_envs: int = 8, seed: int = 0, **kwargs: Any) -> DummyVecEnv:
    """Monitored worlds of a task; world i is seeded seed + i."""
    envs = DummyVecEnv([lambda: Monitor(TASKS[task](**kwargs)) for _ in range(num_envs)])
    envs.seed(seed)
    return envs
