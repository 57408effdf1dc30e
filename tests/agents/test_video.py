from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from auralnav.agents.video import Recorder, between, count_frames, read_audio, write_video
from auralnav.envs.audio.geometry import FloorPlan
from auralnav.errors import AuralNavError

FS = 16_000


def pictures(count: int) -> list[np.ndarray]:
    return [np.full((48, 64, 3), 5 * i, dtype=np.uint8) for i in range(count)]


def delay_in_samples(track: np.ndarray) -> float:
    """How many samples the left channel leads the right one."""
    size = 2 * track.shape[1]
    cross = np.fft.irfft(np.fft.rfft(track[1], size) * np.conj(np.fft.rfft(track[0], size)), size)
    lags = np.arange(-20, 21)
    return float(lags[np.argmax(cross[lags])])


def test_sound_keeps_level_and_delay_between_the_ears(tmp_path):
    rng = np.random.default_rng(3)
    noise = (
        np.convolve(rng.standard_normal(3 * FS), np.hanning(5) / 2.5, mode="same").astype(np.float32) * 0.1
    )
    audio = np.stack([noise, 0.5 * np.roll(noise, 7)])
    path = write_video(tmp_path / "left.mp4", pictures(36), 12, audio, FS)
    track, rate = read_audio(path)
    assert rate == FS
    assert track.dtype == np.float32 and track.shape[0] == 2
    middle = track[:, FS : 2 * FS]
    level = 20 * np.log10(np.linalg.norm(middle[0]) / np.linalg.norm(middle[1]))
    assert level == pytest.approx(6.02, abs=0.3)
    assert delay_in_samples(middle) == 7


def test_sound_and_picture_start_and_end_together(tmp_path):
    audio = np.zeros((2, 2 * FS), dtype=np.float32)
    click = FS + 160
    audio[:, click : click + 8] = 0.8
    path = write_video(tmp_path / "click.mp4", pictures(24), 12, audio, FS)
    track, _ = read_audio(path)
    assert abs(int(np.argmax(np.abs(track[0]))) - click) < 32  # 2 ms
    count, fps = count_frames(path)
    assert (count, fps) == (24, 12.0)
    assert abs(track.shape[1] - 2 * FS) <= 2048  # one AAC frame either way


def test_short_sound_is_padded_and_long_sound_cut(tmp_path):
    for seconds in (0.5, 4.0):
        audio = np.full((2, int(seconds * FS)), 0.1, dtype=np.float32)
        track, _ = read_audio(write_video(tmp_path / "x.mp4", pictures(24), 12, audio, FS))
        assert abs(track.shape[1] / FS - 2.0) < 0.15


def test_a_failed_video_leaves_the_old_file(tmp_path):
    path = tmp_path / "keep.mp4"
    path.write_bytes(b"old")
    audio = np.zeros((2, FS), dtype=np.float32)
    with pytest.raises(AuralNavError, match="at least one picture"):
        write_video(path, [], 12, audio, FS)
    with pytest.raises(AuralNavError, match="one size"):
        write_video(path, [*pictures(2), np.zeros((10, 10, 3), np.uint8)], 12, audio, FS)
    with pytest.raises(AuralNavError, match=r"\[2, n\]"):
        write_video(path, pictures(2), 12, audio[0], FS)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["keep.mp4"]


def test_reading_something_else_names_the_file(tmp_path):
    path = tmp_path / "no.mp4"
    path.write_bytes(b"this is no video")
    with pytest.raises(AuralNavError, match=r"no\.mp4"):
        read_audio(path)


def scene(x: float, theta: float, step: int) -> dict[str, Any]:
    return {
        "plan": FloorPlan.shoebox(6.0, 5.0, 3.0),
        "agent": (x, 2.0, theta),
        "sources": np.array([[5.0, 4.0]]),
        "found": np.array([step > 1]),
        "classes": ["bird"],
        "trail": np.array([[1 + 0.5 * i, 2.0] for i in range(step + 1)]),
        "audio": np.full((2, 4000), 0.01 * step, dtype=np.float32),
        "step": step,
        "horizon": 200,
        "found_radius": 1.0,
        "distractors": np.zeros((0, 2)),
        "fs": FS,
        "bumped": False,
    }


def test_between_turns_the_short_way_and_finds_only_at_the_end():
    before, after = scene(1.0, np.pi - 0.1, 1), scene(1.5, -np.pi + 0.1, 2)
    middle = between(before, after, 0.5)
    assert middle["agent"][0] == pytest.approx(1.25)
    assert abs(abs(middle["agent"][2]) - np.pi) < 1e-9
    assert not middle["found"].any()
    assert between(before, after, 1.0)["found"].all()


def test_recorder_writes_three_pictures_a_step_and_the_sound_heard(tmp_path):
    recorder = Recorder(frames_per_step=3, size=(320, 214))
    for step in range(3):
        recorder.add(scene(1 + 0.5 * step, 0.0, step))
    assert recorder.audio.shape == (2, 12_000)
    count, fps = count_frames(recorder.write(tmp_path / "walk.mp4"))
    assert fps == 12.0
    assert count == 3 * 3 + 12
    with pytest.raises(AuralNavError, match="nothing was recorded"):
        Recorder().write(tmp_path / "none.mp4")
