"""The benchmark of separators: what it separates, that known separators get known scores, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import nn

from auralnav.agents.statistics import Interval
from auralnav.benchmarks import separation, separation_mixtures, separation_scores
from auralnav.benchmarks.records import read_record, write_record
from auralnav.benchmarks.separation import SeparationBench, open_separator, separation_bench
from auralnav.benchmarks.separation_mixtures import RECORDED, ROWS, HeldOut, room_seed
from auralnav.benchmarks.separation_record import SeparationRecord, TableRow
from auralnav.benchmarks.separation_scores import (
    WINDOWS,
    largest_of_silence,
    pair_rows,
    streaming_rows,
    table_row,
)
from auralnav.configs.separator import SeparatorTrainConfig
from auralnav.envs.acoustics.sounds import CLASSES, TEST_SEEDS
from auralnav.errors import AuralNavError, CheckpointError, ConfigError, SoundError
from auralnav.separation.mixtures import Draw
from auralnav.separation.scores import LIMIT_DB, ideal_ratio_mask_estimates
from auralnav.separation.separator import DPRNNSeparator
from auralnav.separation.separator_config import SeparatorConfig
from auralnav.separation.validation import Kind, ValidationSet, mixture_set

FS = 16_000
CPU = torch.device("cpu")
SMALL = SeparatorConfig(
    sources=3, filters=16, kernel=64, stride=32, bottleneck=8, hidden=8, chunk=20, hop=10, repeats=1
)  # fmt: skip


class Known(nn.Module):
    """Gives out what it was told of each mixture."""

    def __init__(self, sets: list[ValidationSet], answers: list[torch.Tensor]) -> None:
        super().__init__()
        self.answers = {
            heard.numpy().tobytes(): answer
            for part, found in zip(sets, answers, strict=True)
            for heard, answer in zip(part.audio, found, strict=True)
        }

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        return torch.stack([self.answers[row.numpy().tobytes()] for row in audio])


class Bands(nn.Module):
    """Two outputs: what lies below 1 kHz, and what lies above, in an order that hangs on the window's length."""

    config = SMALL

    def __init__(self) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(1))

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        mid = audio.mean(dim=1)
        spectra = torch.fft.rfft(mid)
        low = torch.fft.rfftfreq(mid.shape[-1], 1 / FS) < 1000
        bands = [torch.fft.irfft(spectra * part, mid.shape[-1]) for part in (low, ~low)]
        return torch.stack([*bands, torch.zeros_like(mid)], dim=1)


class Echo(Bands):
    """Every output is the mixture."""

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        return audio.mean(dim=1, keepdim=True).expand(-1, 3, -1)


@pytest.fixture(scope="module")
def held_out() -> HeldOut:
    return HeldOut(FS, 0)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("separator") / "small.safetensors"
    DPRNNSeparator(SMALL).save(path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Three recordings: two of one class, one of another, of another rate and mostly silent."""
    root = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    for name, rate, seconds in (("dog/a.wav", 44_100, 0.4), ("dog/b.wav", FS, 3.0), ("kettle.wav", FS, 9.0)):
        (root / name).parent.mkdir(exist_ok=True)
        sound = 0.1 * rng.standard_normal(round(rate * seconds))
        if name == "kettle.wav":
            sound[rate // 2 : -rate // 2] *= 1e-4
        soundfile.write(root / name, sound, rate)
    return root


@pytest.fixture(scope="module")
def bench(weights: Path, folder: Path) -> SeparationBench:
    return SeparationBench(
        separator=str(weights), mixtures=2, pairs=1, scenes=2, rounds=1, seconds=0.01, device="cpu", sounds=folder
    )  # fmt: skip


@pytest.fixture(scope="module")
def record(bench: SeparationBench) -> SeparationRecord:
    return separation_bench(bench)


def level(signals: torch.Tensor) -> torch.Tensor:
    return 10 * torch.log10(signals.square().mean(dim=-1))


def sums_of_sines(mixtures: int) -> ValidationSet:
    """Two sources, one in each of `Bands`."""
    t = torch.arange(2 * FS) / FS
    low = torch.stack([torch.sin(2 * torch.pi * (300 + 40 * k) * t) for k in range(mixtures)])
    high = torch.stack([torch.sin(2 * torch.pi * (2000 + 100 * k) * t) for k in range(mixtures)])
    targets = torch.stack([low, high], dim=1)
    audio = targets.sum(1, keepdim=True).expand(-1, 2, -1)
    return ValidationSet(Kind("sines", 2, 0.0), audio, targets, np.zeros((mixtures, 2), np.int64))


def test_rooms_are_those_of_no_training_and_no_validation():
    seeds = [room_seed(s, r, c) for s in (0, 1, 2**31 - 1) for r in (0, 8, 1_000, 2**16 - 1) for c in (0, 2**16 - 1)]
    assert len(set(seeds)) == len(seeds)
    with pytest.raises(ValueError, match="seed"):
        SeparatorTrainConfig(seed=2**31)
    # Seeds are cut into words of 32 bits: a training's room with the same words would have a number of 2^31 or more.
    words = [np.random.SeedSequence([seed, 0]).generate_state(2).tolist() for seed in seeds]
    same = [np.random.SeedSequence([seed % 2**32, seed >> 32]).generate_state(2).tolist() for seed in seeds]
    assert words == same
    assert min(seed >> 32 for seed in seeds) >= 2**31


def test_sounds_are_of_the_test_split(monkeypatch):
    asked = []

    def pool(seeds, sample_rate):
        asked.append((list(seeds), sample_rate))
        return np.zeros((1, 1, 1), np.float32)

    monkeypatch.setattr(separation_mixtures, "clip_pool", pool)
    HeldOut(FS, 0)
    assert asked == [(list(TEST_SEEDS), FS)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.kind.name)
def test_mixtures_are_what_their_row_says(held_out: HeldOut, row):
    (part,) = held_out.mixtures(row, 12)
    assert part.targets.shape == (12, row.kind.active, 2 * FS)
    levels = level(part.targets)
    assert (levels.amax(1) - levels.amin(1)).max() <= 5.01
    rest = part.mid - part.targets.sum(1)
    if row.kind.noise:
        snr = level(part.targets.sum(1)) - level(rest)
        assert 9.9 <= snr.min() and snr.max() <= 30.1
        assert snr.max() - snr.min() > 5
    else:
        assert rest.abs().max() < 1e-6
    assert (part.targets.flatten(1) != 0).any(1).all()


def test_more_mixtures_of_a_row_begin_with_the_same_ones_and_are_all_different(held_out, monkeypatch):
    monkeypatch.setattr(separation_mixtures, "CHUNK", 4)
    few, many = (torch.cat([part.mid for part in held_out.mixtures(ROWS[0], count)]) for count in (4, 10))
    assert len(many) == 10 and torch.equal(few, many[:4])
    assert len({row.numpy().tobytes() for row in many}) == 10
    (other,) = HeldOut(FS, 1).mixtures(ROWS[0], 4)
    assert not (other.mid == few).any(dim=0).all()


def test_every_pair_of_classes_comes_as_often_as_asked_and_never_twice_the_same_clip(held_out):
    sets = list(held_out.pairs(2))
    rows = pair_rows(sets, Echo(), FS, CPU)
    wanted = [(a, b) for i, a in enumerate(CLASSES) for b in CLASSES[i:]]
    assert [(row.a, row.b) for row in rows] == wanted
    for row in rows:
        assert row.mixtures == 2
        assert row.value == pytest.approx(0.0, abs=1e-6)
        assert row.ceiling > 2.0


def test_sources_of_one_class_are_different_instances(held_out, monkeypatch):
    drawn: list[np.ndarray] = []

    def spied(kind, mixtures, clips, sample_rate, seed, rng, adjust):
        def look(draw: Draw) -> None:
            adjust(draw)
            drawn.append(np.stack([draw.sounds, draw.instances]))

        return mixture_set(kind, mixtures, clips, sample_rate, seed, rng, look)

    monkeypatch.setattr(separation_mixtures, "mixture_set", spied)
    list(held_out.pairs(1))
    list(held_out.mixtures(ROWS[3], 40))
    assert sum(part.shape[1] for part in drawn) == 66 + 40
    for _, instances in drawn:
        assert all(len(set(row)) == len(row) for row in instances.tolist())


def test_a_perfect_separator_a_mask_and_an_echo_get_their_scores(held_out):
    row = ROWS[1]
    sets = list(held_out.mixtures(row, 6))
    perfect = Known(sets, [part.targets.flip(1) for part in sets])
    assert table_row(row, sets, perfect, FS, CPU).value.mean > 0.9 * LIMIT_DB
    ideal = Known(sets, [ideal_ratio_mask_estimates(part.targets, part.mid, FS) for part in sets])
    masked = table_row(row, sets, ideal, FS, CPU)
    assert masked.ceiling is not None
    assert masked.value == masked.ceiling
    assert masked.measure == "SI-SDRi" and len(masked.values) == 6
    echo = table_row(row, sets, Echo(), FS, CPU)
    assert echo.values == pytest.approx([0.0] * 6, abs=1e-6)
    assert echo.ceiling == masked.ceiling


def test_a_source_alone_is_scored_without_a_mixture_to_be_better_than(held_out):
    row = next(row for row in ROWS if row.kind.active == 1)
    sets = list(held_out.mixtures(row, 3))
    rng = torch.Generator().manual_seed(0)
    noisy = [one.targets + 0.1 * one.targets.std(-1, keepdim=True) * torch.randn(one.targets.shape, generator=rng)
             for one in sets]  # fmt: skip
    found = table_row(row, sets, Known(sets, noisy), FS, CPU)
    assert found.measure == "SI-SDR" and found.ceiling is None and found.bar == 20.0
    assert found.value.mean == pytest.approx(20.0, abs=0.3)


@pytest.mark.parametrize(("ceiling", "bar"), [(20.0, 15.0), (17.0, 15.0), (14.0, 12.0)])
def test_the_bar_is_the_goal_or_lies_2_db_under_a_lower_ceiling(ceiling: float, bar: float):
    row = TableRow(
        name="x", sources=2, rt60=0.0, noise=False, recorded=False, measure="SI-SDRi",
        value=Interval(13.0, 12.0, 14.0, 3), ceiling=Interval(ceiling, 0.0, 30.0, 3), goal=15.0,
        level_error=0.0, leak=-30.0, values=[13.0],
    )  # fmt: skip
    assert row.bar == bar
    assert row.model_copy(update={"goal": None}).bar is None


def test_steps_are_scored_through_their_windows():
    sets = [sums_of_sines(3), sums_of_sines(2)]
    rows = streaming_rows("sines", sets, Bands(), FS, CPU)
    assert [(row.window, row.later) for row in rows] == [(2.0, True), *((window, False) for window in WINDOWS)]
    for row in rows:
        assert row.value.count == 5
        assert row.value.mean > 25 and row.ceiling.mean > 25
        assert row.kept == (None if row.later else 1.0)
    for row in streaming_rows("sines", sets, Echo(), FS, CPU):
        assert row.value.mean == pytest.approx(0.0, abs=1e-6)


def test_silence_is_measured():
    assert largest_of_silence(Bands(), FS, CPU) == 0.0

    class Hum(nn.Module):
        def forward(self, audio: torch.Tensor) -> torch.Tensor:
            return audio - 0.25

    assert largest_of_silence(Hum(), FS, CPU) == 0.25


def test_recordings_are_mixed_where_there_is_something_to_hear(folder: Path):
    held_out = HeldOut(FS, 0, folder)
    assert held_out.rows == ROWS + RECORDED
    for row in RECORDED:
        (part,) = held_out.mixtures(row, 16)
        assert part.targets.shape == (16, 2, 2 * FS)
        levels = level(part.targets)
        assert (levels[:, 0] - levels[:, 1]).abs().max() <= 5.01
        assert table_row(row, [part], Echo(), FS, CPU).recorded


def test_an_excerpt_is_a_piece_of_the_loop_at_an_audible_place():
    clip = np.zeros(10 * FS, np.float32)
    clip[3 * FS : 3 * FS + 800] = 5.0 * np.random.default_rng(0).standard_normal(800)
    for seed in range(20):
        piece = separation_mixtures._excerpt(clip, 3 * FS, FS, np.random.default_rng(seed))
        assert len(piece) == 3 * FS
        assert np.sqrt(np.mean(piece[FS:] ** 2)) >= separation_mixtures.AUDIBLE
        start = int(np.flatnonzero(piece == clip[3 * FS])[0])
        np.testing.assert_array_equal(piece, np.take(clip, np.arange(3 * FS) - start + 3 * FS, mode="wrap"))


def test_every_part_is_in_the_record(record: SeparationRecord, bench: SeparationBench):
    assert [row.name for row in record.rows] == [row.kind.name for row in ROWS + RECORDED]
    assert [row.name for row in record.rows if row.recorded] == [row.kind.name for row in RECORDED]
    assert all(len(row.values) == row.value.count == bench.mixtures for row in record.rows)
    assert len(record.pairs) == len(CLASSES) * (len(CLASSES) + 1) // 2
    assert len(record.streaming) == 2 * (1 + len(WINDOWS))
    assert [(row.rt60, row.masks) for row in record.direction] == [
        (rt60, masks) for rt60 in (0.0, 0.3, 0.6) for masks in ("learned", "oracle", "mixture")
    ]
    assert [row.goal for row in record.direction] == [10.0] + 8 * [None]
    assert record.silence == 0.0 and record.left_out == {}
    assert record.separator["parameters"] > 1_000 and record.separator["sample_rate"] == FS
    assert record.settings["recordings"] == 3
    assert record.settings["seed"] == 0 and record.settings["device"] == "cpu"


def test_the_same_seed_gives_the_same_figures(record: SeparationRecord, bench: SeparationBench):
    again = separation_bench(replace(bench, rounds=0))
    for part in ("rows", "pairs", "streaming", "direction", "silence", "separator"):
        assert getattr(again, part) == getattr(record, part), part
    assert again.speed == [] and again.left_out == {"speed": "0 were asked for"}


def test_work_done_is_reported_up_to_its_end(bench: SeparationBench):
    told = []
    separation_bench(replace(bench, sounds=None, pairs=0, scenes=1, mixtures=1), lambda *said: told.append(said))
    names, done, totals = zip(*told, strict=True)
    assert list(done) == sorted(done) and done[-1] == totals[0] and set(totals) == {totals[0]}
    assert {"2_anechoic", "streaming", "directions", "speed"} <= set(names)


@pytest.mark.parametrize("examples", [3, 20])
def test_examples_are_the_first_mixtures_of_the_rows_in_turn(bench: SeparationBench, monkeypatch, examples: int):
    written = []
    monkeypatch.setattr(separation, "write_example", lambda folder, example: written.append((folder, example.name)))
    there = Path("there")
    separation_bench(replace(bench, mixtures=1, pairs=0, scenes=0, rounds=0, files=there, examples=examples))
    several = [row.kind.name for row in (*RECORDED, *ROWS) if row.kind.active > 1]
    assert written == [(there, f"{name}_1") for name in several[:examples]]


def test_a_record_comes_back_and_another_version_is_refused(record: SeparationRecord, tmp_path: Path):
    path = tmp_path / "deep" / "separation.json"
    write_record(path, record)
    assert read_record(path, SeparationRecord) == record
    raw = json.loads(path.read_text())
    path.write_text(json.dumps({**raw, "schema_version": 2}))
    with pytest.raises(ConfigError, match="schema_version") as caught:
        read_record(path, SeparationRecord)
    assert "\n" not in str(caught.value)


def test_rows_of_more_sources_than_outputs_are_left_out_with_the_reason(tmp_path: Path, bench: SeparationBench):
    torch.manual_seed(0)
    path = tmp_path / "two.safetensors"
    DPRNNSeparator(replace(SMALL, sources=2)).save(path)
    found = separation_bench(
        replace(bench, separator=str(path), mixtures=1, pairs=0, scenes=0, rounds=0, sounds=None)
    )
    assert [row.name for row in found.rows] == [row.kind.name for row in ROWS if row.kind.active < 3]
    assert found.left_out["3_anechoic"] == "the separator has 2 outputs"
    assert "--sounds" in found.left_out["real recordings"]
    assert found.pairs == [] and found.direction == []


def test_an_asteroid_checkpoint_is_opened_by_its_path(tmp_path: Path):
    torch.manual_seed(0)
    path = tmp_path / "model.pth"
    parts = {"model_args": SMALL.keywords(), "state_dict": DPRNNSeparator(SMALL).network.state_dict()}
    torch.save({"model_name": "DPRNNTasNet", **parts}, path)
    separator, file = open_separator(str(path))
    assert file == path and separator.config.sources == SMALL.sources


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"separator": "nosuch"}, CheckpointError, "nosuch: no such separator"),
        ({"separator": "nosuch.safetensors"}, CheckpointError, r"nosuch\.safetensors: no such file"),
        ({"separator": "{tmp}/noise.safetensors"}, CheckpointError, "cannot be read"),
        ({"separator": "{tmp}/noise.pth"}, CheckpointError, "cannot be read as tensors"),
        ({"separator": "{tmp}/slow.safetensors"}, SoundError, "4000"),
        ({"separator": "{tmp}/one.safetensors"}, ConfigError, "one output"),
        ({"sounds": "{tmp}/nowhere"}, SoundError, "does not exist"),
        ({"sounds": "{tmp}/empty"}, SoundError, "holds no sound files"),
        ({"sounds": "{tmp}/single"}, SoundError, "holds one usable sound"),
    ],
)
def test_bad_input_is_refused_in_one_line(tmp_path: Path, bench: SeparationBench, change, error, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "single").mkdir()
    soundfile.write(tmp_path / "single" / "a.wav", np.random.default_rng(0).uniform(-1, 1, FS), FS)
    for name in ("noise.safetensors", "noise.pth"):
        (tmp_path / name).write_bytes(b"noise")
    DPRNNSeparator(replace(SMALL, sample_rate=4_000)).save(tmp_path / "slow.safetensors")
    DPRNNSeparator(replace(SMALL, sources=1)).save(tmp_path / "one.safetensors")
    (key, value), = change.items()
    filled = value.format(tmp=tmp_path)
    with pytest.raises(error, match=message) as caught:
        separation_bench(replace(bench, **{key: Path(filled) if key == "sounds" else filled}))
    assert isinstance(caught.value, AuralNavError) and "\n" not in str(caught.value)


def test_every_mixture_counts_alike_in_the_share_of_kept_sources(monkeypatch):
    sets = [sums_of_sines(3), sums_of_sines(1)]

    def streamed(separator: nn.Module, audio: torch.Tensor, n: int, window: float) -> torch.Tensor:
        targets = next(part.targets for part in sets if len(part.audio) == len(audio))
        steps = list(targets.split(n, dim=2))
        if len(audio) == 1:  # the sources change places in every step
            steps[1::2] = [step.flip(1) for step in steps[1::2]]
        return torch.cat(steps, dim=2)

    monkeypatch.setattr(separation_scores, "_streamed", streamed)
    rows = streaming_rows("sines", sets, Bands(), FS, CPU)
    assert [row.kept for row in rows] == [None, 0.75, 0.75]


def test_a_source_that_pauses_is_not_lost_for_the_share_of_kept_sources(monkeypatch):
    part = sums_of_sines(2)
    pausing = part.targets.clone()
    for step in (3, 5):  # of a quarter of a second
        pausing[:, 0, step * FS // 4 : (step + 1) * FS // 4] = 0.0
    part = replace(part, targets=pausing, audio=pausing.sum(1, keepdim=True).expand(-1, 2, -1))
    # While it pauses, another output is the one that is left.
    three = torch.cat([torch.zeros_like(pausing[:, :1]), pausing], dim=1)
    monkeypatch.setattr(separation_scores, "_streamed", lambda *arguments: three)
    assert [row.kept for row in streaming_rows("sines", [part], Bands(), FS, CPU)] == [None, 1.0, 1.0]
