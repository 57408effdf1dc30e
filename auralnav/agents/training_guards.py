"""What stands around a training: what a resume may change, signals, deterministic torch, disks that run full."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch

from auralnav.agents.run_folder import RunFolder
from auralnav.configs.load import Experiment
from auralnav.errors import CheckpointError, ConfigError
from auralnav.files import is_full_disk


def refuse_changes(saved: Experiment, config: Experiment, sections: Sequence[str]) -> None:
    """Let overrides of a resumed run change none of these sections, nor the seed.

    Raises:
        ConfigError: they do.
    """
    for section in sections:
        if getattr(config, section) != getattr(saved, section):
            raise ConfigError(f"--set {section}…: a resumed run keeps its {section}; start a new run to change it")
    if config.train.seed != saved.train.seed:
        raise ConfigError("--set train.seed: a resumed run keeps its seed; start a new run to change it")


@dataclass
class Stop:
    """Whether a signal has asked to stop: its number, or None."""

    number: int | None = None


@contextmanager
def stop_signals(
    say: Callable[[str], None], words: str = "stopping after this rollout, with a checkpoint"
) -> Iterator[Stop]:
    """Turn the first SIGINT or SIGTERM into a request to stop, and say so; a second one raises KeyboardInterrupt."""
    stop = Stop()

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.number is not None:
            raise KeyboardInterrupt
        stop.number = number
        try:
            say(f"{words}; once more to quit at once")
        except RuntimeError:  # the signal came in the middle of another write to the same stream
            pass

    previous: dict[int, Any] = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            previous[number] = signal.signal(number, handle)
        except ValueError:  # not in the main thread: whoever runs us there handles signals
            break
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def deterministic_torch(wanted: bool) -> Iterator[None]:
    """Have torch use deterministic algorithms only, or not; then put the old setting back."""
    before = torch.are_deterministic_algorithms_enabled()
    if wanted:
        # Without it cuBLAS refuses to work deterministically; it is read when the GPU is first used.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(wanted)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


@contextmanager
def quiet_writer_threads() -> Iterator[None]:
    """No traceback from a thread that meets a full disk: TensorBoard's raises it anew at the next write."""
    before = threading.excepthook

    def hook(arguments: threading.ExceptHookArgs) -> None:
        if not is_full_disk(arguments.exc_value):
            before(arguments)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before


@contextmanager
def full_disk_in_one_line(run: RunFolder) -> Iterator[None]:
    """Around everything, and not where files are written: closing a log after an error may fail once more."""
    try:
        with quiet_writer_threads():
            yield
    except OSError as error:
        if not is_full_disk(error):
            raise
        raise CheckpointError(
            f"{run.path}: cannot be written ({error.strerror}); {run.resume.standing()}; "
            f"free some space and run again with --resume {run.path}"
        ) from error
