"""What `auralnav bench separation` separates: sounds and rooms that no training and no validation has heard.

Sounds are those of the soundbank's test split. Rooms have seeds of 2^63 and more; a training's has fewer than 32 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from auralnav.envs.acoustics.clips import ClipRef
from auralnav.envs.acoustics.soundbank import FolderBank
from auralnav.envs.acoustics.sounds import CLASSES, TEST_SEEDS
from auralnav.errors import SoundError
from auralnav.separation.clip_pool import clip_pool
from auralnav.separation.mixtures import Draw
from auralnav.separation.validation import SECONDS, Kind, ValidationSet, mixture_set

CHUNK = 16
"""Mixtures made, and heard step by step, at a time."""

AUDIBLE = 0.1
"""Least RMS of an excerpt of a recording, whose RMS over active parts is 1: the pauses of speech are no source."""


@dataclass(frozen=True)
class Row:
    """Mixtures of a kind, and the SI-SDRi (SI-SDR of a source alone) in dB that is wanted of them."""

    kind: Kind
    goal: float | None = None


ROWS = (
    Row(Kind("2_anechoic", 2, 0.0), 15.0),
    Row(Kind("2_rt60_0.3", 2, 0.3), 8.0),
    Row(Kind("2_rt60_0.6", 2, 0.6)),
    Row(Kind("3_anechoic", 3, 0.0), 9.0),
    Row(Kind("3_rt60_0.3", 3, 0.3)),
    Row(Kind("3_rt60_0.6", 3, 0.6)),
    Row(Kind("2_noise", 2, 0.0, noise=True)),
    Row(Kind("1_anechoic", 1, 0.0), 20.0),
    Row(Kind("1_rt60_0.3", 1, 0.3), 20.0),
)
RECORDED = (Row(Kind("recorded_anechoic", 2, 0.0)), Row(Kind("recorded_rt60_0.3", 2, 0.3)))
"""Of the user's own recordings, on which nothing was ever trained."""

_PAIRS = 1_000  # the row's number
_ANECHOIC = Kind("pairs", 2, 0.0)


def room_seed(seed: int, row: int, chunk: int) -> int:
    """The seed of rooms that no training (seeds below 2^31) and no validation has.

    Args:
        seed: of the benchmark, below 2^31.
        row: whose rooms, below 2^16.
        chunk: of the row's mixtures, below 2^16.
    """
    return (1 << 63) + (seed << 32) + (row << 16) + chunk


class HeldOut:
    """Makes the mixtures; they follow from the arguments alone.

    Args:
        sample_rate: Hz.
        seed: below 2^31.
        recordings: a folder of sound files, of which all are used.

    Raises:
        SoundError: a rate that our sounds do not have, or a folder without two usable sounds.
    """

    def __init__(self, sample_rate: int, seed: int, recordings: Path | None = None) -> None:
        self._rate, self._seed = sample_rate, seed
        self._bank: FolderBank | None = None
        if recordings is not None:
            self._bank = FolderBank(recordings, sample_rate, split_fraction=0.0)
            if len(self._bank.refs) < 2:
                raise SoundError(f"{recordings} holds one usable sound: give at least two, which can be mixed")
        self._clips = clip_pool(TEST_SEEDS, sample_rate)

    @property
    def rows(self) -> tuple[Row, ...]:
        """Those that can be made: of recordings only with a folder."""
        return ROWS if self._bank is None else ROWS + RECORDED

    @property
    def recordings(self) -> int:
        """How many there are to mix."""
        return 0 if self._bank is None else len(self._bank.refs)

    def mixtures(self, row: Row, count: int) -> Iterator[ValidationSet]:
        """`count` mixtures of one of `rows`, some at a time."""
        for chunk, first in enumerate(range(0, count, CHUNK)):
            size = min(CHUNK, count - first)
            rooms = room_seed(self._seed, (ROWS + RECORDED).index(row), chunk)
            rng = np.random.default_rng([rooms, 0, 1])
            if row in RECORDED:
                yield self._recorded(row.kind, size, rooms, rng)
            else:
                adjust = self._other_instances(rng)
                yield mixture_set(row.kind, size, self._clips, self._rate, rooms, rng, adjust)

    def pairs(self, count: int) -> Iterator[ValidationSet]:
        """`count` anechoic mixtures of every two classes, a class with itself included."""
        every = [(a, b) for a in range(len(CLASSES)) for b in range(a, len(CLASSES))]
        classes = np.repeat(every, count, axis=0)
        for chunk, first in enumerate(range(0, len(classes), CHUNK)):
            rooms = room_seed(self._seed, _PAIRS, chunk)
            rng = np.random.default_rng([rooms, 0, 1])
            part = classes[first : first + CHUNK]
            adjust = self._other_instances(rng, part)
            yield mixture_set(_ANECHOIC, len(part), self._clips, self._rate, rooms, rng, adjust)

    def _other_instances(
        self, rng: np.random.Generator, classes: np.ndarray | None = None
    ) -> Callable[[Draw], None]:
        """Gives the sources of a mixture different instances: nothing tells a clip from itself."""

        def adjust(draw: Draw) -> None:
            if classes is not None:
                draw.sounds[:] = classes
            for instances in draw.instances:
                instances[:] = rng.permutation(self._clips.shape[1])[: len(instances)]

        return adjust

    def _recorded(self, kind: Kind, count: int, rooms: int, rng: np.random.Generator) -> ValidationSet:
        """Mixtures of different recordings, each source an excerpt of its own."""
        assert self._bank is not None
        # An excerpt fills the response's memory too, so that nothing wraps around.
        length = round((SECONDS + max(kind.rt60, 1.0)) * self._rate)
        drawn: list[np.ndarray] = []
        for _ in range(count):
            refs: list[ClipRef] = []
            while len(refs) < kind.active:
                ref = self._bank.draw(rng, [one.sound for one in refs])
                if ref not in refs:
                    refs.append(ref)
            drawn += [_excerpt(self._bank.clip(ref), length, self._rate, rng) for ref in refs]

        def adjust(draw: Draw) -> None:
            draw.sounds[:] = np.arange(len(drawn)).reshape(draw.sounds.shape)
            draw.instances[:] = 0
            draw.starts[:] = length - draw.samples

        return mixture_set(kind, count, np.stack(drawn)[:, None], self._rate, rooms, rng, adjust)


def _excerpt(clip: np.ndarray, length: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """`length` samples of an endless loop, the last SECONDS of them at a place where there is something to hear."""
    heard = round(SECONDS * sample_rate)
    power = np.cumsum(np.square(np.tile(clip, heard // len(clip) + 2), dtype=np.float64))
    level = np.sqrt((power[heard : heard + len(clip)] - power[: len(clip)]) / heard)
    starts = np.flatnonzero(level >= min(AUDIBLE, level.max()))
    start = int(starts[rng.integers(len(starts))]) + 1 - (length - heard)
    return np.take(clip, np.arange(start, start + length), mode="wrap")
