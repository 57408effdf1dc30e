"""How a training looks to the person who waits for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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
        # What takes seconds a step would be "0 steps/s".
        shown = f"{speed:,.0f}" if speed and speed >= 10 else f"{speed:.1f}" if speed else "…"
        return Text(f"{shown} {task.fields['unit']}/s", style="cyan")


class TrainingProgress:
    """A bar with steps per second, time left and figures; without a terminal a line every 10 s.

    Args:
        total: steps of the whole training.
        start: steps done before (a resumed run).
        console: where to write; None says nothing at all.
        title: what is going on.
        unit: what is counted.
    """

    def __init__(
        self, total: int, start: int, console: Console | None, title: str = "training", unit: str = "steps"
    ) -> None:
        self._console = console
        self._unit = unit
        self._total, self._start = total, start
        self._began = self._last = time.perf_counter()
        self._note = ""
        self._bar: Progress | None = None
        if console is not None and console.is_terminal:
            self._bar = Progress(
                TextColumn(title),
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
            self._task = self._bar.add_task(title, total=total, completed=start, note="", unit=unit)
            self._bar.start()

    @classmethod
    @contextmanager
    def counting(cls, total: int, unit: str, console: Console | None) -> Iterator[Callable[[int], None]]:
        """A bar for something made before a training: yields what is to be told the number done so far."""
        progress, done = cls(total, 0, console, "making", unit), 0

        def report(count: int) -> None:
            nonlocal done
            done = count
            progress.update(count)

        try:
            yield report
        finally:
            progress.close(done)

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
                f"{steps:,}/{self._total:,} {self._unit} · {speed:,.{0 if speed >= 10 else 1}f} {self._unit}/s · "
                f"{_clock(left)} left"
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
