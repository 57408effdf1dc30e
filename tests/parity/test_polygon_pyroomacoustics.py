"""Visible images of polygon rooms against pyroomacoustics, wall for wall and gain for gain."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree

from auralnav.envs.acoustics.polygon import PolygonImages
from auralnav.envs.acoustics.polygon_reference import pyroomacoustics_images
from auralnav.envs.audio.geometry import FloorPlan


def l_room(rng: np.random.Generator) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    w, d = rng.uniform(5, 10, 2)
    x, y = rng.uniform(2, w - 2), rng.uniform(2, d - 2)
    return np.array([[0, 0], [w, 0], [w, y], [x, y], [x, d], [0, d]]), ()


def two_rooms(rng: np.random.Generator) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    x, y = rng.uniform(3, 5), rng.uniform(1.5, 3.5)
    left, right, door = x, x + 0.2, y + 1.0
    wall = [[left, 0], [left, y], [right, y], [right, 0]]
    back = [[right, 6], [right, door], [left, door], [left, 6]]
    return np.array([[0, 0], *wall, [9, 0], [9, 6], *back, [0, 6]]), ()


def slanted(rng: np.random.Generator) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    corners = np.array([[0, 0], [6, -1], [8, 3], [5, 4], [6, 7], [1, 6]]) + rng.uniform(-0.3, 0.3, (6, 2))
    angle = rng.uniform(0, np.pi / 2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    box = np.array([[-0.4, -0.3], [0.4, -0.3], [0.4, 0.3], [-0.4, 0.3]]) @ turn.T + [2.5, 2.5]
    return corners, (box,)


PLANS = {"l": l_room, "two_rooms": two_rooms, "slanted": slanted}


@pytest.mark.parametrize("kind", PLANS)
@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_the_visible_images_are_pyroomacoustics(kind: str, order: int) -> None:
    rng = np.random.default_rng([order, *kind.encode()])
    blocked = 0
    for _ in range(10):
        corners, obstacles = PLANS[kind](rng)
        sides = len(corners) + sum(map(len, obstacles))
        height = rng.uniform(2.4, 3.5)
        plan = FloorPlan(corners, obstacles, height)
        room = PolygonImages(corners, height, obstacles, rng.uniform(0.4, 0.95, sides + 2), order)
        for _ in range(5):
            source = np.append(plan.sample_point(rng, 0.1), rng.uniform(0.3, height - 0.3))
            listener = np.append(plan.sample_point(rng, 0.1), rng.uniform(0.3, height - 0.3))
            places, gains = room.images(source, listener)
            expected, expected_gains = pyroomacoustics_images(room, source, listener)
            assert len(places) == len(expected)
            blocked += len(places) == 0 or not np.array_equal(places[0], source)
            if len(places):
                distances, partners = cKDTree(np.column_stack([expected, expected_gains])).query(
                    np.column_stack([places, gains])
                )
                assert distances.max() < 1e-4  # float32 there
                assert len(set(partners)) == len(places)
    # The comparison saw what it is about: pairs with and without a direct path.
    assert 0 < blocked < 50
