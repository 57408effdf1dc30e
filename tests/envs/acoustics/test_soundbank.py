"""Banks of sounds: drawing, sharing, the user's folder, and every way a folder can be wrong."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile

from auralnav.envs.acoustics import soundbank
from auralnav.envs.acoustics.clips import ClipCache
from auralnav.envs.acoustics.recordings import MAX_PEAK, active_rms, load_recording
from auralnav.envs.acoustics.soundbank import ClipRef, FolderBank, ProceduralBank, open_bank
from auralnav.envs.acoustics.sounds import CLASSES, TEST_SEEDS, TRAIN_SEEDS
from auralnav.errors import SoundError

FS = 16_000


def tone(freq: float = 500.0, seconds: float = 1.0, fs: int = FS, level: float = 0.1) -> np.ndarray:
    return level * np.sin(2.0 * np.pi * freq * np.arange(round(seconds * fs)) / fs)


def noise(seed: int, seconds: float = 1.0, fs: int = FS) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * fs))


def write(path: Path, samples: np.ndarray, fs: int = FS, **kwargs: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, fs, **kwargs)
    return path


def peak_frequency(x: np.ndarray, fs: int) -> float:
    return float(np.abs(np.fft.rfft(x * np.hanning(len(x)))).argmax() * fs / len(x))


def only_clip(folder: Path, fs: int = FS) -> np.ndarray:
    bank = FolderBank(folder, fs)
    return bank.clip(bank.draw(np.random.default_rng(0)))


# --- names of clips


def test_clip_ref_survives_a_state_dict() -> None:
    for ref in (ClipRef("siren", 1003), ClipRef("dog: big", 0)):
        assert ClipRef.parse(str(ref)) == ref
        assert {ref: 1}[ClipRef.parse(str(ref))] == 1


@pytest.mark.parametrize("text", ["siren", ":3", "siren:", "siren:-1", "siren:x", ""])
def test_clip_ref_refuses_other_text(text: str) -> None:
    with pytest.raises(SoundError, match="class:instance"):
        ClipRef.parse(text)


# --- procedural


def test_procedural_splits_share_classes_but_no_instance() -> None:
    rng = np.random.default_rng(0)
    drawn = {split: [ProceduralBank(FS, split).draw(rng) for _ in range(400)] for split in ("train", "test")}
    assert {ref.sound for ref in drawn["train"]} == {ref.sound for ref in drawn["test"]} == set(CLASSES)
    assert {ref.instance for ref in drawn["train"]} == set(TRAIN_SEEDS)
    assert {ref.instance for ref in drawn["test"]} == set(TEST_SEEDS)


def test_draw_is_the_callers_randomness_and_leaves_out_what_it_is_told_to() -> None:
    bank = ProceduralBank(FS)
    one, two = (np.random.default_rng(4) for _ in range(2))
    assert [bank.draw(one) for _ in range(20)] == [bank.draw(two) for _ in range(20)]
    left = {bank.draw(one, exclude=CLASSES[:9]).sound for _ in range(40)}
    assert left == set(CLASSES[9:])
    assert bank.draw(one, exclude=CLASSES).sound in CLASSES


def test_environments_share_one_read_only_clip() -> None:
    ref = ClipRef("knock", 3)
    clip = ProceduralBank(FS).clip(ref)
    assert clip is ProceduralBank(FS, "test").clip(ref)
    assert clip is not ProceduralBank(8_000).clip(ref)
    assert clip.dtype == np.float32 and clip.flags.c_contiguous and len(clip) == 3 * FS
    with pytest.raises(ValueError, match="read-only"):
        clip[0] = 1.0


def test_procedural_classes_can_be_chosen() -> None:
    bank = ProceduralBank(FS, classes=["bird", "rotor"], clip_seconds=1.0)
    assert bank.classes == ("bird", "rotor")
    assert {bank.draw(np.random.default_rng(s)).sound for s in range(20)} == {"bird", "rotor"}
    assert len(bank.clip(ClipRef("bird", 0))) == FS


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"classes": ["brid"]}, "did you mean 'bird'"),
        ({"classes": []}, "choose from telephone"),
        ({"split": "valid"}, "choose train or test"),
        ({"fs": 4_000}, "8000 to 48000"),
        ({"clip_seconds": 0.1}, "0.5 to 60"),
    ],
)
def test_procedural_bank_refuses_at_once(kwargs: dict, words: str) -> None:
    with pytest.raises(SoundError, match=words):
        ProceduralBank(**{"fs": FS, **kwargs})


def test_cache_forgets_the_oldest() -> None:
    cache, made = ClipCache(max_bytes=3 * 4000), []

    def get(key: int) -> None:
        def make() -> np.ndarray:
            made.append(key)
            return np.zeros(1000, np.float32)

        cache.get(key, make)

    for key in (0, 1, 2, 0, 3, 0, 1):  # 3 pushes 1 out, as 0 was asked for since
        get(key)
    assert made == [0, 1, 2, 3, 1]


# --- the user's folder: what is done to a file


@pytest.mark.parametrize(
    ("name", "fs", "channels", "kwargs"),
    [
        ("a.wav", 44_100, 2, {"subtype": "PCM_24"}),
        ("a.wav", 8_000, 1, {"subtype": "PCM_U8"}),
        ("a.wav", 16_000, 1, {"subtype": "FLOAT"}),
        ("a.flac", 96_000, 2, {}),
        ("a.ogg", 48_000, 2, {"format": "OGG", "subtype": "VORBIS"}),
        ("a.oga", 22_050, 1, {"format": "OGG", "subtype": "VORBIS"}),
        ("a.opus", 48_000, 1, {"format": "OGG", "subtype": "OPUS"}),
        ("a.mp3", 44_100, 2, {"format": "MP3"}),
        ("A.AIFF", 11_025, 1, {"format": "AIFF"}),
    ],
)
def test_formats_channels_and_rates(tmp_path: Path, name: str, fs: int, channels: int, kwargs: dict) -> None:
    samples = np.repeat(tone(1000.0, 1.5, fs)[:, None], channels, axis=1)
    write(tmp_path / name, samples, fs, **kwargs)
    for rate in (8_000, FS):
        clip = only_clip(tmp_path, rate)
        assert clip.dtype == np.float32 and clip.flags.c_contiguous
        assert peak_frequency(clip, rate) == pytest.approx(1000.0, abs=2.0)
        assert len(clip) / rate == pytest.approx(1.45, abs=0.06)
        assert active_rms(clip, rate) == pytest.approx(1.0, abs=1e-5)


def test_resampling_folds_nothing_back(tmp_path: Path) -> None:
    high = tone(11_000.0, 1.0, 48_000) + 0.1 * tone(1_000.0, 1.0, 48_000)
    clip = only_clip(write(tmp_path / "a.wav", high, 48_000, subtype="FLOAT").parent)
    spectrum = np.abs(np.fft.rfft(clip * np.hanning(len(clip))))
    folded = spectrum[round(5_000 * len(clip) / FS) + np.arange(-20, 20)].max()  # 16 − 11 kHz
    assert 20.0 * np.log10(folded / spectrum.max()) < -80.0


def test_quiet_and_loud_recordings_come_out_alike(tmp_path: Path) -> None:
    levels = [0.001, 0.9]
    clips = [
        load_recording(write(tmp_path / f"{x}.wav", tone(level=x), subtype="PCM_24"), FS) for x in levels
    ]
    np.testing.assert_allclose(clips[0], clips[1], atol=2e-3)


def test_level_is_that_of_the_active_parts(tmp_path: Path) -> None:
    pause = np.concatenate([tone(seconds=0.5), np.zeros(FS), tone(seconds=0.5)])
    clip = load_recording(write(tmp_path / "a.wav", pause), FS)
    # A sine of RMS 1 beside the pause: over the whole clip its RMS would be 1 and its peak 2.
    assert np.abs(clip[FS // 4 : FS // 2]).max() == pytest.approx(2**0.5, rel=0.04)
    assert active_rms(clip, FS) == pytest.approx(1.0, abs=1e-5)


def test_clicks_are_tamed(tmp_path: Path) -> None:
    x = 0.01 * np.random.default_rng(0).standard_normal(FS)
    x[FS // 2] = 1.0
    clip = load_recording(write(tmp_path / "a.wav", x, subtype="FLOAT"), FS)
    assert 0.5 * MAX_PEAK < np.abs(clip).max() <= MAX_PEAK
    assert active_rms(clip, FS) == pytest.approx(1.0, abs=1e-4)


def test_silence_is_trimmed_and_offset_removed(tmp_path: Path) -> None:
    silence = np.zeros(FS)
    x = 0.3 + np.concatenate([silence, tone(seconds=0.8), silence, silence])
    clip = load_recording(write(tmp_path / "a.wav", x, subtype="FLOAT"), FS)
    assert len(clip) / FS == pytest.approx(0.8 - 0.05 + 0.02, abs=0.02)
    assert abs(clip.mean()) < 0.02
    power = clip.reshape(-1)[: len(clip) // 320 * 320].reshape(-1, 320).std(axis=1)
    assert power[1:-1].min() > 0.5


def test_antiphase_stereo_is_not_lost(tmp_path: Path) -> None:
    x = tone(700.0)
    write(tmp_path / "a.wav", np.stack([x, -0.98 * x], axis=1))
    assert peak_frequency(only_clip(tmp_path), FS) == pytest.approx(700.0, abs=2.0)


def test_stereo_is_averaged(tmp_path: Path) -> None:
    x = np.stack([tone(500.0), tone(2000.0)], axis=1)
    clip = load_recording(write(tmp_path / "a.wav", x), FS)
    spectrum = np.abs(np.fft.rfft(clip * np.hanning(len(clip))))
    peaks = [spectrum[round(f * len(clip) / FS) + np.arange(-3, 4)].max() for f in (500.0, 2000.0)]
    assert peaks[0] == pytest.approx(peaks[1], rel=0.05)


def test_long_files_are_cut(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", noise(0, 12.0))
    assert 9.8 < len(load_recording(path, FS)) / FS <= 10.0
    assert 1.9 < len(load_recording(path, FS, max_seconds=2.0)) / FS <= 2.0


@pytest.mark.parametrize("seconds", [0.02, 0.06, 0.3])
def test_short_clips_repeat_without_a_gap(tmp_path: Path, seconds: float) -> None:
    clip = load_recording(write(tmp_path / "a.wav", noise(1, seconds)), FS)
    assert 0.5 <= len(clip) / FS < 1.0
    twice = np.concatenate([clip, clip])
    windows = np.lib.stride_tricks.sliding_window_view(twice, FS // 200)  # 5 ms
    assert np.sqrt(np.mean(windows.astype(float) ** 2, axis=1)).min() > 0.4


def test_the_end_runs_into_the_start(tmp_path: Path) -> None:
    """A tone that does not fit the clip has no jump at the join: no step there larger than the tone's own."""
    clip = load_recording(write(tmp_path / "a.wav", tone(487.3, 0.9137)), FS)
    largest = 2.0 * np.pi * 487.3 / FS * np.abs(clip).max()
    assert abs(float(clip[0]) - float(clip[-1])) <= 1.05 * largest
    join = np.abs(np.diff(np.concatenate([clip[-50:], clip[:50]]).astype(float), 2)).max()
    assert join <= 1.3 * np.abs(np.diff(clip[4000:8000].astype(float), 2)).max()


# --- the user's folder: names and splits


def test_classes_are_folders_or_stems(tmp_path: Path) -> None:
    write(tmp_path / "bell.wav", noise(0))
    write(tmp_path / "dog" / "a.wav", noise(1))
    write(tmp_path / "animals" / "dog" / "b.wav", noise(2))
    write(tmp_path / "animals" / "cat" / "c.flac", noise(3))
    write(tmp_path / ".hidden.wav", noise(4))
    (tmp_path / "readme.txt").write_text("no sound")
    bank = FolderBank(tmp_path, FS)
    assert bank.classes == ("bell", "cat", "dog")
    rng = np.random.default_rng(0)
    assert {bank.draw(rng) for _ in range(60)} == {
        ClipRef("bell", 0), ClipRef("cat", 0), ClipRef("dog", 0), ClipRef("dog", 1)
    }  # fmt: skip
    assert not np.array_equal(bank.clip(ClipRef("dog", 0)), bank.clip(ClipRef("dog", 1)))


def test_large_folders_are_split_small_ones_shared(tmp_path: Path) -> None:
    for i in range(12):
        write(tmp_path / "big" / f"{i:02d}.wav", noise(i, 0.1))
    os.symlink(tmp_path / "big" / "00.wav", tmp_path / "big" / "copy of 00.wav")
    for i in range(3):
        write(tmp_path / "small" / f"{i}.wav", noise(50 + i, 0.1))
    rng = np.random.default_rng(0)
    train, test = ({FolderBank(tmp_path, FS, s).draw(rng) for _ in range(300)} for s in ("train", "test"))
    assert {r for r in train if r.sound == "small"} == {r for r in test if r.sound == "small"}
    big_train, big_test = ({r.instance for r in refs if r.sound == "big"} for refs in (train, test))
    assert not big_train & big_test and big_train | big_test == set(range(13))
    assert (0 in big_test) == (12 in big_test)  # a copy is heard in the split of its original
    assert len(big_test - {12}) == 3
    both = FolderBank(tmp_path, FS, "test", split_fraction=0.0)
    assert len({both.draw(rng) for _ in range(300)}) == 16


def test_either_split_plays_any_clip(tmp_path: Path) -> None:
    for i in range(9):
        write(tmp_path / f"{i}.wav", noise(i, 0.1))
    train, test = FolderBank(tmp_path, FS, "train"), FolderBank(tmp_path, FS, "test")
    for name in train.classes:
        assert test.clip(ClipRef(name, 0)) is train.clip(ClipRef(name, 0))


def test_open_bank_knows_both_kinds(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", noise(0))
    assert isinstance(open_bank("procedural", FS), ProceduralBank)
    assert isinstance(open_bank(str(tmp_path), FS, "test"), FolderBank)


def test_identity_is_that_of_the_clips(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", noise(0))
    first = FolderBank(tmp_path, FS)
    assert (
        first.identity
        == FolderBank(tmp_path, FS, "test").identity
        == pickle.loads(pickle.dumps(first)).identity
    )
    assert first.identity != FolderBank(tmp_path, 8_000).identity
    write(path, noise(1, 1.1))
    second = FolderBank(tmp_path, FS)
    assert second.identity != first.identity
    assert not np.array_equal(
        second.clip(ClipRef("a", 0))[:4000], load_recording(write(path, noise(0)), FS)[:4000]
    )
    assert (
        ProceduralBank(FS).identity == ProceduralBank(FS, "test").identity != ProceduralBank(8_000).identity
    )


def test_banks_pickle(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", noise(0))
    for bank in (ProceduralBank(FS, "test"), FolderBank(tmp_path, FS)):
        again = pickle.loads(pickle.dumps(bank))
        ref = bank.draw(np.random.default_rng(1))
        assert again.draw(np.random.default_rng(1)) == ref and again.classes == bank.classes
        np.testing.assert_array_equal(again.clip(ref), bank.clip(ref))


def test_another_process_draws_and_makes_the_same(tmp_path: Path) -> None:
    for i in range(10):
        write(tmp_path / f"{i}.wav", noise(i, 0.2, 11_025), 11_025)
    code = (
        "import sys, zlib, numpy as np\nfrom auralnav.envs.acoustics.soundbank import open_bank\n"
        "for source in ('procedural', sys.argv[1]):\n"
        "    bank, rng = open_bank(source, 16000, 'test'), np.random.default_rng(3)\n"
        "    refs = [bank.draw(rng) for _ in range(5)]\n"
        "    print(*refs, *[zlib.crc32(bank.clip(r).tobytes()) for r in refs])\n"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1] and runs[0].count("\n") == 2


# --- bad input


def one_line(error: pytest.ExceptionInfo[SoundError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def broken(tmp_path: Path, kind: str) -> tuple[Path, str]:
    """A file that cannot be used, and the words that say why."""
    path = tmp_path / "bad.wav"
    if kind == "text":
        path.write_text("this is not a sound")
        return path, "cannot be read"
    if kind == "no bytes":
        path.touch()
        return path, "cannot be read"
    if kind == "truncated":
        whole = write(tmp_path / "bad.flac", noise(0))
        whole.write_bytes(whole.read_bytes()[:30])
        return whole, "cannot be read"
    if kind == "not readable here":
        path = tmp_path / "bad.m4a"
        path.write_bytes(b"\x00\x00\x00\x20ftypM4A " + bytes(64))
        return path, "cannot be read"
    if kind == "dangling link":
        path.symlink_to(tmp_path / "gone.wav")
        return path, "cannot be read"
    samples = {
        "0 seconds": (np.zeros(0), "holds no samples"),
        "10 ms": (noise(0, 0.01), "is shorter than 20 ms"),
        "silent": (np.zeros(FS), "is silent"),
        "constant": (np.full(FS, 0.5), "is silent"),
        "NaN": (np.where(np.arange(FS) == 77, np.nan, noise(0)), "holds NaN"),
        "infinite": (np.where(np.arange(FS) == 77, np.inf, noise(0)), "holds NaN or infinite"),
    }[kind]
    return write(path, samples[0], subtype="FLOAT"), samples[1]


KINDS = [
    "text", "no bytes", "truncated", "not readable here", "dangling link",
    "0 seconds", "10 ms", "silent", "constant", "NaN", "infinite",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_file_alone_is_an_error(tmp_path: Path, kind: str) -> None:
    path, words = broken(tmp_path, kind)
    with pytest.raises(SoundError) as caught:
        FolderBank(tmp_path, FS)
    message = one_line(caught)
    assert path.name in message and words in message and "add a wav" in message


@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_file_among_good_ones_is_named_and_left_out(tmp_path: Path, kind: str) -> None:
    path, words = broken(tmp_path, kind)
    write(tmp_path / "good.wav", noise(1))
    for _ in range(2):  # the second time from memory
        with pytest.warns(UserWarning, match="sound left out") as caught:
            bank = FolderBank(tmp_path, FS)
        assert len(caught) == 1
        message = str(caught[0].message)
        assert path.name in message and words in message and "\n" not in message
        assert bank.classes == ("good",)


def test_a_repaired_file_is_taken_up(tmp_path: Path) -> None:
    path, _ = broken(tmp_path, "silent")
    with pytest.raises(SoundError):
        FolderBank(tmp_path, FS)
    write(path, noise(0, 1.5))
    assert FolderBank(tmp_path, FS).classes == ("bad",)


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("a")
    file = write(tmp_path / "a.wav", noise(0))
    cases = {
        tmp_path / "gone": 'does not exist: give a folder of sound files, or "procedural"',
        tmp_path / "empty": "holds no sound files: put wav, flac, ogg or mp3 files into it",
        tmp_path / "letters": "holds no sound files",
        file: "is a file: give the folder",
    }
    for path, words in cases.items():
        with pytest.raises(SoundError) as caught:
            open_bank(str(path), FS)
        message = one_line(caught)
        assert words in message and str(path) in message


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"split": "all"}, "choose train or test"),
        ({"fs": 10}, "1000 to 400000"),
        ({"max_seconds": 0.0}, "0.5 to 60"),
        ({"split_fraction": 1.0}, "0 to 0.9"),
        ({"split_fraction": float("nan")}, "0 to 0.9"),
    ],
)
def test_folder_bank_refuses_bad_arguments(tmp_path: Path, kwargs: dict, words: str) -> None:
    write(tmp_path / "a.wav", noise(0))
    with pytest.raises(SoundError, match=words):
        FolderBank(tmp_path, **{"fs": FS, **kwargs})


def test_a_clip_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.wav", noise(0))
    bank = FolderBank(tmp_path, FS)
    with pytest.raises(SoundError, match="no sound 'b:0'"):
        bank.clip(ClipRef("b", 0))
    with pytest.raises(SoundError, match="did you mean"):
        ProceduralBank(FS).clip(ClipRef("sirens", 0))
    path.unlink()
    monkeypatch.setattr(soundbank, "CLIPS", ClipCache(10**6))
    with pytest.raises(SoundError, match=r"a\.wav cannot be read .*put the file back"):
        bank.clip(ClipRef("a", 0))


def test_the_desktops_own_sounds() -> None:
    """Real recordings: ogg, mono and stereo, five rates, from 0.06 s up."""
    folder = Path("/usr/share/sounds/freedesktop/stereo")
    if not folder.is_dir():
        pytest.skip("Debian's sound-theme-freedesktop is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bank = FolderBank(folder, FS, split_fraction=0.0)
    assert len(bank.classes) >= 30
    for name in bank.classes:
        clip = bank.clip(ClipRef(name, 0))
        assert 0.5 <= len(clip) / FS <= 10.0 and np.abs(clip).max() <= MAX_PEAK
        assert active_rms(clip, FS) == pytest.approx(1.0, abs=1e-4)
