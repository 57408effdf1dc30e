"""Polygon rooms as pyroomacoustics computes them: the reference for the beam tree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from auralnav.envs.acoustics.polygon import PolygonImages
from auralnav.errors import MissingDependencyError


def pyroomacoustics_images(
    room: PolygonImages, source: ArrayLike, listener: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The visible image sources of `source` from pyroomacoustics' walls in space; no diffracted path.

    Args:
        room: the room; its walls, height, reflections and order are taken.
        source: [3] m.
        listener: [3] m.

    Returns:
        positions float64 [I, 3] m (computed in float32), gains float64 [I], in no particular order.

    Raises:
        MissingDependencyError: pyroomacoustics is not installed.
    """
    pra = _pyroomacoustics()
    reference = pra.Room(_walls(pra, room), fs=16000, max_order=room.max_order, air_absorption=False)
    # Straight to its engine: Room.add_source counts wall crossings to tell whether a point is inside, which
    # goes wrong over an obstacle, since the floor below it is whole.
    engine = reference.room_engine
    assert engine is not None
    engine.add_mic(np.asarray(listener, dtype=np.float32))
    if engine.image_source_model(np.asarray(source, dtype=np.float32)) == 0:
        return np.empty((0, 3)), np.empty(0)
    seen = np.asarray(engine.visible_mics[0], dtype=bool)
    return engine.sources[:, seen].T.astype(np.float64), engine.attenuations[0, seen].astype(np.float64)


def _pyroomacoustics():
    try:
        import pyroomacoustics
    except ImportError as error:
        raise MissingDependencyError(
            "pyroomacoustics is not installed; pip install pyroomacoustics"
        ) from error
    return pyroomacoustics


def _walls(pra, room: PolygonImages) -> Sequence:
    """Walls in space, their corners counter-clockwise seen from outside the room."""
    walls = []
    for side, coefficient in zip(room.walls, room.reflection[:-2], strict=True):
        x0, y0, x1, y1 = side
        h = room.height
        corners = np.array([[x0, x1, x1, x0], [y0, y1, y1, y0], [0.0, 0.0, h, h]])
        walls.append(_wall(pra, corners, coefficient, f"side {len(walls)}"))
    outline = room.outline
    floor = np.vstack([outline[::-1].T, np.zeros(len(outline))])
    ceiling = np.vstack([outline.T, np.full(len(outline), room.height)])
    walls.append(_wall(pra, floor, room.reflection[-2], "floor"))
    walls.append(_wall(pra, ceiling, room.reflection[-1], "ceiling"))
    return walls


def _wall(pra, corners: NDArray[np.float64], coefficient: float, name: str):
    return pra.wall_factory(corners, [1.0 - coefficient**2], [0.0], name)
