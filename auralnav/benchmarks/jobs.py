"""Commands of this package in processes of their own, some at a time; what was done is not done again."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from auralnav.agents.training_guards import Stop
from auralnav.errors import AuralNavError, ConfigError

POLL_SECONDS = 0.5
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
KEPT_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": "1000000000",
    "MALLOC_TRIM_THRESHOLD_": "4000000000",
    "MALLOC_TOP_PAD_": "67108864",
}
"""glibc keeps what is freed. A separator's layers fill megabytes and free them; to fetch those from the system anew
took a tenth of a training's time or more. Only for processes of one thread: with several it was slower."""


@dataclass(frozen=True)
class Job:
    """A piece of work that is done by one or more commands, one after another.

    Attributes:
        name: as shown.
        log: file to which its output is appended. While a process of the job runs, it is locked.
        next_command: arguments of `auralnav` for what is to be done next, judged by what is on the disk; None when
            all is done.
    """

    name: str
    log: Path
    next_command: Callable[[], list[str] | None]


def launch(arguments: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start `auralnav …` with one thread, deaf to the terminal's Ctrl-C, its output at the end of `log`.

    Raises:
        ConfigError: a process that writes there, perhaps left behind by a killed one, still runs.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as handle:
        try:
            # The lock belongs to the open file, which the process inherits: it holds as long as either lives.
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(f"{log}: another process still works on this; wait for it or end it") from error
        return subprocess.Popen(
            [sys.executable, "-m", "auralnav", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=handle,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **ONE_THREAD, **KEPT_MEMORY},
        )


def run_jobs(
    jobs: Sequence[Job], at_once: int, stop: Stop, say: Callable[[str], None], tick: Callable[[int, int], None]
) -> None:
    """Do all jobs, `at_once` processes at a time. A job that fails does not keep the others from being done.

    Args:
        jobs: in the order in which they begin.
        at_once: processes.
        stop: when it is set, the processes are asked to stop (SIGTERM) and waited for, and nothing new begins.
        say: called with a line when a job is done or has failed.
        tick: called twice a second with the number of jobs at work and of those that wait.

    Raises:
        AuralNavError: jobs have failed; the first one's last words are in the message.
        ConfigError: a process of an earlier call still works on one of the jobs.
    """
    waiting, failed = list(jobs), []
    running: list[tuple[Job, list[str], subprocess.Popen[bytes]]] = []
    asked = False
    try:
        while running or (waiting and stop.number is None):
            while waiting and len(running) < at_once and stop.number is None:
                job = waiting.pop(0)
                command = job.next_command()
                if command is not None:
                    running.append((job, command, launch(command, job.log)))
            if stop.number is not None and not asked:
                asked = True
                for _, _, process in running:
                    process.terminate()
            for entry in [entry for entry in running if entry[2].poll() is not None]:
                running.remove(entry)
                job, command, process = entry
                if stop.number is not None:
                    continue
                fault = None
                if process.returncode != 0:
                    fault = f"{_last_words(job.log)} (exit code {process.returncode}, {job.log})"
                elif (following := job.next_command()) is None:
                    say(f"done: {job.name}")
                elif following == command:
                    fault = f"`auralnav {' '.join(command)}` left its work undone; look into {job.log}"
                else:
                    running.append((job, following, launch(following, job.log)))
                if fault is not None:
                    failed.append(f"{job.name}: {fault}")
                    say(f"failed: {failed[-1]}")
            tick(len(running), len(waiting))
            time.sleep(POLL_SECONDS if running else 0.0)
    except KeyboardInterrupt:
        for _, _, process in running:
            process.kill()
        raise
    finally:
        for _, _, process in running:  # only where something was raised
            process.terminate()
            process.wait()
    if failed and stop.number is None:
        more = f" ({len(failed) - 1} more failed)" if len(failed) > 1 else ""
        raise AuralNavError(f"{failed[0]}{more}; give the same command again when it is mended, what is done stays")


def _last_words(log: Path) -> str:
    """The last line of a log, without the word error."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    return next((line.removeprefix("error: ") for line in reversed(lines) if line), "said nothing")
