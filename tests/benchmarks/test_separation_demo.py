from __future__ import annotations

import sys

import pytest

from auralnav import cli_people
from auralnav.benchmarks.separation_demo import separation_demo
from auralnav.errors import CheckpointError


def test_the_demo_says_and_writes_what_separation_adds(tmp_path):
    found = separation_demo(tmp_path / "deep", mixtures=3, scenes=4)
    assert found.score.value.mean > 3.0 and len(found.score.values) == 3
    assert found.picture.is_file()
    assert {path.name for path in found.picture.parent.glob("*.wav")} >= {
        "two_sources_mixture.wav", "two_sources_estimate_1.wav", "two_sources_target_2.wav"
    }  # fmt: skip
    first, second, third = found.lines()
    assert f"{found.score.value.mean:+.1f} dB SI-SDR" in first and "RT60 0.3 s" in first
    learned, oracle, mixture = (row.median.mean for row in found.directions)
    assert second.index(f"{learned:.1f}°") < second.index(f"{mixture:.1f}°") < second.rindex(f"{oracle:.1f}°")
    assert str(found.picture) in third


def test_without_asteroid_the_demo_says_what_is_left_out(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "asteroid"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "asteroid", None)
    (line,) = cli_people._separation(tmp_path)
    assert line.startswith("separation is left out: ") and "pip install 'auralnav[separation]'" in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["separator-smal", "nowhere.safetensors"])
def test_a_separator_that_is_not_there_is_refused(tmp_path, name):
    with pytest.raises(CheckpointError, match="no such"):
        separation_demo(tmp_path, name)
