from __future__ import annotations

import math

import numpy as np
import pytest

from auralnav.envs.acoustics.images import shoebox_images
from auralnav.envs.acoustics.polygon import PolygonImages, maekawa_loss
from auralnav.envs.audio.geodesic import Geodesics
from auralnav.envs.audio.geometry import FloorPlan
from auralnav.errors import RoomError

L_ROOM = np.array([[0, 0], [7, 0], [7, 3], [3, 3], [3, 6], [0, 6]], dtype=float)
SQUARE = np.array([[0, 0], [6, 0], [6, 5], [0, 5]], dtype=float)
BOX = np.array([[2.5, 2.0], [3.5, 2.0], [3.5, 3.0], [2.5, 3.0]])


def in_order(places: np.ndarray, gains: np.ndarray) -> np.ndarray:
    rows = np.column_stack([places, gains]).round(9)
    return rows[np.lexsort(rows.T)]


@pytest.mark.parametrize("order", [0, 1, 2, 5])
@pytest.mark.parametrize("sense", [1, -1])
def test_a_rectangle_has_the_images_of_the_shoebox(order: int, sense: int) -> None:
    size = np.array([6.0, 5.0, 2.7])
    source, listener = np.array([1.3, 4.1, 1.9]), np.array([4.2, 0.7, 1.5])
    x0, x1, y0, y1, z0, z1 = walls = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    # South, east, north, west as the corners go round; backwards, side i still joins corners i and i + 1.
    sides = [y0, x1, y1, x0] if sense > 0 else [y1, x1, y0, x0]
    room = PolygonImages(SQUARE[::sense], 2.7, (), [*sides, z0, z1], order)
    places, gains, _ = shoebox_images(size, source[None], walls, order)
    found_places, found_gains = room.images(source, listener)
    np.testing.assert_allclose(in_order(found_places, found_gains), in_order(places, gains), atol=1e-9)


def test_the_direct_sound_comes_first_and_images_are_never_nearer() -> None:
    room = PolygonImages(L_ROOM, 3.0, (), 0.9, 4)
    source, listener = np.array([6.0, 1.0, 1.5]), np.array([1.0, 2.0, 1.2])
    places, gains = room.images(source, listener)
    np.testing.assert_array_equal(places[0], source)
    assert gains[0] == 1.0
    distances = np.linalg.norm(places - listener, axis=1)
    assert distances.argmin() == 0
    assert (gains[1:] <= 0.9).all()


def test_reciprocity_swapping_source_and_listener_leaves_the_response() -> None:
    rng = np.random.default_rng(5)
    plan = FloorPlan(L_ROOM, (), 3.0)
    room = PolygonImages(L_ROOM, 3.0, (), rng.uniform(0.5, 0.9, 8), 5, geodesic_path=Geodesics(plan).path)
    for _ in range(20):
        a = np.append(plan.sample_point(rng, 0.1), 1.1)
        b = np.append(plan.sample_point(rng, 0.1), 1.9)
        there, there_gains = room.images(a, b)
        back, back_gains = room.images(b, a)
        one = np.sort(np.linalg.norm(there - b, axis=1))
        np.testing.assert_allclose(one, np.sort(np.linalg.norm(back - a, axis=1)), atol=1e-9)
        np.testing.assert_allclose(np.sort(there_gains), np.sort(back_gains), atol=1e-12)


def test_walls_that_swallow_everything_leave_the_direct_sound() -> None:
    room = PolygonImages(L_ROOM, 3.0, (), 0.0, 6)
    places, gains = room.images([6.0, 1.0, 1.5], [1.0, 2.0, 1.2])
    np.testing.assert_array_equal(places, [[6.0, 1.0, 1.5]])
    np.testing.assert_array_equal(gains, [1.0])


def test_a_blocked_source_without_a_path_finder_has_no_direct_sound() -> None:
    room = PolygonImages(SQUARE, 3.0, [BOX], 0.0, 3)
    places, gains = room.images([1.0, 2.5, 1.5], [5.0, 2.5, 1.5])
    assert places.shape == (0, 3)
    assert gains.shape == (0,)


def test_a_blocked_source_is_heard_from_the_last_corner_as_far_as_the_path_is_long() -> None:
    geodesics = Geodesics(FloorPlan(SQUARE, (BOX,), 3.0))
    room = PolygonImages(SQUARE, 3.0, [BOX], 0.0, 0, geodesic_path=geodesics.path)
    source, listener = np.array([1.0, 2.4, 1.0]), np.array([5.0, 2.4, 1.8])
    places, gains = room.images(source, listener)
    assert places.shape == (1, 3)
    # Round the box's nearer side, y = 2: corners (3.5, 2) and (2.5, 2).
    length = 2 * np.hypot(1.5, 0.4) + 1.0
    toward = np.array([3.5, 2.0]) - listener[:2]
    np.testing.assert_allclose(places[0, :2], listener[:2] + length * toward / np.linalg.norm(toward))
    assert places[0, 2] == source[2]
    distance = np.linalg.norm(places[0] - listener)
    assert distance == pytest.approx(np.hypot(length, 0.8))
    detour = np.hypot(length, 0.8) - np.hypot(4.0, 0.8)
    assert 20 * np.log10(gains[0]) == pytest.approx(-10 * np.log10(3 + 20 * 2 * detour * 1000 / 343.0))


def test_a_diffracted_sound_beyond_the_farthest_is_drawn_there_at_its_own_level() -> None:
    geodesics = Geodesics(FloorPlan(SQUARE, (BOX,), 3.0))
    source, listener = [1.0, 2.4, 1.0], np.array([5.0, 2.4, 1.8])
    rooms = [
        PolygonImages(SQUARE, 3.0, [BOX], 0.5, 0, geodesic_path=geodesics.path, farthest=farthest)
        for farthest in (math.inf, 3.0)
    ]
    (far, far_gain), (near, near_gain) = (room.images(source, listener) for room in rooms)
    distances = [float(np.linalg.norm(places[0] - listener)) for places in (far, near)]
    assert distances[0] > 4 and distances[1] == pytest.approx(3.0)
    assert near_gain[0] / 3.0 == pytest.approx(far_gain[0] / distances[0])
    bearings = [math.atan2(places[0, 1] - 2.4, places[0, 0] - 5.0) for places in (far, near)]
    assert bearings[0] == pytest.approx(bearings[1])


def test_floor_and_ceiling_mirror_the_diffracted_sound() -> None:
    geodesics = Geodesics(FloorPlan(SQUARE, (BOX,), 3.0))
    room = PolygonImages(SQUARE, 3.0, [BOX], [0.0] * 8 + [0.5, 0.25], 1, geodesic_path=geodesics.path)
    places, gains = room.images([1.0, 2.4, 1.0], [5.0, 2.4, 1.8])
    assert places[:, 2].tolist() == [1.0, -1.0, 5.0]
    # Mirrored paths are longer and bend less: the loss is smaller, the wall's share as it is.
    assert 0.5 * gains[0] < gains[1] < 0.6 * gains[0]
    assert 0.25 * gains[0] < gains[2] < 0.3 * gains[0]


def test_maekawas_loss_at_known_fresnel_numbers() -> None:
    half_wave = 0.5 * 343.0 / 1000.0  # N = 1
    np.testing.assert_allclose(
        maekawa_loss([0.0, half_wave, 10 * half_wave]), [4.77, 13.62, 23.07], atol=0.01
    )
    assert maekawa_loss(-1e-12) == maekawa_loss(0.0)
    assert maekawa_loss(0.3, frequency=2000.0) == maekawa_loss(0.6, frequency=1000.0)


def test_images_of_several_sources_are_those_of_each() -> None:
    room = PolygonImages(L_ROOM, 3.0, (), 0.8, 3)
    sources = np.array([[6.0, 1.0, 1.5], [1.0, 5.0, 1.0]])
    listener = [1.0, 2.0, 1.2]
    places, gains, owners = room.images_of(sources, listener)
    assert owners.dtype == np.int32
    for k, source in enumerate(sources):
        one_places, one_gains = room.images(source, listener)
        np.testing.assert_array_equal(places[owners == k], one_places)
        np.testing.assert_array_equal(gains[owners == k], one_gains)


def test_a_moving_source_leaves_no_pile_of_trees() -> None:
    room = PolygonImages(L_ROOM, 3.0, (), 0.8, 2)
    first = room.images([1.0, 1.0, 1.5], [2.0, 2.0, 1.5])
    for k in range(100):
        room.images([1.0 + 0.01 * k, 1.0, 1.5], [2.0, 2.0, 1.5])
    assert len(room._trees) == 16
    np.testing.assert_array_equal(room.images([1.0, 1.0, 1.5], [2.0, 2.0, 1.5])[0], first[0])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"corners": [[0, 0], [1, 0]]}, "outline has shape"),
        ({"corners": [[0, 0], [1, 0], [2, 0]]}, "no area"),
        ({"obstacles": [[[0.0, np.nan], [1, 0], [1, 1]]]}, "obstacle 0"),
        ({"height": 0.0}, "height"),
        ({"reflection": 1.2}, r"\[0, 1\]"),
        ({"reflection": [0.5] * 7}, "give 1 or 8"),
        ({"max_order": -1}, "max_order"),
    ],
)
def test_a_room_that_is_none_is_refused_in_one_line(change: dict, words: str) -> None:
    with pytest.raises(RoomError, match=words) as caught:
        PolygonImages(**{"corners": L_ROOM, "height": 3.0, **change})
    assert "\n" not in str(caught.value)


def test_an_order_that_would_fill_the_memory_is_refused() -> None:
    room = PolygonImages(L_ROOM, 3.0, [BOX - np.array([1.5, 0.5]), BOX + np.array([2.0, -1.5])], 0.9, 40)
    with pytest.raises(RoomError, match="lower max_order"):
        room.images([6.0, 2.0, 1.5], [0.5, 4.0, 1.5])
