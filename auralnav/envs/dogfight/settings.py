"""The arguments of a dogfight environment, checked once and written down once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from auralnav.envs.dogfight import layout as at
from auralnav.envs.dogfight.checks import checked_scalars, checked_sizes
from auralnav.envs.dogfight.scripts import SCRIPTS
from auralnav.errors import ConfigError, did_you_mean

REWARD_TERMS = ("win", "hit", "dealt", "taken", "facing", "closing")
"""Terms of the reward, in order."""

DEFAULT_SCALES = {"win": 1.0, "hit": 0.001, "dealt": 0.0, "taken": 0.0, "facing": 0.0, "closing": 0.0}
FORMS = ("flat", "factorised")

Pilot = Callable[[Any], Any]
"""Commands team 1: its observation of W worlds, itself first → integer actions [W, ships of team 1, 3]."""


@dataclass(frozen=True)
class DogfightSettings:
    """Arguments of `DogfightEnv` and `DogfightVectorEnv` (all by keyword).

    Attributes:
        teams: ships of the agent's team and of the other one, each at least 1, together at most 8.
        opponent: who flies the other team: a script ("pursuit", "evader", "jouster", "focus", "random"), several of
            them, of which each game draws one, or a function from that team's observations to its actions.
        skill: probability that a script's action is taken rather than a random one, drawn each step; a range is drawn
            from once a game. [0, 1]
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
    opponent: str | Sequence[str] | Pilot = "pursuit"
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
        object.__setattr__(self, "scales", _scales(self.rewards))
        if self.observation not in FORMS:
            raise ConfigError(f"observation={self.observation!r} is none of {', '.join(FORMS)}")

    @property
    def ships(self) -> int:
        """Ships of both teams."""
        return sum(self.teams)


def _scripts(opponent: str | Sequence[str] | Pilot) -> tuple[str, ...]:
    if callable(opponent):
        return ()
    scripts = (opponent,) if isinstance(opponent, str) else tuple(opponent)
    known = [name for name in SCRIPTS if name != "actions"]
    for name in scripts:
        if name not in known:
            raise ConfigError(f"opponent {name!r} is none of {', '.join(known)}{did_you_mean(str(name), known)}")
    if not scripts:
        raise ConfigError(f"opponent: nobody is named; give some of {', '.join(known)}")
    return scripts


def _skills(skill: float | Sequence[float]) -> tuple[float, float]:
    try:
        low, high = skill if isinstance(skill, Sequence) else (skill, skill)
        fits = 0.0 <= low <= high <= 1.0
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise ConfigError(f"skill={skill!r} is not a probability, or a range (low, high) of them")
    return float(low), float(high)


def _scales(rewards: Mapping[str, float]) -> tuple[float, ...]:
    for name, scale in rewards.items():
        if name not in REWARD_TERMS:
            hint = did_you_mean(name, REWARD_TERMS)
            raise ConfigError(f"rewards: {name!r} is none of {', '.join(REWARD_TERMS)}{hint}")
        if isinstance(scale, bool) or not isinstance(scale, (int, float)) or not math.isfinite(scale):
            raise ConfigError(f"rewards: {name}={scale!r} is not a finite number")
    return tuple(float(scale) for scale in {**DEFAULT_SCALES, **rewards}.values())
