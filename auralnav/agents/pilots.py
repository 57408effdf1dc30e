"""Who flies a team in games of dogfight: a script, or the policy of a run folder, on either side."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from auralnav.agents.evaluate import PolicyAgent, load_policy_agent
from auralnav.agents.sb3_env import find_spec, make_worlds, rows_per_episode
from auralnav.envs.dogfight.observe import FACTORS, Observer
from auralnav.envs.dogfight.scripts import FLYING
from auralnav.envs.dogfight.ships import ShipsVectorEnv
from auralnav.envs.dogfight.vector import DogfightVectorEnv
from auralnav.envs.dogfight.views import Seats, ship_order, team_order
from auralnav.envs.dogfight.world import DogfightWorld
from auralnav.errors import ConfigError, did_you_mean


class Pilot(Protocol):
    """What flies a team of `ships` in each of W games, of which all begin and none begins anew.

    Attributes:
        name: as shown in tables.
    """

    name: str

    def begin(self, world: DogfightWorld, sides: np.ndarray, ships: int) -> None:
        """Take the team `sides`[w], int64 [W], of each game."""
        ...

    def act(self, observer: Observer) -> np.ndarray | None:
        """Actions int [W, ships, 3] of the own teams; None where a script flies in the world itself."""
        ...


class ScriptPilot:
    """A script, with a probability that each of its actions is taken rather than a random one.

    Raises:
        ConfigError: no such script, or no probability.
    """

    def __init__(self, script: str, skill: float = 1.0) -> None:
        if script not in FLYING:
            raise ConfigError(f"{script}: no script and no run folder{did_you_mean(script, FLYING)}")
        if not 0.0 <= skill <= 1.0:
            raise ConfigError(f"{script}:{skill:g}: the skill is a probability, 0 to 1")
        self.script, self.skill = script, skill
        self.name = script if skill == 1.0 else f"{script}:{skill:g}"

    def begin(self, world: DogfightWorld, sides: np.ndarray, ships: int) -> None:
        """See `Pilot`."""
        for side in (0, 1):
            slots = slice(side * ships, (side + 1) * ships)
            world.command(self.script, slots, np.flatnonzero(sides == side), skill=self.skill)

    def act(self, observer: Observer) -> None:
        """See `Pilot`."""


class PolicyPilot:
    """The policy of a run on dogfights, acting greedily; a row a game or, if trained with `per_ship`, a row a ship.

    Args:
        agent: of `load_policy_agent`.

    Raises:
        ConfigError: the run is not on dogfights between teams of one size.
    """

    def __init__(self, agent: PolicyAgent, name: str | None = None) -> None:
        self.agent, self.name = agent, name or agent.name
        env = agent.config.env
        if not find_spec(env.id).id.startswith("Dogfight"):
            raise ConfigError(f"{self.name}: trained on {env.id}, not on a dogfight")
        self._worlds = make_worlds(env, rows_per_episode(env))
        worlds = cast(DogfightVectorEnv | ShipsVectorEnv, self._worlds.unwrapped)
        self._settings = settings = worlds.settings
        self.ships, other = settings.teams
        if self.ships != other:
            raise ConfigError(f"{self.name}: trained for {self.ships} against {other}; a league wants equal teams")
        self._flat = settings.observation == "flat"
        self._seats = self.ships if isinstance(worlds, ShipsVectorEnv) else 0

    def begin(self, world: DogfightWorld, sides: np.ndarray, ships: int) -> None:
        """See `Pilot`.

        Raises:
            ConfigError: teams of another size, or other rules, than it was trained for.
        """
        if ships != self.ships:
            raise ConfigError(f"{self.name}: trained for teams of {self.ships}; give --ships {self.ships}")
        for rule in ("action_repeat", "horizon", "spread"):
            trained, played = getattr(self._settings, rule), getattr(world, rule)
            if trained != played:
                raise ConfigError(f"{self.name}: trained at {rule} {trained}; the games here have {played}")
        teams = (ships, ships)
        slots = [range(side * ships, (side + 1) * ships) for side in (0, 1)]
        orders = [
            [ship_order(teams, slot) for slot in slots[side]] if self._seats else [team_order(teams, side)]
            for side in (0, 1)
        ]
        self._view = Seats(np.array(orders)[sides], self._flat)
        self._start = np.ones(len(sides) * max(self._seats, 1), bool)
        self.agent.attach(self._worlds)
        self.agent.reset(len(self._start))

    def act(self, observer: Observer) -> np.ndarray:
        """See `Pilot`."""
        seen: Any = observer.flatten() if self._flat else dict(zip(FACTORS, observer.observe(), strict=True))
        actions = self.agent.act(self._view(seen), self._start)
        self._start = np.zeros_like(self._start)
        return actions.reshape(-1, self.ships, 3)


def find_pilot(text: str) -> Pilot:
    """A pilot by what a person calls it: a script, a script with its skill ("pursuit:0.5"), or a run folder.

    Raises:
        ConfigError: none of these.
        CheckpointError: a damaged run.
    """
    if Path(text).is_dir():
        return PolicyPilot(load_policy_agent(text), name=Path(text).name)
    script, _, skill = text.partition(":")
    try:
        probability = float(skill) if skill else 1.0
    except ValueError as error:
        raise ConfigError(f"{text}: {skill!r} is no number; a script's skill is a probability, 0 to 1") from error
    return ScriptPilot(script, probability)
