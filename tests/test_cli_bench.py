from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from auralnav.agents.statistics import Interval
from auralnav.benchmarks import families, separation
from auralnav.benchmarks.measure import Report
from auralnav.benchmarks.records import Measurement, Ratio, SpeedRecord, read_record
from auralnav.benchmarks.separation import SeparationBench
from auralnav.benchmarks.separation_record import SeparationRecord, TableRow
from auralnav.cli import main
from auralnav.cli_bench import bench_app, speed_tables

runner = CliRunner(env={"COLUMNS": "200"})


def test_the_tables_show_rates_times_and_ratios():
    record = SpeedRecord(
        family="audio",
        measurements=[
            Measurement(name="env/x", unit="1/s", description="words", value=4000.0, rounds=[4000.0])
        ],
        ratios=[Ratio(name="env/x", reference="loop/y", value=12.345, rounds=[10.0, 12.345, 20.0])],
    )
    console = Console(file=io.StringIO(), width=200)
    for table in speed_tables(record):
        console.print(table)
    text = console.file.getvalue()
    for expected in ("4,000", "250 µs", "words", "loop/y", "12.3", " 10 ", " 20 "):
        assert expected in text


def test_the_longest_names_leave_room_for_the_figures_in_eighty_columns():
    name, reference = "scan/2x1024x256/numba+forward", "scan/2x1024x256/torch-loop+forward"
    record = SpeedRecord(
        family="ssm",
        measurements=[Measurement(name=name, unit="1/s", description="words", value=4000.0, rounds=[4000.0])],
        ratios=[Ratio(name=name, reference=reference, value=12.345, rounds=[0.123, 12.345, 207.8])],
    )
    console = Console(file=io.StringIO(), width=80)
    for table in speed_tables(record, words=False):
        console.print(table)
    text = console.file.getvalue()
    for expected in (name, "torch-loop+forward", "4,000", "250 µs", "12.3", "0.123", "208"):
        assert expected in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "video"], "'video' is none of audio, ssm, agents"),
        (["--only", "audio,smm"], "did you mean ssm?"),
        (["--only", ","], "no family is named"),
        (["--seconds", "0"], "--seconds"),
        (["--rounds", "0"], "--rounds"),
    ],
)
def test_wrong_options_are_refused_before_anything_runs(arguments: list[str], said: str):
    result = runner.invoke(bench_app, ["speed", *arguments])
    assert result.exit_code == 2
    assert arguments[0] in result.output
    assert said in result.output


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float | None, int]]:
    """The calls of a stand-in for the measurement of a family."""
    calls = []

    def measure(name: str, seconds: float | None, rounds: int, report: Report) -> SpeedRecord:
        calls.append((name, seconds, rounds))
        report(f"{name}/x", 1, 1)
        figure = Measurement(
            name=f"{name}/x", unit="1/s", description=f"words of {name}", value=1.0, rounds=[1.0],
            settings={"first_call_s": 250.0} if name == "ssm" else {},
        )  # fmt: skip
        left_out = {"cuda": "no CUDA device"} if name == "ssm" else {}
        return SpeedRecord(
            family=name, measurements=[figure], ratios=[], settings={"of": name}, left_out=left_out
        )

    monkeypatch.setattr(families, "measure_family", measure)
    return calls


def test_everything_is_measured_and_joined_in_one_record(
    measured: list[tuple[str, float | None, int]], tmp_path: Path
):
    out = tmp_path / "speed.json"
    result = runner.invoke(bench_app, ["speed", "--rounds", "3", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert measured == [(name, None, 3) for name in ("audio", "ssm", "agents", "dogfight")]
    record = read_record(out, SpeedRecord)
    assert record.family == "audio,ssm,agents,dogfight"
    assert [one.name for one in record.measurements] == ["audio/x", "ssm/x", "agents/x", "dogfight/x"]
    assert record.settings == {name: {"of": name} for name in families.FAMILIES}
    assert record.left_out == {"cuda": "no CUDA device"}
    assert "left out: cuda: no CUDA device" in result.output
    assert result.output.count("first call: ") == 1 and "first call: ssm/x: 250 s" in result.output
    assert all(f"words of {name}" in result.output for name in families.FAMILIES)


def test_a_narrow_terminal_shows_the_figures_without_the_words(measured: list[tuple[str, float | None, int]]):
    result = runner.invoke(bench_app, ["speed", "--only", "agents"], env={"COLUMNS": "80"})
    assert result.exit_code == 0, result.output
    assert "agents/x" in result.output and "1 s" in result.output
    assert "words of agents" not in result.output


def test_some_families_are_measured_in_their_order_and_once(measured: list[tuple[str, float | None, int]]):
    result = runner.invoke(bench_app, ["speed", "--only", "agents, ssm,agents", "--seconds", "0.5"])
    assert result.exit_code == 0, result.output
    assert measured == [("ssm", 0.5, 5), ("agents", 0.5, 5)]


def test_a_tiny_run_measures_every_peer_and_writes_the_record(tmp_path: Path):
    out = tmp_path / "speed.json"
    result = runner.invoke(
        bench_app, ["speed", "--only", "audio", "--seconds", "0.01", "--rounds", "2", "--out", str(out)]
    )
    assert result.exit_code == 0, result.output
    record = read_record(out, SpeedRecord)
    names = {one.name for one in record.measurements}
    for variant in ("hybrid", "hybrid-cues", "anechoic"):
        for form in ("env", "vector"):
            assert {f"{form}/{variant}", f"{form}/{variant}+resets"} <= names
    assert {"rir/auralnav", "rir/pyroomacoustics", "rir/pyroomacoustics-no-hpf"} <= names
    assert {"loop/order-6", "loop/order-10", "loop/complete", "loop/anechoic"} <= names
    assert all(one.value > 0 and len(one.rounds) == 2 for one in record.measurements)
    # What is compared is the same response.
    assert record.settings["audio"]["rir_parity_db"] < -50
    assert all(len(ratio.rounds) == 2 for ratio in record.ratios)
    for name in names:
        assert name in result.output


@pytest.fixture
def separated(monkeypatch: pytest.MonkeyPatch) -> list[SeparationBench]:
    """The calls of a stand-in for the benchmark of a separator."""
    calls = []

    def bench(options: SeparationBench, report: Report) -> SeparationRecord:
        calls.append(options)
        report("2_anechoic", 1, 1)
        row = TableRow(
            name="2_anechoic", sources=2, rt60=0.0, noise=False, recorded=False, measure="SI-SDRi",
            value=Interval(12.5, 12.0, 13.0, 3), ceiling=Interval(16.0, 15.0, 17.0, 3), goal=15.0,
            level_error=1.0, leak=-30.0, values=[12.5],
        )  # fmt: skip
        return SeparationRecord(
            settings={"mixtures": 3}, separator={}, rows=[row], pairs=[], silence=0.0, streaming=[],
            direction=[], speed=[], left_out={"speed": "0 were asked for"},
        )  # fmt: skip

    monkeypatch.setattr(separation, "separation_bench", bench)
    return calls


def test_a_separator_is_measured_as_asked_and_written_down(separated: list[SeparationBench], tmp_path: Path):
    out = tmp_path / "separation.json"
    arguments = "--separator x.pth --mixtures 3 --pairs 0 --scenes 4 --rounds 0 --seed 9 --device cpu".split()
    folders = ["--sounds", str(tmp_path), "--files", str(tmp_path / "files"), "--examples", "2"]
    result = runner.invoke(bench_app, ["separation", *arguments, *folders, "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert separated == [
        SeparationBench(
            separator="x.pth", mixtures=3, pairs=0, scenes=4, rounds=0, seed=9, device="cpu", sounds=tmp_path,
            files=tmp_path / "files", examples=2,
        )
    ]  # fmt: skip
    assert read_record(out, SeparationRecord).rows[0].value.mean == 12.5
    for expected in ("12.5 [12.0, 13.0]", "≥ 14.0 NO", "left out: speed: 0 were asked for", "examples: ", "record: "):
        assert expected in result.output


def test_the_separator_that_comes_with_the_package_is_measured_by_default(separated: list[SeparationBench]):
    assert runner.invoke(bench_app, ["separation"]).exit_code == 0
    assert separated == [SeparationBench()] and separated[0].separator == "separator-small"


@pytest.mark.parametrize(
    "arguments", [["--mixtures", "0"], ["--seed", "-1"], ["--seed", str(2**31)], ["--device", "gpu"], ["--pairs", "x"]]
)
def test_wrong_options_of_a_separators_benchmark_are_refused(separated: list[SeparationBench], arguments: list[str]):
    result = runner.invoke(bench_app, ["separation", *arguments])
    assert result.exit_code == 2 and arguments[0] in result.output
    assert separated == []


def test_a_separator_that_is_not_there_is_said_in_one_line(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="2"):
        main(["bench", "separation", "--separator", "separator-smal"])
    said = capsys.readouterr().err
    assert said.startswith("error: separator-smal: no such separator") and said.count("\n") == 1
