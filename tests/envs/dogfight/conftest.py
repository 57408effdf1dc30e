"""Recorded games for the tests of replays: real ones, and small ones in which everything is known.

Also makes `dogfight_reference` and `dogfight_setups` importable.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auralnav.envs.dogfight.recorder import record_game
from auralnav.envs.dogfight.replay import Bullets, Replay
from auralnav.envs.dogfight.replay_check import EXPIRED, FLYING, HIT
from auralnav.envs.dogfight.world import DogfightWorld

sys.path.insert(0, str(Path(__file__).parent))


def scripted_game(seed: int, every_tick: bool, scripts: tuple[str, str], teams: tuple[int, int]) -> Replay:
    world = DogfightWorld(1, teams)
    world.command(scripts[0], slice(0, teams[0]))
    world.command(scripts[1], slice(teams[0], sum(teams)))
    names = [scripts[0]] * teams[0] + [scripts[1]] * teams[1]
    return record_game(world, names, seed, every_tick=every_tick)


@pytest.fixture(scope="session")
def played() -> Callable[..., Replay]:
    """A game that scripts played: played(seed, every_tick=, scripts=, teams=)."""

    def play(
        seed: int, every_tick: bool = True, scripts: tuple[str, str] = ("pursuit", "focus"),
        teams: tuple[int, int] = (4, 4),
    ) -> Replay:  # fmt: skip
        return scripted_game(seed, every_tick, scripts, teams)

    return play


@pytest.fixture(scope="session")
def game(played: Callable[..., Replay]) -> Replay:
    """Four against four, a frame of each tick."""
    return played(1)


def no_bullets() -> Bullets:
    return Bullets(
        owner=np.zeros(0, np.uint8), born=np.zeros(0, np.int32), position=np.zeros((0, 2), np.float32),
        velocity=np.zeros((0, 2), np.float32), end=np.zeros(0, np.int32), fate=np.zeros(0, np.uint8),
        victim=np.zeros(0, np.int8),
    )  # fmt: skip


def simple_replay(**changes: Any) -> Replay:
    """Three frames, 4 ticks apart, of ship 1 that flies right over the edge and ship 2 that stands and is hit once.

    Of ship 1's three bullets one hits at tick 6, one expires at 7 and one flies on.
    """
    tick = np.array([0, 4, 8], np.int32)
    x = (1016 + 120 / 60 * tick) % 1024
    parts: dict[str, Any] = {
        "team": np.array([0, 1], np.int8),
        "names": ("ann", "bob"),
        "tick": tick,
        "position": np.stack([np.stack([x, x * 0 + 500], 1), np.full((3, 2), 300.0)], 1).astype(np.float32),
        "velocity": np.tile(np.array([[120, 0], [0, 0]], np.float32), (3, 1, 1)),
        "attitude": np.tile(np.array([0, np.pi / 2], np.float32), (3, 1)),
        "health": np.array([[100, 100], [100, 100], [100, 90]], np.float32),
        "power": np.array([[100, 50], [98, 60], [97, 70]], np.float32),
        "action": np.array([[[0, 0, 0]] * 2, [[1, 0, 1], [0, 2, 0]], [[1, 4, 0], [2, 0, 0]]], np.uint8),
        "bullets": Bullets(
            owner=np.zeros(3, np.uint8),
            born=np.array([1, 2, 3], np.int32),
            position=np.array([[290, 300], [1020, 500], [20, 500]], np.float32),
            velocity=np.array([[60, 0], [600, 0], [600, 30]], np.float32),
            end=np.array([6, 7, 8], np.int32),
            fate=np.array([HIT, EXPIRED, FLYING], np.uint8),
            victim=np.array([1, -1, -1], np.int8),
        ),
        "seed": 5,
    }
    return Replay(**{**parts, **changes})


@pytest.fixture(scope="session")
def simple() -> Callable[..., Replay]:
    """`simple_replay`, with any of its parts changed."""
    return simple_replay


@pytest.fixture(scope="session")
def bulletless() -> Bullets:
    return no_bullets()
