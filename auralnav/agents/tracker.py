"""The GCC-PHAT tracker: hears directions, remembers them over turns and steps, walks to the likeliest place.

No learning and no hidden state: it takes the two-ear sound, the odometry's heading and the bump flag, and
integrates its own steps. It is the honest bar for anything that learns.

It knows directions and no classes, so it cannot tell a distractor from a source: it walks to both, and rules a place
out only after it has been there in vain.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from auralnav.agents.belief import PlaceBelief
from auralnav.agents.steering import Steering
from auralnav.agents.walking import FORWARD, TURN_LEFT, TURN_RIGHT, Walker
from auralnav.errors import ConfigError


class TrackerMind:
    """One world's tracker.

    Args:
        steering: turns sound into a response over azimuths; shared between worlds.
        step_size, turn, found_radius: the agent's step in metres, turn in radians, found radius in metres.
        moving: whether the sources may move (the memory is then short and visited places open again).
    """

    def __init__(
        self, steering: Steering, step_size: float, turn: float, found_radius: float, moving: bool
    ) -> None:
        self.steering, self.found_radius = steering, found_radius
        self.belief = PlaceBelief(memory=0.5 if moving else 0.6, forget_visits=12 if moving else None)
        self.walker = Walker(step_size, turn)
        self.goal: tuple[float, float] | None = None
        self.last_action: int | None = None

    def act(self, audio: np.ndarray, agent_info: np.ndarray) -> int:
        """The next action after hearing `audio` [2, n] with odometry `agent_info` [4]."""
        heading = float(np.arctan2(agent_info[1], agent_info[0]))
        if self.last_action is None:
            self.walker.heading = heading
        else:
            self.walker.moved(self.last_action, bool(agent_info[2] > 0.5), heading)
        x, y = self.walker.x, self.walker.y
        response = self.steering.response(audio)
        if response is not None:
            self.belief.hear(response, x, y, heading)
        self.belief.visit(x, y, 0.9 * self.found_radius)
        self.last_action = self._choose()
        return self.last_action

    def _choose(self) -> int:
        keep = 0.0 if self.goal is None else 0.4 * self.belief.near(*self.goal, 1.0)
        x, y, score = self.belief.best(keep)
        self.goal = (x, y)
        mirror = self._mirror_score()
        if mirror > score - 0.3 and self._along_the_axis():
            # Front and back are still equal and walking would not tell them apart: turning does.
            return TURN_LEFT if self._side() >= 0 else TURN_RIGHT
        return self.walker.next_action(self.goal, 0.85 * self.found_radius)

    def _bearing(self) -> float:
        """Azimuth of the goal, radians left of the heading."""
        assert self.goal is not None
        walker = self.walker
        angle = np.arctan2(self.goal[1] - walker.y, self.goal[0] - walker.x) - walker.heading
        return float((angle + np.pi) % (2 * np.pi) - np.pi)

    def _side(self) -> float:
        return float(np.sin(self._bearing()))

    def _along_the_axis(self) -> bool:
        return abs(self._side()) < np.sin(self.walker.turn)

    def _mirror_score(self) -> float:
        """Best score of a place in the goal's mirror direction (front and back swapped)."""
        walker, belief = self.walker, self.belief
        mirror = walker.heading + np.pi - self._bearing()
        ranges = np.arange(1.0, 6.0, 0.5)
        xs, ys = walker.x + ranges * np.cos(mirror), walker.y + ranges * np.sin(mirror)
        half = belief.x.shape[0] // 2
        i = np.clip(np.rint(xs / belief.cell).astype(int) + half, 0, 2 * half)
        j = np.clip(np.rint(ys / belief.cell).astype(int) + half, 0, 2 * half)
        score = np.where(belief.open_places()[i, j], belief.log[i, j] + belief.prior[i, j], -np.inf)
        return float(score.max())


class TrackerAgent:
    """The tracker in N worlds, behind the protocol of `auralnav.agents.baselines`.

    Args:
        fs: samples a second of the observation's `audio`.
        head: the head it hears with, "none" or "sphere".
        step_size: metres of a step.
        turn_deg: degrees of a turn.
        found_radius: metres.
        moving: whether the sources may move.
    """

    name = "gcc-phat"
    obs_mode: str | None = "waveform"

    def __init__(
        self,
        fs: int = 16_000,
        head: str = "sphere",
        step_size: float = 0.5,
        turn_deg: float = 30.0,
        found_radius: float = 1.0,
        moving: bool = False,
    ) -> None:
        self.steering = Steering(fs=fs, head=head)
        self._settings = (step_size, float(np.radians(turn_deg)), found_radius, moving)
        self.minds: list[TrackerMind] = []

    def attach(self, worlds: Any) -> None:
        """It wants to know nothing about the worlds."""

    def reset(self, num_envs: int, seed: int = 0) -> None:
        """Forget everything and prepare for `num_envs` worlds (nothing here is random)."""
        self.minds = [TrackerMind(self.steering, *self._settings) for _ in range(num_envs)]

    def act(self, observation: dict[str, Any], start: np.ndarray) -> np.ndarray:
        """Actions int64 [N] for batched observations; `start` bool [N] marks worlds whose episode just began.

        Raises:
            ConfigError: the observation has no `audio`.
        """
        if "audio" not in observation:
            raise ConfigError(
                "the GCC-PHAT tracker listens to `audio`: make the environment with obs_mode='waveform'"
            )
        actions = np.full(len(self.minds), FORWARD, dtype=np.int64)
        for i in range(len(self.minds)):
            if start[i]:
                self.minds[i] = TrackerMind(self.steering, *self._settings)
            actions[i] = self.minds[i].act(observation["audio"][i], observation["agent_info"][i])
        return actions
