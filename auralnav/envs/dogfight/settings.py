"""The arguments of a dogfight environment, checked once and written down once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from numbers import Real
from typing import Any

from auralnav.envs.dogfight import layout as at
from auralnav.envs.dogfight.checks import checked_scalars, checked_sizes
from auralnav.envs.dogfight.scripts import FLYING
from auralnav.errors import ConfigError, did_you_mean

REWARD_TERMS = ("win", "hit", "dealt", "taken", "facing", "closing")
"""Terms of the reward, in order."""

DEFAULT_SCALES = {"win": 1.0, "hit": 0.001, "dealt": 0.0, "taken": 0.0, "facing": 0.0, "closing": 0.0}
FORMS = ("flat", "factorised")

OpponentPolicy = Callable[[Any], Any]
"""Commands team 1: its observation of W worlds, itself first → integer actions [W, n, 3] or [W, 3·n] of its n ships."""


@dataclass(frozen=True)
class DogfightSettings:
    """Arguments of `DogfightEnv` and `DogfightVectorEnv` (all by keyword).

    Attributes:
        teams: ships of the agent's team and of the other one, each at least 1, together at most 8.
        opponent: who flies the other team: a script ("pursuit", "evader", "jouster", "focus", "random"), several of
            them, of which each game draws one, or a function from that team's observations to its actions. The function
            is called once a step and not told where games begin.
        skill: probability that a script's action is taken rather than a random one, drawn each step; a range is drawn
            from once a game. [0, 1]; 1 where a function flies.
        observation: "flat" or "factorised".
        rewards: scales of the reward's terms that differ from `DEFAULT_SCALES`.
        action_repeat: ticks of 1/60 s that an action is held.
        horizon: ticks after which a game is a draw.
        spread: standard deviation of a shot's noise on each axis, units/s.

        scripts: those that games draw from; none where a function flies the other team.
        skills: least and greatest skill.
        scales: of all the reward's terms, in their order.

    Raises:
        ConfigError: an argument that cannot be.
    """

    teams: tuple[int, int] = (2, 2)
    opponent: str | Sequence[str] | OpponentPolicy = "pursuit"
    skill: float | tuple[float, float] = 1.0
    observation: str = "flat"
    rewards: Mapping[str, float] = field(default_factory=dict)
    action_repeat: int = at.ACTION_REPEAT
    horizon: int = at.HORIZON
    spread: float = at.BULLET_SPREAD
    scripts: tuple[str, ...] = field(init=False)
    skills: tuple[float, float] = field(init=False)
    scales: tuple[float, ...] = field(init=False)

    @classmethod
    def make(cls, given: Mapping[str, Any]) -> DogfightSettings:
        """Settings from keyword arguments; an unknown one is named with the nearest known."""
        known = [entry.name for entry in fields(cls) if entry.init]
        for name in given:
            if name not in known:
                raise ConfigError(f"{name}: no argument of a dogfight{did_you_mean(name, known)}")
        return cls(**given)

    def __post_init__(self) -> None:
        checked_scalars(1, self.action_repeat, self.horizon, self.spread)
        own, other = (int(size) for size in checked_sizes(self.teams, 1)[0])
        object.__setattr__(self, "teams", (own, other))
        object.__setattr__(self, "scripts", _scripts(self.opponent))
        object.__setattr__(self, "skills", _skills(self.skill))
        if not self.scripts and self.skills != (1.0, 1.0):
            raise ConfigError(f"skill={self.skill!r}: a function flies the other team, and has no skill; leave it out")
        object.__setattr__(self, "scales", _scales(self.rewards))
        if self.observation not in FORMS:
            raise ConfigError(f"observation={self.observation!r} is none of {', '.join(FORMS)}")

    @property
    def ships(self) -> int:
        """Ships of both teams."""
        return sum(self.teams)

    @property
    def render_fps(self) -> int:
        """Steps in a second of the game, rounded, at least 1: pictures a second of a film at its own pace."""
        return max(1, round(at.TICK_RATE / self.action_repeat))


def _scripts(opponent: str | Sequence[str] | OpponentPolicy) -> tuple[str, ...]:
    if callable(opponent):
        return ()
    if not isinstance(opponent, Sequence):
        raise ConfigError(f"opponent={opponent!r} is no script, no list of scripts and no function")
    scripts = (opponent,) if isinstance(opponent, str) else tuple(opponent)
    for name in scripts:
        if name not in FLYING:
            raise ConfigError(f"opponent {name!r} is none of {', '.join(FLYING)}{did_you_mean(str(name), FLYING)}")
    if not scripts:
        raise ConfigError(f"opponent: nobody is named; give some of {', '.join(FLYING)}")
    return scripts


def _skills(skill: float | Sequence[float]) -> tuple[float, float]:
    bounds = tuple(skill) if isinstance(skill, Sequence) else (skill, skill)
    if len(bounds) != 2 or not all(map(_is_number, bounds)) or not 0.0 <= bounds[0] <= bounds[1] <= 1.0:
        raise ConfigError(f"skill={skill!r} is not a probability, or a range (low, high) of them")
    return float(bounds[0]), float(bounds[1])


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _scales(rewards: Mapping[str, float]) -> tuple[float, ...]:
    if not isinstance(rewards, Mapping):
        raise ConfigError(f"rewards={rewards!r} is no mapping from terms to scales, such as {{'dealt': 0.5}}")
    for name, scale in rewards.items():
        if name not in REWARD_TERMS:
            hint = did_you_mean(str(name), REWARD_TERMS)
            raise ConfigError(f"rewards: {name!r} is none of {', '.join(REWARD_TERMS)}{hint}")
        if not _is_number(scale) or not math.isfinite(scale):
            raise ConfigError(f"rewards: {name}={scale!r} is not a finite number")
    return tuple(float(scale) for scale in {**DEFAULT_SCALES, **rewards}.values())


def teams_of(arguments: Mapping[str, Any]) -> tuple[int, int]:
    """Ships of both teams by an environment's arguments, whatever the others are.

    Raises:
        ConfigError: teams that cannot be.
    """
    return DogfightSettings.make({name: value for name, value in arguments.items() if name == "teams"}).teams
