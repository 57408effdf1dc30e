"""The streaming renderer against plain convolution in float64."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import fftconvolve

from auralnav.envs.acoustics.head import HeadModel, open_ears, spherical_head
from auralnav.envs.acoustics.images import FRONT_GUARD, back_guard, ear_responses, shoebox_images
from auralnav.envs.acoustics.loops import SOURCE_GAIN, BlockedClip, blocked_clip, fit_loop
from auralnav.envs.acoustics.stream import CROSSFADE_SECONDS, BinauralStream, Images, StreamGroup
from auralnav.envs.acoustics.tail import late_tail
from auralnav.envs.acoustics.walls import solve_reflection
from auralnav.errors import SoundError

FS = 16000
SIZE = np.array([7.0, 6.0, 3.0])
SOURCES = np.array([[1.0, 2.0, 1.0], [3.0, 4.0, 1.5]])
POSES = [
    (5.0, 2.0, 1.5, 0.3),
    (4.5, 2.1, 1.5, 0.3),
    (4.5, 2.1, 1.5, 0.8),
    (4.0, 2.4, 1.5, 0.8),
    (4.0, 2.4, 1.5, 1.3),
    (4.0, 2.4, 1.5, 1.8),
]
OFFSETS = [0, 5]
MUTED_AT = 3  # source 1


def reference(
    responses: list[np.ndarray], clips: list[BlockedClip], block: int, muted_at: int = MUTED_AT
) -> np.ndarray:
    """The same sound by whole convolutions: old and new pose crossfaded; float64 [blocks, 2, block]."""
    length = responses[0].shape[-1]
    fade = min(round(CROSSFADE_SECONDS * FS), block)
    ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(fade) + 0.5) / fade)
    out = []
    for t in range(len(responses)):
        heard = []
        for response in (responses[max(t - 1, 0)], responses[t]):
            total = np.zeros((2, block))
            for k, clip in enumerate(clips):
                index = np.arange(t * block - length, (t + 1) * block)
                signal = clip.loop.astype(float)[(index + OFFSETS[k] * block) % len(clip.loop)]
                if k == 1:
                    signal[index >= muted_at * block] = 0.0
                for ear in range(2):
                    whole = fftconvolve(signal, response[k, ear].astype(float))
                    total[ear] += whole[length : length + block]
            heard.append(total)
        mixed = heard[1].copy()
        mixed[:, :fade] = heard[0][:, :fade] * (1 - ramp) + heard[1][:, :fade] * ramp
        out.append(mixed)
    return np.array(out)


def rendered(rng: np.random.Generator, head: HeadModel, rt60: float) -> tuple[Images, np.ndarray | None, int]:
    """Images, tail and the sample at which it takes over, for a room of `rt60` s; 0: no reflections."""
    if not rt60:
        return shoebox_images(SIZE, SOURCES, np.zeros(6), 6), None, 600
    walls = solve_reflection(SIZE, SOURCES, np.array(POSES[0][:3]), rt60, 6, FS)
    images = shoebox_images(SIZE, SOURCES, np.full(6, walls.reflection), 6)
    return images, late_tail(rng, 2, head, walls.tail), 800


@pytest.mark.parametrize("block", [800, 4000, 8000])
@pytest.mark.parametrize("rt60", [0.0, 0.3, 0.6])
@pytest.mark.parametrize("head", [open_ears(FS), spherical_head(FS)], ids=["open", "sphere"])
def test_it_is_the_convolution(head, rt60: float, block: int) -> None:
    rng = np.random.default_rng(0)
    clips = [BlockedClip(rng.standard_normal(48000).astype(np.float32), block, FS) for _ in range(2)]
    images, tail, limit = rendered(rng, head, rt60)
    group = StreamGroup(1, 2, block, head, limit, direct_only=rt60 == 0)
    stream = BinauralStream(group, 0, clips, OFFSETS, tail)
    heard = [stream.start(images, POSES[0]).copy()]
    for t, pose in enumerate(POSES[1:], start=1):
        if t == MUTED_AT:
            stream.mute(1)
        stream.advance(images, pose)
        group.render(np.zeros(1, dtype=np.int64))
        heard.append(group.audio[0].copy())
    length = max(limit + head.reach + FRONT_GUARD, 0 if tail is None else tail.shape[2])
    responses = []
    for pose in POSES:
        buffer = np.zeros((2, 2, FRONT_GUARD + length + back_guard(head)), dtype=np.float32)
        if tail is not None:
            buffer[:, :, FRONT_GUARD : FRONT_GUARD + tail.shape[2]] = tail
        ear_responses(images, pose, head, buffer, limit)
        responses.append(buffer[:, :, FRONT_GUARD : FRONT_GUARD + length])
    expected = reference(responses, clips, block)
    for mine, theirs in zip(heard, expected, strict=True):
        assert np.linalg.norm(mine - theirs) < 1e-5 * np.linalg.norm(theirs)  # −100 dB
    assert np.allclose(stream.source_images().sum(axis=0), heard[-1], atol=1e-6)


def test_tails_repeat_with_their_loops_and_ring_out() -> None:
    """Past the end of a short loop and of one too long to be kept, a mute, and going on from the middle."""
    head, block, muted_at = spherical_head(FS), 800, 24
    rng = np.random.default_rng(2)
    clips = [BlockedClip(rng.standard_normal(n * block).astype(np.float32), block, FS) for n in (3, 20)]
    tail = 1e-2 * rng.standard_normal((2, 2, 2100)).astype(np.float32)
    images = shoebox_images(SIZE, SOURCES, np.full(6, 0.6), 2)
    poses = [POSES[t % len(POSES)] for t in range(30)]

    def begun() -> tuple[StreamGroup, BinauralStream]:
        group = StreamGroup(1, 2, block, head, 800)
        return group, BinauralStream(group, 0, clips, OFFSETS, tail)

    group, stream = begun()
    heard = [stream.start(images, poses[0]).copy()]
    for t, pose in enumerate(poses[1:], start=1):
        if t == muted_at:
            stream.mute(1)
        stream.advance(images, pose)
        group.render(np.zeros(1, dtype=np.int64))
        heard.append(group.audio[0].copy())
    responses = []
    for pose in poses:
        buffer = np.zeros((2, 2, FRONT_GUARD + 2100 + back_guard(head)), dtype=np.float32)
        buffer[..., FRONT_GUARD : FRONT_GUARD + 2100] = tail
        ear_responses(images, pose, head, buffer, 800)
        responses.append(buffer[..., FRONT_GUARD : FRONT_GUARD + 2100])
    expected = reference(responses, clips, block, muted_at)
    for mine, theirs in zip(heard, expected, strict=True):
        assert np.linalg.norm(mine - theirs) < 1e-5 * np.linalg.norm(theirs)
    for at in (4, 21, 23, 25, 28):
        group, other = begun()
        muted = [None, muted_at if at >= muted_at else None]
        other.resume(at, images, poses[at], images, poses[at - 1], muted)
        if at + 1 == muted_at:
            other.mute(1)
        other.advance(images, poses[at + 1])
        group.render(np.zeros(1, dtype=np.int64))
        assert np.array_equal(group.audio[0], heard[at + 1])


@pytest.mark.parametrize("rt60", [0.0, 0.4])
def test_a_room_sounds_the_same_in_any_company(rt60: float) -> None:
    """Bit for bit, whichever rooms of its group are rendered with it."""
    head, block, rooms = spherical_head(FS), 4000, 3
    rng = np.random.default_rng(1)
    clips = [BlockedClip(rng.standard_normal(16000).astype(np.float32), block, FS) for _ in range(2)]
    images, tail, limit = rendered(rng, head, rt60)
    alone = StreamGroup(1, 2, block, head, limit, direct_only=rt60 == 0)
    together = StreamGroup(rooms, 2, block, head, limit, direct_only=rt60 == 0)
    single = BinauralStream(alone, 0, clips, OFFSETS, tail)
    others = [BinauralStream(together, room, clips, [room, 2 * room], tail) for room in (0, 2)]
    watched = BinauralStream(together, 1, clips, OFFSETS, tail)
    for stream in (*others, watched):
        stream.start(images, POSES[0])
    assert np.array_equal(single.start(images, POSES[0]), together.audio[1])
    company = [[0, 1, 2], [1], [0, 1], [0, 2], [1, 2], [0, 1, 2]]
    for step, present in enumerate(company):
        pose = POSES[step]
        for room, stream in zip((0, 2), others, strict=True):
            if room in present:
                stream.advance(images, POSES[-step])
        if 1 in present:
            watched.advance(images, pose)
            single.advance(images, pose)
            alone.render(np.zeros(1, dtype=np.int64))
        together.render(np.array(present))
        assert np.array_equal(alone.audio[0], together.audio[1])


@pytest.mark.parametrize("n", [100, 4000, 5001, 48000, 50123])
def test_loops_are_whole_blocks_and_join(n: int) -> None:
    t = np.arange(n) / FS
    samples = np.sin(2 * np.pi * 200 * t).astype(np.float32)
    loop = fit_loop(samples, 4000, FS)
    assert len(loop) % 4000 == 0 and len(loop) > 0
    clip = BlockedClip(samples, 4000, FS)
    around = clip.window(3 * clip.blocks - 1, 3 * len(loop))
    assert len(around) == 3 * len(loop)
    assert np.array_equal(around[: len(loop)], around[-len(loop) :])
    assert np.allclose(
        np.fft.rfft(clip.window(0, 8000)), clip.spectra(clip.blocks, (4000,), 8000)[0], atol=1e-2
    )
    assert np.abs(clip.loop).max() <= 1.001 * SOURCE_GAIN


def test_a_loop_that_had_to_be_cut_has_no_click() -> None:
    samples = np.sin(2 * np.pi * 100 * np.arange(50_123) / FS).astype(np.float32)
    loop = fit_loop(samples, 4000, FS)
    assert abs(float(loop[0]) - float(loop[-1])) < 0.06


def test_an_empty_clip_is_refused() -> None:
    with pytest.raises(SoundError, match="no samples"):
        fit_loop(np.zeros(0, dtype=np.float32), 4000, FS)


def test_clips_are_shared() -> None:
    made = []

    def load() -> np.ndarray:
        made.append(1)
        return np.ones(8000, dtype=np.float32)

    first = blocked_clip(("test", 1), load, 4000, FS)
    assert blocked_clip(("test", 1), load, 4000, FS) is first
    assert blocked_clip(("test", 1), load, 2000, FS) is not first
    assert len(made) == 2
