"""The reference must itself be right, or beating it means nothing."""

from __future__ import annotations

import numpy as np
import pyroomacoustics as pra
import pytest
from scipy.signal import fftconvolve

from auralnav.benchmarks.pyroom_loop import (
    PyroomacousticsLoop,
    build_room,
    pyroomacoustics_settings,
    responses,
)

FS = 8_000
N = 2_000
SIZE = np.array([5.0, 4.0, 2.6])
SOURCES = np.array([[1.0, 3.0, 1.2], [4.2, 1.1, 1.6]])


@pytest.fixture
def loop() -> PyroomacousticsLoop:
    clips = (0.1 * np.random.default_rng(1).standard_normal((2, 30_000))).astype(np.float32)
    return PyroomacousticsLoop(SIZE, SOURCES, 0.8, 3, FS, N, clips)


def heard(loop: PyroomacousticsLoop, samples: int) -> np.ndarray:
    """What the ears at the loop's present pose hear of the whole clips: [2, samples]."""
    with pyroomacoustics_settings(high_pass=False) as module:
        room = build_room(module, SIZE, SOURCES, loop.ears(), 0.8, 3, FS)
        h = responses(room, loop.length)
    return np.stack([sum(fftconvolve(loop.clips[s], h[s, m])[:samples] for s in range(2)) for m in range(2)])


def test_after_the_crossfade_a_step_is_the_convolution_at_the_new_pose(loop):
    for action in (0, 2, 0, 3):
        loop.step(action)
    block = loop.step(0)
    expected = heard(loop, 5 * N)[:, 4 * N :]
    ramp = round(0.02 * FS)
    assert np.abs(block[:, ramp:] - expected[:, ramp:]).max() < 1e-5
    assert np.abs(block[:, : ramp // 2] - expected[:, : ramp // 2]).max() > 1e-3


def test_a_step_begins_where_the_last_pose_left_off(loop):
    for _ in range(3):
        loop.step(2)
    expected = heard(loop, 4 * N)[:, 3 * N :]
    block = loop.step(2)
    # The first sample of the crossfade still weighs the old pose almost alone.
    first = 1.0 / round(0.02 * FS)
    assert np.abs(block[:, 0] - expected[:, 0]).max() < 2 * first * np.abs(block).max()


def test_the_agent_stays_inside(loop):
    for _ in range(20):
        loop.step(0)
    assert (loop.position > 0).all() and (loop.position < SIZE).all()


def test_the_settings_of_pyroomacoustics_come_back():
    before = pra.constants.get("num_threads"), pra.constants.get("rir_hpf_enable")
    with pytest.raises(RuntimeError), pyroomacoustics_settings(high_pass=not before[1]):
        assert pra.constants.get("rir_hpf_enable") is not before[1]
        raise RuntimeError
    assert (pra.constants.get("num_threads"), pra.constants.get("rir_hpf_enable")) == before
