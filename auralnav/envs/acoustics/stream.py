"""The streaming renderer: what two ears hear, block after block, while ears and sources move.

Each block is heard twice, through the responses of the pose before the step and of the pose after it, and
crossfaded over the first 20 ms; a source's clip runs on, so sound is continuous. Convolution is overlap-save in
the frequency domain. The early responses change with the pose, so they are transformed each step; they are short,
so a block is cut into a few segments with transforms to match, and only the first is also heard through the old
responses. The late tail does not change with the pose, so a source's tail sound repeats with its clip's loop: it is
made block by block in the first round and read from then on (see `tail_sound.py`). With a single image a source (no
reflections) a short FIR filter is faster.

Many rooms are rendered by one call of each kernel and transform, which hold no GIL: threads that each render a
share of the rooms then hardly wait for each other. A room's bits do not depend on how many share the call.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import fft as sfft

from auralnav.envs.acoustics.head import HeadModel
from auralnav.envs.acoustics.images import FRONT_GUARD, back_guard, draw_responses
from auralnav.envs.acoustics.loops import BlockedClip
from auralnav.envs.acoustics.playback import NEVER, KeptBlocks, Playback
from auralnav.envs.acoustics.stream_kernels import assemble, clear, limit_levels, mix, render_direct
from auralnav.envs.acoustics.tail_sound import TailSounds

CROSSFADE_SECONDS = 0.02

Images = tuple[np.ndarray, np.ndarray, np.ndarray]
Pose = tuple[float, float, float, float]


class StreamGroup:
    """Room for `rooms` streams that are rendered together; every array's first axis is the room.

    Args:
        rooms: R.
        sources: K, in every room.
        block: samples a step, N.
        head: head model (sets the sampling rate).
        early_samples: images that arrive at or after this sample are left out.
        direct_only: every source has one image only (no reflections, no tail): use the FIR path.
    """

    def __init__(
        self,
        rooms: int,
        sources: int,
        block: int,
        head: HeadModel,
        early_samples: int,
        direct_only: bool = False,
    ) -> None:
        self.rooms, self.sources, self.block, self.head = rooms, sources, block, head
        self.limit = early_samples
        self.direct = direct_only
        fade = min(round(CROSSFADE_SECONDS * head.fs), block)
        ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(fade) + 0.5) / fade)
        self.ramp = ramp.astype(np.float32)
        reach = early_samples + head.reach + FRONT_GUARD
        # What the table holds past these taps is below −120 dB.
        loudest = np.abs(head.table).max(axis=(0, 1))
        self.taps = -(-(1 + int(np.flatnonzero(loudest > 1e-6 * loudest.max())[-1])) // 8) * 8
        self.hop, self.n = _segments(block, reach, fade, sources)
        count = -(-block // self.hop)
        # The last segment ends with the block, over the one before it where the hop does not divide the block.
        self.starts = np.minimum(np.arange(count) * self.hop, block - self.hop)
        self.ends = tuple(int(start) + self.hop for start in self.starts)
        # Images write no further than this.
        self.drawn = FRONT_GUARD + reach + back_guard(head)
        width = self.drawn if direct_only else max(self.drawn, FRONT_GUARD + self.n)
        self.bins = self.n // 2 + 1
        shape = (rooms, sources, 2)
        # Responses start at FRONT_GUARD, with room for an image's taps at both ends. Where spectra are kept, they
        # are only scratch.
        self.responses = [np.zeros((*shape, width), dtype=np.float32)]
        self.responses.append(np.zeros_like(self.responses[0]) if direct_only else self.responses[0])
        self.firsts = [np.zeros(shape, dtype=np.int64) for _ in range(2)]
        spectrum = (0,) if direct_only else (*shape, self.bins)
        self.spectra = [np.zeros(spectrum, dtype=np.complex64) for _ in range(2)]
        self.played = Playback(rooms, sources, block)
        # What the mix reads of a block: its samples and those before it that are still heard, or their spectra.
        self.window = block + width
        if direct_only:
            self.heard = KeptBlocks(rooms, sources, (self.window,), np.float32)
        else:
            self.heard = KeptBlocks(rooms, sources, (count, self.bins), np.complex64)
        self.tails = TailSounds(rooms, sources, block)
        self.poses = np.zeros((rooms, 4))
        self.positions = np.zeros((rooms, 0, 3))
        self.gains = np.zeros((rooms, 0))
        self.owners = np.zeros((rooms, 0), dtype=np.int32)
        self.counts = np.zeros(rooms, dtype=np.int64)
        self.audio = np.zeros((rooms, 2, block), dtype=np.float32)

    def begin(
        self, room: int, clips: Sequence[BlockedClip], offsets: Sequence[int], tail: np.ndarray | None
    ) -> None:
        """Put clips and tails, float32 [K, 2, n], into a room, whatever was there before."""
        loops = [clip.blocks for clip in clips]
        # Blocks that a mute needs to empty the windows.
        rings = -(-self.window // self.block) - 1 if self.direct else -(-(self.n - self.ends[0]) // self.block)
        self.played.begin(room, clips, offsets)
        self.heard.begin(room, loops, rings)
        self.tails.begin(room, tail, loops)

    def render(self, rooms: np.ndarray) -> None:
        """Render the next block of the rooms (int64 [r]), heard while the ears go to `poses`, into `audio`."""
        self.played.indices[rooms] += 1
        self.hear(rooms)
        self.responses.reverse()
        self.spectra.reverse()
        self.firsts.reverse()
        if len(rooms) < self.rooms:
            # The rooms that stand still keep what they have: their new and old responses change places back.
            self._swap_back(np.setdiff1d(np.arange(self.rooms), rooms))
        self.draw(0, rooms)
        self.mix(rooms, 0, self.sources, self.audio)

    def hear(self, rooms: np.ndarray) -> None:
        """Have the newest blocks of what the rooms' sources play, and of their tails, at hand."""
        played, heard = self.played, self.heard
        for room, k in heard.go_on(rooms, played):
            index = int(played.indices[room])
            heard.blocks[room, k, heard.slots[room, k]] = (
                played.window(room, k, index, self.window)
                if self.direct
                else played.spectra(room, k, index, self.ends, self.n)
            )
        self.tails.go_on(rooms, played)

    def _swap_back(self, rest: np.ndarray) -> None:
        pairs = (self.responses, self.firsts) if self.direct else (self.spectra,)
        for new, old in pairs:
            new[rest], old[rest] = old[rest], new[rest]

    def settle(self, room: int) -> None:
        """Make the old responses of a room those of its new pose."""
        for new, old in (self.responses, self.firsts) if self.direct else (self.spectra,):
            old[room] = new[room]

    def draw(self, which: int, rooms: np.ndarray) -> None:
        """Responses of the rooms at their poses and images into the new (0) or the old (1) ones."""
        out = self.responses[which]
        clear(rooms, self.drawn, out)
        draw_responses(
            self.positions,
            self.gains,
            self.owners,
            self.counts,
            self.poses,
            rooms,
            self.head,
            self.limit,
            out,
            self.firsts[which],
        )
        if self.direct:
            return
        view = out[..., FRONT_GUARD : FRONT_GUARD + self.n]
        if len(rooms) == self.rooms:
            self.spectra[which] = sfft.rfft(view)
        else:
            self.spectra[which][rooms] = sfft.rfft(view[rooms])

    def mix(self, rooms: np.ndarray, first: int, last: int, out: np.ndarray) -> None:
        """Sound of sources `first` to `last` − 1 in the rooms; into float32 out [R, 2, N]."""
        if self.direct:
            render_direct(
                self.heard.blocks,
                self.heard.slots,
                self.responses[0],
                self.responses[1],
                self.firsts[0],
                self.firsts[1],
                self.taps,
                self.ramp,
                rooms,
                first,
                last,
                out,
            )
            return
        rows = 2 * (len(self.starts) + 1)
        # Transforms run four rows at a time: a single room's are filled up.
        total = np.empty((max(len(rooms) * rows, -(-rows // 4) * 4), self.bins), dtype=np.complex64)
        heard, tails = self.heard, self.tails.sounds
        mix(heard.blocks, heard.slots, self.spectra[0], self.spectra[1], rooms, first, last, total)
        signals = sfft.irfft(total, self.n)
        assemble(
            signals, self.starts, self.hop, self.ramp, tails.blocks, tails.slots, rooms, first, last, out
        )

    def source_images(self, rooms: np.ndarray) -> np.ndarray:
        """What each source alone put into the ears in the last block of the rooms (int64 [r]).

        Returns:
            float32 [r, K, 2, N].
        """
        images = np.empty((len(rooms), self.sources, 2, self.block), dtype=np.float32)
        scratch = np.empty_like(self.audio)
        for k in range(self.sources):
            self.mix(rooms, k, k + 1, scratch)
            images[:, k] = scratch[rooms]
        return images

    def limit_levels(self, rooms: np.ndarray) -> None:
        """Clip what `audio` holds for the rooms to [−1, 1]."""
        limit_levels(self.audio, rooms)

    def hold_images(self, count: int) -> None:
        """Make room for `count` image sources a room."""
        have = self.gains.shape[1]
        if count > have:
            more = ((0, 0), (0, count - have))
            self.positions = np.pad(self.positions, (*more, (0, 0)))
            self.gains = np.pad(self.gains, more)
            self.owners = np.pad(self.owners, more)


class BinauralStream:
    """Sources of one room heard by one head: a place in a group.

    Args:
        group: where its arrays live.
        room: its place there; whatever was there before is gone.
        clips: one looping clip a source, K of them.
        offsets: block of its clip that each source plays at step 0.
        tail: float32 [K, 2, n] late tail, or None.
    """

    def __init__(
        self,
        group: StreamGroup,
        room: int,
        clips: Sequence[BlockedClip],
        offsets: Sequence[int],
        tail: np.ndarray | None = None,
    ) -> None:
        self._group = group
        self._room = room
        self._only = np.array([room])
        self._images: Images | None = None
        group.begin(room, clips, offsets, tail)

    def start(self, images: Images, pose: Pose) -> np.ndarray:
        """Steady-state sound of block 0 at `pose`; float32 [2, block] in the group's `audio`."""
        self.advance(images, pose)
        self._group.draw(0, self._only)
        self._group.settle(self._room)
        self._hear(0)
        self._group.mix(self._only, 0, self._group.sources, self._group.audio)
        return self._group.audio[self._room]

    def resume(
        self,
        index: int,
        images: Images,
        pose: Pose,
        images_before: Images,
        pose_before: Pose,
        muted: Sequence[int | None],
    ) -> None:
        """Continue as if block `index` had just been rendered by a step from `pose_before` to `pose`.

        `muted`: the first silent block of each source, None for those that are on.
        """
        self._group.played.muted[self._room] = [NEVER if first is None else first for first in muted]
        self.advance(images_before, pose_before)
        self._group.draw(1, self._only)
        self.advance(images, pose)
        self._group.draw(0, self._only)
        self._hear(index)

    def advance(self, images: Images, pose: Pose) -> None:
        """Let the ears go to `pose` during the next block; the group's `render` makes its sound."""
        group, room = self._group, self._room
        group.poses[room] = pose
        if images is self._images:
            return
        self._images = images
        positions, gains, owners = images
        count = len(gains)
        group.hold_images(count)
        group.positions[room, :count] = positions
        group.gains[room, :count] = gains
        group.owners[room, :count] = owners
        group.counts[room] = count

    @property
    def index(self) -> int:
        """The newest block."""
        return int(self._group.played.indices[self._room])

    def mute(self, source: int) -> None:
        """Switch a source off from the next block on; its tail rings out."""
        muted = self._group.played.muted[self._room]
        muted[source] = min(muted[source], self.index + 1)

    def source_images(self) -> np.ndarray:
        """What each source alone put into the ears in the last block, float32 [K, 2, block]."""
        return self._group.source_images(self._only)[0]

    def _hear(self, index: int) -> None:
        self._group.played.indices[self._room] = index
        self._group.hear(self._only)


def _segments(block: int, reach: int, fade: int, sources: int) -> tuple[int, int]:
    """Length of a block's segments and of the transforms for responses of `reach` samples that cost least."""
    best, least = (block, 0), math.inf
    for count in range(1, max(block // fade, 1) + 1):
        hop = -(-block // count)
        n = sfft.next_fast_len(hop + reach, real=True)
        rows = 2 * sources + -(-2 * (count + 1) // 4) * 4
        # A complex product, with its reading, costs about as much as 8 butterflies.
        cost = n * (rows * math.log2(n) + 8 * sources * (count + 1))
        if cost < least:
            best, least = (hop, n), cost
    return best
