"""A measured head from a SOFA file (AES69): impulse responses of two ears for each direction."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from auralnav.errors import MissingDependencyError, SoundError

LEAD_SECONDS = 2.5e-4
"""Kept before the earliest onset, so that no ringing before it is cut."""

KEEP_SECONDS = 5e-3
"""Length of a response: head, ear and shoulders; what follows is the measuring room or noise."""

_ONSET_DB = -20.0
_FADE_SECONDS = 1e-3


@dataclass(frozen=True, eq=False)
class HRTF:
    """Head-related impulse responses.

    Attributes:
        directions: float64 [M, 3] unit vectors in the head's frame, x forward, y left, z up.
        irs: float32 [M, 2, n], left ear first; they hold the interaural delay.
        fs: sampling rate, Hz.
    """

    directions: NDArray[np.float64]
    irs: NDArray[np.float32]
    fs: int

    @cached_property
    def _tree(self) -> cKDTree:
        return cKDTree(self.directions)

    def nearest(self, directions: ArrayLike) -> NDArray[np.int64]:
        """Index of the measured direction nearest to each of `directions` [..., 3]: int64 [...]."""
        wanted = np.asarray(directions, dtype=np.float64)
        length = np.linalg.norm(wanted, axis=-1, keepdims=True)
        return np.asarray(self._tree.query(wanted / np.maximum(length, 1e-12))[1], dtype=np.int64)


def load_sofa(path: str | Path, fs: int, normalise: bool = True) -> HRTF:
    """Read a SimpleFreeFieldHRIR file, resample it, and cut off the delay common to all its responses.

    Args:
        path: the file.
        fs: sampling rate wanted, Hz.
        normalise: scale to unit energy a response on average over directions and ears, as a head without
            losses has about; files differ in level by what their laboratory liked.

    Returns:
        The head, its responses LEAD_SECONDS + KEEP_SECONDS long.

    Raises:
        MissingDependencyError: h5py is not installed.
        SoundError: not a SOFA file of that convention, or one with missing, misshapen or broken data.
    """
    irs, places, rate, delays = _read(Path(path))
    length = np.linalg.norm(places, axis=1)
    if not (length > 0).all():
        raise SoundError(f"{path}: a source position is at the head's centre; the file is broken")
    irs = _delayed(irs, delays)
    resampled = _resample(irs, rate, fs)
    cut = _cut(resampled, fs)
    energy = float(np.square(cut).sum(axis=-1).mean())
    if not energy > 0.0:
        raise SoundError(f"{path}: all responses are silent; the file is broken")
    if normalise:
        cut = cut / math.sqrt(energy)
    return HRTF(places / length[:, None], np.ascontiguousarray(cut, dtype=np.float32), int(fs))


def _read(path: Path) -> tuple[NDArray, NDArray, float, NDArray]:
    """Responses [M, 2, N], positions [M, 3] cartesian, rate in Hz and delays [M, 2] in samples of a file."""
    try:
        import h5py
    except ImportError as error:
        raise MissingDependencyError("reading a SOFA file needs h5py; pip install h5py") from error
    if not path.is_file():
        raise SoundError(f"{path}: no such file; give the path of a SOFA file")
    try:
        with h5py.File(path, "r") as file:
            convention = _text(file.attrs.get("SOFAConventions", ""))
            if convention != "SimpleFreeFieldHRIR":
                raise SoundError(
                    f"{path}: its convention is {convention or 'missing'!r}; give a SimpleFreeFieldHRIR file"
                )
            irs = _array(path, file, "Data.IR")
            places = _array(path, file, "SourcePosition")
            rate = _array(path, file, "Data.SamplingRate").ravel()
            delays = _array(path, file, "Data.Delay") if "Data.Delay" in file else np.zeros((1, 2))
            spherical = _text(file["SourcePosition"].attrs.get("Type", "spherical")) == "spherical"
            ears = _array(path, file, "ReceiverPosition") if "ReceiverPosition" in file else None
    except OSError as error:
        reason = str(error).splitlines()[0]
        raise SoundError(f"{path}: not a readable SOFA (HDF5) file: {reason}") from error
    if irs.ndim != 3 or irs.shape[1] != 2 or 0 in irs.shape:
        raise SoundError(f"{path}: Data.IR has shape {irs.shape}; a head's is [directions, 2, samples]")
    if places.shape != (len(irs), 3):
        raise SoundError(f"{path}: SourcePosition has shape {places.shape}; expected [{len(irs)}, 3]")
    if rate.size != 1 or not rate[0] > 0:
        raise SoundError(f"{path}: Data.SamplingRate is {rate.tolist()}; expected one positive rate")
    if delays.ndim != 2 or delays.shape[1] != 2 or len(delays) not in (1, len(irs)):
        raise SoundError(f"{path}: Data.Delay has shape {delays.shape}; expected [1, 2] or [{len(irs)}, 2]")
    if spherical:
        places = _cartesian(places)
    if (
        ears is not None
        and ears.shape[:2] == (2, 3)
        and ears.reshape(2, -1)[0, 1] < ears.reshape(2, -1)[1, 1]
    ):
        irs, delays = irs[:, ::-1], delays[:, ::-1]  # the first receiver is the right ear
    return irs, places, float(rate[0]), np.broadcast_to(delays, (len(irs), 2))


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _array(path: Path, file: Any, name: str) -> NDArray[np.float64]:
    if name not in file:
        raise SoundError(f"{path}: {name} is missing; give a complete SimpleFreeFieldHRIR file")
    try:
        values = np.asarray(file[name], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise SoundError(f"{path}: {name} does not hold numbers; the file is broken") from error
    if not np.isfinite(values).all():
        raise SoundError(f"{path}: {name} holds values that are not finite; the file is broken")
    return values


def _cartesian(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Azimuth counter-clockwise from the front, elevation upwards (degrees), radius [M, 3] → x, y, z."""
    azimuth, elevation = np.deg2rad(places[:, 0]), np.deg2rad(places[:, 1])
    flat = np.cos(elevation)
    return places[:, 2:] * np.column_stack(
        [flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)]
    )


def _delayed(irs: NDArray[np.float64], delays: NDArray[np.float64]) -> NDArray[np.float64]:
    """Responses with the delays that the file lists apart, in samples, put in."""
    delays = delays - delays.min()  # the common part is cut off anyway
    if not delays.any():
        return irs
    n = irs.shape[-1] + math.ceil(delays.max()) + 16
    turns = np.exp(-2j * np.pi * np.arange(n // 2 + 1) / n * delays[..., None])
    return np.fft.irfft(np.fft.rfft(irs, n) * turns, n)


def _resample(irs: NDArray[np.float64], rate: float, fs: int) -> NDArray[np.float64]:
    """Responses at rate `fs` with the same frequency response, some silence before and after."""
    import soxr

    silence = math.ceil(2e-3 * rate)
    padded = np.pad(irs, ((0, 0), (0, 0), (silence, silence)))
    if rate == fs:
        return padded
    channels = padded.reshape(-1, padded.shape[-1]).T
    # A response sampled more coarsely has fewer, so larger, values.
    resampled = soxr.resample(np.ascontiguousarray(channels), rate, fs, quality="VHQ") * (rate / fs)
    return resampled.T.reshape(*irs.shape[:2], -1)


def _cut(irs: NDArray[np.float64], fs: int) -> NDArray[np.float64]:
    """The part from LEAD_SECONDS before the earliest onset, faded out at its end."""
    envelope = np.abs(irs)
    peaks = envelope.max(axis=-1, keepdims=True)
    sounding = (envelope >= peaks * 10.0 ** (_ONSET_DB / 20)) & (peaks > 1e-3 * peaks.max())
    onset = int(np.argmax(sounding.any(axis=(0, 1))))
    first = max(onset - math.ceil(LEAD_SECONDS * fs), 0)
    n = math.ceil((LEAD_SECONDS + KEEP_SECONDS) * fs)
    part = irs[..., first : first + n]
    part = np.pad(part, ((0, 0), (0, 0), (0, n - part.shape[-1])))
    fade = math.ceil(_FADE_SECONDS * fs)
    part[..., n - fade :] *= 0.5 + 0.5 * np.cos(np.pi * (np.arange(fade) + 0.5) / fade)
    return part
