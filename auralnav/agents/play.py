"""Walking through an environment by keyboard, with the ears as the guide."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from rich.console import Console
from rich.live import Live
from rich.text import Text

from auralnav.agents.speaker import Speaker
from auralnav.agents.video import Recorder
from auralnav.envs.audio.palette import LEFT, RIGHT, class_colour, pretty
from auralnav.envs.audio.panel import level_db, status_line
from auralnav.errors import AuralNavError, MissingDependencyError

KEYS = {
    "w": 0, "s": 1, "a": 2, "d": 3,
    "\x1b[A": 0, "\x1b[B": 1, "\x1b[D": 2, "\x1b[C": 3,
    "\x1bOA": 0, "\x1bOB": 1, "\x1bOD": 2, "\x1bOC": 3,
}  # fmt: skip
"""Key (or the escape sequence of an arrow) → discrete action."""

QUIT = ("q", "\x03", "\x04")
HELP = "w/↑ forward · s/↓ backward · a/← turn left · d/→ turn right · q quit"
ARROWS = "→↗↑↖←↙↓↘"


def scripted_keys(keys: str) -> Iterator[str]:
    """The keys of a string, one by one.

    Raises:
        AuralNavError: a key that does nothing.
    """
    for key in keys:
        if key not in KEYS and key not in QUIT:
            raise AuralNavError(f"--keys {keys}: {key!r} is no key; use w, a, s, d and q")
    return iter(keys)


@contextmanager
def raw_terminal() -> Iterator[int]:
    """The descriptor of the terminal, from which keys can be read as they are pressed, without Enter.

    Raises:
        AuralNavError: standard input is no terminal.
        MissingDependencyError: this system has no termios.
    """
    if not sys.stdin.isatty():
        raise AuralNavError("playing needs a terminal; without one, script the keys: --keys wwadq")
    try:
        import termios
        import tty
    except ImportError as error:
        raise MissingDependencyError("keys can be read on Linux and macOS only; use --keys") from error
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield descriptor
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextmanager
def terminal_keys() -> Iterator[Iterator[str]]:
    """Keys as they are pressed in the terminal; arrows as their escape sequences.

    Raises:
        AuralNavError: standard input is no terminal.
        MissingDependencyError: this system has no termios.
    """
    with raw_terminal() as descriptor:

        def read() -> Iterator[str]:
            while True:
                data = os.read(descriptor, 8).decode("utf-8", errors="ignore")
                if not data:
                    return
                yield from split_keys(data)

        yield read()


def split_keys(data: str) -> list[str]:
    """Keys that came together, as a quick typist's do, one by one; an arrow is one key of three characters."""
    keys = []
    while data:
        length = 3 if data.startswith(("\x1b[", "\x1bO")) else 1
        keys.append(data[:length])
        data = data[length:]
    return keys


def text_map(scene: dict[str, Any], width: int = 56) -> Text:
    """The top view as coloured text: walls, trail, sources by their initials, the agent as an arrow."""
    boundary = np.asarray(scene["plan"].boundary, dtype=float)
    low, high = boundary.min(axis=0), boundary.max(axis=0)
    scale = (width - 3) / (high[0] - low[0])  # characters a metre; a line is two characters high
    height = max(3, round((high[1] - low[1]) * scale / 2)) + 2
    cells: list[list[tuple[str, str]]] = [[(" ", "")] * width for _ in range(height)]

    def place(point: Any, mark: str, style: str) -> None:
        column = round((float(point[0]) - low[0]) * scale) + 1
        row = height - 2 - round((float(point[1]) - low[1]) * scale / 2)
        if 0 <= row < height and 0 <= column < width:
            cells[row][column] = (mark, style)

    def line(a: np.ndarray, b: np.ndarray, mark: str, style: str) -> None:
        for share in np.linspace(0.0, 1.0, 2 + int(2 * scale * np.hypot(*(b - a)))):
            place(a + share * (b - a), mark, style)

    for outline in scene["plan"].obstacles:
        points = np.asarray(outline, dtype=float)
        for a, b in zip(points, np.roll(points, -1, axis=0), strict=True):
            line(a, b, "▒", "grey50")
    for a, b in zip(boundary, np.roll(boundary, -1, axis=0), strict=True):
        line(a, b, "█", "grey37")
    for point in np.asarray(scene["trail"]).reshape(-1, 2):
        place(point, "·", "grey62")
    for point in np.asarray(scene["distractors"]).reshape(-1, 2):
        place(point, "x", "grey50")
    for point, done, name in zip(scene["sources"], scene["found"], scene["classes"], strict=False):
        colour = "rgb({},{},{})".format(*class_colour(name))
        place(point, "✓" if done else pretty(name)[0].upper(), "grey50" if done else f"bold {colour}")
    x, y, theta = scene["agent"]
    place((x, y), ARROWS[round(float(theta) / (np.pi / 4)) % 8], "bold white on blue")
    return Text("\n").join(Text.assemble(*row) for row in cells)


def text_meters(scene: dict[str, Any], width: int = 40) -> Text:
    """Step, levels at both ears as bars, and what the step came to."""
    found = np.asarray(scene["found"], dtype=bool)
    words, _ = status_line(scene)
    lines = [Text(f"step {scene['step']}/{scene['horizon']}   found {found.sum()}/{found.size}   {words}")]
    for side, level, colour in zip("LR", level_db(scene["audio"]), (LEFT, RIGHT), strict=True):
        count = round(width * float(np.clip(1 + level / 60.0, 0, 1)))
        bar = Text("█" * count + "░" * (width - count), style="rgb({},{},{})".format(*colour))
        lines.append(Text.assemble(f"{side} ", bar, f" {level:5.0f} dBFS"))
    return Text("\n").join(lines)


class PlaySession:
    """One walk: takes keys, steps the environment, shows, plays and records.

    Args:
        env: an AuralNav environment with discrete actions.
        console: where the map goes.
        speaker: what plays each step's sound, None for silence.
        blind: show no map, only the meters.
        recorder: collects the walk for a video or sound file.
    """

    def __init__(
        self,
        env: gym.Env,
        console: Console,
        speaker: Speaker | None = None,
        blind: bool = False,
        recorder: Recorder | None = None,
    ) -> None:
        if not isinstance(env.action_space, gym.spaces.Discrete):
            raise AuralNavError("playing needs discrete actions: leave out continuous=True")
        self.env, self.console, self.speaker, self.blind = env, console, speaker, blind
        self.recorder = recorder
        self.total = 0.0

    def run(self, keys: Iterable[str], seed: int | None = None) -> dict[str, Any]:
        """Play one episode until it ends, the keys run out, `q` or Ctrl-C.

        Returns:
            The last info, with `episode_metrics` when the episode came to its end.
        """
        _, info = self.env.reset(seed=seed)
        scene = self._heard()
        with Live(self._picture(scene), console=self.console, auto_refresh=False, transient=False) as live:
            try:
                for key in keys:
                    if key in QUIT:
                        break
                    if key not in KEYS:
                        continue
                    _, reward, terminated, truncated, info = self.env.step(KEYS[key])
                    self.total += float(reward)
                    live.update(self._picture(self._heard()), refresh=True)
                    if terminated or truncated:
                        break
            except KeyboardInterrupt:
                pass  # Ctrl-C is another q: what was recorded is kept
        if not self.console.is_terminal:
            self.console.print()  # Without a terminal the last picture comes without its line end.
        return info

    def _heard(self) -> dict[str, Any]:
        scene = self.env.unwrapped.scene()  # type: ignore[attr-defined]
        if self.recorder is not None:
            self.recorder.add(scene)
        if self.speaker is not None and not self.speaker.play(np.asarray(scene["audio"])):
            self.console.print(f"{self.speaker.name} has stopped playing; going on in silence")
            self.speaker = None
        return scene

    def _picture(self, scene: dict[str, Any]) -> Text:
        meters = text_meters(scene)
        return meters if self.blind else Text("\n").join([text_map(scene), meters])


def save_recording(recorder: Recorder, path: str | os.PathLike[str]) -> Path:
    """Write a walk as .mp4 (picture and sound) or .wav (sound alone).

    Raises:
        AuralNavError: another suffix.
    """
    target = Path(path)
    if target.suffix == ".mp4":
        return recorder.write(target)
    if target.suffix == ".wav":
        import soundfile

        from auralnav.files import atomic_write

        with atomic_write(target) as temporary:
            soundfile.write(temporary, recorder.audio.T, int(recorder.scenes[-1]["fs"]))
        return target
    raise AuralNavError(f"--record {target}: a recording ends in .mp4 or .wav")
