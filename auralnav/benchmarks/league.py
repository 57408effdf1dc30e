"""`auralnav league`: everybody against everybody from the same starts, rated by Elo."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from auralnav.agents.pilots import Pilot, PolicyPilot
from auralnav.benchmarks.elo import ANCHOR, bootstrap_ratings
from auralnav.benchmarks.records import Record
from auralnav.envs.dogfight import layout as at
from auralnav.envs.dogfight.observe import Observer
from auralnav.envs.dogfight.world import DogfightWorld
from auralnav.errors import ConfigError

FIRST_SEED = 1_000_000
"""Seed of the first start; trainings are seeded from far below."""


class Standing(BaseModel):
    """A player's rating and what it is made of."""

    model_config = ConfigDict(extra="forbid")

    name: str
    elo: float
    low: float = Field(description="lower end of the 95 % bootstrap interval over the starts")
    high: float
    won: int
    drawn: int
    lost: int


class LeagueRecord(Record):
    """The outcome of one `auralnav league`."""

    schema_version: Literal[1] = 1
    kind: Literal["league"] = "league"
    command: str = ""
    ships: int
    starts: int
    first_seed: int
    anchor: str
    standings: list[Standing] = Field(description="best first")
    names: list[str]
    training: dict[str, dict[str, Any]] = Field(description="steps, seed and time of the players that were trained")
    points: list[list[float]] = Field(description="mean points per game of the player of the row against the column's")


def play(first: Pilot, second: Pilot, ships: int, starts: int, seed: int = FIRST_SEED, **settings: Any) -> np.ndarray:
    """Games of two pilots: from each start two, in the second of which they change sides.

    Args:
        first: whose points are counted.
        second: its opponent.
        ships: of each team.
        starts: S.
        seed: of the first start.
        settings: arguments of `DogfightWorld`.

    Returns:
        float64 [S, 2]: 1 for a game that the first one won, ½ for a draw.
    """
    world = DogfightWorld(2 * starts, (ships, ships), **settings)
    keys = np.tile(seed + np.arange(starts), 2)
    world.begin(np.ones(2 * starts, bool), keys)
    sides = np.repeat([0, 1], starts)
    first.begin(world, sides, ships)
    second.begin(world, 1 - sides, ships)
    observer, longest = Observer(world), -(-world.horizon // world.action_repeat)
    actions = np.zeros((2 * starts, 2 * ships, 3), np.int64)
    for _ in range(longest):
        for pilot, team in ((first, sides), (second, 1 - sides)):
            given = pilot.act(observer)
            if given is not None:
                slots = team[:, None] * ships + np.arange(ships)
                actions[np.arange(2 * starts)[:, None], slots] = given
        world.step(actions)
        if (world.status != at.RUNNING).all():
            break
    won = np.where(sides == 0, at.TEAM_0_WON, at.TEAM_1_WON)
    points = np.where(world.status == won, 1.0, np.where(world.status == at.DRAW, 0.5, 0.0))
    return points.reshape(2, starts).T


def run_league(
    pilots: Sequence[Pilot],
    ships: int = 2,
    starts: int = 100,
    anchor: str = "pursuit",
    seed: int = FIRST_SEED,
    command: str = "",
    on_pair: Callable[[int, int], None] | None = None,
) -> LeagueRecord:
    """Play all pairs and rate the pilots.

    Args:
        pilots: at least two, of different names.
        ships: of each team, 1 to 4.
        starts: from each, every pair plays two games.
        anchor: name of the pilot whose rating is ANCHOR.
        seed: of the first start.
        command: the command line.
        on_pair: called with the pairs done and their number.

    Raises:
        ConfigError: names that are not different, an anchor that does not play, or numbers out of range.
    """
    names = [pilot.name for pilot in pilots]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"{twice}: two players of that name; name each once, and give a run's folder another name")
    if len(pilots) < 2:
        raise ConfigError(f"{', '.join(names) or 'nobody'}: a league wants at least two players")
    if anchor not in names:
        raise ConfigError(f"--anchor {anchor}: does not play; give one of {', '.join(names)}")
    if not 1 <= ships <= at.SLOTS // 2 or starts < 1:
        raise ConfigError(f"ships={ships}, starts={starts}: give 1 to {at.SLOTS // 2} ships and at least one start")
    count = len(pilots)
    scores = np.zeros((count, count, starts, 2))
    pairs = list(combinations(range(count), 2))
    for done, (i, j) in enumerate(pairs, start=1):
        scores[i, j] = play(pilots[i], pilots[j], ships, starts, seed)
        scores[j, i] = 1.0 - scores[i, j]
        if on_pair is not None:
            on_pair(done, len(pairs))
    ratings = bootstrap_ratings(scores.mean(axis=-1), scores.shape[-1], names.index(anchor))
    others = ~np.eye(count, dtype=bool)
    standings = []
    for i, rating in enumerate(ratings):
        mine = scores[i][others[i]]
        won, drawn, lost = (int((mine == points).sum()) for points in (1.0, 0.5, 0.0))
        standings.append(
            Standing(name=names[i], elo=rating.mean, low=rating.low, high=rating.high, won=won, drawn=drawn, lost=lost)
        )
    return LeagueRecord.of_this_machine(
        command=command, ships=ships, starts=starts, first_seed=seed, anchor=anchor, names=names,
        settings={"elo_of_anchor": ANCHOR, "games_of_a_pair": 2 * starts},
        standings=sorted(standings, key=lambda one: -one.elo),
        training={pilot.name: pilot.agent.training for pilot in pilots if isinstance(pilot, PolicyPilot)},
        points=scores.mean(axis=(2, 3)).round(4).tolist(),
    )  # fmt: skip
