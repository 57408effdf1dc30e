"""Flying a ship by keyboard against scripts, in real time in a terminal; with scripted keys as fast as it goes.

A terminal tells when a key goes down and not when it comes up, so what a key asks for is held for a moment, and a key
that repeats while it is down holds it on.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.text import Text

from auralnav.agents.dogfight_text import text_arena, text_status
from auralnav.agents.play import QUIT, raw_terminal, split_keys
from auralnav.envs.dogfight import layout as at
from auralnav.envs.dogfight.recorder import GameRecorder
from auralnav.envs.dogfight.replay import Replay
from auralnav.envs.dogfight.scene import scene_at
from auralnav.envs.dogfight.world import DogfightWorld
from auralnav.errors import AuralNavError

POWER, TURN, SHOOT = range(3)
KEYS = {
    "w": (POWER, at.BOOST), "s": (POWER, at.REVERSE),
    "a": (TURN, at.LEFT), "d": (TURN, at.RIGHT), "A": (TURN, at.SHARP_LEFT), "D": (TURN, at.SHARP_RIGHT),
    "x": (TURN, at.AIR_BRAKE), "X": (TURN, at.SHARP_AIR_BRAKE), " ": (SHOOT, 1),
    "\x1b[A": (POWER, at.BOOST), "\x1b[B": (POWER, at.REVERSE), "\x1b[D": (TURN, at.LEFT), "\x1b[C": (TURN, at.RIGHT),
    "\x1bOA": (POWER, at.BOOST), "\x1bOB": (POWER, at.REVERSE), "\x1bOD": (TURN, at.LEFT), "\x1bOC": (TURN, at.RIGHT),
}  # fmt: skip
"""Key (or the escape sequence of an arrow) → which part of the action it sets, and to what."""
WAIT = "."
"""A step in which no key is pressed, in scripted keys."""
HELP = "w/↑ boost · s/↓ reverse · a/← d/→ turn, A D sharply · x X brake · space fire · q quit"

HOLD_STEPS = 6
"""Steps that a key's request lasts: longer than a keyboard waits before it repeats."""
STEP_SECONDS = at.ACTION_REPEAT / at.TICK_RATE
MAP_WIDTH = 72
"""Characters, where the terminal is large enough."""
HUMAN = 0
"""The ship that is flown by keyboard."""

Pressed = Callable[[float], list[str] | None]
"""Given seconds to wait, the keys that were pressed meanwhile, or None when there are no more."""


def scripted_steps(keys: str) -> Pressed:
    """One key of a string each step, without waiting.

    Raises:
        AuralNavError: a key that does nothing.
    """
    for key in keys:
        if key not in KEYS and key not in (*QUIT, WAIT):
            raise AuralNavError(f"--keys {keys}: {key!r} is no key; use w s a d A D x X, space, {WAIT} and q")
    steps = iter(keys)

    def pressed(seconds: float) -> list[str] | None:
        key = next(steps, None)
        return None if key is None else [key]

    return pressed


@contextmanager
def terminal_steps() -> Iterator[Pressed]:
    """The keys that are pressed in the terminal from step to step.

    Raises:
        AuralNavError: standard input is no terminal.
        MissingDependencyError: this system has no termios.
    """
    with raw_terminal() as descriptor:
        due = time.monotonic()

        def pressed(seconds: float) -> list[str] | None:
            nonlocal due
            # After a pause of the machine the game goes on from now: it never runs to catch up.
            due = max(due + seconds, time.monotonic())
            keys: list[str] = []
            while (left := due - time.monotonic()) > 0:
                if not select.select([descriptor], [], [], left)[0]:
                    break
                data = os.read(descriptor, 64).decode("utf-8", errors="ignore")
                if not data:
                    return None
                keys += split_keys(data)
            return keys

        yield pressed


@dataclass
class Controls:
    """What the keys ask for now."""

    action: np.ndarray = field(default_factory=lambda: np.zeros(3, np.int32))
    left: np.ndarray = field(default_factory=lambda: np.zeros(3, np.int32))

    def step(self, keys: list[str]) -> np.ndarray:
        """The action [3] of the next step, given the keys pressed since the last one."""
        self.left = np.maximum(self.left - 1, 0)
        for key in keys:
            if key in KEYS:
                part, choice = KEYS[key]
                self.action[part], self.left[part] = choice, HOLD_STEPS
        self.action[self.left == 0] = 0
        return self.action.copy()


class DogfightSession:
    """One game: the keyboard flies ship 1, scripts fly the others.

    Args:
        teams: ships of the own team and of the other.
        console: where it is shown.
        opponent: script of the other team.
        skill: probability that an opponent does as its script says rather than anything, each step.
        mates: script of the own team's other ships.
        pace: seconds of the game in a second of the player.

    Raises:
        ConfigError: an unknown script, a skill that is no probability, or teams that cannot be.
    """

    def __init__(
        self,
        teams: tuple[int, int],
        console: Console,
        *,
        opponent: str = "pursuit",
        skill: float = 1.0,
        mates: str = "focus",
        pace: float = 1.0,
    ) -> None:
        self.console, self.pace = console, pace
        self.world = DogfightWorld(1, teams)
        self.world.command(mates, slice(0, teams[0]))
        self.world.command(opponent, slice(teams[0], sum(teams)), skill=skill)
        self.world.command("actions", HUMAN)
        rivals = opponent if skill == 1 else f"{opponent} {skill:g}"
        self.names = ["you", *[mates] * (teams[0] - 1), *[rivals] * teams[1]]

    def run(self, pressed: Pressed, seed: int = 0) -> Replay:
        """Play until the game is over, the keys run out, `q` or Ctrl-C.

        Returns:
            The game as it was played, a frame of each tick.
        """
        world = self.world
        world.reset(seed)
        recorder = GameRecorder(
            self.names, seed=seed, horizon=world.horizon, settings={"spread": world.spread, "pace": self.pace}
        )
        recorder.take(world)
        controls = Controls()
        with Live(self._picture(recorder), console=self.console, auto_refresh=False) as live:
            try:
                while world.status[0] == at.RUNNING:
                    keys = pressed(STEP_SECONDS / self.pace)
                    if keys is None or any(key in QUIT for key in keys):
                        break
                    world.actions[0, HUMAN] = controls.step(keys)
                    world.decide()
                    for _ in range(world.action_repeat):
                        world.tick(first=True)
                        recorder.take(world)
                    live.update(self._picture(recorder), refresh=True)
            except KeyboardInterrupt:
                pass  # Ctrl-C is another q: what was recorded is kept
        if not self.console.is_terminal:
            self.console.print()  # Without a terminal the last picture comes without its line end.
        return recorder.replay()

    def _picture(self, recorder: GameRecorder) -> Text:
        replay = recorder.replay()
        scene = scene_at(replay, replay.last_tick)
        # A line of status for each ship and one above, and the line of the cursor, must stay on the screen.
        room = 2 * (self.console.height - replay.ships - 2)
        width = max(24, min(MAP_WIDTH, room, self.console.width)) if self.console.is_terminal else MAP_WIDTH
        return Text("\n").join([text_arena(scene, HUMAN, width), text_status(scene, HUMAN)])
