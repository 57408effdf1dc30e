"""The image-source kernel: counts, exact cases, batches, threads and bad input."""

from __future__ import annotations

import math
import threading
import time

import numpy as np
import pytest

from auralnav.envs.acoustics.images import shoebox_images
from auralnav.envs.acoustics.ism import image_count, shoebox_rirs, shoebox_rirs_batch
from auralnav.errors import RoomError

SIZE = [6.0, 5.0, 3.0]
SOURCE = [[2.0, 3.0, 1.5]]
MIC = [[4.0, 1.5, 1.2]]


@pytest.mark.parametrize("order", range(8))
def test_the_number_of_images_is_the_formula(order: int) -> None:
    space = sum(
        abs(a) + abs(b) + abs(c) <= order
        for a in range(-order, order + 1)
        for b in range(-order, order + 1)
        for c in range(-order, order + 1)
    )
    assert image_count(order, 3) == space
    assert image_count(order, 2) == 2 * order**2 + 2 * order + 1
    positions, gains, owners = shoebox_images(np.array(SIZE), np.array(SOURCE), np.full(6, 0.5), order)
    assert len(positions) == len(gains) == len(owners) == space


def test_the_direct_sound_has_its_place_and_level() -> None:
    fs, c = 16000, 343.0
    distance = (500 + 1e-6) * c / fs  # 500 samples, on the safe side of rounding
    h = shoebox_rirs([30.0, 5.0, 3.0], [[1.0, 2.0, 1.5]], [[1.0 + distance, 2.0, 1.5]], 0.0, 3, fs)[0, 0]
    assert h.argmax() == 500
    assert h[500] == pytest.approx(1 / (4 * math.pi * distance), rel=1e-4)
    assert np.abs(np.delete(h, 500)).max() < 1e-6 * h[500] + 1e-7


@pytest.mark.parametrize("wall", range(6))
def test_one_reflecting_wall_gives_one_echo_from_its_side(wall: int) -> None:
    fs, walls = 16000, np.zeros(6)
    walls[wall] = 0.6
    h = shoebox_rirs(SIZE, SOURCE, MIC, walls, 4, fs)[0, 0].astype(float)
    direct = shoebox_rirs(SIZE, SOURCE, MIC, 0.0, 0, fs, n_samples=len(h))[0, 0]
    axis, high = divmod(wall, 2)
    image = np.array(SOURCE[0])
    image[axis] = 2 * SIZE[axis] * high - image[axis]
    distance = float(np.linalg.norm(image - MIC[0]))
    echo = h - direct
    assert abs(np.abs(echo).argmax() - distance * fs / 343.0) <= 1
    # The sinc's sum is the pressure at low frequency.
    assert echo.sum() == pytest.approx(0.6 / (4 * math.pi * distance), rel=0.02)


def test_rooms_of_a_batch_are_the_rooms_alone_on_any_number_of_threads() -> None:
    rng = np.random.default_rng(0)
    rooms = 5
    sizes = rng.uniform(3, 8, (rooms, 3))
    sources = rng.uniform(0.1, 0.9, (rooms, 2, 3)) * sizes[:, None]
    mics = rng.uniform(0.1, 0.9, (rooms, 3, 3)) * sizes[:, None]
    walls = rng.uniform(0.2, 0.9, (rooms, 6))
    together = shoebox_rirs_batch(sizes, sources, mics, walls, 5, 16000, n_samples=1500)
    shared = shoebox_rirs_batch(sizes, sources, mics, walls, 5, 16000, n_samples=1500, threads=3)
    assert np.array_equal(together, shared)
    for room in range(rooms):
        alone = shoebox_rirs(sizes[room], sources[room], mics[room], walls[room], 5, 16000, n_samples=1500)
        assert np.array_equal(alone, together[room])


def test_a_plane_room_is_a_room_whose_floor_and_ceiling_swallow_sound() -> None:
    flat = shoebox_rirs(SIZE[:2], [SOURCE[0][:2]], [MIC[0][:2]], [0.7, 0.6, 0.5, 0.4], 6, 8000, n_samples=900)
    level = [[SOURCE[0][0], SOURCE[0][1], 1.0]], [[MIC[0][0], MIC[0][1], 1.0]]
    deep = shoebox_rirs(SIZE, *level, [0.7, 0.6, 0.5, 0.4, 0.0, 0.0], 6, 8000, n_samples=900)
    assert np.allclose(flat, deep, atol=1e-7)


def test_the_kernel_holds_no_gil() -> None:
    """While one long call runs, this thread's Python goes on."""
    args = ([8.0, 8.0, 4.0], [[1.0, 1.0, 1.0]], [[4.0, 4.0, 2.0]] * 400, 0.9, 30, 16000)
    shoebox_rirs(*args, n_samples=1)  # compiled
    worker = threading.Thread(target=shoebox_rirs, args=args, kwargs={"n_samples": 3000})
    worker.start()
    ticks = 0
    while worker.is_alive():
        ticks += 1
        time.sleep(0)
    worker.join()
    # With the GIL held throughout there would be one or two, whatever else the machine does.
    assert ticks > 20


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"room_size": [5.0]}, "2 or 3 side lengths"),
        ({"room_size": [5.0, -1.0, 3.0]}, "positive"),
        ({"room_size": [5.0, np.nan, 3.0]}, "finite"),
        ({"sources": [[9.0, 1.0, 1.0]]}, "sources must lie inside"),
        ({"mics": [[1.0, 1.0, 4.0]]}, "mics must lie inside"),
        ({"mics": [[1.0, 1.0]]}, "mics has shape"),
        ({"reflection": 1.2}, "[0, 1]"),
        ({"reflection": [0.5, 0.5]}, "give 1 or 6"),
        ({"max_order": -1}, "max_order"),
    ],
)
def test_bad_input(change: dict, words: str) -> None:
    arguments = {
        "room_size": SIZE,
        "sources": SOURCE,
        "mics": MIC,
        "reflection": 0.5,
        "max_order": 2,
        "fs": 16000,
    }
    with pytest.raises(RoomError) as error:
        shoebox_rirs(**{**arguments, **change})
    assert words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("high", [0, 1])
def test_a_source_on_a_wall_and_its_image_are_one(axis: int, high: int) -> None:
    """On the image plane source and image coincide: the direct sound is 1 + β times as loud."""
    source, walls = np.array(SOURCE), np.zeros(6)
    source[0, axis] = high * SIZE[axis]
    walls[2 * axis + high] = 0.6
    both = shoebox_rirs(SIZE, source, MIC, walls, 1, 16000, n_samples=400)
    alone = shoebox_rirs(SIZE, source, MIC, 0.0, 0, 16000, n_samples=400)
    assert np.allclose(both, 1.6 * alone, atol=1e-8)


def test_a_microphone_in_the_source_and_in_a_corner_hears_finite_sound() -> None:
    for place in ([2.0, 3.0, 1.5], [0.0, 0.0, 0.0], SIZE):
        h = shoebox_rirs(SIZE, [place], [place], 0.8, 3, 16000, n_samples=800)
        assert np.isfinite(h).all()
        # 1 mm is the least distance.
        assert 0 < np.abs(h).max() <= 8 / (4 * math.pi * 1e-3) * 1.001


@pytest.mark.parametrize("change", [{"n_samples": 0}, {"n_samples": -1}, {"c": 0.0}, {"fs": 0}, {"fs": math.nan}])
def test_lengths_and_rates_that_are_none(change: dict) -> None:
    arguments = {"max_order": 2, "fs": 16000, **change}
    with pytest.raises(RoomError, match="n_samples >= 1"):
        shoebox_rirs(SIZE, SOURCE, MIC, 0.5, **arguments)
