"""Threads that share the worlds of a step: they sleep in between, and a fork finds new ones.

Numba's own threads (OpenMP where it is there) turn round and round while they wait for each other, which makes a step
ten times slower where another process wants a core too: a learner's, or a second worker of the tests.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable

Work = Callable[[int], None]


class Crew:
    """Helpers of the calling thread. One call runs at a time; another thread's call meanwhile does its work alone."""

    def __init__(self) -> None:
        self._busy = threading.Lock()
        self._helpers: list[_Helper] = []
        self._process = os.getpid()

    def run(self, work: Work, parts: int, threads: int) -> None:
        """Call `work` once with each of 0 … `parts` - 1, shared by up to `threads` threads, the caller's among them.

        Raises:
            Exception: the first that `work` raised in any of them.
        """
        if threads < 2 or parts < 2 or not self._busy.acquire(blocking=False):
            for part in range(parts):
                work(part)
            return
        try:
            self._run(work, parts, min(threads, parts) - 1)
        finally:
            self._busy.release()

    def _run(self, work: Work, parts: int, helpers: int) -> None:
        if self._process != os.getpid():  # forked: the threads stayed behind
            self._helpers, self._process = [], os.getpid()
        while len(self._helpers) < helpers:
            self._helpers.append(_Helper())
        left = itertools.count()

        def share() -> None:
            while (part := next(left)) < parts:
                work(part)

        called = self._helpers[:helpers]
        for helper in called:
            helper.begin(share)
        try:
            share()
        finally:
            errors = [helper.finish() for helper in called]
        for error in errors:
            if error is not None:
                raise error


class _Helper:
    """A thread that sleeps until it has something to do."""

    def __init__(self) -> None:
        self._begun, self._done = threading.Lock(), threading.Lock()  # held: what they tell of is still to come
        self._begun.acquire()
        self._done.acquire()
        self._share: Callable[[], None] = lambda: None
        self._error: BaseException | None = None
        threading.Thread(target=self._serve, name="auralnav-dogfight", daemon=True).start()

    def begin(self, share: Callable[[], None]) -> None:
        """Let the thread run `share`."""
        self._share, self._error = share, None
        self._begun.release()

    def finish(self) -> BaseException | None:
        """Wait until it has; what it raised, if anything."""
        self._done.acquire()
        return self._error

    def _serve(self) -> None:
        while True:
            self._begun.acquire()
            try:
                self._share()
            except BaseException as error:  # handed to the caller, who raises it
                self._error = error
            self._done.release()


CREW = Crew()
"""That of this process."""
