"""A replay buffer on disk in chunks, so that a checkpoint writes only what is new.

The rows (one a vector step) are cut into chunks of a few megabytes. A checkpoint writes the chunks with rows
added since the last one as `replay-<chunk>-<generation>.safetensors`; the files count only when the
checkpoint's manifest names them, and files no manifest names are deleted after it is committed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save
from stable_baselines3.common.buffers import ReplayBuffer

from auralnav.errors import CheckpointError

CHUNK_BYTES = 8 * 2**20


def replay_arrays(buffer: ReplayBuffer) -> dict[str, np.ndarray]:
    """The arrays of an SB3 replay buffer by name; the first axis counts vector steps."""
    arrays: dict[str, np.ndarray] = {}
    for name in ("observations", "next_observations", "actions", "rewards", "dones", "timeouts"):
        value = getattr(buffer, name)
        if isinstance(value, dict):
            arrays.update({f"{name}/{key}": array for key, array in value.items()})
        else:
            arrays[name] = value
    return arrays


@dataclass
class ReplayIndex:
    """What a manifest holds of a replay buffer.

    Attributes:
        rows: capacity in vector steps.
        chunk_rows: vector steps a chunk.
        pos, full: where the next row goes, and whether the ring is full.
        written: rows ever added.
        chunks: file name of each chunk that holds rows.
    """

    rows: int
    chunk_rows: int
    pos: int = 0
    full: bool = False
    written: int = 0
    chunks: dict[str, str] = field(default_factory=dict)


class ReplayStore:
    """Which chunks of a buffer are on disk, and their bytes for the next checkpoint."""

    def __init__(self, buffer: ReplayBuffer, index: ReplayIndex | None = None) -> None:
        self._buffer = buffer
        self._arrays = replay_arrays(buffer)
        self.index = index or ReplayIndex(buffer.buffer_size, rows_per_chunk(self._arrays))

    def changes(self, written: int, generation: int) -> tuple[ReplayIndex, dict[str, bytes]]:
        """The index of the buffer as it is now, and the bytes of each new file by name.

        `written` counts the rows ever added to the buffer. `self.index` stays as it is until `commit`.
        """
        buffer, old = self._buffer, self.index
        index = ReplayIndex(old.rows, old.chunk_rows, buffer.pos, buffer.full, written, dict(old.chunks))
        fresh = min(written - old.written, buffer.buffer_size)
        rows = (buffer.pos - 1 - np.arange(fresh)) % buffer.buffer_size
        named, files = write_chunks(self._arrays, rows, index.chunk_rows, self._filled(index), generation)
        index.chunks.update(named)
        return index, files

    def commit(self, index: ReplayIndex) -> None:
        """Take `index` for what is on disk, after the manifest that names its files has been written."""
        self.index = index

    def load(self, files: dict[str, bytes]) -> None:
        """Fill the buffer from the bytes of the files that the index names.

        Raises:
            CheckpointError: a chunk is damaged or does not fit the buffer.
        """
        buffer, index = self._buffer, self.index
        if index.rows != buffer.buffer_size:
            raise CheckpointError(
                f"the saved replay buffer holds {index.rows} rows, the config asks for {buffer.buffer_size}; "
                f"resume with the same dqn.buffer_size and env.num_envs"
            )
        buffer.pos, buffer.full = index.pos, index.full
        read_chunks(self._arrays, index.chunks, index.chunk_rows, self._filled(index), files)

    def cut_episodes(self) -> None:
        """Let the episodes that run on past the newest row end there, as if cut off by a time limit.

        For worlds that start anew: n-step returns would else join rewards of two episodes.
        """
        buffer = self._buffer
        if self.index.written:
            newest = (buffer.pos - 1) % buffer.buffer_size
            buffer.timeouts[newest] = np.logical_or(buffer.timeouts[newest], buffer.dones[newest] == 0)
            self.index = replace(self.index, written=self.index.written - 1)  # written anew next time

    def _filled(self, index: ReplayIndex) -> int:
        return index.rows if index.full else index.pos


def rows_per_chunk(arrays: dict[str, np.ndarray]) -> int:
    """Rows that make a chunk of at most CHUNK_BYTES, but at least one."""
    row_bytes = sum(array[0].nbytes for array in arrays.values())
    return min(max(1, CHUNK_BYTES // row_bytes), min(map(len, arrays.values())))


def write_chunks(
    arrays: dict[str, np.ndarray], rows: np.ndarray, chunk_rows: int, filled: int, generation: int
) -> tuple[dict[str, str], dict[str, bytes]]:
    """The chunks that hold `rows` (indices into the first axes): file name of each, and bytes of each file.

    `filled` is where the rows in use end.
    """
    names: dict[str, str] = {}
    files: dict[str, bytes] = {}
    for chunk in np.unique(rows // chunk_rows).tolist():
        name = f"replay-{chunk:05d}-{generation:06d}.safetensors"
        part = slice(chunk * chunk_rows, min((chunk + 1) * chunk_rows, filled))
        files[name] = save({key: array[part] for key, array in arrays.items()})
        names[str(chunk)] = name
    return names, files


def read_chunks(
    arrays: dict[str, np.ndarray],
    chunks: dict[str, str],
    chunk_rows: int,
    filled: int,
    files: dict[str, bytes],
) -> None:
    """Put the rows of the named chunks back; arguments as `write_chunks` takes and gives them.

    Raises:
        CheckpointError: a chunk is damaged or does not fit the arrays.
    """
    for chunk, name in chunks.items():
        first = int(chunk) * chunk_rows
        part = slice(first, min(first + chunk_rows, filled))
        try:
            tensors = load(files[name])
            for key, array in arrays.items():
                array[part] = tensors[key]
        except (SafetensorError, KeyError, ValueError) as error:
            raise CheckpointError(
                f"{name}: damaged ({error}); restore it from a copy or train anew"
            ) from error
