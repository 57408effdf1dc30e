"""The threads that share the worlds of a step."""

from __future__ import annotations

import multiprocessing
import threading

import numpy as np
import pytest
from dogfight_setups import brawl

from auralnav.envs.dogfight.crew import CREW, Crew


@pytest.mark.parametrize(("parts", "threads"), [(0, 2), (1, 3), (7, 1), (7, 2), (2, 5), (50, 3)])
def test_each_part_is_done_once(parts: int, threads: int) -> None:
    crew, done, who = Crew(), [], set()
    barrier = threading.Barrier(min(parts, threads)) if min(parts, threads) > 1 else None

    def work(part: int) -> None:
        if barrier is not None and part < barrier.parties:
            barrier.wait(10)  # so many threads are there at once
        done.append(part)
        who.add(threading.get_ident())

    for _ in range(3):
        done.clear()
        crew.run(work, parts, threads)
        assert sorted(done) == list(range(parts))
    assert len(who) <= max(threads, 1)


def test_an_error_in_a_thread_reaches_the_caller_and_the_crew_goes_on() -> None:
    crew = Crew()
    barrier = threading.Barrier(2)

    def fail(part: int) -> None:
        barrier.wait(10)
        if threading.current_thread().name == "auralnav-dogfight":
            raise ArithmeticError("of a helper")

    with pytest.raises(ArithmeticError, match="of a helper"):
        crew.run(fail, 2, 2)
    done: list[int] = []
    crew.run(done.append, 5, 2)
    assert sorted(done) == [0, 1, 2, 3, 4]


def test_two_callers_at_once_both_get_their_work_done() -> None:
    crew, inner = Crew(), []

    def work(part: int) -> None:
        crew.run(lambda k: inner.append((part, k)), 3, 2)  # the crew is busy with this very call

    crew.run(work, 4, 2)
    assert sorted(inner) == [(part, k) for part in range(4) for k in range(3)]


def _digest(connection) -> None:
    connection.send(_played())


def _played() -> bytes:
    world = brawl(100, seed=1, threads=2)
    world.command("pursuit")
    world.step(steps=10)
    return world.state.tobytes()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own() -> None:
    mine = _played()
    assert CREW._helpers
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    child = context.Process(target=_digest, args=(there,))
    child.start()
    assert here.poll(60), "the child waits for threads that it has not"
    assert np.array_equal(np.frombuffer(here.recv(), np.uint8), np.frombuffer(mine, np.uint8))
    child.join()
