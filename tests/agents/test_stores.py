from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer

from auralnav.agents import replay_store
from auralnav.agents.memory_replay import SequenceReplay
from auralnav.agents.replay_store import ReplayStore, replay_arrays
from auralnav.agents.resume_store import MANIFEST, ResumeStore
from auralnav.agents.sequence_store import SequenceStore
from auralnav.agents.tensor_tree import decode, encode
from auralnav.errors import CheckpointError

TREE: dict[str, Any] = {
    "nothing": None,
    "flag": True,
    "big": 2**127 + 1,
    "float": 0.1 + 0.2,
    "infinite": float("-inf"),
    "text": "ä\n",
    "list": [1, (2.5, "x", [])],
    3: {"empty": {}},
    "array": np.arange(6, dtype=np.int64).reshape(2, 3),
    "complex": np.array([1 + 2j, -3j], np.complex64),
    "zero": np.zeros((0, 4), np.float32),
    "scalar": np.float32(1.25),
    "bools": np.array([True, False]),
    "tensor": torch.arange(3.0),
    "rng": np.random.default_rng(1).bit_generator.state,
}


def same(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all())
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    return a == b


def test_a_tree_comes_back_with_types_dtypes_and_key_order():
    value, metadata = decode(encode(TREE, {"env_id": "x"}), "state")
    assert same(value, TREE)
    assert metadata == {"env_id": "x"}


def test_arrays_of_a_tree_can_be_written_to():
    value, _ = decode(encode({"a": np.zeros(2)}), "state")
    value["a"][0] = 1.0


@pytest.mark.parametrize("value", [object(), {"a": {1, 2}}, np.array(["x"]), {1.5: 2}])
def test_what_has_no_form_on_disk_is_refused_with_its_place(value: Any):
    with pytest.raises(CheckpointError, match=r"state\.here"):
        encode({"here": value})


def test_cut_off_bytes_are_refused_at_every_length():
    data = encode({"a": np.arange(10)})
    for length in [*range(0, len(data), 7), len(data) - 1]:
        with pytest.raises(CheckpointError, match="damaged or cut off"):
            decode(data[:length], "state")


def make_buffer(rows: int = 40) -> ReplayBuffer:
    box = spaces.Box(-1, 1, (5,), np.float32)
    return ReplayBuffer(rows * 2, box, spaces.Discrete(3), device="cpu", n_envs=2)


def fill(buffer: ReplayBuffer, rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(rows):
        obs, following = rng.random((2, 2, 5), np.float32)
        infos = [{"TimeLimit.truncated": bool(rng.integers(2))} for _ in range(2)]
        buffer.add(obs, following, rng.integers(0, 3, 2), rng.random(2), rng.integers(0, 2, 2), infos)


@pytest.mark.parametrize("amounts", [[3, 2, 30], [39, 1, 1], [40, 25, 41], [100, 1], [10, 0, 5]])
def test_a_replay_buffer_comes_back_from_its_chunks(amounts: list[int], tmp_path: Path, monkeypatch: Any):
    monkeypatch.setattr(replay_store, "CHUNK_BYTES", 7 * 130)  # about seven rows a chunk
    buffer = make_buffer()
    store, files, written = ReplayStore(buffer), {}, 0
    assert store.index.chunk_rows < 10
    for generation, amount in enumerate(amounts):
        fill(buffer, amount, generation)
        written += amount
        index, new = store.changes(written, generation)
        files.update(new)
        store.commit(index)
        other = make_buffer()
        ReplayStore(other, index).load(files)
        assert (other.pos, other.full) == (buffer.pos, buffer.full)
        for name, array in replay_arrays(buffer).items():
            np.testing.assert_array_equal(replay_arrays(other)[name], array)


def test_only_chunks_with_new_rows_are_written(monkeypatch: Any):
    monkeypatch.setattr(replay_store, "CHUNK_BYTES", 7 * 130)
    buffer = make_buffer()
    store = ReplayStore(buffer)
    fill(buffer, 40, 0)
    index, files = store.changes(40, 1)
    assert len(files) == -(-40 // index.chunk_rows)
    store.commit(index)
    fill(buffer, 2, 1)
    index, files = store.changes(42, 2)
    assert list(files) == ["replay-00000-000002.safetensors"]
    store.commit(index)
    assert store.changes(42, 3)[1] == {}


def test_cut_episodes_end_n_step_returns_and_are_saved(monkeypatch: Any):
    """Two worlds: the newest row of one goes on, that of the other is terminal; then other episodes begin."""
    monkeypatch.setattr(replay_store, "CHUNK_BYTES", 1)  # a chunk a row
    box = spaces.Box(-1, 1, (5,), np.float32)

    def buffer() -> NStepReplayBuffer:
        return NStepReplayBuffer(20, box, spaces.Discrete(3), device="cpu", n_envs=2, n_steps=3, gamma=0.5)

    def add(into: NStepReplayBuffer, reward: float, dones: list[int]) -> None:
        obs = np.full((2, 5), reward, np.float32)
        into.add(obs, obs, np.zeros(2, int), np.full(2, reward), np.array(dones), [{}, {}])

    first = buffer()
    add(first, 1.0, [0, 0])
    add(first, 2.0, [0, 1])
    index, files = ReplayStore(first).changes(2, 1)
    resumed = buffer()
    store = ReplayStore(resumed, index)
    store.load(files)
    store.cut_episodes()
    for _ in range(3):
        add(resumed, 100.0, [0, 0])
    index, new = store.changes(5, 2)
    files.update(new)
    again = buffer()
    ReplayStore(again, index).load(files)
    np.testing.assert_array_equal(again.timeouts[1], [1.0, 0.0])
    for world in (0, 1):
        monkeypatch.setattr(np.random, "randint", lambda *_, size, world=world: np.full(size, world))
        batch = again._get_samples(np.array([0]))
        assert batch.rewards.item() == 1.0 + 0.5 * 2.0
        assert batch.discounts is not None and batch.discounts.item() == 0.25
        assert batch.dones.item() == world  # cut off: the next value counts; terminal: it does not
        assert batch.next_observations[0, 0].item() == 2.0


def test_another_buffer_size_is_refused():
    buffer = make_buffer()
    fill(buffer, 5, 0)
    index, files = ReplayStore(buffer).changes(5, 1)
    with pytest.raises(CheckpointError, match="buffer_size"):
        ReplayStore(make_buffer(20), index).load(files)


def make_replay(rows: int = 48) -> SequenceReplay:
    box = spaces.Box(-1, 1, (5,), np.float32)
    return SequenceReplay(
        rows * 2, box, spaces.Discrete(3), n_envs=2, seq_len=4, burn_in=2, n_steps=2, state_size=3
    )


def fill_replay(replay: SequenceReplay, steps: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        cut = rng.random(2) < 0.2
        ended = (rng.random(2) < 0.2) & ~cut
        last = {world: rng.random(5, np.float32) for world in np.flatnonzero(cut).tolist()}
        before, after = (torch.from_numpy(rng.random((2, 3), np.float32)) for _ in range(2))
        replay.add(rng.random((2, 5), np.float32), rng.integers(0, 3, 2), rng.random(2), rng.random(2) < 0.2,
                   ended, cut, last, before, after)  # fmt: skip


@pytest.mark.parametrize("amounts", [[3, 2, 30], [39, 1, 1], [40, 25, 41], [100, 1], [10, 0, 5]])
def test_a_sequence_replay_comes_back_from_its_chunks(amounts: list[int], monkeypatch: Any):
    """With its memory states and terminal observations, and with the marks that cut running episodes."""
    monkeypatch.setattr(replay_store, "CHUNK_BYTES", 300)  # two blocks a chunk
    replay = make_replay()
    store, files = SequenceStore(replay), {}
    assert store.index.chunk_rows < 5
    for generation, amount in enumerate(amounts):
        fill_replay(replay, amount, generation)
        if generation == 1:
            replay.cut_episodes()
        index, new = store.changes(generation)
        files.update(new)
        store.commit(index)
        other = make_replay()
        SequenceStore(other, index).load({name: files[name] for name in index.chunks.values()})
        np.testing.assert_array_equal(other.written, replay.written)
        assert replay.arrays()["states"].any() or not amount
        for name, array in replay.arrays().items():
            np.testing.assert_array_equal(other.arrays()[name], array)


def test_only_chunks_with_new_steps_are_written(monkeypatch: Any):
    monkeypatch.setattr(replay_store, "CHUNK_BYTES", 1)  # a chunk a block
    replay = make_replay()
    store = SequenceStore(replay)
    assert store.changes(1)[1] == {}
    fill_replay(replay, 40, 0)
    index, files = store.changes(1)
    assert len(files) == sum(-(-int(written) // 4) for written in np.minimum(replay.written, 48))
    store.commit(index)
    fill_replay(replay, 1, 1)
    assert 2 <= len(store.changes(2)[1]) <= 4  # the newest rows of either world, in one block or two


def test_a_sequence_replay_of_another_size_or_number_of_worlds_is_refused():
    replay = make_replay()
    fill_replay(replay, 5, 0)
    index, files = SequenceStore(replay).changes(1)
    with pytest.raises(CheckpointError, match="the same dqn section"):
        SequenceStore(make_replay(24), index).load(files)
    index.written.append(0)
    with pytest.raises(CheckpointError, match=r"env\.num_envs"):
        SequenceStore(make_replay(), index).load(files)
    name = next(iter(files))
    with pytest.raises(CheckpointError, match=f"{name}: damaged"):
        SequenceStore(make_replay(), SequenceStore(replay).changes(1)[0]).load({**files, name: b"no"})


def test_a_commit_keeps_what_it_names_and_sweeps_the_rest(tmp_path: Path):
    store = ResumeStore(tmp_path)
    assert store.manifest() is None
    first = store.commit({"step": 1}, {"a-1": b"one", "b-1": b"two"}, set(), None)
    (tmp_path / ".a-2.deadbeef.tmp").write_bytes(b"left by a crash")
    second = store.commit({"step": 2}, {"a-2": b"three"}, {"b-1"}, first)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-2", "b-1", MANIFEST]
    assert store.manifest() == second
    assert store.read(second, "b-1") == b"two"


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_a_full_disk_leaves_the_last_checkpoint_whole(failing: int, tmp_path: Path, monkeypatch: Any):
    store = ResumeStore(tmp_path)
    first = store.commit({"step": 1}, {"a-1": b"one", "b-1": b"two"}, set(), None)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    calls = 0
    real = os.fsync

    def full(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 2 * failing - 1:  # a file and its folder are synced in turn
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match=r"No space left.*last checkpoint is intact.*--resume"):
        store.commit({"step": 2}, {"a-2": b"three", "b-2": b"four"}, set(), first)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    monkeypatch.setattr(os, "fsync", real)
    second = store.commit({"step": 2}, {"a-2": b"three", "b-2": b"four"}, set(), first)
    assert store.read(second, "a-2") == b"three"


def test_damage_is_told_from_wholeness(tmp_path: Path):
    store = ResumeStore(tmp_path)
    manifest = store.commit({}, {"a": b"0123456789"}, set(), None)
    (tmp_path / "a").write_bytes(b"01234")
    with pytest.raises(CheckpointError, match="cut off, 5 of 10 bytes"):
        store.read(manifest, "a")
    (tmp_path / "a").write_bytes(b"0123456780")
    with pytest.raises(CheckpointError, match="has changed"):
        store.read(manifest, "a")
    (tmp_path / "a").unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        store.read(manifest, "a")
    (tmp_path / MANIFEST).write_text('{"format": 1, "gener')
    with pytest.raises(CheckpointError, match="damaged"):
        store.manifest()
    (tmp_path / MANIFEST).write_text(json.dumps({"format": 99}))
    with pytest.raises(CheckpointError, match="format 99"):
        store.manifest()
