"""The streaming renderer: what two ears hear, block after block, while ears and sources move.

Each block is heard twice, through the responses of the pose before the step and of the pose after it, and
crossfaded over the first 20 ms; a source's clip runs on, so sound is continuous. Convolution is overlap-save in
the frequency domain: clip spectra are cached, the pose-dependent early response is transformed each step, and the
pose-independent tail is split into parts of one block each, whose products with older clip spectra are added
before one inverse transform. With a single image a source (no reflections) a short FIR filter is faster.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit
from scipy import fft as sfft

from auralnav.envs.acoustics.head import HeadModel
from auralnav.envs.acoustics.images import FRONT_GUARD, back_guard, ear_responses
from auralnav.envs.acoustics.loops import BlockedClip

CROSSFADE_SECONDS = 0.02

Images = tuple[np.ndarray, np.ndarray, np.ndarray]
Pose = tuple[float, float, float, float]


class BinauralStream:
    """Sources of one room heard by one head.

    Args:
        block: samples a step, N.
        head: head model (sets the sampling rate).
        clips: one looping clip a source, K of them.
        offsets: block of its clip that each source plays at step 0.
        early_samples: images that arrive at or after this sample are left out.
        tail: float32 [K, 2, n] late tail, or None.
        direct_only: every source has one image only (no reflections): use the FIR path.
    """

    def __init__(
        self,
        block: int,
        head: HeadModel,
        clips: Sequence[BlockedClip],
        offsets: Sequence[int],
        early_samples: int,
        tail: np.ndarray | None = None,
        direct_only: bool = False,
    ) -> None:
        self.block = block
        self.head = head
        self.clips = list(clips)
        self.offsets = [int(o) for o in offsets]
        self.index = -1
        self.muted_from: list[int | None] = [None] * len(self.clips)
        self._limit = early_samples
        self._direct = direct_only and tail is None
        sources = len(self.clips)
        reach = early_samples + head.reach + FRONT_GUARD
        self._n = sfft.next_fast_len(max(2 * block, block + reach), real=True)
        width = reach if self._direct else self._n
        # Rows of responses: time 0 at FRONT_GUARD, room for an image's taps at both ends.
        shape = (sources, 2, FRONT_GUARD + width + back_guard(head))
        self._template = np.zeros(shape, dtype=np.float32)
        # Images write no further than this, so only this much of a response changes with the pose.
        self._drawn = min(shape[2], FRONT_GUARD + reach + back_guard(head))
        self._responses = [np.zeros(shape, dtype=np.float32) for _ in range(2)]
        self._firsts = [np.zeros((sources, 2), dtype=np.int64) for _ in range(2)]
        bins = self._n // 2 + 1
        parts = 1 if tail is None else max(1, -(-tail.shape[2] // block))
        self._tails = np.zeros((parts - 1, sources, 2, bins), dtype=np.complex64)
        if tail is not None:
            self._template[:, :, FRONT_GUARD : FRONT_GUARD + min(block, tail.shape[2])] = tail[:, :, :block]
            for response in self._responses:
                response[:] = self._template
            for part in range(1, parts):
                self._tails[part - 1] = sfft.rfft(tail[:, :, part * block : (part + 1) * block], self._n)
        # A ring of the clips' spectra, one slot a block of the response's length.
        self._heard = np.zeros((parts, sources, bins), dtype=np.complex64)
        self._heard_index = [-(2**62)] * parts
        self._windows = np.zeros((sources, block + shape[2]), dtype=np.float32)
        self._spectra = [np.zeros(0, dtype=np.complex64)] * 2
        self._total = np.zeros((2, 2, bins), dtype=np.complex64)
        fade = min(round(CROSSFADE_SECONDS * head.fs), block)
        ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(fade) + 0.5) / fade)
        self._ramp = ramp.astype(np.float32)

    def start(self, images: Images, pose: Pose, index: int = 0) -> np.ndarray:
        """Steady-state sound of block `index` at `pose`; float32 [2, block]."""
        self.index = index
        self._draw(1, images, pose)
        self._draw(0, images, pose)
        return self._render()

    def resume(
        self, index: int, images: Images, pose: Pose, images_before: Images, pose_before: Pose
    ) -> None:
        """Continue as if block `index` had just been rendered by a step from `pose_before` to `pose`."""
        self.index = index
        self._heard_index = [-(2**62)] * len(self._heard)
        self._draw(1, images_before, pose_before)
        self._draw(0, images, pose)

    def step(self, images: Images, pose: Pose) -> np.ndarray:
        """The next block while the ears go from the last pose to `pose`; float32 [2, block]."""
        self.index += 1
        self._responses.reverse()
        self._spectra.reverse()
        self._firsts.reverse()
        self._draw(0, images, pose)
        return self._render()

    def mute(self, source: int) -> None:
        """Switch a source off from the next block on; its tail rings out."""
        if self.muted_from[source] is None:
            self.muted_from[source] = self.index + 1

    def source_images(self) -> np.ndarray:
        """What each source alone put into the ears in the last block, float32 [K, 2, block]."""
        return np.stack([self._render(only=source) for source in range(len(self.clips))])

    def _draw(self, slot: int, images: Images, pose: Pose) -> None:
        """Response of all sources at `pose` into `slot` (0 new, 1 old)."""
        out = self._responses[slot]
        np.copyto(out[:, :, : self._drawn], self._template[:, :, : self._drawn])
        ear_responses(images, pose, self.head, out, self._limit, self._firsts[slot])
        if not self._direct:
            self._spectra[slot] = sfft.rfft(out[:, :, FRONT_GUARD : FRONT_GUARD + self._n])

    def _render(self, only: int | None = None) -> np.ndarray:
        first, last = (0, len(self.clips)) if only is None else (only, only + 1)
        out = np.empty((2, self.block), dtype=np.float32)
        if self._direct:
            length = self._windows.shape[1]
            for k in range(first, last):
                self._windows[k] = self._window(k, self.index, length)
            _render_direct(
                self._windows[first:last],
                self._responses[0][first:last],
                self._responses[1][first:last],
                self._firsts[0][first:last],
                self._firsts[1][first:last],
                self.head.table.shape[2],
                self._ramp,
                out,
            )
            return out
        parts = len(self._tails) + 1
        for age in range(parts):
            self._hear(self.index - age)
        new, old = self._spectra
        _mix(self._heard, self.index % parts, self._tails, new, old, first, last, self._total)
        signals = sfft.irfft(self._total.reshape(4, -1), self._n)
        _crossfade(signals, self._n - self.block, self._ramp, out)
        return out

    def _hear(self, index: int) -> None:
        """Put the clips' spectra of the windows that end with block `index` into the ring."""
        slot = index % len(self._heard)
        if self._heard_index[slot] == index:
            return
        self._heard_index[slot] = index
        for k, clip in enumerate(self.clips):
            muted = self.muted_from[k]
            if muted is None or index < muted:
                self._heard[slot, k] = clip.spectrum(index + self.offsets[k], self._n)
            elif (index + 1 - muted) * self.block < self._n:
                self._heard[slot, k] = sfft.rfft(self._window(k, index, self._n))
            else:
                self._heard[slot, k] = 0

    def _window(self, source: int, index: int, length: int) -> np.ndarray:
        """The last `length` samples of a source up to the end of block `index`, silent from its mute on."""
        window = self.clips[source].window(index + self.offsets[source], length)
        muted = self.muted_from[source]
        if muted is None or index < muted:
            return window
        window = window.copy()
        window[max(length - (index + 1 - muted) * self.block, 0) :] = 0.0
        return window


@njit(inline="always")
def _add_product(row, a, b):
    """Add a · b to row; one row a loop, since LLVM vectorises complex rows only singly."""
    for f in range(row.shape[0]):
        row[f] += a[f] * b[f]


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _mix(heard, slot, tails, new, old, first, last, total):
    """Spectra at the ears through the new responses, total[0], and through the old, total[1].

    heard [parts, K, bins] is a ring whose `slot` holds the newest block; tails [parts − 1, K, 2, bins] meet the older
    ones and are the same for both.
    """
    parts = heard.shape[0]
    total[0] = 0
    for age in range(1, parts):
        older = heard[(slot - age) % parts]
        for k in range(first, last):
            for ear in range(2):
                _add_product(total[0, ear], older[k], tails[age - 1, k, ear])
    total[1] = total[0]
    for k in range(first, last):
        for ear in range(2):
            _add_product(total[0, ear], heard[slot, k], new[k, ear])
            _add_product(total[1, ear], heard[slot, k], old[k, ear])


@njit(cache=True, fastmath=True, error_model="numpy")
def _crossfade(signals, start, ramp, out):
    """Rows 0 and 1 of `signals` from `start` on, faded in over rows 2 and 3."""
    for ear in range(2):
        after = signals[ear, start:]
        before = signals[2 + ear, start:]
        for i in range(ramp.shape[0]):
            out[ear, i] = before[i] + ramp[i] * (after[i] - before[i])
        for i in range(ramp.shape[0], out.shape[1]):
            out[ear, i] = after[i]


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _render_direct(windows, new, old, firsts_new, firsts_old, taps, ramp, out):
    """Sources with one image each: windows [K, length] through FIR filters, crossfaded, into out [2, block]."""
    block = out.shape[1]
    fade = ramp.shape[0]
    start = windows.shape[1] - block
    out[:] = np.float32(0)
    before = np.zeros((2, fade), dtype=np.float32)
    for k in range(windows.shape[0]):
        for ear in range(2):
            _fir(windows[k], new[k, ear], firsts_new[k, ear], taps, start, out[ear])
            _fir(windows[k], old[k, ear], firsts_old[k, ear], taps, start, before[ear])
    for ear in range(2):
        for i in range(fade):
            out[ear, i] = before[ear, i] + ramp[i] * (out[ear, i] - before[ear, i])


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _fir(x, response, first, taps, start, y):
    """Add one image: y[i] += Σ_j h[j] · x[start − j + i], h = response[FRONT_GUARD:], nonzero from `first` on.

    `taps` is a multiple of 8; what would lie before time 0 is cut off.
    """
    n = y.shape[0]
    for j in range(max(first, FRONT_GUARD), first + taps, 8):
        h = response[j : j + 8]
        h0, h1, h2, h3, h4, h5, h6, h7 = h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7]
        b = start - (j - FRONT_GUARD)
        x0, x1, x2, x3 = x[b : b + n], x[b - 1 : b - 1 + n], x[b - 2 : b - 2 + n], x[b - 3 : b - 3 + n]
        c = b - 4
        x4, x5, x6, x7 = x[c : c + n], x[c - 1 : c - 1 + n], x[c - 2 : c - 2 + n], x[c - 3 : c - 3 + n]
        for i in range(n):
            y[i] += (
                h0 * x0[i] + h1 * x1[i] + h2 * x2[i] + h3 * x3[i]
                + h4 * x4[i] + h5 * x5[i] + h6 * x6[i] + h7 * x7[i]
            )  # fmt: skip
