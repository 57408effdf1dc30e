"""Pictures of games that are being played: who flies what, and where everything is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from auralnav.envs.dogfight.games import DogfightGames
from auralnav.envs.dogfight.recorder import GameRecorder
from auralnav.envs.dogfight.render import draw_scene
from auralnav.envs.dogfight.scene import scene_at
from auralnav.envs.dogfight.settings import DogfightSettings


def new_recorder(settings: DogfightSettings, names: Sequence[str], key: int) -> GameRecorder:
    """A recorder for a game: who flies each ship, and the key of its series."""
    return GameRecorder(
        names, seed=key, horizon=settings.horizon, action_repeat=settings.action_repeat,
        settings={"spread": settings.spread},
    )  # fmt: skip


def draw_last(recorder: GameRecorder) -> np.ndarray:
    """The newest state that was taken down, uint8 [H, W, 3]."""
    replay = recorder.replay()
    return draw_scene(scene_at(replay, int(replay.tick[-1])))


def draw_now(games: DogfightGames, index: int, key: int) -> np.ndarray:
    """Where everything is in one of the worlds on the CPU, uint8 [H, W, 3]."""
    recorder = new_recorder(games.settings, games.names(index), key)
    recorder.take(games.world, index)
    return draw_last(recorder)
