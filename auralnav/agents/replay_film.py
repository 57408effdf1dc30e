"""Replays of dogfights as pictures and videos."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from auralnav.agents.video import write_video
from auralnav.envs.dogfight.replay import Replay
from auralnav.envs.dogfight.scene import scene_at
from auralnav.errors import AuralNavError, ReplayError
from auralnav.files import atomic_write

AFTERMATH_SECONDS = 1.5
"""How long a video goes on after the last tick, while blasts fade."""

FPS_RANGE = (1.0, 240.0)


def write_film(
    path: str | os.PathLike[str],
    replay: Replay,
    *,
    fps: float = 60.0,
    follow: int | None = None,
    size: tuple[int, int] | None = None,
    on_frame: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a replay as an MP4 in real time, atomically, with moments between its frames where `fps` asks for them.

    Args:
        path: the file, ending in .mp4.
        replay: the game.
        fps: pictures a second, 1 to 240.
        follow: a ship to keep in the middle.
        size: width and height in pixels; the renderer's own when None.
        on_frame: called with (pictures done, of how many) after each.

    Raises:
        AuralNavError: `fps` out of range, or no H.264 encoder.
        ReplayError: there is no such ship.
        OSError: the file cannot be written.
    """
    low, high = FPS_RANGE
    if not low <= fps <= high:
        raise AuralNavError(f"fps={fps} is not from {low:g} to {high:g}")
    _check_ship(replay, follow)
    count = 1 + round((replay.seconds + AFTERMATH_SECONDS) * fps)

    def frames() -> Iterator[np.ndarray]:
        for index in range(count):
            yield _picture(replay, index / fps, follow, size)
            if on_frame is not None:
                on_frame(index + 1, count)

    return write_video(path, frames(), fps)


def write_still(
    path: str | os.PathLike[str],
    replay: Replay,
    seconds: float,
    *,
    follow: int | None = None,
    size: tuple[int, int] | None = None,
) -> Path:
    """Write the moment of a replay at `seconds` as a PNG, atomically.

    Raises:
        ReplayError: the moment is outside the game, or there is no such ship.
        OSError: the file cannot be written.
    """
    from PIL import Image

    if not 0 <= seconds <= replay.seconds:
        raise ReplayError(f"the game lasts from 0 to {replay.seconds:.2f} s, there is nothing at {seconds} s")
    _check_ship(replay, follow)
    with atomic_write(path) as temporary:
        Image.fromarray(_picture(replay, seconds, follow, size)).save(temporary, format="PNG")
    return Path(path)


def _check_ship(replay: Replay, ship: int | None) -> None:
    if ship is not None and not 0 <= ship < replay.ships:
        raise ReplayError(f"there is no ship {ship + 1} to follow: the game has {replay.ships}")


def _picture(replay: Replay, seconds: float, follow: int | None, size: tuple[int, int] | None) -> np.ndarray:
    from auralnav.envs.dogfight.render import SIZE, draw_scene

    return draw_scene(scene_at(replay, seconds / replay.arena.tick_seconds), size or SIZE, follow)
