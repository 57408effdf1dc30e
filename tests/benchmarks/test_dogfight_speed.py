"""The dogfight's benchmark: its ticks are those that the worlds ran, its floors are below what no machine exceeds."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from auralnav.benchmarks import dogfight_speed
from auralnav.benchmarks.lane_rate import ADDITIONS, additions
from auralnav.envs.dogfight import layout as at


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dogfight_speed, "WORLDS", (40,))
    monkeypatch.setattr(dogfight_speed, "WARM_STEPS", 5)
    monkeypatch.setattr(dogfight_speed, "lane_rate", lambda: 1e9)


def test_a_small_run_gives_every_figure(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dogfight_speed, "find_spec", lambda name: None)
    record = dogfight_speed.dogfight_speed(0.001, 2)
    assert {one.name for one in record.measurements} == {
        "cpu/40/ticks", "cpu/40/ticks+observed", "cpu/40/steps+observed",
        "cpu/1/steps+observed", "cpu/1/steps+flat",
    }  # fmt: skip
    ticks, steps = (record.measurement(f"cpu/40/{what}+observed").rounds for what in ("ticks", "steps"))
    assert np.allclose(np.array(ticks) / steps, at.ACTION_REPEAT, rtol=0.2)
    assert set(record.left_out) == {"cuda", "vmas"} or set(record.left_out) == {"vmas"}
    assert "pip install vmas" in record.left_out["vmas"]


def test_vmas_takes_its_turn_where_it_is_installed(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    asked = {}

    def make_env(scenario: str, **kwargs):
        asked.update(kwargs, scenario=scenario)
        return SimpleNamespace(agents=range(8), reset=lambda: None, step=lambda actions: asked.update(actions=actions))

    module = ModuleType("vmas")
    module.make_env = make_env
    monkeypatch.setitem(sys.modules, "vmas", module)
    monkeypatch.setattr(dogfight_speed, "find_spec", lambda name: name == "vmas")
    before = torch.get_num_threads()
    try:
        record = dogfight_speed.dogfight_speed(0.001, 1)
    finally:
        torch.set_num_threads(before)
    assert (asked["scenario"], asked["num_envs"], len(asked["actions"])) == ("simple_tag", 1024, 8)
    assert record.measurement("vmas/1024/steps").value > 0 and "vmas" not in record.left_out


def test_an_operation_is_counted_for_each_bullet() -> None:
    world = dogfight_speed.games(2, "cpu")
    world.bullets[...] = 0
    without = dogfight_speed.operations(world, False)
    world.bullets[:, 4, :3, 0] = 9
    assert dogfight_speed.operations(world, False) - without == 3 * dogfight_speed.OF_BULLET
    assert dogfight_speed.operations(world, True) - dogfight_speed.operations(world, False) == 3400 / 4


def test_the_adders_are_timed_by_sums_that_are_done() -> None:
    begins = 0.001 + 2 + 3 + 4 + 4.001 + 6 + 7 + 8
    assert ADDITIONS == 8 and additions(1000) == pytest.approx(begins + 8 * 1000 * 1e-3, rel=1e-4)


@pytest.mark.gpu
def test_every_form_is_measured_on_a_gpu(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from auralnav.benchmarks import dogfight_cuda

    monkeypatch.setattr(dogfight_cuda, "WORLDS", (64,))
    record = dogfight_speed.dogfight_speed(0.01, 1)
    names = {one.name for one in record.measurements}
    assert {f"cuda/64/ticks{form}" for form in ("", "+launch16", "+graph16", "+observed")} <= names
    for one in record.measurements:
        assert one.value < one.settings.get("floor_per_s", np.inf)
