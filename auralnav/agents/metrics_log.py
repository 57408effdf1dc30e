"""Where SB3's logger writes: metrics.csv and TensorBoard, both able to go back to a checkpoint."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.logger import KVWriter, TensorBoardOutputFormat, filter_excluded_keys

from auralnav.files import write_text

STEP = "step"


class MetricsCsv(KVWriter):
    """One row a log step. A new column rewrites the file atomically; else a row is appended.

    Args:
        path: the file.
        keep_rows: rows to keep of an existing file (those of the checkpoint); the rest never happened.
    """

    def __init__(self, path: Path, keep_rows: int = 0) -> None:
        self._path = path
        self._columns: list[str] = [STEP]
        self._rows: list[dict[str, str]] = []
        if keep_rows and path.is_file():
            with open(path, newline="", encoding="utf-8") as handle:
                reader = csv.DictReader(handle)
                self._rows = [dict(row) for row in reader][:keep_rows]
                self._columns = list(reader.fieldnames or [STEP])
        self._rewrite()

    @property
    def rows(self) -> int:
        """Rows written so far."""
        return len(self._rows)

    def write(
        self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0
    ) -> None:
        """Append one row (SB3's interface)."""
        row = {STEP: str(step)}
        for key, value in filter_excluded_keys(key_values, key_excluded, "csv").items():
            if isinstance(value, (bool, int, float, str, np.generic)):
                row[key] = str(value)
        new = sorted(key for key in row if key not in self._columns)
        self._rows.append(row)
        if new:
            self._columns += new
            self._rewrite()
            return
        with open(self._path, "a", newline="", encoding="utf-8") as handle:
            csv.DictWriter(handle, self._columns, lineterminator="\n").writerow(row)

    def close(self) -> None:
        """Nothing is held open."""

    def _rewrite(self) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, self._columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        write_text(self._path, text.getvalue())


class TensorBoardLog(TensorBoardOutputFormat):
    """SB3's TensorBoard writer, which hides the steps after a checkpoint when a run goes back to it."""

    def __init__(self, folder: Path, purge_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(log_dir=str(folder), purge_step=purge_step)
        self._is_closed = False
