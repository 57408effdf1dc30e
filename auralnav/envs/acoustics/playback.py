"""What the looping clips of many rooms play, block after block, and where blocks that come back are kept."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit
from scipy import fft as sfft

from auralnav.envs.acoustics.loops import BlockedClip

KEPT = 16
"""Most blocks kept of a source; those of a longer loop are made anew each time."""

NEVER = 2**62
"""The block from which a source that is not switched off is silent."""


class Playback:
    """The clips of R rooms with K sources each, and which block of them is the newest.

    Args:
        rooms: R.
        sources: K.
        block: samples a block.

    Attributes:
        indices: int64 [R] newest block.
        muted: int64 [R, K] first silent block, NEVER while the source is on.
    """

    def __init__(self, rooms: int, sources: int, block: int) -> None:
        self.block = block
        self.indices = np.full(rooms, -1, dtype=np.int64)
        self.muted = np.full((rooms, sources), NEVER, dtype=np.int64)
        self._clips: list[list[BlockedClip]] = [[] for _ in range(rooms)]
        self._offsets: list[list[int]] = [[] for _ in range(rooms)]

    def begin(self, room: int, clips: Sequence[BlockedClip], offsets: Sequence[int]) -> None:
        """Give a room K clips and the block of each that is played at block 0."""
        self.indices[room] = -1
        self.muted[room] = NEVER
        self._clips[room] = list(clips)
        self._offsets[room] = [int(offset) for offset in offsets]

    def spectra(self, room: int, source: int, index: int, ends: tuple[int, ...], n: int) -> np.ndarray:
        """Spectra of the windows of `n` samples that end `ends` samples after the start of block `index`.

        Returns:
            complex64 [E, n // 2 + 1].
        """
        muted = self.muted[room, source]
        if index < muted:
            clip = self._clips[room][source]
            return clip.spectra(index + self._offsets[room][source], ends, n)
        if (index - muted) * self.block + ends[0] >= n:
            return np.zeros((len(ends), n // 2 + 1), dtype=np.complex64)
        window = self.window(room, source, index, self.block + n)
        return sfft.rfft(np.stack([window[end : end + n] for end in ends]))

    def window(self, room: int, source: int, index: int, length: int) -> np.ndarray:
        """The last `length` samples up to the end of block `index`, silent from the mute on; float32 [length]."""
        clip = self._clips[room][source]
        window = clip.window(index + self._offsets[room][source], length)
        muted = int(self.muted[room, source])
        if index < muted:
            return window
        window = window.copy()
        window[max(length - (index + 1 - muted) * self.block, 0) :] = 0.0
        return window


class KeptBlocks:
    """Something made of each block of the clips of R rooms × K sources, kept for the rounds of the loop to come.

    Args:
        rooms: R.
        sources: K.
        shape: of what is kept of a block.
        dtype: its type.

    Attributes:
        blocks: [R, K, S, *shape], S slots.
        slots: int64 [R, K] the slot of the newest block; −1: silence.
    """

    def __init__(self, rooms: int, sources: int, shape: tuple[int, ...], dtype: type) -> None:
        self.blocks = np.zeros((rooms, sources, 0, *shape), dtype=dtype)
        self.slots = np.full((rooms, sources), -1, dtype=np.int64)
        self._phases = np.full((rooms, sources, KEPT), -1, dtype=np.int64)
        self._loops = np.ones((rooms, sources), dtype=np.int64)
        self._rings = np.zeros(rooms, dtype=np.int64)

    def begin(self, room: int, loops: Sequence[int], rings: int) -> None:
        """Forget a room, whose clips now last `loops` blocks and are heard for `rings` blocks after a mute.

        0 rings: nothing is ever heard.
        """
        self.slots[room] = -1
        self._phases[room] = -1
        self._loops[room] = loops
        self._rings[room] = rings
        more = min(max(loops), KEPT) - self.blocks.shape[2]
        if rings and more > 0:
            self.blocks = np.concatenate(
                [self.blocks, np.zeros((*self.slots.shape, more, *self.blocks.shape[3:]), self.blocks.dtype)],
                axis=2,
            )

    def go_on(self, rooms: np.ndarray, played: Playback) -> list[list[int]]:
        """Find the slots of the newest blocks; those returned, as [room, source], must now be put there."""
        missing = find_slots(
            rooms,
            played.indices,
            played.muted,
            self._loops,
            self._rings,
            self.blocks.shape[2],
            self._phases,
            self.slots,
        )
        return missing.tolist() if len(missing) else []


@njit(cache=True)
def find_slots(rooms, indices, muted, loops, rings, count, phases, slots):
    """Set slots[room, k] and phases[room, k, slot] for the newest blocks; int64 [m, 2] rooms and sources to fill.

    A block's place in the loop (its phase) has one slot of `count`. What rings out after a mute does not come back,
    so its slot counts as empty.
    """
    missing = np.empty((rooms.shape[0] * slots.shape[1], 2), dtype=np.int64)
    used = 0
    for room in rooms:
        for k in range(slots.shape[1]):
            silent = indices[room] - muted[room, k]
            if silent >= rings[room] or rings[room] == 0:
                slots[room, k] = -1
                continue
            phase = indices[room] % loops[room, k]
            slot = phase % count
            slots[room, k] = slot
            if silent < 0 and phases[room, k, slot] == phase:
                continue
            phases[room, k, slot] = phase if silent < 0 else -1
            missing[used] = room, k
            used += 1
    return missing[:used]
