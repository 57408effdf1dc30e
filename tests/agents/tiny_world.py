"""A corridor with a bell: a few microseconds a step, but with all that training must carry over a resume.

Importing this module registers `TinyBell-v0`. Observation: Dict of cues [3] and agent_info [2]; reward terms,
episode metrics, random starts, noise from np_random, termination and truncation, state and restore.
"""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class TinyBell(gym.Env):
    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}

    def __init__(self, horizon: int = 12, width: int = 7, maps: bool = False, explode_at: int = 0) -> None:
        parts: dict[str, spaces.Space] = {
            "cues": spaces.Box(-2.0, 2.0, (3,), np.float32),
            "agent_info": spaces.Box(0.0, 1.0, (2,), np.float32),
        }
        if maps:
            parts["spectrogram"] = spaces.Box(0.0, 1.0, (2, 9, 8), np.float32)
        self.observation_space = spaces.Dict(parts)
        self.action_space = spaces.Discrete(3)
        self.horizon, self.width, self.maps, self.explode_at = horizon, width, maps, explode_at
        self.place = self.bell = self.steps = self.total = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.place, self.bell = (int(x) for x in self.np_random.choice(self.width, 2, replace=False))
        self.steps = 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        before = abs(self.place - self.bell)
        self.place = int(np.clip(self.place + int(action) - 1, 0, self.width - 1))
        self.steps += 1
        self.total += 1
        found = self.place == self.bell
        truncated = self.steps >= self.horizon
        terms = {"reward/found": 10.0 * found, "reward/shaping": float(before - abs(self.place - self.bell))}
        if self.explode_at and self.total >= self.explode_at:
            terms["reward/found"] = float("inf")
        info: dict[str, Any] = dict(terms)
        if found or truncated:
            info["episode_metrics"] = {"success": float(found), "spl": float(found) / self.steps}
        return self._observe(), sum(terms.values()), found, truncated and not found, info

    def state(self) -> dict[str, Any]:
        return {
            "place": self.place,
            "bell": self.bell,
            "steps": self.steps,
            "total": self.total,
            "rng": self.np_random.bit_generator.state,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.place, self.bell = state["place"], state["bell"]
        self.steps, self.total = state["steps"], state["total"]
        self.np_random.bit_generator.state = state["rng"]

    def _observe(self) -> dict[str, np.ndarray]:
        noise = self.np_random.normal(0.0, 0.05, 3)
        cues = (
            np.array([np.sign(self.bell - self.place), 1.0 / (1 + abs(self.bell - self.place)), 0.0]) + noise
        )
        info = np.array([self.place / self.width, 1.0 - self.steps / self.horizon])
        obs = {
            "cues": np.clip(cues, -2, 2).astype(np.float32),
            "agent_info": np.clip(info, 0, 1).astype(np.float32),
        }
        if self.maps:
            obs["spectrogram"] = np.full((2, 9, 8), obs["agent_info"][0], np.float32)
        return obs


if "TinyBell-v0" not in gym.registry:
    gym.register("TinyBell-v0", entry_point=TinyBell, disable_env_checker=True)
