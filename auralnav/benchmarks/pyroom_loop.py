"""The reference: the same acoustic work done with pyroomacoustics, as well as its interface allows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from scipy import fft

FRACTIONAL_DELAY = (
    40  # samples that pyroomacoustics' fractional-delay filters (81 taps) put before each response
)
EAR_OFFSET = 0.09  # m from the head's centre
CROSSFADE_SECONDS = 0.02


@contextmanager
def pyroomacoustics_settings(high_pass: bool) -> Iterator[Any]:
    """Yield pyroomacoustics on one thread, with or without its high-pass; then put the old settings back."""
    import pyroomacoustics as pra

    names = ("num_threads", "rir_hpf_enable")
    before = {name: pra.constants.get(name) for name in names}
    pra.constants.set("num_threads", 1)
    pra.constants.set("rir_hpf_enable", high_pass)
    try:
        yield pra
    finally:
        for name, value in before.items():
            pra.constants.set(name, value)


def build_room(
    pra: Any, size: np.ndarray, sources: np.ndarray, mics: np.ndarray, reflection: float, order: int, fs: int
) -> Any:
    """A shoebox of `size` [3] m with `sources` [S, 3] m, `mics` [M, 3] m and one amplitude `reflection`."""
    room = pra.ShoeBox(size, fs=fs, materials=pra.Material(1.0 - reflection**2), max_order=order)
    for place in sources:
        room.add_source(place)
    room.add_microphone_array(np.ascontiguousarray(mics.T))
    return room


def responses(room: Any, length: int) -> np.ndarray:
    """Image sources and responses of `room`, as float32 [S, M, length], without the filters' delay.

    pyroomacoustics gives 1/d where the physical response has 1/(4πd); this is put right here.
    """
    room.image_source_model()
    room.compute_rir()
    out = np.zeros((len(room.sources), room.mic_array.M, length), dtype=np.float32)
    for m, row in enumerate(room.rir):
        for s, response in enumerate(row):
            kept = response[FRACTIONAL_DELAY : FRACTIONAL_DELAY + length]
            out[s, m, : kept.size] = kept
    out *= np.float32(1.0 / (4.0 * math.pi))
    return out


class PyroomacousticsLoop:
    """Two ears walk through a shoebox room; each step renders one block with pyroomacoustics.

    A step moves the ears, builds the room at the new pose, takes image sources and responses, convolves the
    block of each clip with the old and the new response, crossfades over 20 ms and clips. There is no head
    and no late tail, so this does less than the environment does. Spectra of the old responses are kept from
    the step before, as the environment does it.

    Args:
        size: [3] m.
        sources: [S, 3] m.
        reflection: amplitude reflection coefficient of every wall.
        max_order: highest number of reflections.
        fs: sampling rate, Hz.
        step_samples: samples a step.
        clips: float32 [S, n] dry sound, repeated without end.
    """

    def __init__(
        self,
        size: np.ndarray,
        sources: np.ndarray,
        reflection: float,
        max_order: int,
        fs: int,
        step_samples: int,
        clips: np.ndarray,
    ) -> None:
        self.size = np.asarray(size, dtype=np.float64)
        self.sources = np.asarray(sources, dtype=np.float64)
        self.reflection = reflection
        self.max_order = max_order
        self.fs = fs
        self.step_samples = step_samples
        self.clips = clips
        self.length = math.ceil((max_order + 1) * float(np.linalg.norm(self.size)) / 343.0 * fs) + 81
        self.n_fft = fft.next_fast_len(step_samples + self.length - 1, real=True)
        ramp = np.arange(1, round(CROSSFADE_SECONDS * fs) + 1) / round(CROSSFADE_SECONDS * fs)
        self.fade = np.ones(step_samples, dtype=np.float32)
        self.fade[: ramp.size] = ramp
        self.position = self.size / 2.0
        self.heading = 0.0
        self.cursor = 0
        self.spectra = self._spectra()

    def step(self, action: int) -> np.ndarray:
        """Move (0 forward, 1 back, 2 left, 3 right), return what the ears hear: float32 [2, step_samples]."""
        self._move(action)
        old, self.spectra = self.spectra, self._spectra()
        # The block and what came before it, as far as the response reaches.
        history = (
            np.arange(self.cursor - self.length + 1, self.cursor + self.step_samples) % self.clips.shape[1]
        )
        self.cursor += self.step_samples
        dry = np.asarray(fft.rfft(self.clips[:, history], self.n_fft))
        mixed = np.concatenate(
            [np.einsum("sf,smf->mf", dry, old), np.einsum("sf,smf->mf", dry, self.spectra)]
        )
        wet = np.asarray(fft.irfft(mixed, self.n_fft))[
            :, self.length - 1 : self.length - 1 + self.step_samples
        ]
        out = wet[:2] + self.fade * (wet[2:] - wet[:2])
        return np.clip(out, -1.0, 1.0).astype(np.float32)

    def _move(self, action: int) -> None:
        """0.5 m or 30° a step; a step that would leave the room is not taken."""
        if action >= 2:
            self.heading += math.radians(30.0 if action == 2 else -30.0)
            return
        reach = 0.5 if action == 0 else -0.5
        goal = self.position + reach * np.array([math.cos(self.heading), math.sin(self.heading), 0.0])
        if (goal[:2] > 0.2).all() and (goal[:2] < self.size[:2] - 0.2).all():
            self.position = goal

    def ears(self) -> np.ndarray:
        """[2, 3] m: left ear, right ear."""
        left = np.array([-math.sin(self.heading), math.cos(self.heading), 0.0])
        return self.position + EAR_OFFSET * np.array([left, -left])

    def _spectra(self) -> np.ndarray:
        """complex64 [S, 2, F] of the responses at the current pose."""
        with pyroomacoustics_settings(high_pass=False) as pra:
            room = build_room(
                pra, self.size, self.sources, self.ears(), self.reflection, self.max_order, self.fs
            )
            return np.asarray(fft.rfft(responses(room, self.length), self.n_fft))
