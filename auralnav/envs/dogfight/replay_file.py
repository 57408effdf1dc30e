"""Replay files: an NPZ archive without pickles, small enough to keep every game.

A file holds `header`, UTF-8 JSON as uint8 (format, version, names, arena, settings, seed, winner, versions), and
one array of whole numbers for each array of a `Replay`, in the steps of `replay_steps`. What changes little from
frame to frame is stored as differences along the frames (`DIFFERENCED`), which deflate packs better. A game of
256 steps (1 024 ticks) with eight ships takes 17 to 27 kB with a frame a step and 32 to 49 kB with a frame a tick.
"""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
import zlib
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from auralnav.envs.dogfight.replay import Arena, Bullets, Replay
from auralnav.envs.dogfight.replay_check import BULLET_ARRAYS, SHIP_ARRAYS
from auralnav.envs.dogfight.replay_steps import STEPS, in_units, whole_arrays
from auralnav.errors import ReplayError
from auralnav.files import atomic_write

FORMAT = "auralnav-dogfight-replay"
VERSION = 1
SUFFIX = ".npz"
MAX_BYTES = 256 * 2**20
"""Of all arrays together, unpacked: more is no game of eight ships."""

DIFFERENCED = ("tick", "position", "velocity", "attitude", "health", "power")

# What zipfile and NumPy raise on bytes that are no archive of arrays; the bytes themselves have been read by then.
_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, ValueError, EOFError, OSError, RuntimeError, MemoryError)


def save_replay(path: str | os.PathLike[str], replay: Replay) -> Path:
    """Write a replay atomically; a path without the suffix .npz is refused.

    Raises:
        ReplayError: the suffix, or a velocity of 1024 units/s or more, health or power of 2048 or more.
        OSError: the file cannot be written.
    """
    target = Path(path)
    if target.suffix != SUFFIX:
        raise ReplayError(f"{target}: a replay's name ends in {SUFFIX}")
    header = {
        "format": FORMAT,
        "version": VERSION,
        "names": list(replay.names),
        "winner": replay.winner,
        "finished": replay.finished,
        "seed": replay.seed,
        "arena": asdict(replay.arena),
        "settings": dict(replay.settings),
        "versions": dict(replay.versions),
    }
    try:
        text = json.dumps(header, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ReplayError(f"the replay's settings cannot be written as JSON: {error}") from error
    arrays: dict[str, Any] = {"header": np.frombuffer(text.encode(), dtype=np.uint8)}
    frames, bullets = whole_arrays(replay)
    for name, whole in frames.items():
        arrays[name] = _differences(whole) if name in DIFFERENCED else whole
    for name, whole in bullets.items():
        arrays[f"bullet_{name}"] = whole
    with atomic_write(target) as temporary:
        np.savez_compressed(temporary, **arrays)
    return target


def load_replay(path: str | os.PathLike[str]) -> Replay:
    """Read a replay; nothing in the file is ever run.

    Raises:
        ReplayError: the file is no replay, of another version, truncated or damaged, or its arrays do not fit.
        OSError: the file cannot be read.
    """
    source = Path(path)
    if source.stat().st_size > MAX_BYTES:
        raise ReplayError(f"{path}: {source.stat().st_size / 2**20:.0f} MiB are no replay of a dogfight")
    data = source.read_bytes()
    try:
        arrays = _unpacked(data)
    except _DAMAGE as error:
        raise ReplayError(f"{path}: this is no replay, or it is truncated or damaged ({error})") from error
    try:
        return _replay(arrays, _header(arrays.pop("header")))
    except (ReplayError, KeyError, ValueError, RecursionError) as error:
        said = f"{error.args[0]} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise ReplayError(f"{path}: {said}") from error


def _unpacked(data: bytes) -> dict[str, np.ndarray]:
    """All arrays of an archive, none of them an object."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
    size = sum(entry.file_size for entry in entries)
    if size > MAX_BYTES:
        raise ValueError(f"its arrays take {size / 2**20:.0f} MiB, a replay at most {MAX_BYTES >> 20}")
    if any(entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for entry in entries):
        raise ValueError("it is packed in another way")
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _header(stored: np.ndarray) -> dict[str, Any]:
    header = json.loads(stored.astype(np.uint8).tobytes(), parse_constant=_no_constant)
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ReplayError("this is no replay of a dogfight")
    if header.get("version") != VERSION:
        raise ReplayError(
            f"it is a replay of version {header.get('version')!r}, this package reads version {VERSION}: "
            "use the package that recorded it, or record the game again"
        )
    return header


def _no_constant(name: str) -> None:
    raise ReplayError(f"its header holds {name}, which is no number")


def _replay(arrays: dict[str, np.ndarray], header: dict[str, Any]) -> Replay:
    kinds = {
        "arena": dict, "names": list, "finished": bool, "seed": int | None, "settings": dict, "versions": dict
    }  # fmt: skip
    for key, kind in kinds.items():
        if not isinstance(header[key], kind):
            raise ReplayError(f"its {key} is {header[key]!r}")
    known = {item.name for item in fields(Arena)}
    if set(header["arena"]) != known:
        raise ReplayError(f"its arena must be {', '.join(sorted(known))}")
    arena = Arena(**header["arena"])
    ships: dict[str, np.ndarray] = {}
    for name, (dtype, shape) in SHIP_ARRAYS.items():
        stored = _stored(arrays, name, name, dtype, len(shape))
        ships[name] = in_units(name, _sums(stored) if name in DIFFERENCED else stored, dtype, arena)
    bullets = {
        name: in_units(name, _stored(arrays, f"bullet_{name}", name, dtype, len(shape)), dtype, arena)
        for name, (dtype, shape) in BULLET_ARRAYS.items()
    }
    return Replay(
        **ships,
        names=tuple(header["names"]),
        bullets=Bullets(**bullets),
        winner=header["winner"],
        finished=header["finished"],
        seed=header["seed"],
        arena=arena,
        settings=header["settings"],
        versions=header["versions"],
    )


def _stored(
    arrays: dict[str, np.ndarray], key: str, name: str, dtype: type[np.generic], dimensions: int
) -> np.ndarray:
    """One stored array, of the type and number of dimensions that the format says."""
    array = arrays[key]
    wanted = np.dtype(STEPS[name] if name in STEPS else dtype)
    if array.dtype != wanted or array.ndim != dimensions:
        raise ReplayError(
            f"its {key} is {array.dtype} in {array.ndim} dimensions: {wanted} in {dimensions} are needed"
        )
    return array


def _differences(value: np.ndarray) -> np.ndarray:
    """Differences along the frames of [F, …], the first as it is, wrapping; those of one number lie side by side."""
    along = np.concatenate([value[:1], np.diff(value, axis=0)])
    return np.asfortranarray(along)


def _sums(stored: np.ndarray) -> np.ndarray:
    """The inverse of `_differences`."""
    return np.cumsum(stored, axis=0, dtype=stored.dtype)
