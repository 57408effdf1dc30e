from __future__ import annotations

import dataclasses
import io
import json
import os
import zipfile

import numpy as np
import pytest

from auralnav.envs.dogfight import replay_file
from auralnav.envs.dogfight.replay import Arena, Bullets
from auralnav.envs.dogfight.replay_check import BULLET_ARRAYS, SHIP_ARRAYS
from auralnav.envs.dogfight.replay_file import load_replay, save_replay
from auralnav.errors import ReplayError


def arrays_of(replay):
    ships = {name: getattr(replay, name) for name in SHIP_ARRAYS}
    return ships | {f"bullet {name}": getattr(replay.bullets, name) for name in BULLET_ARRAYS}


def rewritten(path, out, **changes):
    """A copy of a replay file with some arrays changed (None: left out), and the header where it is a dict."""
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    for name, value in changes.items():
        if value is None:
            del arrays[name]
        elif name == "header" and isinstance(value, dict):
            header = json.loads(arrays["header"].tobytes()) | value
            arrays[name] = np.frombuffer(json.dumps(header).encode(), np.uint8)
        else:
            arrays[name] = value
    np.savez(out, **arrays)
    return out


@pytest.fixture(scope="module")
def saved(game, tmp_path_factory):
    return save_replay(tmp_path_factory.mktemp("replay") / "game.npz", game)


def test_a_file_keeps_everything_to_half_a_step_and_again_bit_for_bit(game, saved, tmp_path):
    loaded = load_replay(saved)
    half = {"position": 1 / 128, "velocity": 1 / 64, "attitude": np.pi / 65536, "health": 0, "power": 1 / 64}
    for name, value in arrays_of(game).items():
        other = arrays_of(loaded)[name]
        assert other.dtype == value.dtype and other.shape == value.shape
        step = half.get(name.removeprefix("bullet "))
        if step is None:
            np.testing.assert_array_equal(other, value)
            continue
        period = {"position": 1024.0, "attitude": 2 * np.pi}.get(name.removeprefix("bullet "), np.inf)
        away = np.abs(other.astype(float) - value)
        assert np.minimum(away, np.abs(period - away)).max() <= step + 1e-5, name
    for name in ("names", "winner", "finished", "seed", "arena", "settings", "versions", "result"):
        assert getattr(loaded, name) == getattr(game, name)
    np.testing.assert_array_equal(loaded.death_tick, game.death_tick)
    again = save_replay(tmp_path / "again.npz", loaded)
    assert again.read_bytes() == saved.read_bytes()


def test_a_long_game_takes_no_more_room_than_the_page_says(played, tmp_path):
    """Random pilots do something else each step and shoot much: the largest files there are."""
    sizes = {}
    for every_tick in (True, False):
        replay = played(0, every_tick, ("random", "random"))
        assert replay.last_tick == 1024 and replay.ships == 8
        sizes[every_tick] = os.path.getsize(save_replay(tmp_path / "long.npz", replay))
    assert sizes[True] <= 50_000 and sizes[False] <= 27_500


def test_a_ship_with_a_sliver_of_health_lives_in_the_file_too(simple, tmp_path):
    health = np.array([[100, 100], [100, 1e-4], [100, 0]], np.float32)
    loaded = load_replay(save_replay(tmp_path / "a.npz", simple(health=health)))
    np.testing.assert_array_equal(loaded.health > 0, health > 0)


def test_a_replay_of_another_version_is_named(saved, tmp_path):
    for version in (0, 2, "1", None):
        path = rewritten(saved, tmp_path / "other.npz", header={"version": version})
        with pytest.raises(ReplayError, match=f"version {version!r}, this package reads version 1"):
            load_replay(path)
    with pytest.raises(ReplayError, match="no replay of a dogfight"):
        load_replay(rewritten(saved, tmp_path / "other.npz", header={"format": "chess"}))


def test_a_truncated_file_is_refused_wherever_it_ends(saved, tmp_path):
    data, path = saved.read_bytes(), tmp_path / "cut.npz"
    for length in (0, 1, 100, len(data) // 2, len(data) - 30, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(ReplayError, match="truncated or damaged") as caught:
            load_replay(path)
        assert "\n" not in str(caught.value) and "cut.npz" in str(caught.value)


def test_a_changed_byte_is_noticed_or_changes_nothing(simple, tmp_path):
    """Some bytes of a zip archive are of no meaning, such as a date; no other may change unseen."""
    replay = simple()
    data = bytearray(save_replay(tmp_path / "a.npz", replay).read_bytes())
    path, noticed = tmp_path / "b.npz", 0
    for position in range(0, len(data), 2):
        damaged = bytearray(data)
        damaged[position] ^= 0x41
        path.write_bytes(damaged)
        try:
            loaded = load_replay(path)
        except ReplayError as error:
            assert "\n" not in str(error)
            noticed += 1
            continue
        for name, value in arrays_of(replay).items():
            np.testing.assert_allclose(arrays_of(loaded)[name], value, atol=0.02)
        assert (loaded.names, loaded.seed) == (replay.names, replay.seed)
    assert noticed > len(data) // 4


def test_a_pickle_in_a_replay_is_never_opened(saved, tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "sprung"),))

    path = rewritten(saved, tmp_path / "trap.npz", team=np.array([Trap()], dtype=object))
    with pytest.raises(ReplayError, match="allow_pickle"):
        load_replay(path)
    assert not (tmp_path / "sprung").exists()


def test_an_archive_that_claims_more_than_a_game_can_be_is_not_unpacked(saved, tmp_path, monkeypatch):
    monkeypatch.setattr(replay_file, "MAX_BYTES", 2**20)
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, header=np.zeros(2**21, np.uint8))
    with pytest.raises(ReplayError, match="take 2 MiB, a replay at most 1"):
        load_replay(path)
    # An array whose own header claims more than the archive holds.
    head = io.BytesIO()
    claimed = {"descr": "|u1", "fortran_order": False, "shape": (10**15,)}
    np.lib.format.write_array_header_1_0(head, claimed)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("header.npy", head.getvalue())
    with pytest.raises(ReplayError, match=r"bomb\.npz"):
        load_replay(path)


def test_arrays_that_do_not_fit_are_named(game, saved, tmp_path):
    count = len(game.tick)
    cases = {
        "team is missing": {"team": None},
        "position is uint16 in 2": {"position": np.zeros((count, 8), np.uint16)},
        "velocity is float64 in 3": {"velocity": np.full((count, 8, 2), np.nan)},
        r"health is float32 \[3, 8\]": {"health": np.zeros((3, 8), np.uint16)},
        r"bullets.born is int32 \[1\]": {"bullet_born": np.zeros(1, np.int32)},
        "8 names|names.*are text|team is": {"header": {"names": ["one"]}},
        "0 names": {"header": {"names": []}},
        "named 1: a name is text": {"header": {"names": [1] * 8}},
        "without control characters": {"header": {"names": ["a\n"] * 8}},
        "its arena is 3": {"header": {"arena": 3}},
        "its arena must be": {"header": {"arena": {}}},
        "size is 'x'": {"header": {"arena": dataclasses.asdict(Arena()) | {"size": "x"}}},
        "size is 1e\\+300: it must be": {"header": {"arena": dataclasses.asdict(Arena()) | {"size": 1e300}}},
        "horizon is 2.5: .* whole": {"header": {"arena": dataclasses.asdict(Arena()) | {"horizon": 2.5}}},
        "holds NaN": {"header": {"arena": dataclasses.asdict(Arena()) | {"size": float("nan")}}},
        "its seed is 'x'": {"header": {"seed": "x"}},
        "winner is 2": {"header": {"winner": 2}},
        "team.*0..1": {"team": np.full(8, 3, np.int8)},
        "ticks must rise": {"tick": np.zeros(count, np.int32)},
        r"action.turn\[0, 0\] is 9": {"action": np.full((count, 8, 3), [0, 9, 0], np.uint8)},
        "Expecting|JSON|column": {"header": np.frombuffer(b"{", np.uint8)},
    }
    for words, change in cases.items():
        with pytest.raises(ReplayError, match=words) as caught:
            load_replay(rewritten(saved, tmp_path / "odd.npz", **change))
        assert "\n" not in str(caught.value) and "odd.npz" in str(caught.value)


def test_bullets_that_contradict_themselves_are_refused(simple):
    bullets = simple().bullets

    def broken(**changes):
        return simple(bullets=Bullets(**{**dataclasses.asdict(bullets), **changes}))

    for words, change in {
        "have a victim": {"victim": np.array([-1, -1, -1], np.int8)},
        "ends before its birth": {"end": np.array([0, 7, 8], np.int32)},
        "outside the recording": {"end": np.array([6, 7, 9], np.int32)},
        "out of order": {"born": np.array([3, 2, 1], np.int32)},
        r"owner\[0\] is 2": {"owner": np.array([2, 0, 0], np.uint8)},
        r"velocity\[1, 0\] is nan": {"velocity": np.array([[1, 1], [np.nan, 1], [1, 1]], np.float32)},
    }.items():
        with pytest.raises(ReplayError, match=words):
            broken(**change)


def test_what_cannot_be_written_is_refused_and_leaves_the_old_file(simple, tmp_path):
    path = save_replay(tmp_path / "a.npz", simple())
    before = path.read_bytes()
    for words, change in {
        "velocity of 2000 does not fit": {"velocity": np.full((3, 2, 2), 2000, np.float32)},
        "cannot be written as JSON": {"settings": {"skill": float("inf")}},
    }.items():
        with pytest.raises(ReplayError, match=words):
            save_replay(path, simple(**change))
    with pytest.raises(ReplayError, match=r"ends in \.npz"):
        save_replay(tmp_path / "a.zip", simple())
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["a.npz"]
    with pytest.raises(FileNotFoundError):
        load_replay(tmp_path / "none.npz")
