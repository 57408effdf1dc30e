"""A sequence replay on disk in chunks, as `auralnav.agents.replay_store` keeps SB3's buffers.

The rows of the arrays are blocks of `seq_len` steps, world after world, each with the memory state it begins
in. A checkpoint writes the chunks whose blocks have changed since the last one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from auralnav.agents.memory_replay import SequenceReplay
from auralnav.agents.replay_store import read_chunks, rows_per_chunk, write_chunks
from auralnav.errors import CheckpointError


@dataclass
class SequenceIndex:
    """What a manifest holds of a sequence replay.

    Attributes:
        blocks: capacity of all worlds together.
        chunk_rows: blocks a chunk.
        written: steps ever added, a world.
        chunks: file name of each chunk that holds blocks.
    """

    blocks: int
    chunk_rows: int
    written: list[int]
    chunks: dict[str, str] = field(default_factory=dict)


class SequenceStore:
    """Which chunks of a sequence replay are on disk, and their bytes for the next checkpoint."""

    def __init__(self, replay: SequenceReplay, index: SequenceIndex | None = None) -> None:
        self._replay = replay
        self._arrays = replay.arrays()
        blocks = len(self._arrays["flags"])
        # Every world has a place of its own where it writes: a chunk is at most a quarter of a world.
        share = max(1, blocks // replay.n_envs // 4)
        self.index = index or SequenceIndex(
            blocks, min(rows_per_chunk(self._arrays), share), [0] * replay.n_envs
        )

    def changes(self, generation: int) -> tuple[SequenceIndex, dict[str, bytes]]:
        """The index of the replay as it is now, and the bytes of each new file by name.

        `self.index` stays as it is until `commit`.
        """
        old = self.index
        index = SequenceIndex(old.blocks, old.chunk_rows, self._replay.written.tolist(), dict(old.chunks))
        blocks = self._replay.changed_blocks(np.asarray(old.written))
        named, files = write_chunks(self._arrays, blocks, index.chunk_rows, index.blocks, generation)
        index.chunks.update(named)
        return index, files

    def commit(self, index: SequenceIndex) -> None:
        """Take `index` for what is on disk, after the manifest that names its files has been written."""
        self.index = index

    def load(self, files: dict[str, bytes]) -> None:
        """Fill the replay from the bytes of the files that the index names.

        Raises:
            CheckpointError: a chunk is damaged or does not fit the replay.
        """
        index = self.index
        if index.blocks != len(self._arrays["flags"]):
            raise CheckpointError(
                f"the saved replay holds {index.blocks} blocks, the config asks for "
                f"{len(self._arrays['flags'])}; resume with the same dqn section and env.num_envs"
            )
        self._replay.restore(np.asarray(index.written))
        read_chunks(self._arrays, index.chunks, index.chunk_rows, index.blocks, files)
