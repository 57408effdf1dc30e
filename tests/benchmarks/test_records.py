from __future__ import annotations

import json

import pytest

from auralnav.benchmarks.records import (
    Measurement,
    Ratio,
    SpeedRecord,
    joined,
    read_record,
    write_record,
)
from auralnav.errors import ConfigError


def record() -> SpeedRecord:
    return SpeedRecord.of_this_machine(
        family="audio",
        measurements=[
            Measurement(name="a", unit="1/s", description="one", value=2.0, rounds=[1.0, 2.0, 3.0]),
            Measurement(name="b", unit="1/s", description="two", value=4.0, rounds=[4.0]),
        ],
        ratios=[Ratio(name="b", reference="a", value=2.0, rounds=[2.0])],
    )


def test_a_record_comes_back_as_it_was_written(tmp_path):
    path = tmp_path / "deep" / "speed.json"
    written = record()
    write_record(path, written)
    assert read_record(path, SpeedRecord) == written
    raw = json.loads(path.read_text())
    assert raw["schema_version"] == 1
    assert raw["versions"]["numpy"] and raw["versions"]["python"].startswith("3.")
    assert raw["hardware"]["cores"] >= 1
    assert written.measurement("b").value == 4.0
    with pytest.raises(KeyError):
        written.measurement("c")


def test_a_failed_write_leaves_the_old_record(tmp_path, monkeypatch):
    path = tmp_path / "speed.json"
    write_record(path, record())
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("auralnav.files.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_record(path, record())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw.update(schema_version=2), "schema_version"),
        (lambda raw: raw.update(typo=1), "typo"),
        (lambda raw: raw["measurements"][0].update(value="fast"), r"measurements\.0\.value"),
        (lambda raw: raw["measurements"][0].update(rounds=[]), r"measurements\.0\.rounds"),
    ],
)
def test_a_wrong_record_is_named(tmp_path, change, message):
    path = tmp_path / "speed.json"
    write_record(path, record())
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))
    with pytest.raises(ConfigError, match=message) as caught:
        read_record(path, SpeedRecord)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_a_truncated_record_is_named(tmp_path):
    path = tmp_path / "speed.json"
    write_record(path, record())
    path.write_text(path.read_text()[:40])
    with pytest.raises(ConfigError, match=r"speed\.json is not JSON"):
        read_record(path, SpeedRecord)


def test_infinite_figures_are_refused():
    with pytest.raises(ValueError, match="finite"):
        Measurement(name="a", unit="1/s", description="", value=float("inf"), rounds=[1.0])


def test_families_of_one_run_are_joined_with_their_own_settings():
    def family(name: str, left_out: dict[str, str]) -> SpeedRecord:
        figure = Measurement(name=f"{name}/a", unit="1/s", description="one", value=2.0, rounds=[2.0])
        ratio = Ratio(name=f"{name}/a", reference=f"{name}/b", value=2.0, rounds=[2.0])
        return SpeedRecord.of_this_machine(
            family=name, measurements=[figure], ratios=[ratio], settings={"seconds": name}, left_out=left_out
        )

    first = family("x", {})
    both = joined([first, family("y", {"z": "no z"})])
    assert both.family == "x,y" and both.hardware == first.hardware and both.versions == first.versions
    assert [one.name for one in both.measurements] == ["x/a", "y/a"]
    assert [ratio.reference for ratio in both.ratios] == ["x/b", "y/b"]
    assert both.settings == {"x": {"seconds": "x"}, "y": {"seconds": "y"}}
    assert both.left_out == {"z": "no z"}
    with pytest.raises(ValueError, match="x/a"):
        joined([first, first])
    with pytest.raises(ValueError, match="no records"):
        joined([])
