from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from auralnav.envs.acoustics.measure import decay_time
from auralnav.envs.acoustics.polygon import PolygonImages
from auralnav.envs.acoustics.polygon_rooms import late_energy, mean_reflection_for_rt60, missing_energy
from auralnav.envs.acoustics.soundbank import ProceduralBank
from auralnav.envs.acoustics.walls import BIN_SECONDS, JOIN_SECONDS
from auralnav.envs.audio.episode import draw_episode
from auralnav.envs.audio.geometry import FloorPlan
from auralnav.envs.audio.room_sound import RoomSound, stream_group
from auralnav.envs.audio.settings import AudioSettings
from auralnav.errors import RoomError

L_ROOM = np.array([[0, 0], [7, 0], [7, 3.2], [3.1, 3.2], [3.1, 6.4], [0, 6.4]])
TWO_ROOMS = np.array(
    [
        [0, 0],
        [4, 0],
        [4, 2],
        [4.2, 2],
        [4.2, 0],
        [9, 0],
        [9, 6],
        [4.2, 6],
        [4.2, 3.2],
        [4, 3.2],
        [4, 6],
        [0, 6],
    ]
)
BIN = 0.01


def measures(corners: np.ndarray, height: float = 2.7) -> tuple[FloorPlan, float, float]:
    plan = FloorPlan(corners, (), height)
    sides = np.linalg.norm(plan.segments[:, 2:] - plan.segments[:, :2], axis=1).sum()
    return plan, plan.area * height, 2 * plan.area + sides * height


def image_energy(corners: np.ndarray, rt60: float, order: int, early: int, pairs: int = 8):
    """Mean energy of all images, and of those up to order `early`, in bins of 10 ms; volume and surface."""
    plan, volume, surface = measures(corners)
    reflection = mean_reflection_for_rt60(volume, surface, rt60)
    room = PolygonImages(corners, plan.height, (), reflection, order)
    rng = np.random.default_rng(1)
    edges = np.arange(0, 0.41, BIN)
    total, drawn = np.zeros(len(edges) - 1), np.zeros(len(edges) - 1)
    for _ in range(pairs):
        source, listener = (np.append(plan.sample_point(rng, 0.4), 1.5) for _ in range(2))
        places, gains = room.images(source, listener)
        distances = np.linalg.norm(places - listener, axis=1)
        energy = np.square(gains / (4 * np.pi * distances))
        total += np.histogram(distances / 343, edges, weights=energy)[0] / pairs
        low = np.round(np.log(gains) / math.log(reflection)) <= early
        drawn += np.histogram(distances[low] / 343, edges, weights=energy[low])[0] / pairs
    return total, drawn, volume, surface


def decibels(ratio: float) -> float:
    return 10 * math.log10(ratio)


@pytest.mark.parametrize("rt60", [0.2, 0.3, 0.5])
@pytest.mark.parametrize(("corners", "order"), [(L_ROOM, 22), (TWO_ROOMS, 13)], ids=["l", "two_rooms"])
def test_the_diffuse_level_is_that_of_the_images_to_2_db(
    corners: np.ndarray, order: int, rt60: float
) -> None:
    total, _, volume, _ = image_energy(corners, rt60, order, early=6)
    # Complete up to the time at which a path along the room's shortest side could pass the highest order.
    for start, stop in [(0.01, 0.05), (0.03, 0.06), (0.05, 0.08)]:
        images = total[round(start / BIN) : round(stop / BIN)].sum()
        diffuse = late_energy(volume, rt60, start) - late_energy(volume, rt60, stop)
        assert abs(decibels(images / diffuse)) < 2.0


@pytest.mark.parametrize("early", [2, 4, 6])
def test_the_missing_energy_is_that_of_the_orders_left_out(early: int) -> None:
    total, drawn, volume, surface = image_energy(L_ROOM, 0.3, 18, early)
    bins = round(BIN / BIN_SECONDS)
    missing = missing_energy(volume, surface, 0.3, early).reshape(-1, bins).sum(axis=1)
    joined = round(JOIN_SECONDS / BIN)
    assert len(missing) == joined
    # Drawn and missing together are the whole to 2 dB.
    for k in range(1, joined):
        assert abs(decibels((drawn[k] + missing[k]) / total[k])) < 2.0
    assert missing.sum() == pytest.approx((total - drawn)[:joined].sum(), rel=0.35, abs=1e-5)


@pytest.mark.parametrize("rt60", [0.2, 0.3, 0.6])
@pytest.mark.parametrize("corners", [L_ROOM, TWO_ROOMS], ids=["l", "two_rooms"])
def test_early_images_and_tail_together_decay_as_asked(corners: np.ndarray, rt60: float) -> None:
    _, drawn, volume, surface = image_energy(corners, rt60, 6, early=6)
    fs = 1000  # one value a millisecond is enough for energies
    curve = np.zeros(fs)
    joined = round(JOIN_SECONDS * fs)
    curve[:joined] = np.repeat(drawn[: joined // 10] / 10, 10) + missing_energy(volume, surface, rt60, 6)
    rate = 6 * math.log(10) / rt60 / fs
    curve[joined:] = late_energy(volume, rt60) * rate * np.exp(-rate * np.arange(fs - joined))
    assert decay_time(np.sqrt(curve), fs) == pytest.approx(rt60, rel=0.1)


def test_the_reflection_is_below_eyrings_and_rises_with_the_time() -> None:
    _, volume, surface = measures(L_ROOM)
    times = [0.1, 0.15, 0.3, 0.6, 2.0, 50.0]
    found = [mean_reflection_for_rt60(volume, surface, t) for t in times]
    assert all(a < b for a, b in itertools.pairwise(found))
    for reflection, rt60 in zip(found, times, strict=True):
        assert 0 < reflection < math.exp(-12 * math.log(10) * volume / (343 * surface * rt60))
    assert found[-1] == pytest.approx(1.0, abs=2e-3)


def test_barrons_figure_31200_against_the_direct_sound_at_10_m() -> None:
    direct = 1 / (4 * math.pi * 10) ** 2
    assert late_energy(1000.0, 1.0, 0.0) / direct == pytest.approx(31.2, rel=0.01)


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf])
def test_what_is_not_positive_is_refused(wrong: float) -> None:
    with pytest.raises(RoomError, match="rt60"):
        mean_reflection_for_rt60(50.0, 90.0, wrong)
    with pytest.raises(RoomError, match="volume"):
        late_energy(wrong, 0.3)
    with pytest.raises(RoomError, match="surface"):
        missing_energy(50.0, wrong, 0.3, 6)


@pytest.mark.parametrize("moving", [False, True])
def test_no_source_of_a_maze_is_silent(moving: bool) -> None:
    """Wherever agent and sources stand, a direct or a diffracted sound comes before the hybrid's tail."""
    settings = AudioSettings(room="polygon", moving=moving, horizon=60)
    bank = ProceduralBank(settings.fs)
    group = stream_group(settings, 1)
    rng = np.random.default_rng(0)
    bent = 0
    for seed in range(150):
        episode = draw_episode(seed, settings, bank)
        sound = RoomSound(episode, settings, bank, group)
        for x, y in [episode.start[:2], *(episode.plan.sample_point(rng, 0.2) for _ in range(4))]:
            step = int(rng.integers(settings.horizon)) if moving else 0
            pose = (x, y, sound.ear_height, 0.0)
            places, gains, owners = sound._images(step, pose)
            for k, source in enumerate(episode.places(step)):
                assert (owners == k).any()
                first = int(np.argmax(owners == k))
                path = episode.geo.distance((x, y), source[:2])
                length = math.hypot(path, source[2] - sound.ear_height)
                drawn = float(np.linalg.norm(places[first] - pose[:3]))
                assert drawn == pytest.approx(min(length, 0.99 * JOIN_SECONDS * 343.0), abs=1e-6)
                assert drawn * settings.fs / 343.0 < group.limit
                # A detour of 20 m costs some 34 dB.
                level = gains[first] / drawn * length
                assert 0.01 < level <= 1.0 + 1e-9
                bent += level < 0.99
    assert bent > 100
