"""Directions, speed, listening files and tables of the benchmark of separators."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from rich.console import Console
from torch import nn

from auralnav.agents.statistics import Interval
from auralnav.benchmarks.listening import PEAK, separated_example, write_example
from auralnav.benchmarks.records import Measurement
from auralnav.benchmarks.separation_direction import (
    APART,
    STEPS,
    Scenes,
    bootstrap_median,
    direction_rows,
    front_scenes,
    learned_errors,
    mixture_errors,
    oracle_errors,
)
from auralnav.benchmarks.separation_record import (
    DirectionRow,
    PairRow,
    SeparationRecord,
    StreamingRow,
    TableRow,
)
from auralnav.benchmarks.separation_speed import PEERS, separation_speed
from auralnav.benchmarks.separation_tables import separation_tables
from auralnav.envs.acoustics.sounds import CLASSES
from auralnav.separation.mixtures import STEP_SECONDS
from auralnav.separation.separator import DPRNNSeparator
from auralnav.separation.separator_config import SeparatorConfig
from auralnav.separation.validation import Kind, ValidationSet

FS, N = 16_000, 4_000
CPU = torch.device("cpu")
SMALL = SeparatorConfig(
    sources=3, filters=16, kernel=64, stride=32, bottleneck=8, hidden=8, chunk=20, hop=10, repeats=1
)  # fmt: skip


class Seer(nn.Module):
    """Knows the sources of the scenes' last step, and gives them out in the other order, the third output silent."""

    config = SMALL

    def __init__(self, scenes: Scenes) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(1))
        self.last = scenes.audio[-1]
        self.sources = scenes.images.mean(dim=2).flip(1)

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        out = 1e-9 * audio.mean(dim=1, keepdim=True).repeat(1, 3, 1)
        if torch.equal(audio[..., -N:], self.last):
            out[:, :2, -N:] = self.sources
        return out


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    return front_scenes(0.3, 12, seed=0)


def test_scenes_hold_two_sources_in_front_and_sound_before_the_last_step(scenes: Scenes):
    assert scenes.audio.shape == (STEPS, 12, 2, N) and scenes.images.shape == (12, 2, 2, N)
    assert np.abs(scenes.degrees).max() <= 90
    assert np.abs(np.diff(scenes.degrees, axis=1)).min() >= APART
    torch.testing.assert_close(scenes.audio[-1], scenes.images.sum(dim=1), rtol=0, atol=1e-5)
    assert (scenes.audio.square().mean(dim=(2, 3)) > 0).all()
    assert len({audio.numpy().tobytes() for audio in scenes.audio.flatten(0, 1)}) == STEPS * 12
    assert {name for pair in scenes.classes for name in pair} <= set(CLASSES)


def test_scenes_follow_from_their_seed(scenes: Scenes):
    again, other = front_scenes(0.3, 2, seed=0), front_scenes(0.3, 2, seed=1)
    assert torch.equal(again.audio, scenes.audio[:, :2])
    assert not (other.degrees == again.degrees).any()


def test_a_separator_that_knows_the_sources_has_the_errors_of_oracle_masks(scenes: Scenes):
    oracle = oracle_errors(scenes, FS)
    assert np.median(oracle) < 5
    np.testing.assert_allclose(learned_errors(scenes, Seer(scenes), FS, CPU), oracle, atol=1e-3)
    mixture = mixture_errors(scenes, FS)
    # One direction for both sources misses one of them by half their distance at least.
    assert (mixture.max(axis=1) >= APART / 2 - 1e-6).all()
    rows = direction_rows(0.3, scenes, Seer(scenes), FS, CPU)
    assert [row.masks for row in rows] == ["learned", "oracle", "mixture"]
    assert rows[1].median.mean == pytest.approx(np.median(oracle))
    assert rows[2].p90 == pytest.approx(np.quantile(mixture, 0.9))
    assert all(row.goal is None for row in rows)


def test_the_interval_of_a_median_is_over_rows():
    values = np.repeat(np.arange(101.0)[:, None], 2, axis=1)
    found = bootstrap_median(values)
    assert found.mean == 50 and found.count == 101
    # The 95 % interval of the median of 101 ranks reaches about ± 1.96 · √101 / 2 of them.
    assert found.low == pytest.approx(40, abs=3) and found.high == pytest.approx(60, abs=3)
    assert bootstrap_median(values) == found


def test_speed_is_timed_on_one_thread_and_threads_are_put_back():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    seen: list[int] = []

    class Watched(DPRNNSeparator):
        def separate(self, audio: torch.Tensor) -> torch.Tensor:
            seen.append(torch.get_num_threads())
            return super().separate(audio)

    try:
        told: list[int] = []
        found = separation_speed(Watched(SMALL), 0.0, 2, told.append)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert set(seen) == {1}
    assert told == [1] * (2 * PEERS)
    names = [one.name for one in found]
    assert len(names) == PEERS and {"cues", "step/0.5s", "step/0.75s", "step/0.5s/8-rooms"} <= set(names)
    for one in found:
        assert one.unit == "ms" and one.value > 0 and len(one.rounds) == 2
        assert one.settings["real_time_factor"] == pytest.approx(one.value / (1e3 * STEP_SECONDS))


def test_listening_files_share_one_gain_and_hold_what_is_said(tmp_path: Path):
    t = torch.arange(FS) / FS
    targets = torch.stack([3.0 * torch.sin(880 * t), 2.0 * torch.sin(9000 * t)])[None]
    audio = targets.sum(1, keepdim=True).expand(-1, 2, -1)
    part = ValidationSet(Kind("x", 2, 0.0), audio, targets, np.zeros((1, 2), np.int64))

    class Swapped(nn.Module):
        def forward(self, audio: torch.Tensor) -> torch.Tensor:
            return torch.cat([0.001 * audio.mean(dim=1, keepdim=True), targets.flip(1)], dim=1)

    example = separated_example("x_1", part, 0, Swapped(), FS, CPU)
    assert len(example.estimates) == 3 and (example.si_sdr > 50).all()
    written = write_example(tmp_path / "deep", example)
    names = {"mixture", "target_1", "target_2", "estimate_1", "estimate_2", "estimate_3"}
    assert {path.name for path in written} == {*(f"x_1_{name}.wav" for name in names), "x_1.png"}
    assert set((tmp_path / "deep").iterdir()) == set(written)
    heard = {}
    for name in names:
        heard[name], rate = soundfile.read(tmp_path / "deep" / f"x_1_{name}.wav")
        assert rate == FS and heard[name].shape == (FS,)
    assert np.abs(heard["mixture"]).max() == pytest.approx(PEAK, abs=1e-4)
    np.testing.assert_allclose(heard["mixture"], heard["target_1"] + heard["target_2"], atol=1e-4)
    for number in ("1", "2"):
        np.testing.assert_array_equal(heard[f"target_{number}"], heard[f"estimate_{number}"])
    assert np.abs(heard["estimate_3"]).max() < 1e-3
    assert (tmp_path / "deep" / "x_1.png").read_bytes().startswith(b"\x89PNG")


def test_silence_can_be_written_and_drawn(tmp_path: Path):
    targets = 0.1 * torch.randn(1, 2, FS, generator=torch.Generator().manual_seed(0))
    audio = targets.sum(1, keepdim=True).expand(-1, 2, -1)
    part = ValidationSet(Kind("x", 2, 0.0), audio, targets, np.zeros((1, 2), np.int64))

    class Mute(nn.Module):
        def forward(self, audio: torch.Tensor) -> torch.Tensor:
            return torch.zeros(1, 4, FS)

    written = write_example(tmp_path, separated_example("x", part, 0, Mute(), FS, CPU))
    assert len(written) == 1 + 2 + 4 + 1
    assert not soundfile.read(tmp_path / "x_estimate_4.wav")[0].any()


def spread(mean: float) -> Interval:
    return Interval(mean, mean - 1, mean + 1, 200)


def table_row(name: str, value: float, goal: float | None, recorded: bool = False) -> TableRow:
    return TableRow(
        name=name, sources=2, rt60=0.0, noise=False, recorded=recorded, measure="SI-SDRi", value=spread(value),
        ceiling=spread(15.0), goal=goal, level_error=1.25, leak=-30.0, values=[value],
    )  # fmt: skip


def test_the_tables_show_every_figure_and_verdict_in_eighty_columns():
    pairs = [
        PairRow(a=a, b=b, value=-5.5 if a == b else 17.3, ceiling=16.4, mixtures=8)
        for i, a in enumerate(CLASSES)
        for b in CLASSES[i:]
    ]
    timing = Measurement(
        name="step/0.75s/8-rooms", unit="ms", description="", value=16.0, rounds=[16.0],
        settings={"real_time_factor": 0.064},
    )  # fmt: skip
    record = SeparationRecord(
        settings={"mixtures": 200, "scenes": 100},
        hardware={"processor": "Some Processor"},
        separator={},
        rows=[
            table_row("2_anechoic", 13.5, 15.0),
            table_row("2_rt60_0.3", -17.5, 8.0),
            table_row("recorded_rt60_0.3", 1.5, None, recorded=True),
        ],
        pairs=pairs,
        silence=0.0,
        streaming=[
            StreamingRow(
                name="2_rt60_0.3", window=0.75, later=False, value=spread(-10.5), ceiling=spread(14.0), kept=0.97
            )
        ],
        direction=[
            DirectionRow(rt60=0.0, masks="learned", median=spread(9.5), p90=30.0, goal=10.0),
            DirectionRow(rt60=0.6, masks="oracle", median=spread(5.5), p90=31.0, goal=None),
        ],
        speed=[timing],
    )
    console = Console(file=io.StringIO(), width=80)
    with console.capture() as capture:
        for table in separation_tables(record):
            console.print(table)
    text = " ".join(capture.get().split())
    assert "…" not in text
    for expected in (
        "13.5 [12.5, 14.5]", "≥ 13.0 yes", "≥ 8.0 NO", "±1.2", "recorded_rt60_0.3*", "silence gives zeros", "97 %",
        "11 speech", "-5.5", "-10.5", "17.3", "16.4", "≤ 10.0 yes", "31.0", "16.00", "6.4 %", "≤ 15.0 NO",
    ):  # fmt: skip
        assert expected in text, expected
    louder = record.model_copy(update={"silence": 0.25, "pairs": [], "streaming": [], "direction": [], "speed": []})
    (table,) = separation_tables(louder)
    assert "NOT zeros: up to 2.5e-01" in str(table.caption)
