"""What the late tails of a group's rooms sound like, one block at a time.

A tail does not depend on the pose, so its sound repeats with the clip's loop. Each block of it is made once, by
overlap-save with the tail cut into parts of one block, and kept for the loops to come. Sources are kept apart, since
their loops differ in length and stop one by one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import fft as sfft

from auralnav.envs.acoustics.stream_kernels import mix_tails

_KEPT = 16
"""Blocks kept of a source; of a longer loop none is found again, and its tail costs a transform a step."""


class TailSounds:
    """Tails of `rooms` × `sources`; every array's first axis is the room.

    Args:
        rooms: R.
        sources: K, in every room.
        block: samples a step, N.
    """

    def __init__(self, rooms: int, sources: int, block: int) -> None:
        self.block = block
        self.parts = np.zeros(rooms, dtype=np.int64)
        """int64 [R] blocks that a room's tails last; 0: it has none."""
        self.slots = np.full((rooms, sources), -1, dtype=np.int64)
        """int64 [R, K] which of the `sounds` is the newest block's; −1: silence."""
        self.sounds = np.zeros((rooms, sources, 0, 2, block), dtype=np.float32)
        self._spectra = np.zeros((rooms, 0, sources, 2, block + 1), dtype=np.complex64)
        self._loops = np.ones((rooms, sources), dtype=np.int64)
        self._held: list[list[list[int]]] = [[[] for _ in range(sources)] for _ in range(rooms)]
        self._missing: list[tuple[int, int, int, list[np.ndarray]]] = []

    def begin(self, room: int, tail: np.ndarray | None, loops: Sequence[int]) -> None:
        """Forget a room: its tails are now `tail`, float32 [K, 2, n] or None, and its clips last `loops` blocks."""
        self.slots[room] = -1
        self._missing = [entry for entry in self._missing if entry[0] != room]
        if tail is None:
            self.parts[room] = 0
            return
        block = self.block
        parts = max(-(-tail.shape[2] // block), 1)
        self._loops[room] = loops
        self._hold(parts, min(max(loops), _KEPT))
        self.parts[room] = parts
        self._held[room] = [[-1] * self.sounds.shape[2] for _ in loops]
        for part in range(parts):
            self._spectra[room, part] = sfft.rfft(tail[:, :, part * block : (part + 1) * block], 2 * block)

    def wants(self, room: int, source: int, index: int, muted: int | None) -> bool:
        """Go on to block `index` of a source, which sounds up to block `muted`; whether `add` must follow."""
        parts = int(self.parts[room])
        if not parts or (muted is not None and index >= muted + parts):
            self.slots[room, source] = -1
            return False
        held = self._held[room][source]
        phase = index % int(self._loops[room, source])
        slot = phase % len(held)
        self.slots[room, source] = slot
        if muted is not None and index >= muted:
            held[slot] = -1  # it rings out
            return True
        if held[slot] == phase:
            return False
        held[slot] = phase
        return True

    def add(self, room: int, source: int, heard: list[np.ndarray]) -> None:
        """Have `make` make the newest block of a source from the spectra of its windows, the newest first."""
        self._missing.append((room, source, int(self.slots[room, source]), heard))

    def make(self) -> None:
        """Make the blocks that were added."""
        if not self._missing:
            return
        block, bins = self.block, self._spectra.shape[-1]
        rooms = np.array([entry[0] for entry in self._missing])
        sources = np.array([entry[1] for entry in self._missing])
        heard = np.zeros((len(rooms), self._spectra.shape[1], bins), dtype=np.complex64)
        for row, entry in zip(heard, self._missing, strict=True):
            for part, spectrum in enumerate(entry[3]):
                row[part] = spectrum[0]
        total = np.empty((len(rooms), 2, bins), dtype=np.complex64)
        mix_tails(heard, self._spectra, rooms, sources, total)
        signals = sfft.irfft(total, 2 * block)
        for signal, (room, source, slot, _) in zip(signals, self._missing, strict=True):
            self.sounds[room, source, slot] = signal[:, block:]
        self._missing.clear()

    def _hold(self, parts: int, blocks: int) -> None:
        """Make room for tails of `parts` blocks and for `blocks` of sound."""
        more = parts - self._spectra.shape[1]
        if more > 0:
            self._spectra = np.pad(self._spectra, ((0, 0), (0, more), (0, 0), (0, 0), (0, 0)))
        more = blocks - self.sounds.shape[2]
        if more > 0:
            self.sounds = np.pad(self.sounds, ((0, 0), (0, 0), (0, more), (0, 0), (0, 0)))
