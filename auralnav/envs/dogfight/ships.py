"""Many dogfights as rows of ships: every own ship sees the game from its own seat and flies by one shared policy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import batch_space

from auralnav.envs.dogfight import layout as at
from auralnav.envs.dogfight.checks import checked_count
from auralnav.envs.dogfight.settings import teams_of
from auralnav.envs.dogfight.spaces import action_space
from auralnav.envs.dogfight.vector import DogfightVectorEnv
from auralnav.envs.dogfight.views import Seats, ship_order
from auralnav.envs.worlds import MASK, Seeds, checked_mask, checked_seeds
from auralnav.errors import ConfigError


class ShipsVectorEnv(VectorEnv[Any, Any, Any]):
    """`DogfightVectorEnv` with a row for each own ship, the ships of a game next to each other.

    A row's observation lists its own ship first, then its mates, then the others; its action is
    `MultiDiscrete([3, 7, 2])`. Rewards and infos are the team's, and the rows of a game begin and end together.

    The row of a dead ship goes on until its game ends, with the team's rewards, and nobody reads its actions: about a
    quarter of all rows where ships act at random. `infos["alive"]`, bool [rows], of `reset` and `step` says who of the
    observation that comes with it still flies, so that a learner may leave out what the others are told.

    Args:
        num_envs: rows; a multiple of the ships of team 0.
        kwargs: of `DogfightVectorEnv`, on the CPU.

    Raises:
        ConfigError: rows that are no whole games, or worlds on CUDA.
    """

    def __init__(self, num_envs: int = 2, **kwargs: Any) -> None:
        if kwargs.get("device", "cpu") != "cpu":
            raise ConfigError("per_ship: rows of ships are for worlds on the CPU; leave device out")
        teams = teams_of(kwargs)
        own = teams[0]
        if checked_count("num_envs", num_envs) % own:
            raise ConfigError(f"num_envs={num_envs}: not a row for each of the {own} ships of a team; give a multiple")
        self.env = DogfightVectorEnv(num_envs // own, **kwargs)
        self.settings, self.own = self.env.settings, own
        self.metadata, self.render_mode = self.env.metadata, self.env.render_mode
        self.num_envs = num_envs
        # All ships of a game are alike, so every seat has the team's space.
        self.single_observation_space = self.env.single_observation_space
        self.single_action_space = action_space(1)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        orders = np.array([ship_order(teams, ship) for ship in range(own)])
        self._seats = Seats(orders, self.settings.observation == "flat")

    def reset(self, *, seed: Seeds = None, options: Mapping[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin games; of a game's rows the first one's seed and place in `options["reset_mask"]` count for all.

        A number as seed gives game i the seed `seed` + i.

        Raises:
            ConfigError: as `DogfightVectorEnv.reset`, or a mask that has some rows of a game and not the others.
        """
        own, chosen = self.own, dict(options or {})
        if MASK in chosen:
            mask = checked_mask(chosen, self.num_envs)
            if (mask.reshape(-1, own) != mask[::own, None]).any():
                raise ConfigError("reset_mask has some rows of a game only; give all rows of a game or none")
            chosen[MASK] = mask[::own]
        if seed is not None and not isinstance(seed, (int, np.integer)):
            seed = checked_seeds(seed, self.num_envs, "rows")[::own]
        seen, info = self.env.reset(seed=seed, options=chosen)
        return self._seats(seen), self._infos(info)

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One action of each ship, integers [rows, 3]; raises as `DogfightVectorEnv.step`."""
        given = np.asarray(actions)
        if given.shape == (self.num_envs, 3):
            given = given.reshape(-1, 3 * self.own)
        seen, rewards, terminated, truncated, info = self.env.step(given)
        rewards, terminated, truncated = (np.repeat(each, self.own) for each in (rewards, terminated, truncated))
        return self._seats(seen), rewards, terminated, truncated, self._infos(info)

    def _infos(self, info: dict[str, Any]) -> dict[str, Any]:
        alive = (self.env.games.world.state[:, at.HEALTH, : self.own] > 0).ravel()
        return {**_repeated(info, self.own), "alive": alive, "_alive": np.repeat(info["_ships"], self.own)}

    def render(self) -> tuple[np.ndarray, ...] | None:
        """A picture a row (render_mode "rgb_array"); the rows of a game have the same."""
        pictures = self.env.render()
        return None if pictures is None else tuple(picture for picture in pictures for _ in range(self.own))

    def state(self) -> dict[str, Any]:
        """The state of all games."""
        return self.env.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state` returned, bit for bit; raises as `DogfightVectorEnv.restore`."""
        self.env.restore(state)


def make_vector(num_envs: int = 1, *, per_ship: bool = False, **kwargs: Any) -> DogfightVectorEnv | ShipsVectorEnv:
    """The vector form of the registered ids: a row a game, or with `per_ship` a row a ship."""
    return ShipsVectorEnv(num_envs, **kwargs) if per_ship else DogfightVectorEnv(num_envs, **kwargs)


def _repeated(info: dict[str, Any], times: int) -> dict[str, Any]:
    """Infos of games as infos of their rows."""
    return {
        key: _repeated(value, times) if isinstance(value, dict) else np.repeat(value, times)
        for key, value in info.items()
    }
