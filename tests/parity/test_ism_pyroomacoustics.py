"""The image-source kernel against pyroomacoustics.

Its responses are ours times 4π and 40 samples later (half its 81-tap filter), and it high-passes them at
10 Hz unless told not to. Its sinc comes from a table of 20 points a sample in float32: what is left of the
difference, some −60 dB, is that table's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pyroomacoustics as pra
import pytest

from auralnav.envs.acoustics.ism import shoebox_rirs

DELAY = 40
SIDES = ("west", "east", "south", "north", "floor", "ceiling")


@pytest.fixture(autouse=True)
def plain_responses() -> Iterator[None]:
    before = {name: pra.constants.get(name) for name in ("rir_hpf_enable", "num_threads")}
    pra.constants.set("rir_hpf_enable", False)
    pra.constants.set("num_threads", 1)
    yield
    for name, value in before.items():
        pra.constants.set(name, value)


def reference(
    size: np.ndarray, sources: np.ndarray, mics: np.ndarray, walls: np.ndarray, order: int, fs: int
) -> list[list[np.ndarray]]:
    """Responses [S][M] of pyroomacoustics in our scale, without its delay."""
    materials = {
        side: pra.Material(energy_absorption=float(1.0 - r * r))
        for side, r in zip(SIDES[: len(walls)], walls, strict=True)
    }
    room = pra.ShoeBox(size, fs=fs, materials=materials, max_order=order, air_absorption=False)
    for source in sources:
        room.add_source(source)
    room.add_microphone_array(mics.T)
    room.compute_rir()
    return [[room.rir[m][s][DELAY:] / (4 * math.pi) for m in range(len(mics))] for s in range(len(sources))]


def worst_error(ours: np.ndarray, theirs: list[list[np.ndarray]]) -> float:
    """Largest relative error of a response, dB."""
    worst = -math.inf
    for s, row in enumerate(theirs):
        for m, h in enumerate(row):
            mine = ours[s, m]
            n = max(len(mine), len(h))
            difference = np.pad(mine, (0, n - len(mine))) - np.pad(h, (0, n - len(h)))
            worst = max(worst, 20 * math.log10(np.linalg.norm(difference) / np.linalg.norm(h)))
    return worst


@pytest.mark.parametrize("fs", [8000, 16000])
@pytest.mark.parametrize("index", range(50))
def test_fifty_random_shoeboxes_with_six_different_walls(index: int, fs: int) -> None:
    rng = np.random.default_rng([index, fs])
    size = rng.uniform([2.5, 2.5, 2.2], [12.0, 10.0, 4.0])
    order = index % 13  # every order from 0 to 12
    walls = rng.uniform(0.2, 0.97, 6)
    sources = rng.uniform(0.1, size - 0.1, (2, 3))
    mics = rng.uniform(0.1, size - 0.1, (2, 3))
    ours = shoebox_rirs(size, sources, mics, walls, order, fs)
    assert worst_error(ours, reference(size, sources, mics, walls, order, fs)) <= -50.0


@pytest.mark.parametrize("order", [0, 1, 4, 10])
def test_plane_rooms(order: int) -> None:
    rng = np.random.default_rng(order)
    size = np.array([6.0, 4.5])
    walls = rng.uniform(0.3, 0.95, 4)
    sources, mics = rng.uniform(0.2, size - 0.2, (2, 2)), rng.uniform(0.2, size - 0.2, (2, 2))
    ours = shoebox_rirs(size, sources, mics, walls, order, 16000)
    assert worst_error(ours, reference(size, sources, mics, walls, order, 16000)) <= -50.0


@pytest.mark.parametrize("side", range(6))
def test_each_coefficient_belongs_to_its_side(side: int) -> None:
    size = np.array([6.0, 5.0, 3.0])
    walls = np.zeros(6)
    walls[side] = 0.8
    source, mic = np.array([[1.5, 3.2, 1.1]]), np.array([[4.4, 1.0, 1.7]])
    ours = shoebox_rirs(size, source, mic, walls, 2, 16000)
    assert worst_error(ours, reference(size, source, mic, walls, 2, 16000)) <= -50.0
    # The image behind this wall alone: its distance can be told from the five others.
    image = source[0].copy()
    axis, high = divmod(side, 2)
    image[axis] = 2 * size[axis] - image[axis] if high else -image[axis]
    peak = round(np.linalg.norm(image - mic[0]) / 343.0 * 16000)
    direct = round(np.linalg.norm(source[0] - mic[0]) / 343.0 * 16000)
    assert np.abs(ours[0, 0, peak - 1 : peak + 2]).max() > 0.4 * 0.8 / (4 * math.pi * 343 * peak / 16000)
    assert peak > direct + 3


def test_a_shorter_response_is_the_start_of_the_longer() -> None:
    size, source, mic = np.array([5.0, 4.0, 3.0]), np.array([[1.0, 1.0, 1.5]]), np.array([[3.7, 2.2, 1.2]])
    whole = shoebox_rirs(size, source, mic, 0.8, 8, 16000)
    part = shoebox_rirs(size, source, mic, 0.8, 8, 16000, n_samples=700)
    np.testing.assert_allclose(part, whole[..., :700], atol=1e-8)


@pytest.mark.parametrize("fs", [8000, 44100, 48000])
@pytest.mark.parametrize("size", [(0.6, 0.5, 0.4), (90.0, 70.0, 12.0)], ids=["cupboard", "hall"])
def test_very_small_and_very_large_rooms(size: tuple[float, float, float], fs: int) -> None:
    rng = np.random.default_rng(7)
    sides, walls = np.array(size), np.array([0.9, 0.3, 0.7, 0.5, 0.8, 0.6])
    sources, mics = rng.uniform(0.2 * sides, 0.8 * sides, (2, 2, 3))
    ours = shoebox_rirs(sides, sources, mics, walls, 4, fs)
    # Its table of sincs in float32 is the coarser, the more samples a response is late.
    assert worst_error(ours, reference(sides, sources, mics, walls, 4, fs)) <= -50.0
