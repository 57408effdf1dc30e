"""Sound banks: where an episode's sources get their sounds, procedural or a folder of the user's files."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections import defaultdict
from collections.abc import Collection, Hashable, Sequence
from pathlib import Path

import numpy as np

from auralnav.envs.acoustics import sounds
from auralnav.envs.acoustics.clips import CLIPS, Clip, ClipRef, SoundBank, draw_clip
from auralnav.envs.acoustics.recordings import SUFFIXES, load_recording
from auralnav.errors import SoundError

__all__ = ["ClipRef", "FolderBank", "ProceduralBank", "SoundBank", "open_bank"]

SPLITS = ("train", "test")
MIN_FILES_TO_SPLIT = 8
"""A folder with fewer readable files than this is heard whole in both splits."""

_VERDICTS: dict[Hashable, str] = {}  # why a version of a file cannot be used, "" if it can


def _check_split(split: str) -> None:
    if split not in SPLITS:
        raise SoundError(f"unknown split {split!r}: choose train or test")


class ProceduralBank:
    """Sounds synthesised from seeds, nothing to download. Train and test instances are disjoint by seed."""

    def __init__(
        self,
        fs: int,
        split: str = "train",
        clip_seconds: float = 3.0,
        classes: Sequence[str] | None = None,
    ) -> None:
        """Take the rate in Hz (8 000–48 000), "train" or "test", the loops' length in s, classes (None: all).

        Raises:
            SoundError: unknown class or split, or no class at all.
        """
        _check_split(split)
        self.fs, self.split, self.clip_seconds = int(fs), split, float(clip_seconds)
        self.classes = sounds.CLASSES if classes is None else tuple(map(sounds.check_class, classes))
        if not self.classes:
            raise SoundError(f"no sound class chosen: choose from {', '.join(sounds.CLASSES)}")
        self._seeds = sounds.TRAIN_SEEDS if split == "train" else sounds.TEST_SEEDS
        # A rate or length out of range is refused now rather than in the first episode.
        self.clip(ClipRef(self.classes[0], self._seeds[0]))

    @property
    def identity(self) -> Hashable:
        """See `SoundBank.identity`."""
        return ("procedural", self.fs, self.clip_seconds)

    def draw(self, rng: np.random.Generator, exclude: Collection[str] = ()) -> ClipRef:
        """See `SoundBank.draw`."""
        return draw_clip(rng, self.classes, lambda _: self._seeds, exclude)

    def clip(self, ref: ClipRef) -> Clip:
        """See `SoundBank.clip`. Any class and seed will do: a state saved in one split opens in the other."""
        key = ("procedural", ref, self.fs, self.clip_seconds)
        return CLIPS.get(key, lambda: sounds.synthesise(ref.sound, ref.instance, self.fs, self.clip_seconds))


class FolderBank:
    """Sounds from a folder of the user's files, searched through all its folders.

    Any format, channels and rate that libsndfile reads will do: wav, flac, ogg/oga, mp3, aiff and more.
    What is done to them: `recordings.load_recording`. A file's class is the name of the folder that
    holds it, or the file's own name (without suffix) if it lies at the top. Files that cannot be used
    (unreadable, no samples, shorter than 20 ms, silent, NaN) are each named in a one-line UserWarning
    and left out.

    Splits: of each folder that holds 8 or more different files, `split_fraction` of them are kept for
    "test" and the others for "train". They are chosen by a hash of their content, so the choice is the
    same on every machine and copies stay together. A smaller folder is heard whole in both splits, and
    so is everything with `split_fraction=0`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        fs: int,
        split: str = "train",
        max_seconds: float = 10.0,
        split_fraction: float = 0.25,
    ) -> None:
        """Read every file once. `fs` in Hz; clips are cut to `max_seconds` (0.5–60); `split_fraction` 0–0.9.

        Raises:
            SoundError: missing or empty folder, no usable file in it, or an argument outside its range.
        """
        _check_split(split)
        if not 1_000 <= fs <= 400_000:
            raise SoundError(f"sounds cannot be played at {fs} Hz: use a sampling rate of 1000 to 400000")
        if not 0.5 <= max_seconds <= 60.0:
            raise SoundError(f"max_seconds={max_seconds} is out of range: use 0.5 to 60")
        if not 0.0 <= split_fraction <= 0.9:
            raise SoundError(f"split_fraction={split_fraction} is out of range: use 0 to 0.9")
        self.root = Path(path).expanduser().resolve()
        self.fs, self.split, self.max_seconds = int(fs), split, float(max_seconds)
        found, problems = _sound_files(self.root)
        instances: dict[str, int] = defaultdict(int)
        self._files: dict[ClipRef, str] = {}
        for name in found:
            label = Path(name).parent.name or Path(name).stem
            # An instance is a place among all files of the class, so that it does not change with the split.
            ref = ClipRef(label, instances[label])
            instances[label] += 1
            reason = self._why_unusable(name)
            if reason:
                problems.append(f"{self.root / name} {reason}")
            else:
                self._files[ref] = name
        if not self._files:
            raise SoundError(
                f"no usable sound among {len(found)} files in {self.root} ({problems[0]}): "
                "add a wav, flac, ogg or mp3 file"
            )
        # A bank built after a file has changed is another bank, and must not be given the old clips.
        versions = repr([(str(ref), self._key(name)) for ref, name in sorted(self._files.items())])
        self._identity = (
            str(self.root),
            self.fs,
            self.max_seconds,
            hashlib.sha256(versions.encode()).hexdigest(),
        )
        for problem in problems:
            warnings.warn(f"sound left out: {problem}", UserWarning, stacklevel=2)
        chosen = _split_files(self.root, self._files.values(), split, split_fraction)
        heard = sorted(ref for ref, name in self._files.items() if name in chosen)
        self.classes = tuple(sorted({ref.sound for ref in heard}))
        self._instances = {c: [ref.instance for ref in heard if ref.sound == c] for c in self.classes}

    @property
    def identity(self) -> Hashable:
        """See `SoundBank.identity`."""
        return self._identity

    @property
    def refs(self) -> tuple[ClipRef, ...]:
        """All clips that `draw` may give, in order."""
        return tuple(ClipRef(name, number) for name in self.classes for number in self._instances[name])

    def draw(self, rng: np.random.Generator, exclude: Collection[str] = ()) -> ClipRef:
        """See `SoundBank.draw`."""
        return draw_clip(rng, self.classes, self._instances.__getitem__, exclude)

    def clip(self, ref: ClipRef) -> Clip:
        """See `SoundBank.clip`. Clips of either split are given; level 1 is the RMS over active parts.

        Raises:
            SoundError: if the bank has no such clip, or its file has gone or changed into an unusable one.
        """
        if ref not in self._files:
            raise SoundError(
                f"there is no sound {str(ref)!r} in {self.root}: its classes are {', '.join(self.classes)}"
            )
        path = self.root / self._files[ref]
        try:
            return self._load(self._files[ref])
        except SoundError as error:
            raise SoundError(f"{path} {error}: put the file back, or build the bank again") from error

    def _key(self, name: str) -> Hashable:
        path = self.root / name
        try:
            stat = path.stat()
        except OSError as error:
            raise SoundError(f"cannot be read ({error.strerror})") from error
        return (str(path), stat.st_mtime_ns, stat.st_size, self.fs, self.max_seconds)

    def _load(self, name: str) -> Clip:
        return CLIPS.get(self._key(name), lambda: load_recording(self.root / name, self.fs, self.max_seconds))

    def _why_unusable(self, name: str) -> str:
        """Why a file cannot be used, "" if it can. Each version of a file is tried once a process."""
        try:
            key = self._key(name)
        except SoundError as error:
            return str(error)
        if key not in _VERDICTS:
            try:
                self._load(name)
                _VERDICTS[key] = ""
            except SoundError as error:
                _VERDICTS[key] = str(error)
        return _VERDICTS[key]


def _sound_files(root: Path) -> tuple[list[str], list[str]]:
    """Paths of sound files below `root` (relative, sorted, with /), and folders that could not be listed."""
    if not root.exists():
        raise SoundError(f'sound folder {root} does not exist: give a folder of sound files, or "procedural"')
    if not root.is_dir():
        raise SoundError(f"{root} is a file: give the folder that holds the sound files")
    problems: list[str] = []
    found = []
    for folder, _, files in os.walk(root, onerror=lambda e: problems.append(f"{e.filename} {e.strerror}")):
        for file in files:
            path = Path(folder, file)
            if path.suffix.lower() in SUFFIXES and not file.startswith("."):
                found.append(path.relative_to(root).as_posix())
    if not found:
        raise SoundError(f"sound folder {root} holds no sound files: put wav, flac, ogg or mp3 files into it")
    return sorted(found), problems


def _split_files(root: Path, files: Collection[str], split: str, fraction: float) -> set[str]:
    """The files of a split: see `FolderBank`."""
    folders: dict[str, dict[bytes, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name in files:
        digest = hashlib.sha256((root / name).read_bytes()).digest() if fraction > 0.0 else b""
        folders[str(Path(name).parent)][digest].append(name)
    chosen: set[str] = set()
    for copies in folders.values():
        ranked = sorted(copies)
        if len(ranked) >= MIN_FILES_TO_SPLIT:
            held_out = max(1, round(fraction * len(ranked)))
            ranked = ranked[:held_out] if split == "test" else ranked[held_out:]
        chosen.update(name for digest in ranked for name in copies[digest])
    return chosen


def open_bank(source: str, fs: int, split: str = "train") -> SoundBank:
    """The bank that an environment's `sounds` keyword asks for: "procedural", or the path of a folder.

    Raises:
        SoundError: as `ProceduralBank` and `FolderBank` do.
    """
    return ProceduralBank(fs, split) if source == "procedural" else FolderBank(source, fs, split)
