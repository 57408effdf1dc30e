from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from auralnav.benchmarks import families
from auralnav.benchmarks.measure import Report
from auralnav.benchmarks.records import Measurement, Ratio, SpeedRecord, read_record
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
    assert measured == [("audio", None, 3), ("ssm", None, 3), ("agents", None, 3)]
    record = read_record(out, SpeedRecord)
    assert record.family == "audio,ssm,agents"
    assert [one.name for one in record.measurements] == ["audio/x", "ssm/x", "agents/x"]
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
