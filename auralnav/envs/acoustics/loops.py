"""Looping clips cut into the blocks of an environment step, with their spectra computed once a process."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

import numpy as np
from scipy import fft as sfft

from auralnav.errors import SoundError

REFERENCE_RMS = 10 ** (-26 / 20)
"""RMS at 1 m in the free field: −26 dBFS."""

SOURCE_GAIN = REFERENCE_RMS * 4 * math.pi
"""Amplitude of a clip of RMS 1, so that 1/(4π · 1 m) gives REFERENCE_RMS."""

_JOIN_SECONDS = 0.02
_CACHE_BYTES = 256 * 2**20


def fit_loop(samples: np.ndarray, block: int, fs: int) -> np.ndarray:
    """A loop of a whole number of blocks: the clip repeated when short, shortened with a crossfade otherwise.

    Args:
        samples: [n] a clip whose end joins its start.
        block: samples a step.
        fs: Hz.

    Returns:
        float32 [m · block], m >= 1.
    """
    if len(samples) == 0:
        raise SoundError("a clip holds no samples; remove the empty file from the sound folder")
    if len(samples) % block == 0:
        return np.ascontiguousarray(samples, dtype=np.float32)
    fade = min(int(_JOIN_SECONDS * fs), block // 4)
    target = max(4, (len(samples) - fade) // block) * block
    repeats = math.ceil((target + fade) / len(samples))
    long = np.tile(np.asarray(samples, dtype=np.float32), repeats)
    loop = long[:target].copy()
    # The join: what would have followed the end fades out under the start.
    ramp = (np.arange(fade, dtype=np.float32) + 0.5) / max(fade, 1)
    loop[:fade] = ramp * loop[:fade] + (1 - ramp) * long[target : target + fade]
    return loop


class BlockedClip:
    """A looping clip by block index; the index runs over all integers.

    Args:
        samples: [n] clip of RMS 1 that loops.
        block: samples a step.
        fs: Hz.
    """

    def __init__(self, samples: np.ndarray, block: int, fs: int) -> None:
        self.loop = fit_loop(samples, block, fs) * np.float32(SOURCE_GAIN)
        self.block = block
        self.blocks = len(self.loop) // block
        self._spectra: dict[tuple[tuple[int, ...], int], np.ndarray] = {}
        self._unrolled = np.concatenate([self.loop, self.loop])

    def window(self, index: int, length: int) -> np.ndarray:
        """The `length` samples that end with block `index`, float32 [length] (a view where possible)."""
        end = (index % self.blocks + 1) * self.block
        while len(self._unrolled) - len(self.loop) < length:
            self._unrolled = np.concatenate([self._unrolled, self.loop])
        stop = len(self._unrolled) - len(self.loop) + end
        return self._unrolled[stop - length : stop]

    def spectra(self, index: int, ends: tuple[int, ...], n: int) -> np.ndarray:
        """The rffts of the windows of `n` samples that end `ends` samples after the start of block `index`.

        Args:
            index: block.
            ends: 0 to `block`, E of them.
            n: length of the transforms.

        Returns:
            complex64 [E, n // 2 + 1], kept for the next call.
        """
        spectra = self._spectra.get((ends, n))
        if spectra is None:
            long = [self.window(i, self.block + n) for i in range(self.blocks)]
            windows = np.array([[window[end : end + n] for end in ends] for window in long])
            spectra = sfft.rfft(windows).astype(np.complex64, copy=False)
            self._spectra[ends, n] = spectra
        return spectra[index % self.blocks]

    @property
    def nbytes(self) -> int:
        """Memory held, bytes."""
        return self._unrolled.nbytes + self.loop.nbytes + sum(s.nbytes for s in self._spectra.values())


_cache: OrderedDict[Hashable, BlockedClip] = OrderedDict()
_lock = threading.Lock()


def blocked_clip(key: Hashable, load: Callable[[], np.ndarray], block: int, fs: int) -> BlockedClip:
    """The clip `key` in blocks, from a process-wide cache that drops the longest unused beyond 256 MiB."""
    full_key = (key, block, fs)
    with _lock:
        clip = _cache.get(full_key)
        if clip is not None:
            _cache.move_to_end(full_key)
            return clip
    clip = BlockedClip(load(), block, fs)
    with _lock:
        clip = _cache.setdefault(full_key, clip)
        total = sum(entry.nbytes for entry in _cache.values())
        while total > _CACHE_BYTES and len(_cache) > 1:
            total -= _cache.popitem(last=False)[1].nbytes
    return clip
