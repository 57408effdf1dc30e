"""Playing sound as it comes, through whatever player the machine has."""

from __future__ import annotations

import importlib
import shutil
import subprocess
from typing import Any, Protocol

import numpy as np


class Speaker(Protocol):
    """Plays stereo blocks one after another; `name` says through what."""

    name: str

    def play(self, audio: np.ndarray) -> bool:
        """Play float32 [2, n]; False when the player has gone (nothing more will be heard)."""
        ...

    def close(self) -> None:
        """Stop playing."""
        ...


class PipeSpeaker:
    """Feeds 16-bit stereo to a program that plays its standard input.

    Args:
        name: of the program.
        command: program and arguments.
    """

    def __init__(self, name: str, command: list[str]) -> None:
        self.name = name
        self._process: Any = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def play(self, audio: np.ndarray) -> bool:
        """Hand a block to the player; it plays while the caller goes on."""
        samples = (np.clip(audio.T, -1.0, 1.0) * 32767.0).astype("<i2")
        try:
            self._process.stdin.write(samples.tobytes())
            self._process.stdin.flush()
        except (OSError, ValueError):  # the player has gone, or the pipe is closed
            return False
        return True

    def close(self) -> None:
        """Let the player finish what it has, at most two seconds."""
        try:
            self._process.stdin.close()
            self._process.wait(timeout=2.0)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()


class DeviceSpeaker:
    """Plays through the sounddevice library's default output."""

    name = "sounddevice"

    def __init__(self, library: Any, fs: int) -> None:
        self._stream = library.OutputStream(samplerate=fs, channels=2, dtype="float32")
        self._stream.start()

    def play(self, audio: np.ndarray) -> bool:
        """Queue a block."""
        self._stream.write(np.ascontiguousarray(audio.T, dtype=np.float32))
        return True

    def close(self) -> None:
        """Stop the stream."""
        self._stream.stop()
        self._stream.close()


def player_command(fs: int) -> tuple[str, list[str]] | None:
    """Name and command of the first player on PATH that plays raw 16-bit stereo from its input, or None."""
    commands = {
        "pw-cat": ["-p", "--rate", str(fs), "--channels", "2", "--format", "s16", "-"],
        "paplay": ["--raw", f"--rate={fs}", "--channels=2", "--format=s16le"],
        "aplay": ["-q", "-t", "raw", "-f", "S16_LE", "-c", "2", "-r", str(fs), "-"],
        "ffplay": [
            "-nodisp",
            "-loglevel",
            "quiet",
            "-f",
            "s16le",
            "-ar",
            str(fs),
            "-ch_layout",
            "stereo",
            "-",
        ],
    }
    for name, arguments in commands.items():
        path = shutil.which(name)
        if path is not None:
            return name, [path, *arguments]
    return None


def open_speaker(fs: int) -> tuple[Speaker | None, str]:
    """A speaker for sound at `fs` Hz, or None; and one line for people that says which, or why none."""
    try:
        sounddevice = importlib.import_module("sounddevice")  # optional, and in no extra of ours
    except (ImportError, OSError):  # OSError: the library is there, PortAudio is not
        pass
    else:
        try:
            return DeviceSpeaker(sounddevice, fs), "sound plays through sounddevice"
        except sounddevice.PortAudioError:
            pass
    found = player_command(fs)
    if found is None:
        return None, "no sound player found (install alsa-utils or ffmpeg); use --record to listen later"
    try:
        return PipeSpeaker(*found), f"sound plays through {found[0]}"
    except OSError as error:
        return None, f"{found[0]} cannot be started ({error}); use --record to listen later"
