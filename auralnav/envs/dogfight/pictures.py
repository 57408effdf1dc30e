"""Pictures of games that are being played: who flies what, and where everything is."""

from __future__ import annotations

import numpy as np

from auralnav.envs.dogfight.games import DogfightGames
from auralnav.envs.dogfight.recorder import GameRecorder
from auralnav.envs.dogfight.render import draw_scene
from auralnav.envs.dogfight.scene import scene_at


def new_recorder(games: DogfightGames, world: int, key: int) -> GameRecorder:
    """A recorder for the game of a world, the agent's ships first."""
    settings = games.settings
    names = ["agent"] * settings.teams[0] + [games.opponent(world)] * settings.teams[1]
    return GameRecorder(
        names, seed=key, horizon=settings.horizon, action_repeat=settings.action_repeat,
        settings={"spread": settings.spread},
    )  # fmt: skip


def record(recorder: GameRecorder, games: DogfightGames, world: int = 0) -> None:
    """Take down the state of a world on the CPU."""
    played = games.world
    recorder.add(played.state[world], played.clock[world], played.actions[world])


def draw_last(recorder: GameRecorder) -> np.ndarray:
    """The newest state that was taken down, uint8 [H, W, 3]."""
    replay = recorder.replay()
    return draw_scene(scene_at(replay, int(replay.tick[-1])))


def draw_now(games: DogfightGames, world: int, key: int) -> np.ndarray:
    """Where everything is in a world on the CPU, uint8 [H, W, 3]."""
    recorder = new_recorder(games, world, key)
    record(recorder, games, world)
    return draw_last(recorder)
