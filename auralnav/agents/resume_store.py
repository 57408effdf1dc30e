"""The `resume/` folder: one atomic manifest that names the files of the newest whole checkpoint.

Files are written under names of a new generation first; renaming `manifest.json` commits them all at once;
only then are the old generation's files deleted. A crash or a full disk at any moment leaves the last
manifest and every file it names as they were.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auralnav.errors import CheckpointError
from auralnav.files import write_bytes, write_json

MANIFEST = "manifest.json"
FORMAT = 1


@dataclass(frozen=True)
class Manifest:
    """A committed checkpoint: its generation, its description, and size and CRC-32 of each of its files."""

    generation: int
    about: dict[str, Any]
    files: dict[str, tuple[int, int]]


class ResumeStore:
    """Reading and committing checkpoints in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def manifest(self) -> Manifest | None:
        """The newest committed checkpoint, None where there is none.

        Raises:
            CheckpointError: the manifest is damaged or of another version.
        """
        path = self.folder / MANIFEST
        if not path.is_file():
            return None
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            if value["format"] != FORMAT:
                raise CheckpointError(
                    f"{path}: format {value['format']} is not {FORMAT}; use the version that wrote it"
                )
            files = {name: (int(entry[0]), int(entry[1])) for name, entry in value["files"].items()}
            return Manifest(int(value["generation"]), dict(value["about"]), files)
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            raise CheckpointError(
                f"{path}: damaged ({error}); restore it from a copy or train anew"
            ) from error

    def standing(self) -> str:
        """Whether there is a checkpoint to go back to, in words for an error."""
        saved = (self.folder / MANIFEST).is_file()
        return "the last checkpoint is intact" if saved else "there is no checkpoint yet"

    def commit(
        self, about: dict[str, Any], new: dict[str, bytes], kept: set[str], previous: Manifest | None
    ) -> Manifest:
        """Write a checkpoint of `new` files and of `kept` ones of the previous checkpoint.

        Raises:
            CheckpointError: it cannot be written (for example a full disk); the previous one is intact.
        """
        generation = 1 if previous is None else previous.generation + 1
        files = {name: previous.files[name] for name in kept} if previous is not None else {}
        written: list[Path] = []
        try:
            for name, data in new.items():
                path = self.folder / name
                written.append(path)
                write_bytes(path, data)
                files[name] = (len(data), zlib.crc32(data))
            manifest = Manifest(generation, about, files)
            write_json(
                self.folder / MANIFEST,
                {"format": FORMAT, "generation": generation, "about": about, "files": files},
            )
        except OSError as error:
            # Only what no manifest names may go: the rename itself may have happened before the error.
            named = self._named()
            for path in written:
                if path.name not in named:
                    path.unlink(missing_ok=True)
            raise CheckpointError(
                f"{self.folder}: the checkpoint could not be saved ({error.strerror or error}); "
                f"{self.standing()}; free some space and run again with --resume {self.folder.parent}"
            ) from error
        self._sweep(manifest)
        return manifest

    def read(self, manifest: Manifest, name: str) -> bytes:
        """Bytes of one file of a checkpoint, checked against the manifest.

        Raises:
            CheckpointError: the file is missing, cut off or changed.
        """
        path = self.folder / name
        if name not in manifest.files:
            raise CheckpointError(f"{path}: the checkpoint does not hold it; train anew")
        try:
            data = path.read_bytes()
        except OSError as error:
            raise CheckpointError(
                f"{path}: cannot be read ({error.strerror}); restore it or train anew"
            ) from error
        size, crc = manifest.files[name]
        if len(data) != size:
            raise CheckpointError(
                f"{path}: cut off, {len(data)} of {size} bytes; restore the folder from a copy or train anew"
            )
        if zlib.crc32(data) != crc:
            raise CheckpointError(
                f"{path}: its content has changed; restore the folder from a copy or train anew"
            )
        return data

    def _named(self) -> set[str]:
        try:
            return set(json.loads((self.folder / MANIFEST).read_text(encoding="utf-8"))["files"])
        except FileNotFoundError:
            return set()

    def _sweep(self, manifest: Manifest) -> None:
        """Delete what the committed manifest does not name: old generations and leftovers of crashes."""
        for path in self.folder.iterdir():
            if path.is_file() and path.name != MANIFEST and path.name not in manifest.files:
                path.unlink(missing_ok=True)
