"""The state-space benchmark: every figure has its words, and the memory it quotes is what autograd keeps."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

import pytest
import torch

from auralnav.benchmarks import ssm_speed


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_a_small_run_gives_every_figure_and_ratio(one_thread: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssm_speed, "SCANS", ((2, 9, 32),))
    monkeypatch.setattr(ssm_speed, "LENGTHS", (5,))
    monkeypatch.setattr(ssm_speed, "HISTORIES", (1, 9))
    monkeypatch.setattr(ssm_speed, "TRANSFORMER_HISTORIES", (9,))
    seen: list[tuple[str, int, int]] = []
    record = ssm_speed.ssm_speed(0.001, 2, lambda *turn: seen.append(turn))
    scans = ["numba", "torch-loop"] + ["mambapy"] * bool(find_spec("mambapy"))
    layers = ["mamba", "mamba2", "transformer", "transformer-equal", "lstm", "gru"]
    expected = {f"scan/2x9x32/{name}" for name in scans} | {f"layer/5/{name}" for name in layers}
    expected |= {f"{name}+forward" for name in expected}
    expected |= {f"step/{history}/{name}" for history in (1, 9) for name in ("mamba", "mamba2")}
    assert {one.name for one in record.measurements} == expected | {"step/9/transformer"}
    assert len(seen) == seen[-1][1] == seen[-1][2]
    sizes = {one.name: one.settings["parameters"] for one in record.measurements if "parameters" in one.settings}
    for name in ("transformer-equal", "lstm", "gru"):
        assert sizes[f"layer/5/{name}"] == pytest.approx(sizes["layer/5/mamba2"], rel=0.01)
    assert torch.get_num_threads() == 1


def test_saved_bytes_counts_each_storage_once() -> None:
    x = torch.randn(1_000, requires_grad=True)
    assert ssm_speed.saved_bytes(lambda: x * x) == 4_000
    assert ssm_speed.saved_bytes(lambda: x.exp() * x) == 8_000


@pytest.mark.parametrize(("seconds", "rounds"), [(0.0, 1), (1.0, 0)])
def test_no_time_or_no_rounds_is_refused(seconds: float, rounds: int) -> None:
    with pytest.raises(ValueError, match="seconds must be"):
        ssm_speed.ssm_speed(seconds, rounds)
