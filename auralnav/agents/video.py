"""MP4 files of what an agent saw and heard: H.264 pictures and, where there is any, stereo sound in step."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from auralnav.errors import AuralNavError, MissingDependencyError
from auralnav.files import atomic_write

AUDIO_BIT_RATE = 192_000  # High enough that the codec keeps left and right apart at every frequency.


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise MissingDependencyError("video needs PyAV: `pip install av`") from error
    return av


def _even(picture: np.ndarray) -> np.ndarray:
    """The picture cut to even sides, which yuv420p needs."""
    height, width = picture.shape[:2]
    return np.ascontiguousarray(picture[: height - height % 2, : width - width % 2])


def write_video(
    path: str | os.PathLike[str],
    frames: Iterable[np.ndarray],
    fps: float,
    audio: np.ndarray | None = None,
    fs: int = 0,
) -> Path:
    """Write an MP4 atomically: H.264 (yuv420p) video, and AAC stereo sound that starts with it.

    Args:
        path: the file, ending in .mp4.
        frames: pictures uint8 [H, W, 3], all of one size; taken one at a time.
        fps: pictures a second.
        audio: float32 [2, n] in −1..1, left channel first; padded with silence or cut to the video's length.
            None makes a video without a sound track.
        fs: its samples a second.

    Returns:
        The path written.

    Raises:
        AuralNavError: there is no picture, a picture or the sound has the wrong shape, or no H.264 encoder.
        OSError: the file cannot be written.
    """
    av = _av()
    sound = None if audio is None else np.asarray(audio, dtype=np.float32)
    if sound is not None and (sound.ndim != 2 or sound.shape[0] != 2):
        raise AuralNavError(
            f"video sound must have shape [2, n], got {list(sound.shape)}: stack left and right"
        )
    pictures = iter(frames)
    first = next(pictures, None)
    if first is None:
        raise AuralNavError("a video needs at least one picture: the list of frames is empty")
    first = _even(first)
    rate = Fraction(fps).limit_denominator(1000)
    with atomic_write(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        encoder = next(
            (name for name in ("libx264", "libopenh264", "h264") if name in av.codecs_available), None
        )
        if encoder is None:
            raise AuralNavError(
                "this build of PyAV has no H.264 encoder: `pip install --only-binary :all: av`"
            )
        options = {"crf": "20", "preset": "fast"} if encoder == "libx264" else {}
        video = container.add_stream(encoder, rate=rate, options=options)
        video.width, video.height, video.pix_fmt = first.shape[1], first.shape[0], "yuv420p"
        track = None if sound is None else _SoundTrack(container, sound, fs)
        for index, picture in enumerate(itertools.chain([first], pictures)):
            picture = _even(picture)
            if picture.shape != first.shape or picture.dtype != np.uint8:
                raise AuralNavError(
                    f"picture {index} is {picture.dtype} {list(picture.shape)}, the first was uint8 "
                    f"{list(first.shape)}: draw all at one size"
                )
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index, 1 / rate
            container.mux(video.encode(frame))
            if track is not None:
                # Sound goes in beside its pictures, so that players need not seek.
                track.write_until(round((index + 1) / rate * fs))
        container.mux(video.encode(None))
        if track is not None:
            track.close()
    return Path(path)


class _SoundTrack:
    """The sound of a video that is being written, encoded a block at a time."""

    def __init__(self, container: Any, audio: np.ndarray, fs: int) -> None:
        self.container, self.audio, self.fs = container, audio, fs
        self.stream = container.add_stream("aac", rate=fs, layout="stereo")
        self.stream.bit_rate = AUDIO_BIT_RATE
        self.written = 0

    def write_until(self, end: int) -> None:
        """Encode the samples not yet written up to `end`, silence where the sound is over."""
        if end <= self.written:
            return
        block = np.zeros((2, end - self.written), dtype=np.float32)
        have = self.audio[:, self.written : end]
        block[:, : have.shape[1]] = np.clip(have, -1.0, 1.0)
        frame = _av().AudioFrame.from_ndarray(block, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = self.fs, self.written, Fraction(1, self.fs)
        self.written = end
        for packet in self.stream.encode(frame):
            self.container.mux(packet)

    def close(self) -> None:
        """Encode what the encoder still holds."""
        self.container.mux(self.stream.encode(None))


def read_audio(path: str | os.PathLike[str]) -> tuple[np.ndarray, int]:
    """Read the sound of a video (or sound) file.

    Returns:
        float32 [2, n] (a mono track is doubled) and its sampling rate.

    Raises:
        AuralNavError: the file cannot be read or has no sound.
    """
    av = _av()
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise AuralNavError(f"{path} has no sound track")
            stream = container.streams.audio[0]
            rate = int(stream.rate)
            resampler = av.AudioResampler(format="fltp", layout="stereo", rate=rate)
            blocks: list[np.ndarray] = []
            for frame in itertools.chain(container.decode(stream), [None]):
                blocks += [block.to_ndarray() for block in resampler.resample(frame)]
    except (av.FFmpegError, OSError) as error:
        raise AuralNavError(f"{path} cannot be read as a video or sound file: {error}") from error
    if not blocks:
        raise AuralNavError(f"{path} holds no sound")
    return np.concatenate(blocks, axis=1).astype(np.float32), rate


def count_frames(path: str | os.PathLike[str]) -> tuple[int, float]:
    """Number of pictures in a video and its pictures a second, by decoding it whole."""
    av = _av()
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return sum(1 for _ in container.decode(stream)), float(stream.average_rate)


def between(before: dict[str, Any], after: dict[str, Any], share: float) -> dict[str, Any]:
    """A scene between two successive ones: the agent and the sources part of the way, heading the short way.

    What is found changes only when the step is over (`share` = 1). The sound shown is the later scene's.
    """
    if share >= 1.0:
        return after
    x0, y0, t0 = (float(v) for v in before["agent"])
    x1, y1, t1 = (float(v) for v in after["agent"])
    turn = (t1 - t0 + np.pi) % (2 * np.pi) - np.pi
    pose = (x0 + share * (x1 - x0), y0 + share * (y1 - y0), t0 + share * turn)
    trail = np.concatenate([np.asarray(before["trail"], dtype=float).reshape(-1, 2), [pose[:2]]])
    sources = (1 - share) * np.asarray(before["sources"]) + share * np.asarray(after["sources"])
    return {
        **after,
        "agent": pose,
        "trail": trail,
        "sources": sources,
        "found": before["found"],
        "bumped": False,
    }


class Recorder:
    """Collects an episode's scenes as they happen and writes them as a video with the sound heard.

    The ears move in the first 20 ms of a step, so the picture moves early in the step too.

    Args:
        frames_per_step: pictures for each step of the environment.
        size: width and height of the pictures.
    """

    def __init__(self, frames_per_step: int = 3, size: tuple[int, int] = (960, 640)) -> None:
        self.frames_per_step = frames_per_step
        self.size = size
        self.scenes: list[dict[str, Any]] = []

    def add(self, scene: dict[str, Any]) -> None:
        """Add the scene after a reset or a step (arrays are copied; the floor plan is kept by reference)."""
        copied = {
            key: value.copy() if isinstance(value, np.ndarray) else value for key, value in scene.items()
        }
        self.scenes.append(copied)

    @property
    def audio(self) -> np.ndarray:
        """Everything heard, float32 [2, n]."""
        return np.concatenate([np.asarray(scene["audio"], dtype=np.float32) for scene in self.scenes], axis=1)

    def frames(self, hold: int = 0) -> Iterator[np.ndarray]:
        """The pictures in order, uint8 [H, W, 3]; the last is shown `hold` more times."""
        from auralnav.envs.audio.render import draw_scene

        picture = np.zeros((0, 0, 3), dtype=np.uint8)
        for before, after in itertools.pairwise([self.scenes[0], *self.scenes]):
            for part in range(1, self.frames_per_step + 1):
                share = 1.0 - (1.0 - part / self.frames_per_step) ** 2
                picture = draw_scene(between(before, after, share), self.size)
                yield picture
        yield from itertools.repeat(picture, hold)

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the video; the last picture stays for a second of silence."""
        if not self.scenes:
            raise AuralNavError("nothing was recorded: add a scene after reset and after each step")
        last = self.scenes[-1]
        fps = self.frames_per_step * last["fs"] / np.asarray(last["audio"]).shape[1]
        return write_video(path, self.frames(hold=round(fps)), fps, self.audio, int(last["fs"]))
