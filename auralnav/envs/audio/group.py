"""Worlds that are stepped together: a few calls move, score and render them all."""

from __future__ import annotations

from typing import Any

import numpy as np

from auralnav.envs.acoustics.soundbank import SoundBank
from auralnav.envs.audio.room_sound import stream_group
from auralnav.envs.audio.settings import AudioSettings
from auralnav.envs.audio.walks import Walks
from auralnav.envs.audio.world import AudioWorld


class WorldGroup:
    """`rooms` worlds of the same arguments. A world's bits do not depend on how many there are.

    Args:
        settings: the environment's arguments.
        bank: the sounds.
        rooms: R.

    Attributes:
        worlds: the worlds.
        walks: where their agents are, and the outcomes of their last steps.
        streams: what their agents hear.
    """

    def __init__(self, settings: AudioSettings, bank: SoundBank, rooms: int) -> None:
        self.settings = settings
        self.walks = Walks(settings, rooms)
        self.streams = stream_group(settings, rooms)
        self.worlds = [AudioWorld(settings, bank, self.walks, self.streams, room) for room in range(rooms)]

    def step(self, rooms: np.ndarray, actions: Any) -> None:
        """Move, score and hear one action in each of the rooms; `walks` then holds what came of it.

        Args:
            rooms: int64 [r].
            actions: r actions that `AudioWorld.checked` returned.
        """
        settings, walks, streams = self.settings, self.walks, self.streams
        worlds = [self.worlds[room] for room in rooms.tolist()]
        walks.move(rooms, actions)
        if settings.moving:
            for world in worlds:
                world.move_sources()
        found = walks.score(rooms)
        if settings.moving or settings.room == "polygon":
            for world in worlds:
                world.sound.advance(world.pose, world.step_index)
        else:  # the image sources stand still
            streams.poses[:, :2] = walks.poses[:, :2]
            streams.poses[:, 3] = walks.poses[:, 2]
        streams.render(rooms)
        for world in worlds:
            world.record(found > 0)
        streams.limit_levels(rooms)
