"""Dogfight for several agents at once: PettingZoo's `ParallelEnv`, an agent a ship, of both teams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding

from auralnav.envs.dogfight import layout as at
from auralnav.envs.dogfight.env import RENDER_MODES, STEP_RATE
from auralnav.envs.dogfight.observe import FACTORS, Observer
from auralnav.envs.dogfight.recorder import GameRecorder
from auralnav.envs.dogfight.scoring import score_ships
from auralnav.envs.dogfight.settings import REWARD_TERMS, DogfightSettings
from auralnav.envs.dogfight.spaces import action_space, observation_space
from auralnav.envs.dogfight.views import Seats, ship_order
from auralnav.envs.dogfight.world import DogfightWorld
from auralnav.envs.worlds import draw_seed
from auralnav.errors import ActionError, ConfigError, MissingDependencyError

try:
    from pettingzoo import ParallelEnv
except ImportError as _error:
    raise MissingDependencyError(
        f"dogfights for several agents need PettingZoo ({_error}); install it: pip install 'auralnav[multi]'"
    ) from _error

TEAMS = ("red", "blue")
_ALL = np.ones(1, dtype=bool)


class DogfightParallelEnv(ParallelEnv[str, Any, np.ndarray]):
    """The world of `DogfightEnv` with an agent in each ship: red_0, red_1, …, blue_0, ….

    Observations and their forms are those of `DogfightEnv` from the ship's own seat: itself first, then its mates, then
    the others. An agent's action is `MultiDiscrete([3, 7, 2])`: power, turn, shoot. A ship that is shot down terminates
    and leaves `agents`; when a side is gone all others terminate, at the horizon those who still live are truncated.

    An agent's reward is the sum of `DogfightEnv`'s terms for this one ship: its own hits and damage, its own nose.
    All who act in the last step share in `win`, whoever dies in it too. `infos[agent]["reward/<term>"]` has each term.

    Args:
        render_mode: None or "rgb_array".
        **settings: arguments of `DogfightSettings` but `opponent` and `skill`.

    Raises:
        ConfigError: an argument that cannot be.
    """

    metadata: dict[str, Any] = {
        "name": "dogfight_v0", "render_modes": RENDER_MODES[:1], "render_fps": STEP_RATE, "is_parallelizable": True,
    }  # fmt: skip

    def __init__(self, *, render_mode: str | None = None, **settings: Any) -> None:
        for name in ("opponent", "skill"):
            if name in settings:
                raise ConfigError(f"{name}: here all ships are agents; leave it out")
        if render_mode not in (None, *RENDER_MODES[:1]):
            raise ConfigError(f"render_mode={render_mode!r} is not None or 'rgb_array'")
        self.settings = made = DogfightSettings.make(settings)
        self.metadata = {**type(self).metadata, "render_fps": made.render_fps}
        self.render_mode = render_mode
        self.world = DogfightWorld(
            1, made.teams, action_repeat=made.action_repeat, horizon=made.horizon, spread=made.spread
        )
        self.observer = Observer(self.world)
        self.possible_agents = [f"{TEAMS[team]}_{i}" for team in (0, 1) for i in range(made.teams[team])]
        self.agents: list[str] = []
        orders = np.array([ship_order(made.teams, slot) for slot in range(made.ships)])
        self._seats = Seats(orders, made.observation == "flat")
        self.observation_spaces: dict[str, spaces.Space] = {}
        self.action_spaces: dict[str, spaces.Space] = {}
        for agent in self.possible_agents:
            self.observation_spaces[agent] = observation_space(made)
            self.action_spaces[agent] = action_space(1)
        self._key = -1
        self._recorder: GameRecorder | None = None

    def observation_space(self, agent: str) -> spaces.Space:
        """What the agent's observations lie in."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space:
        """The agent's actions."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """Begin a game: the first one of a seed, or the next one. There are no options; what is given is not read, for
        PettingZoo's checks give some.
        """
        if seed is not None or self._key < 0:
            self._key = draw_seed(seeding.np_random(seed)[0])
            self.world.begin(_ALL, np.array([self._key]))
        else:
            self.world.begin(_ALL)
        self.agents = list(self.possible_agents)
        if self.render_mode is not None:
            self._record(anew=True)
        return self._observations(), {agent: {} for agent in self.agents}

    def step(
        self, actions: Mapping[str, Any]
    ) -> tuple[
        dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]
    ]:
        """One action of each living ship.

        Raises:
            ActionError: an agent without an action, or one outside the space.
            gymnasium.error.ResetNeeded: no game is running.
        """
        if not self.agents:
            raise ResetNeeded("no game is running; call reset() before step()")
        commands = np.zeros((1, self.settings.ships, 3), np.int64)
        for agent in self.agents:
            given = np.asarray(actions[agent]) if agent in actions else None
            if given is None or given.shape != (3,) or given.dtype.kind not in "iu":
                what = "nothing" if given is None else f"{given.dtype} {given.shape}"
                raise ActionError(f"{agent}: an action is three integers, power, turn and shoot, not {what}")
            commands[0, self.possible_agents.index(agent)] = given
        self.world.step(commands)
        if self.render_mode is not None:
            self._record()
        terms = score_ships(self.world.state[0], self.world.clock[0], self.settings.teams, self.settings.scales)
        acting, self.agents = self.agents, []
        observations = self._observations(acting)
        over = int(self.world.status[0]) != at.RUNNING
        health = self.world.state[0, at.HEALTH]
        both = all(health[team].any() for team in self._sides())
        rewards, terminations, truncations, infos = {}, {}, {}, {}
        for agent in acting:
            slot = self.possible_agents.index(agent)
            alive = bool(health[slot] > 0)
            truncations[agent] = over and both and alive
            terminations[agent] = not alive or (over and not both)
            rewards[agent] = float(terms[slot].sum())
            infos[agent] = {f"reward/{name}": float(terms[slot, k]) for k, name in enumerate(REWARD_TERMS)}
            if not terminations[agent] and not truncations[agent]:
                self.agents.append(agent)
        return observations, rewards, terminations, truncations, infos

    def _sides(self) -> tuple[slice, slice]:
        own, other = self.settings.teams
        return slice(0, own), slice(own, own + other)

    def _observations(self, agents: list[str] | None = None) -> dict[str, Any]:
        slots = {agent: self.possible_agents.index(agent) for agent in (self.agents if agents is None else agents)}
        if self.settings.observation == "flat":
            rows = self._seats(self.observer.flatten())
            return {agent: rows[slot] for agent, slot in slots.items()}
        parts = self._seats(dict(zip(FACTORS, self.observer.observe(), strict=True)))
        return {agent: {key: rows[slot] for key, rows in parts.items()} for agent, slot in slots.items()}

    def _record(self, anew: bool = False) -> None:
        if anew or self._recorder is None:
            from auralnav.envs.dogfight.pictures import new_recorder

            self._recorder = new_recorder(self.settings, self.possible_agents, self._key)
        self._recorder.take(self.world)

    def render(self) -> np.ndarray | None:
        """The arena, uint8 [H, W, 3]; None without a render mode."""
        if self.render_mode is None:
            return None
        if self._recorder is None:
            raise ResetNeeded("there is no game yet; call reset() first")
        from auralnav.envs.dogfight.pictures import draw_last

        return draw_last(self._recorder)

    def state(self) -> np.ndarray:
        """The flat observation of all ships in the order of `possible_agents`."""
        return self.observer.flatten()[0].copy()

    def close(self) -> None:
        """Nothing is held."""


def parallel_env(**kwargs: Any) -> DogfightParallelEnv:
    """PettingZoo's name for it; arguments of `DogfightParallelEnv`."""
    return DogfightParallelEnv(**kwargs)
