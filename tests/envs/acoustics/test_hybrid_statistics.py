"""The hybrid renderer's responses, heard through the whole renderer: an impulse is what the source plays."""

from __future__ import annotations

import dataclasses
import math
from functools import lru_cache

import numpy as np
import pytest

from auralnav.envs.acoustics.ism import shoebox_rirs
from auralnav.envs.acoustics.loops import SOURCE_GAIN
from auralnav.envs.acoustics.measure import decay_time, direct_to_reverberant, highpass
from auralnav.envs.acoustics.soundbank import ClipRef
from auralnav.envs.audio.episode import draw_episode
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


@lru_cache(maxsize=1)
def responses() -> list[dict]:
    """For each of 20 random rooms: RT60 asked for, hybrid responses of two sources, all images of one."""
    rooms = []
    for room in range(ROOMS):
        seed = 1000 + room
        rt60 = 0.2 + 0.4 * room / (ROOMS - 1)
        settings = AudioSettings(num_sources=2, rt60=rt60, head="none", fs=FS)
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
        # The left ear's response to each source.
        hybrid, other = np.concatenate(blocks, axis=2)[:, 0].astype(float) / SOURCE_GAIN
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
