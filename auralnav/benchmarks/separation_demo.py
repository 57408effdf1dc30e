"""What separation adds to what an agent hears, in a few seconds: for the demonstration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from auralnav.benchmarks.listening import separated_example, write_example
from auralnav.benchmarks.separation import open_separator
from auralnav.benchmarks.separation_direction import direction_rows, front_scenes
from auralnav.benchmarks.separation_mixtures import ROWS, HeldOut
from auralnav.benchmarks.separation_record import DirectionRow, TableRow
from auralnav.benchmarks.separation_scores import table_row

ROW = next(row for row in ROWS if row.kind.name == "2_rt60_0.3")


@dataclass(frozen=True)
class SeparationDemo:
    """Scores of a separator on two sources in reverberant rooms.

    Attributes:
        separator: its name.
        score: SI-SDR improvement, with that of the ideal ratio mask.
        directions: errors of the sources' azimuths with learned masks, with true ones and with none.
        picture: spectrograms of one mixture; its WAV files lie beside.
    """

    separator: str
    score: TableRow
    directions: list[DirectionRow]
    picture: Path

    def lines(self) -> list[str]:
        """What is said of it."""
        assert self.score.ceiling is not None
        off = {row.masks: row.median.mean for row in self.directions}
        return [
            f"separation: {self.separator} tells two sources at RT60 {ROW.kind.rt60:g} s apart by "
            f"{self.score.value.mean:+.1f} dB SI-SDR (ideal ratio masks {self.score.ceiling.mean:+.1f} dB)",
            f"  the direction of a source is {off['learned']:.1f}° off with it, {off['mixture']:.1f}° without, "
            f"{off['oracle']:.1f}° with true masks (medians)",
            f"  spectrograms: {self.picture}; sounds beside it",
        ]


def separation_demo(
    folder: Path, separator: str = "separator-small", mixtures: int = 16, scenes: int = 24
) -> SeparationDemo:
    """Score a separator on held-out mixtures and scenes, and write the first mixture's files into `folder`.

    Raises:
        AuralNavError: no such separator, or asteroid is not installed.
        OSError: the files cannot be written.
    """
    network, _ = open_separator(separator)
    network.eval()
    rate, cpu = network.config.sample_rate, torch.device("cpu")
    sets = list(HeldOut(rate, seed=0).mixtures(ROW, mixtures))
    score = table_row(ROW, sets, network, rate, cpu)
    heard = front_scenes(ROW.kind.rt60, scenes, seed=0, sample_rate=rate)
    directions = direction_rows(ROW.kind.rt60, heard, network, rate, cpu)
    files = write_example(folder, separated_example("two_sources", sets[0], 0, network, rate, cpu))
    return SeparationDemo(separator, score, directions, files[-1])
