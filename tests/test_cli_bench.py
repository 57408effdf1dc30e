from __future__ import annotations

import io

import pytest
from rich.console import Console
from typer.testing import CliRunner

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


@pytest.mark.parametrize("arguments", [["--only", "video"], ["--seconds", "0"], ["--rounds", "0"]])
def test_wrong_options_are_refused_before_anything_runs(arguments):
    result = runner.invoke(bench_app, ["speed", *arguments])
    assert result.exit_code == 2
    assert arguments[0] in result.output


def test_a_tiny_run_measures_every_peer_and_writes_the_record(tmp_path):
    out = tmp_path / "speed.json"
    result = runner.invoke(
        bench_app, ["speed", "--only", "audio", "--seconds", "0.01", "--rounds", "2", "--out", str(out)]
    )
    assert result.exit_code == 0, result.output
    record = read_record(out)
    names = {one.name for one in record.measurements}
    for variant in ("hybrid", "hybrid-cues", "anechoic"):
        for form in ("env", "vector"):
            assert {f"{form}/{variant}", f"{form}/{variant}+resets"} <= names
    assert {"rir/auralnav", "rir/pyroomacoustics", "rir/pyroomacoustics-no-hpf"} <= names
    assert {"loop/order-6", "loop/order-10", "loop/complete", "loop/anechoic"} <= names
    assert all(one.value > 0 and len(one.rounds) == 2 for one in record.measurements)
    # What is compared is the same response.
    assert record.settings["rir_parity_db"] < -50
    assert all(len(ratio.rounds) == 2 for ratio in record.ratios)
    for name in names:
        assert name in result.output
