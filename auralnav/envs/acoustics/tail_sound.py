"""What the late tails of a group's rooms sound like, one block at a time.

A tail does not depend on the pose, so its sound repeats with the clip's loop. Each block of it is made once, by
overlap-save with the tail cut into parts of one block, and kept for the loops to come. Sources are kept apart, since
their loops differ in length and stop one by one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import fft as sfft

from auralnav.envs.acoustics.playback import KeptBlocks, Playback
from auralnav.envs.acoustics.stream_kernels import mix_tails


class TailSounds:
    """Tails of `rooms` × `sources`; every array's first axis is the room.

    Args:
        rooms: R.
        sources: K, in every room.
        block: samples a step, N.

    Attributes:
        sounds: what is kept: float32 [2, N] a block.
    """

    def __init__(self, rooms: int, sources: int, block: int) -> None:
        self.block = block
        self.sounds = KeptBlocks(rooms, sources, (2, block), np.float32)
        self._parts = np.zeros(rooms, dtype=np.int64)  # blocks that a room's tails last
        self._spectra = np.zeros((rooms, 0, sources, 2, block + 1), dtype=np.complex64)

    def begin(self, room: int, tail: np.ndarray | None, loops: Sequence[int]) -> None:
        """Forget a room: its tails are now `tail`, float32 [K, 2, n] or None, and its clips last `loops` blocks."""
        block = self.block
        parts = 0 if tail is None else max(-(-tail.shape[2] // block), 1)
        self._parts[room] = parts
        self.sounds.begin(room, loops, parts)
        if tail is None:
            return
        more = parts - self._spectra.shape[1]
        if more > 0:
            self._spectra = np.pad(self._spectra, ((0, 0), (0, more), (0, 0), (0, 0), (0, 0)))
        for part in range(parts):
            self._spectra[room, part] = sfft.rfft(tail[:, :, part * block : (part + 1) * block], 2 * block)

    def go_on(self, rooms: np.ndarray, played: Playback) -> None:
        """Have the sounds of the newest blocks of what is played in the rooms (int64 [r])."""
        missing = self.sounds.go_on(rooms, played)
        if not missing:
            return
        block, bins = self.block, self._spectra.shape[-1]
        heard = np.zeros((len(missing), self._spectra.shape[1], bins), dtype=np.complex64)
        for row, (room, source) in zip(heard, missing, strict=True):
            index = int(played.indices[room])
            for age in range(self._parts[room]):
                row[age] = played.spectra(room, source, index - age, (block,), 2 * block)[0]
        total = np.empty((len(missing), 2, bins), dtype=np.complex64)
        mix_tails(heard, self._spectra, np.array(missing), total)
        signals = sfft.irfft(total, 2 * block)
        for signal, (room, source) in zip(signals, missing, strict=True):
            self.sounds.blocks[room, source, self.sounds.slots[room, source]] = signal[:, block:]
