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
        self._spectra: list[np.ndarray | None] = [None, None]
        self._firsts = [np.zeros((sources, 2), dtype=np.int64) for _ in range(2)]
        self._tails: list[np.ndarray] = []
        if tail is not None:
            self._template[:, :, FRONT_GUARD : FRONT_GUARD + min(block, tail.shape[2])] = tail[:, :, :block]
            for response in self._responses:
                response[:] = self._template
            for start in range(block, tail.shape[2], block):
                self._tails.append(sfft.rfft(tail[:, :, start : start + block], self._n))
        self._total = np.zeros((2, 2, self._n // 2 + 1), dtype=np.complex64)
        fade = min(round(CROSSFADE_SECONDS * head.fs), block)
        ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(fade) + 0.5) / fade)
        self._ramp = ramp.astype(np.float32)
        self._partial: dict[tuple[int, int], np.ndarray] = {}

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
        sources = range(len(self.clips)) if only is None else (only,)
        if self._direct:
            return self._render_direct(sources)
        new, old = self._spectra
        assert new is not None and old is not None
        # Rows: left and right through the new responses, then through the old; the tail is the same in both.
        total = self._total
        total[0] = 0
        for age, part in enumerate(self._tails, start=1):
            for k in sources:
                heard = self._clip_spectrum(k, self.index - age)
                if heard is not None:
                    _accumulate(total[0], heard, part[k])
        total[1] = total[0]
        for k in sources:
            heard = self._clip_spectrum(k, self.index)
            if heard is not None:
                _accumulate(total[0], heard, new[k])
                _accumulate(total[1], heard, old[k])
        signals = sfft.irfft(total.reshape(4, -1), self._n)
        out = signals[:2, self._n - self.block :].copy()
        fade = len(self._ramp)
        before = signals[2:, self._n - self.block : self._n - self.block + fade]
        out[:, :fade] = before + self._ramp * (out[:, :fade] - before)
        return out

    def _clip_spectrum(self, source: int, index: int) -> np.ndarray | None:
        """Spectrum of the window that ends with block `index` of a source, None when it is all silence."""
        muted = self.muted_from[source]
        clip = self.clips[source]
        position = index + self.offsets[source]
        if muted is None or index < muted:
            return clip.spectrum(position, self._n)
        if (index + 1 - muted) * self.block >= self._n:
            return None
        key = (source, index)
        if key not in self._partial:
            self._partial[key] = sfft.rfft(self._muted_window(source, index, self._n))
        return self._partial[key]

    def _muted_window(self, source: int, index: int, length: int) -> np.ndarray:
        """The last `length` samples up to the end of block `index`, silent from the muted block on."""
        window = self.clips[source].window(index + self.offsets[source], length).copy()
        muted = self.muted_from[source]
        assert muted is not None
        window[max(length - (index + 1 - muted) * self.block, 0) :] = 0.0
        return window

    def _render_direct(self, sources) -> np.ndarray:
        out = np.zeros((2, self.block), dtype=np.float32)
        fade = len(self._ramp)
        before = np.zeros((2, fade), dtype=np.float32)
        length = self.block + self._template.shape[2]
        taps = self.head.table.shape[2]
        for k in sources:
            muted = self.muted_from[k]
            if muted is not None and (self.index + 1 - muted) * self.block >= length:
                continue
            if muted is not None and self.index >= muted:
                window = self._muted_window(k, self.index, length)
            else:
                window = self.clips[k].window(self.index + self.offsets[k], length)
            start = length - self.block
            for slot, target in ((0, out), (1, before)):
                _fir(window, self._responses[slot][k], self._firsts[slot][k], taps, start, target)
        out[:, :fade] = before + self._ramp * (out[:, :fade] - before)
        return out


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _accumulate(total, heard, responses):
    """total[ear] += heard · responses[ear]; one row a loop, since LLVM vectorises complex rows only singly."""
    for ear in range(total.shape[0]):
        row = total[ear]
        response = responses[ear]
        for f in range(heard.shape[0]):
            row[f] += heard[f] * response[f]


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _fir(x, responses, firsts, taps, start, out):
    """Add the single image of a source: out[ear, i] += Σ_j h[j] · x[start − first + i − j].

    h are the `taps` (a multiple of 8) values of responses[ear] from firsts[ear] on, whose time is
    first = firsts[ear] − FRONT_GUARD; what would lie before time 0 is cut off.
    """
    n = out.shape[1]
    for ear in range(2):
        first = firsts[ear]
        y = out[ear]
        for j in range(max(first, FRONT_GUARD), first + taps, 8):
            h = responses[ear, j : j + 8]
            h0, h1, h2, h3, h4, h5, h6, h7 = h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7]
            b = start - (j - FRONT_GUARD)
            x0, x1, x2, x3 = x[b : b + n], x[b - 1 : b - 1 + n], x[b - 2 : b - 2 + n], x[b - 3 : b - 3 + n]
            x4, x5, x6, x7 = (
                x[b - 4 : b - 4 + n],
                x[b - 5 : b - 5 + n],
                x[b - 6 : b - 6 + n],
                x[b - 7 : b - 7 + n],
            )
            for i in range(n):
                y[i] += (
                    h0 * x0[i] + h1 * x1[i] + h2 * x2[i] + h3 * x3[i]
                    + h4 * x4[i] + h5 * x5[i] + h6 * x6[i] + h7 * x7[i]
                )  # fmt: skip
