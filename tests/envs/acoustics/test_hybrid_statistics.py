"""The hybrid renderer's responses, heard through the whole renderer: an impulse is what the source plays."""

from __future__ import annotations

import dataclasses
import math
from functools import lru_cache

import numpy as np
import pytest
from scipy.signal import butter, sosfilt

from auralnav.envs.acoustics.ism import shoebox_rirs
from auralnav.envs.acoustics.loops import SOURCE_GAIN
from auralnav.envs.acoustics.measure import decay_time, direct_to_reverberant, highpass, interaural
from auralnav.envs.acoustics.soundbank import ClipRef
from auralnav.envs.audio.episode import Episode, draw_episode
from auralnav.envs.audio.room_sound import RoomSound, stream_group
from auralnav.envs.audio.settings import AudioSettings

FS = 16000
ROOMS = 20
BLOCKS = 4  # 1 s: longer than the longest response


class ImpulseBank:
    """A sound bank whose every clip is one impulse a second."""

    identity = ("impulse", BLOCKS)
    classes = ("impulse",)

    def draw(self, rng: np.random.Generator, exclude=frozenset()) -> ClipRef:
        return ClipRef("impulse", 0)

    def clip(self, ref: ClipRef) -> np.ndarray:
        samples = np.zeros(BLOCKS * FS // 4, dtype=np.float32)
        samples[0] = 1.0
        return samples


def heard(seed: int, settings: AudioSettings) -> tuple[Episode, RoomSound, np.ndarray]:
    """An episode of two sources at FS, its sound, and the responses of both ears float64 [2 sources, 2, 1 s]."""
    bank = ImpulseBank()
    episode = draw_episode(seed, settings, bank)
    episode = dataclasses.replace(episode, offsets=np.zeros(2, dtype=np.int64))
    group = stream_group(settings, 1)
    sound = RoomSound(episode, settings, bank, group)
    sound.start(episode.start)
    blocks = [sound.source_images()]
    for step in range(1, BLOCKS):
        sound.advance(episode.start, step)
        group.render(np.zeros(1, dtype=np.int64))
        blocks.append(sound.source_images())
    return episode, sound, np.concatenate(blocks, axis=2).astype(float) / SOURCE_GAIN


@lru_cache(maxsize=1)
def responses() -> list[dict]:
    """For each of 20 random rooms: RT60 asked for, hybrid responses of two sources, all images of one."""
    rooms = []
    for room in range(ROOMS):
        rt60 = 0.2 + 0.4 * room / (ROOMS - 1)
        settings = AudioSettings(num_sources=2, rt60=rt60, head="none", fs=FS)
        episode, sound, both = heard(1000 + room, settings)
        hybrid, other = both[:, 0]  # the left ear's
        x, y, heading = episode.start
        ear = np.array([x - 0.09 * math.sin(heading), y + 0.09 * math.cos(heading), sound.ear_height])
        source = episode.places(0)[:1]
        size = np.array([*episode.plan.bounds[2:], episode.plan.height])
        # To −36 dB: the rest moves the ratio by a thousandth of a decibel.
        length = math.ceil(0.6 * rt60 * FS)
        order = math.ceil(343.0 * length / FS / size.min()) + 1
        complete = shoebox_rirs(size, source, ear[None], sound.reflection, order, FS, n_samples=length)[0, 0]
        arrival = float(np.linalg.norm(source[0] - ear)) / 343.0 * FS
        rooms.append(
            {"rt60": rt60, "hybrid": hybrid, "other": other, "complete": complete, "arrival": arrival}
        )
    return rooms


@pytest.mark.parametrize("source", ["hybrid", "other"])
def test_t20_is_what_was_asked_for(source: str) -> None:
    errors = np.array([decay_time(highpass(r[source], FS), FS) / r["rt60"] - 1 for r in responses()])
    assert np.abs(errors).max() <= 0.10
    assert np.sum(np.abs(errors) <= 0.05) >= 18


def test_the_direct_to_reverberant_ratio_is_that_of_all_images() -> None:
    for room in responses():
        hybrid, complete = (
            direct_to_reverberant(highpass(room[kind], FS), FS, room["arrival"])
            for kind in ("hybrid", "complete")
        )
        assert hybrid == pytest.approx(complete, abs=1.0)


SHARES = {125: 1.4, 250: 1.2, 2000: 0.8, 4000: 0.6, 8000: 0.5}


def octave_t20s(response: np.ndarray) -> dict[int, float]:
    """T20 of a response [n] in each octave from 250 Hz to 4 kHz, s."""
    times = {}
    for centre in (250, 500, 1000, 2000, 4000):
        edges = [centre / math.sqrt(2), centre * math.sqrt(2)]
        sections = butter(4, edges, "bandpass", fs=FS, output="sos")
        times[centre] = decay_time(sosfilt(sections, response), FS)
    return times


@pytest.mark.parametrize("room", [{}, {"room": "polygon"}], ids=["shoebox", "polygon"])
def test_each_octave_has_the_t20_asked_for(room: dict) -> None:
    """In the whole response, early images included, though they are the same in all bands."""
    ratios: dict[int, list[float]] = {}
    for seed in range(8):
        rt60 = 0.25 + 0.05 * seed
        settings = AudioSettings(num_sources=2, rt60=rt60, band_rt60=SHARES, head="none", fs=FS, **room)
        _, _, both = heard(3000 + seed, settings)
        for response in both.reshape(4, -1):
            for centre, seconds in octave_t20s(response).items():
                ratios.setdefault(centre, []).append(seconds / rt60)
    for centre, measured in ratios.items():
        assert len(measured) == 32
        assert np.mean(measured) == pytest.approx(SHARES.get(centre, 1.0), rel=0.07)


def test_bands_of_their_own_leave_the_early_sound_alone() -> None:
    plain = AudioSettings(num_sources=2, rt60=0.4, head="none", max_order=2)
    _, _, before = heard(5, plain)
    _, _, after = heard(5, dataclasses.replace(plain, band_rt60={4000: 0.5}))
    arrival = int(np.abs(before[0, 0]).argmax())
    peak = np.abs(before[0, 0]).max()
    assert np.abs(after[0, 0, arrival - 2 : arrival + 3] - before[0, 0, arrival - 2 : arrival + 3]).max() < 0.02 * peak


@pytest.mark.parametrize("size", [(100.0, 90.0, 30.0), (40.0, 6.0, 3.0)])
def test_a_source_far_away_in_a_large_room_is_heard_from_where_it_is(size: tuple) -> None:
    """Its direct sound comes later than the 50 ms after which a usual room has nothing but its tail."""
    settings = AudioSettings(num_sources=1, rt60=1.0, head="sphere", room_size=size)
    bank = ImpulseBank()
    fixed = {"pose": np.array([1.0, 3.0, math.pi / 2]), "sources": np.array([[size[0] - 2.0, 3.0, 1.5]])}
    episode = dataclasses.replace(draw_episode(1, settings, bank, fixed), offsets=np.zeros(1, dtype=np.int64))
    group = stream_group(settings, 1)
    sound = RoomSound(episode, settings, bank, group)
    sound.start(episode.start)
    blocks = [sound.source_images()[0]]
    for step in range(1, BLOCKS):
        sound.advance(episode.start, step)
        group.render(np.zeros(1, dtype=np.int64))
        blocks.append(sound.source_images()[0])
    response = np.concatenate(blocks, axis=1).astype(float) / SOURCE_GAIN
    distance = size[0] - 3.0
    arrival = round(distance / 343.0 * FS)
    direct = response[:, arrival - 40 : arrival + 40]
    level, delay = interaural(direct, FS, phat=False)
    assert delay < -4e-4 and level < -4.0, "heard at the right"
    # The near ear's peak: twice the free field's at high frequencies.
    assert np.abs(direct[1]).max() * 4 * math.pi * distance == pytest.approx(1.5, rel=0.4)
