"""What banks of sounds have in common: names of clips, the banks' face, and one cache a process."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from auralnav.errors import SoundError

Clip = NDArray[np.float32]


@dataclass(frozen=True, order=True)
class ClipRef:
    """Names one clip of a bank: its class and the instance within the class.

    `str(ref)` is a plain string for a state dict, and `ClipRef.parse` reads it back.
    """

    sound: str
    instance: int

    def __str__(self) -> str:
        return f"{self.sound}:{self.instance}"

    @classmethod
    def parse(cls, text: str) -> ClipRef:
        """Read what `str(ref)` wrote.

        Raises:
            SoundError: if `text` has no class or no instance number.
        """
        sound, _, instance = text.rpartition(":")
        if not sound or not instance.isdecimal():
            raise SoundError(f"{text!r} names no clip: write it as class:instance, such as siren:3")
        return cls(sound, int(instance))


class SoundBank(Protocol):
    """What an environment needs of a bank. Banks are picklable and use no randomness but the caller's."""

    @property
    def fs(self) -> int:
        """Sampling rate of every clip, in Hz."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the sound classes that `draw` may give."""
        ...

    @property
    def identity(self) -> Hashable:
        """Names the bank's clips: banks with the same identity give the same clip for a reference."""
        ...

    def draw(self, rng: np.random.Generator, exclude: Collection[str] = ()) -> ClipRef:
        """Draw a class (none of `exclude` while another is left), then an instance of it, each uniformly."""
        ...

    def clip(self, ref: ClipRef) -> Clip:
        """The loop [n] that `ref` names: float32, C-contiguous, level 1, shared and therefore read-only.

        Raises:
            SoundError: if the bank has no such clip.
        """
        ...


class ClipCache:
    """Clips of all banks of this process, the least recently used dropped beyond `max_bytes`."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes, self._bytes = max_bytes, 0
        self._clips: OrderedDict[Hashable, Clip] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Clip]) -> Clip:
        """The clip of `key`, made by `make` when it is not here."""
        with self._lock:
            if key in self._clips:
                self._clips.move_to_end(key)
                return self._clips[key]
        clip = make()  # outside the lock: two threads may make the same clip, and the first kept wins
        clip.flags.writeable = False
        with self._lock:
            if key not in self._clips:
                self._clips[key] = clip
                self._bytes += clip.nbytes
                while self._bytes > self._max_bytes and len(self._clips) > 1:
                    self._bytes -= self._clips.popitem(last=False)[1].nbytes
            return self._clips[key]


CLIPS = ClipCache(512 * 2**20)
"""The process's clips, so that many environments share the memory."""


def draw_clip(
    rng: np.random.Generator,
    classes: Sequence[str],
    instances: Callable[[str], Sequence[int]],
    exclude: Collection[str],
) -> ClipRef:
    """Draw as `SoundBank.draw` says, from `classes` and the instances that `instances(class)` gives."""
    left = [name for name in classes if name not in exclude] or classes
    name = left[int(rng.integers(len(left)))]
    choices = instances(name)
    return ClipRef(name, int(choices[int(rng.integers(len(choices)))]))
