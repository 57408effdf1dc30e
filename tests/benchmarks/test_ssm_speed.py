"""The state-space benchmark: every figure has its words, and the memory it quotes is what autograd keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec

import pytest
import torch

from auralnav.benchmarks import ssm_cuda, ssm_speed
from auralnav.benchmarks.timing import Peer
from auralnav.policies.ssm.backends import missing


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def small(one_thread: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssm_speed, "SCANS", ((2, 9, 32),))
    monkeypatch.setattr(ssm_speed, "LENGTHS", (5,))
    monkeypatch.setattr(ssm_speed, "HISTORIES", (1, 9))
    monkeypatch.setattr(ssm_speed, "TRANSFORMER_HISTORIES", (9,))


def test_a_small_run_gives_every_figure_and_ratio(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssm_speed, "missing", lambda name: f"no {name} today")
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
    assert "no cuda today" in record.left_out.values()
    assert ("mambapy" in record.left_out) == (not find_spec("mambapy"))


def test_the_layers_on_cuda_are_measured_where_they_can_be(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def cuda_peers() -> ssm_cuda.Contents:
        peers = [Peer("ours", lambda seconds: {"ours": 3.0}), Peer("theirs", lambda seconds: {"theirs": 2.0})]
        return peers, {"ours": "o", "theirs": "t"}, [("ours", "theirs")], {"ours": {"first_call_s": 9.0}}

    monkeypatch.setattr(ssm_speed, "missing", lambda name: None)
    monkeypatch.setattr(ssm_speed, "cuda_peers", cuda_peers)
    record = ssm_speed.ssm_speed(0.001, 1)
    assert [ratio.value for ratio in record.ratios if ratio.name == "ours"] == [1.5]
    assert record.measurement("ours").settings == {"first_call_s": 9.0}
    assert not any("cuda" in what for what in record.left_out)


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:torch.get_autocast_gpu_dtype:DeprecationWarning")  # mamba_ssm 2.3.2 calls it
def test_ours_and_mamba_ssms_own_layers_take_turns_on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    if reason := missing("cuda"):
        pytest.skip(f"backend cuda: {reason}")
    sizes = (("Mamba", ssm_cuda.Mamba, (2, 9, 64)), ("Mamba2", ssm_cuda.Mamba2, (2, 70, 64)))
    monkeypatch.setattr(ssm_cuda, "LAYERS", sizes)
    peers, words, comparisons, settings = ssm_cuda.cuda_peers()
    assert [peer.name for peer in peers] == list(words) == list(settings)
    assert [name.rsplit("/", 1)[1] for name in words] == ["auralnav", "mamba_ssm", "auralnav-state"] * 2
    for one, other in comparisons:
        assert settings[one]["parameters"] == settings[other]["parameters"]
    for name, found in settings.items():
        assert ("first_call_s" in found) == (not name.endswith("mamba_ssm"))
    for peer in peers:
        assert peer.run(0.01)[peer.name] > 0


@pytest.mark.parametrize("kind", [ssm_cuda.Mamba, ssm_cuda.Mamba2])
@pytest.mark.parametrize("carried", [False, True])
def test_the_work_that_is_timed_on_cuda_has_every_gradient(
    kind: Callable[[int], ssm_cuda.SSMLayer], carried: bool
) -> None:
    layer = kind(64)
    gradients = ssm_cuda._both_passes(layer, (2, 5, 64), carried)()
    assert isinstance(gradients, tuple) and len(gradients) == 1 + len(list(layer.parameters()))
    assert all(gradient.any() for gradient in gradients)


def test_saved_bytes_counts_each_storage_once() -> None:
    x = torch.randn(1_000, requires_grad=True)
    assert ssm_speed.saved_bytes(lambda: x * x) == 4_000
    assert ssm_speed.saved_bytes(lambda: x.exp() * x) == 8_000


@pytest.mark.parametrize(("seconds", "rounds"), [(0.0, 1), (1.0, 0)])
def test_no_time_or_no_rounds_is_refused(seconds: float, rounds: int) -> None:
    with pytest.raises(ValueError, match="seconds must be"):
        ssm_speed.ssm_speed(seconds, rounds)
