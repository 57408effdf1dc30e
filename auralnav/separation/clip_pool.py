"""The dry sounds that a separator is trained and validated with: instances of the procedural classes in one array.

The instances are disjoint by seed: training hears the soundbank's own training instances first and then more of the
kind, validation others, and neither ever hears those of the soundbank's test split, which evaluation keeps.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from auralnav.envs.acoustics.clips import ClipRef
from auralnav.envs.acoustics.soundbank import ProceduralBank
from auralnav.envs.acoustics.sounds import CLASSES, TEST_SEEDS, TRAIN_SEEDS
from auralnav.files import atomic_write

CLIP_SECONDS = 3.0

MORE_TRAIN_SEEDS = range(10_000, 11_000)
"""Instances that training hears after those of the soundbank's training split."""

VALIDATION_SEEDS = range(5_000, 5_016)
"""Instances that choose the best weights of a training, and are heard by no other part of it."""

assert not set(TEST_SEEDS) & {*TRAIN_SEEDS, *MORE_TRAIN_SEEDS, *VALIDATION_SEEDS}


def training_seeds(instances: int) -> list[int]:
    """Seeds of the instances of each class that a training with so many of them hears."""
    return [*TRAIN_SEEDS, *MORE_TRAIN_SEEDS][:instances]


def clip_pool(
    seeds: Sequence[int],
    sample_rate: int,
    folder: Path | None = None,
    report: Callable[[int], None] = lambda clips: None,
) -> np.ndarray:
    """Loops of RMS 1 of every class, from the cache in `folder` or synthesised (and put there).

    Args:
        seeds: instances of each class.
        sample_rate: Hz.
        folder: where pools are kept, None for nowhere.
        report: told the number of clips done.

    Returns:
        float32 [len(CLASSES), len(seeds), CLIP_SECONDS · sample_rate], read-only.
    """
    bank = ProceduralBank(sample_rate, clip_seconds=CLIP_SECONDS)

    def synthesise() -> np.ndarray:
        pool = np.empty((len(CLASSES), len(seeds), round(CLIP_SECONDS * sample_rate)), dtype=np.float32)
        for i, name in enumerate(CLASSES):
            for j, seed in enumerate(seeds):
                pool[i, j] = bank.clip(ClipRef(name, seed))
                report(i * len(seeds) + j + 1)
        pool.flags.writeable = False
        return pool

    if folder is None:
        return synthesise()
    path = folder / f"clips-{zlib.crc32(repr((list(seeds), sample_rate)).encode()):08x}.npy"
    if not path.is_file():
        with atomic_write(path) as temporary:
            np.save(temporary, synthesise())
    return np.load(path, mmap_mode="r")
