"""Processes side by side: limits, failures, stopping, and nobody works twice on the same thing."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from auralnav.agents.training_guards import Stop
from auralnav.benchmarks import jobs
from auralnav.benchmarks.jobs import Job, run_jobs
from auralnav.errors import AuralNavError, ConfigError

WAITS = """
import signal, sys, time
signal.signal(15, lambda *_: sys.exit(143))
print('ready', flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def python_for_auralnav(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands are Python text instead of arguments of `auralnav`, so that a process takes milliseconds."""
    popen = subprocess.Popen

    def python(command: list[str], **rest: Any) -> subprocess.Popen[bytes]:
        return popen([sys.executable, "-c", *command[3:]], **rest)

    monkeypatch.setattr(jobs.subprocess, "Popen", python)
    monkeypatch.setattr(jobs, "POLL_SECONDS", 0.02)


def job(folder: Path, name: str, *texts: str) -> Job:
    """A job whose commands are done when they have written their number."""

    def next_command() -> list[str] | None:
        done = (folder / name).read_text().splitlines() if (folder / name).exists() else []
        if len(done) == len(texts):
            return None
        mark = f"open({str(folder / name)!r}, 'a').write('done\\n')"
        return [f"{texts[len(done)]}\n{mark}"]

    return Job(name, folder / "logs" / f"{name}.txt", next_command)


def run(all_jobs: list[Job], at_once: int = 2, stop: Stop | None = None) -> tuple[list[str], list[int]]:
    said: list[str] = []
    counts: list[int] = []
    run_jobs(all_jobs, at_once, stop or Stop(), said.append, lambda running, waiting: counts.append(running))
    return said, counts


def test_jobs_do_their_commands_in_order_and_no_more_run_than_asked_for(tmp_path: Path):
    all_jobs = [job(tmp_path, f"job{i}", "print('first')", "print('second')") for i in range(4)]
    said, counts = run(all_jobs)
    assert sorted(said) == [f"done: job{i}" for i in range(4)] and max(counts) == 2
    assert (tmp_path / "logs/job3.txt").read_text() == "first\nsecond\n"
    assert run(all_jobs)[0] == [], "all is done already"


def test_a_failure_is_told_in_its_own_words_and_the_others_are_done(tmp_path: Path):
    bad = job(tmp_path, "bad", "import sys; sys.exit('error: the disk is full')")
    with pytest.raises(AuralNavError, match=r"^bad: the disk is full \(exit code 1, .*bad\.txt\)") as caught:
        run([bad, job(tmp_path, "good", "print(1)")], at_once=1)
    assert "\n" not in str(caught.value) and "what is done stays" in str(caught.value)
    assert (tmp_path / "good").exists()


def test_a_command_that_succeeds_and_does_nothing_is_not_repeated_for_ever(tmp_path: Path):
    idle = Job("idle", tmp_path / "idle.txt", lambda: ["pass"])
    with pytest.raises(AuralNavError, match=r"^idle: `auralnav pass` left its work undone; .*idle\.txt") as caught:
        run([idle, job(tmp_path, "good", "print(1)")], at_once=1)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "good").exists()


def test_stopping_asks_the_processes_and_begins_nothing_new(tmp_path: Path):
    stop, said = Stop(), []

    def tick(running: int, waiting: int) -> None:
        log = tmp_path / "logs/long.txt"
        if log.is_file() and "ready" in log.read_text():
            stop.number = 15

    began = time.monotonic()
    run_jobs([job(tmp_path, "long", WAITS), job(tmp_path, "later", "print(1)")], 1, stop, said.append, tick)
    assert time.monotonic() - began < 30 and said == []
    assert not (tmp_path / "later").exists() and not (tmp_path / "long").exists()


def test_what_a_killed_call_left_running_is_not_done_twice(tmp_path: Path):
    left = jobs.launch([WAITS], tmp_path / "logs/long.txt")
    try:
        with pytest.raises(ConfigError, match=r"long\.txt: another process still works on this"):
            run([job(tmp_path, "long", "print(1)")])
    finally:
        left.kill()
        left.wait()
    assert run([job(tmp_path, "long", "print(1)")])[0] == ["done: long"]
