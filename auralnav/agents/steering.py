"""GCC-PHAT steered over azimuths: how well each direction explains the phases between two ears.

Plain GCC-PHAT is a function of delay. Here each azimuth has the phases that a head model predicts for it
(a delay, and for the sphere also the phase of its shadow filters), and the normalised cross-spectrum is
correlated with them; without a head this is exactly GCC-PHAT read at τ(azimuth) = d sin(azimuth) / c.

Two weights make it hold in rooms. Onsets count most, for the direct sound comes first (the precedence effect:
a bin that has just risen above its own recent past is not yet covered by reflections). And high frequencies,
whose phase turns round several times between the ears, count less.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from auralnav.envs.acoustics.head import ear_responses


def interaural_phase(azimuth: np.ndarray, frequency: np.ndarray, head: str, fs: int) -> np.ndarray:
    """Phase of left over right that a head model predicts, radians, float64 [A, F].

    Args:
        azimuth: radians from straight ahead, positive to the left, [A].
        frequency: Hz [F].
        head: "none": two points, delay d sin(azimuth) / c; "sphere": Woodworth's delays and the phase of
            Brown and Duda's head shadow.
        fs: samples a second, which the shadow filter depends on.

    Raises:
        ConfigError: another head.
    """
    delay, response = ear_responses(azimuth, frequency, head, fs)
    shadow = np.angle(response)
    return (delay[1] - delay[0])[:, None] * (2.0 * np.pi * frequency) + shadow[0] - shadow[1]


@dataclass(frozen=True, eq=False)
class Steering:
    """Steered response of two-ear sound over a grid of azimuths.

    Args:
        fs: samples a second.
        head: "none" or "sphere".
        azimuths: number of azimuths over the full circle; index k is k · 360° / azimuths, counter-clockwise.
        frame_seconds: length of an analysis frame (Hann, a quarter apart).
        low_hz: lower end of the band used.
        high_hz: its upper end.
        knee_hz: weights fall as 1 / (1 + (f / knee)²).
        floor_db: time-frequency bins this far below the loudest carry no weight.
        recent_seconds: decay of a bin's recent past.
        onset_power: how strictly only onsets count; 0 counts all alike.

    Raises:
        ConfigError: an unknown head.
    """

    fs: int = 16_000
    head: str = "sphere"
    azimuths: int = 120
    frame_seconds: float = 0.032
    low_hz: float = 120.0
    high_hz: float = 7_500.0
    knee_hz: float = 2_500.0
    floor_db: float = 60.0
    recent_seconds: float = 0.045
    onset_power: float = 6.0
    frame: int = field(init=False, repr=False)
    _spectral: np.ndarray = field(init=False, repr=False)
    _band: slice = field(init=False, repr=False)
    _template: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "frame", 4 * round(self.frame_seconds * self.fs / 4))
        frequency = np.fft.rfftfreq(2 * self.frame, 1.0 / self.fs)
        first, last = np.searchsorted(frequency, [self.low_hz, min(self.high_hz, 0.48 * self.fs)])
        object.__setattr__(self, "_band", slice(int(first), int(last)))
        band = frequency[first:last]
        object.__setattr__(self, "_spectral", (1.0 / (1.0 + (band / self.knee_hz) ** 2)).astype(np.float32))
        azimuth = np.arange(self.azimuths) * (2.0 * np.pi / self.azimuths)
        phase = interaural_phase(azimuth, band, self.head, self.fs)
        object.__setattr__(self, "_template", np.exp(-1j * phase).astype(np.complex64))

    def response(self, audio: np.ndarray) -> np.ndarray | None:
        """Mean cosine between measured and predicted interaural phase at each azimuth.

        Args:
            audio: float [2, n], left ear first.

        Returns:
            float32 [azimuths] in −1..1 (1 = every phase explained), or None for silence.
        """
        hop = self.frame // 4
        samples = np.asarray(audio, np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(samples, self.frame, axis=1)[:, ::hop]
        spectra = np.fft.rfft(windows * np.hanning(self.frame).astype(np.float32), 2 * self.frame, axis=-1)
        left, right = spectra[0][:, self._band], spectra[1][:, self._band]
        cross = left * np.conj(right)
        size = np.abs(cross)
        peak = float(size.max(initial=0.0))
        if peak < 1e-9:
            return None
        # A soft gate: bins near the noise floor fade out instead of voting at full strength.
        weight = size / (size + peak * 10.0 ** (-self.floor_db / 10.0)) * self._spectral
        weight *= self._onsets(np.square(np.abs(left)) + np.square(np.abs(right)), hop)
        unit = (cross / np.maximum(size, 1e-20) * weight).sum(axis=0)
        total = max(float(weight.sum()), 1e-20)
        return ((self._template @ unit.astype(np.complex64)).real / total).astype(np.float32)

    def _onsets(self, power: np.ndarray, hop: int) -> np.ndarray:
        """Weights [T, F] near 1 where the power [T, F] has risen above its own recent past."""
        decay = np.exp(-hop / (self.fs * self.recent_seconds))
        past = np.empty_like(power)
        past[0] = power[0]
        for t in range(1, len(power)):
            past[t] = np.maximum(power[t - 1], past[t - 1] * decay)
        return (power / (power + past + 1e-20)) ** self.onset_power
