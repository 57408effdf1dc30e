"""How a training looks to the person who waits for it."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

LINE_SECONDS = 10.0
REFRESH_SECONDS = 0.25


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} steps/s" if speed else "… steps/s", style="cyan")


class TrainingProgress:
    """A bar with steps per second, time left and figures; without a terminal a line every 10 s.

    Args:
        total: steps of the whole training.
        start: steps done before (a resumed run).
        console: where to write; None says nothing at all.
    """

    def __init__(self, total: int, start: int, console: Console | None) -> None:
        self._console = console
        self._total, self._start = total, start
        self._began = self._last = time.perf_counter()
        self._note = ""
        self._bar: Progress | None = None
        if console is not None and console.is_terminal:
            self._bar = Progress(
                TextColumn("training"),
                BarColumn(),
                TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
                _Speed(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
                console=console,
                speed_estimate_period=20.0,
            )
            self._task = self._bar.add_task("training", total=total, completed=start, note="")
            self._bar.start()

    def note(self, text: str) -> None:
        """Figures to show beside the bar."""
        self._note = text

    def say(self, text: str) -> None:
        """A line for the person, above the bar."""
        if self._console is not None:
            (self._bar.console if self._bar is not None else self._console).print(
                text, highlight=False, markup=False
            )

    def update(self, steps: int) -> None:
        """Steps done so far; draws at most four times a second."""
        now = time.perf_counter()
        if self._bar is not None:
            if now - self._last >= REFRESH_SECONDS:
                self._last = now
                self._bar.update(self._task, completed=steps, note=self._note)
        elif self._console is not None and now - self._last >= LINE_SECONDS:
            self._last = now
            speed = (steps - self._start) / (now - self._began)
            left = (self._total - steps) / speed if speed else 0.0
            self.say(
                f"{steps:,}/{self._total:,} steps · {speed:,.0f} steps/s · {_clock(left)} left"
                + (f" · {self._note}" if self._note else "")
            )

    def close(self, steps: int) -> None:
        """Draw the last state and stop."""
        if self._bar is not None:
            self._bar.update(self._task, completed=steps, note=self._note)
            self._bar.stop()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
