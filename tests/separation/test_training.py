from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from copy import deepcopy
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from auralnav.agents import train_separator
from auralnav.configs.load import load_experiment, parse_experiment
from auralnav.configs.separator import SeparatorExperiment
from auralnav.devices import torch_device
from auralnav.errors import AuralNavError, CheckpointError, ConfigError
from auralnav.separation import training as training_module
from auralnav.separation.clip_pool import clip_pool
from auralnav.separation.mixtures import MixtureRenderer
from auralnav.separation.recorded import Recorded
from auralnav.separation.room_pool import RoomRecipe, room_pool
from auralnav.separation.separator import DPRNNSeparator
from auralnav.separation.separator_config import SeparatorConfig
from auralnav.separation.training import SeparatorTraining, scheduled_rate
from auralnav.separation.validation import KINDS, ValidationSet, figures, judge, validation_sets

FS = 16_000
TINY = """\
name: tiny
algorithm: separator
separator: {filters: 16, bottleneck: 8, hidden: 8, repeats: 1}
mixtures: {rooms: 4, instances: 1}
train: {total_steps: 24, batch_size: 2, segment: 0.5, warmup_steps: 4, eval_every: 8, eval_mixtures: 1, log_every: 4,
  checkpoint_every: 5, threads: 1}
"""


def tiny(*overrides: str) -> SeparatorExperiment:
    config = parse_experiment(TINY, overrides)
    assert isinstance(config, SeparatorExperiment)
    return config


class Shares(nn.Module):
    """Every output a learned share of the mixture, through a short filter."""

    def __init__(self, outputs: int = 4) -> None:
        super().__init__()
        self.filters = nn.Conv1d(1, outputs, 31, padding=15)

    def forward(self, audio: torch.Tensor) -> torch.Tensor:
        return self.filters(audio.mean(dim=1, keepdim=True))


@pytest.fixture(scope="module")
def renderer() -> MixtureRenderer:
    rooms = room_pool(RoomRecipe(4, 5, (0.15, 0.6), 0.25, FS, 0), None)
    return MixtureRenderer(rooms, clip_pool([0], FS), np.random.default_rng(0).standard_normal((2, FS)), FS)


def trained(renderer: MixtureRenderer, steps: int, *overrides: str) -> SeparatorTraining:
    torch.manual_seed(0)
    training = SeparatorTraining(tiny(*overrides), Shares(), renderer)
    for _ in range(steps):
        training.step()
    return training


def test_the_learning_rate_rises_and_falls():
    rates = [scheduled_rate(step, 100, 10, 1e-3, 1e-5) for step in range(120)]
    assert rates[0] == pytest.approx(1e-4)
    assert rates[10] == max(rates) == pytest.approx(1e-3)
    assert rates[55] == pytest.approx((1e-3 + 1e-5) / 2)
    assert all(after < before for before, after in pairwise(rates[10:101]))
    assert rates[100] == rates[119] == pytest.approx(1e-5)
    assert scheduled_rate(0, 100, 0, 1e-3, 1e-5) == 1e-3
    late = [scheduled_rate(step, 100, 10, 1e-3, 1e-5, 0.2) for step in range(120)]
    assert set(late[10:81]) == {1e-3} and late[:10] == rates[:10]
    assert late[90] == pytest.approx((1e-3 + 1e-5) / 2) and late[100] == late[119] == pytest.approx(1e-5)
    assert [scheduled_rate(step, 100, 10, 1e-3, 1e-5, 0.0) for step in (10, 99)] == [1e-3, 1e-3]


def test_training_lowers_the_loss(renderer):
    training = trained(renderer, 20, "train.learning_rate=0.01")
    before = training.figures()["train/loss"]
    for _ in range(60):
        training.step()
    training.figures()
    for _ in range(20):
        training.step()
    assert training.figures()["train/loss"] < before - 1.0


def test_a_restored_training_goes_on_bit_for_bit(renderer):
    whole, first = trained(renderer, 7), trained(renderer, 3)
    second = trained(renderer, 0)
    second.restore(first.state())
    for _ in range(4):
        second.step()
    assert second.figures() == whole.figures()
    for one, other in ((whole._separator, second._separator), (whole.averaged, second.averaged)):
        for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
            assert torch.equal(a, b)


def test_each_update_has_mixtures_of_its_own(renderer):
    training, other = trained(renderer, 0), trained(renderer, 0, "train.seed=1")
    audio = training.mixtures(5)[0]
    assert torch.equal(audio, training.mixtures(5)[0])
    assert not torch.equal(audio, training.mixtures(6)[0])
    assert not torch.equal(audio, other.mixtures(5)[0])


def test_the_average_follows_the_weights(renderer):
    training = trained(renderer, 1, "train.average=0.9")
    for _ in range(3):
        before = training.averaged.filters.weight.clone()
        training.step()
        keep = min(0.9, training.steps / (10.0 + training.steps))
        wanted = keep * before + (1 - keep) * training._separator.filters.weight
        torch.testing.assert_close(training.averaged.filters.weight, wanted)


def test_the_weight_of_silence_rises_to_its_own(renderer, monkeypatch):
    seen = []
    monkeypatch.setattr(
        training_module.SeparationLoss,
        "forward",
        lambda self, estimates, targets, mid, weight: seen.append(float(weight)) or estimates.square().mean(),
    )
    trained(renderer, 6, "train.silence_weight=0.2", "train.silence_warmup_steps=4")
    assert seen == pytest.approx([0.05, 0.1, 0.15, 0.2, 0.2, 0.2])
    seen.clear()
    trained(renderer, 2, "train.silence_weight=0.2")
    assert seen == pytest.approx([0.2, 0.2])


def test_a_divergence_is_told_with_what_to_do(renderer):
    training = trained(renderer, 1)
    with torch.no_grad():
        training._separator.filters.weight.fill_(float("nan"))
    training.step()
    with pytest.raises(AuralNavError, match=r"diverged by step 2.*lower train.learning_rate"):
        training.figures()


def test_validation_mixtures_are_fixed_and_what_their_kind_says():
    sets, again = validation_sets(2, FS), validation_sets(2, FS)
    assert [mixtures.kind for mixtures in sets] == list(KINDS)
    for mixtures, other in zip(sets, again, strict=True):
        assert torch.equal(mixtures.audio, other.audio)
        assert mixtures.targets.shape == (2, mixtures.kind.active, 2 * FS)
        level = 10 * torch.log10(mixtures.targets.square().mean(-1))
        assert (level.amax(1) - level.amin(1) <= 5.01).all()
        torch.testing.assert_close(mixtures.mid, mixtures.targets.sum(1))
        assert not torch.equal(mixtures.audio[:, 0], mixtures.audio[:, 1])
    assert not torch.equal(sets[0].audio, sets[1].audio)


def test_a_judgement_of_what_is_known():
    generator = torch.Generator().manual_seed(0)
    targets = 0.05 * torch.randn(3, 2, FS, generator=generator)
    audio = targets.sum(1).unsqueeze(1) * torch.tensor([[1.5], [0.5]])
    mixtures = ValidationSet(KINDS[0], audio, targets, np.array([[0, 1], [1, 0], [2, 2]]))

    def outputs(scale: float, leak: float) -> nn.Module:
        class Known(nn.Module):
            def forward(self, audio: torch.Tensor) -> torch.Tensor:
                mid = audio.mean(dim=1)
                return torch.stack([leak * mid, scale * targets[:, 1], 0 * mid, scale * targets[:, 0]], dim=1)

        return Known()

    perfect = judge(outputs(1.0, 0.0), mixtures)
    assert perfect.si_sdr.min() > 90
    assert np.abs(perfect.improvement - perfect.si_sdr).max() < 3.0  # the mixture's own SI-SDR is about 0 dB
    assert np.abs(perfect.level_error).max() < 1e-3
    assert (perfect.leak == -100).all()
    faint = judge(outputs(0.5, 0.1), mixtures)
    assert faint.si_sdr.min() > 90
    np.testing.assert_allclose(faint.level_error, 20 * math.log10(0.5), atol=1e-3)
    np.testing.assert_allclose(faint.leak, -20.0, atol=1e-3)
    summary = figures(outputs(1.0, 0.0), [mixtures, replace(mixtures, kind=KINDS[3])])
    assert summary["si_sdri_2_anechoic"] == pytest.approx(float(perfect.improvement.mean()))
    assert summary["si_sdr_1_rt60_0.3"] == pytest.approx(float(perfect.si_sdr.mean()))
    assert summary["score"] == 30.0  # what is better is not told apart


def test_a_run_leaves_what_is_needed_and_a_second_one_continues_it_exactly(tmp_path: Path):
    config = tiny()
    whole = train_separator.start(config, tmp_path / "whole")
    assert (whole.steps, whole.signal, whole.timed_out) == (24, None, False)
    part = config.model_copy(update={"train": config.train.model_copy(update={"time_limit": 1e-6})})
    first = train_separator.start(part, tmp_path / "part")
    assert first.timed_out
    assert first.steps == 1
    # The last step of a timed-out run is judged; what follows must not depend on it.
    second = train_separator.resume(tmp_path / "part", ("train.time_limit=null",))
    assert (second.first_step, second.steps) == (1, 24)
    for name, value in load_file(tmp_path / "whole" / "separator.safetensors").items():
        assert torch.equal(value, load_file(tmp_path / "part" / "separator.safetensors")[name])
    assert second.validations[1:] == whole.validations
    separator = DPRNNSeparator.load(tmp_path / "part" / "separator.safetensors")
    best = max(whole.validations, key=lambda row: row["score"])
    assert separator.notes["steps"] == best["step"]
    assert separator.notes["validation"] == best
    assert separator.notes["experiment"]["name"] == "tiny"
    rows = (tmp_path / "whole" / "metrics.csv").read_text().splitlines()
    assert rows[0].startswith("step,")
    assert "eval/score" in rows[0]
    assert json.loads((tmp_path / "whole" / "eval" / "validation.json").read_text()) == whole.validations
    assert list((tmp_path / "whole").glob("events.out.tfevents*"))


def test_a_training_may_begin_with_the_weights_of_another(tmp_path: Path):
    torch.manual_seed(1)
    known = DPRNNSeparator(SeparatorConfig(**tiny().separator.model_dump()), {"steps": 7})
    known.save(tmp_path / "known.safetensors")
    named = f"train.initial={json.dumps(str(tmp_path / 'known.safetensors'))}"
    begin = (named, "separator.ears=2", "train.eval_every=0")
    # Updates too small to move a weight show what it began with.
    still = tiny(*begin, "train.total_steps=1", "train.learning_rate=1e-30", "train.learning_rate_final=1e-30")
    train_separator.start(still, tmp_path / "still")
    separator = DPRNNSeparator.load(tmp_path / "still" / "separator.safetensors")
    for name, value in known.weights().items():
        torch.testing.assert_close(separator.weights()[name], value, atol=1e-3, rtol=1e-3)  # half precision
    assert separator.notes["initial"]["steps"] == 7
    assert len(separator.notes["initial"]["sha256"]) == 64
    # What it began with is kept: the file may go.
    train_separator.start(tiny(*begin, "train.total_steps=2"), tmp_path / "run")
    (tmp_path / "known.safetensors").unlink()
    resumed = train_separator.resume(tmp_path / "run", ("train.total_steps=3",))
    assert (resumed.first_step, resumed.steps) == (2, 3)
    with pytest.raises(CheckpointError, match=r"train.initial: .*known.safetensors: no such file"):
        train_separator.start(tiny(*begin), tmp_path / "gone")
    assert not (tmp_path / "gone").exists()
    known.save(tmp_path / "known.safetensors")
    with pytest.raises(ConfigError, match=r"train.initial: a resumed run keeps the weights it began with"):
        train_separator.resume(tmp_path / "run", ("train.initial=null",))
    (tmp_path / "run" / "initial.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"initial.safetensors: cannot be read"):
        train_separator.resume(tmp_path / "run", ("train.total_steps=4",))
    with pytest.raises(ConfigError, match=r"another network: hidden 8 instead of 16; give it the same sizes"):
        train_separator.start(tiny(*begin, "separator.hidden=16"), tmp_path / "gone")
    assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize("before", ["_keep_initial", "_train"])
def test_a_run_that_is_killed_at_once_still_begins_with_the_weights_of_another(tmp_path: Path, monkeypatch, before):
    torch.manual_seed(1)
    known = DPRNNSeparator(SeparatorConfig(**tiny().separator.model_dump()))
    known.save(tmp_path / "known.safetensors")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(train_separator, before, killed)
    named = f"train.initial={json.dumps(str(tmp_path / 'known.safetensors'))}"
    still = ("train.learning_rate=1e-30", "train.learning_rate_final=1e-30")
    with pytest.raises(KeyboardInterrupt):
        train_separator.start(
            tiny(named, *still, "train.total_steps=1", "train.eval_every=0"), tmp_path / "run"
        )
    monkeypatch.undo()
    train_separator.resume(tmp_path / "run")
    separator = DPRNNSeparator.load(tmp_path / "run" / "separator.safetensors")
    for name, value in known.weights().items():
        torch.testing.assert_close(separator.weights()[name], value, atol=1e-3, rtol=1e-3)  # half precision
    assert "sha256" in separator.notes["initial"]


def test_a_training_killed_with_9_resumes_exactly(tmp_path: Path):
    (tmp_path / "tiny.yaml").write_text(TINY.replace("total_steps: 24", "total_steps: 40"))
    run, manifest = tmp_path / "run", tmp_path / "run" / "resume" / "manifest.json"
    command = [sys.executable, "-m", "auralnav", "train", "tiny.yaml", "--run-dir", "run"]
    here = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": here}, stderr=subprocess.PIPE)
    while process.poll() is None and not (manifest.is_file() and (run / "eval" / "validation.json").is_file()):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, errors.decode()
    reached = json.loads(manifest.read_text())["about"]["step"]
    resumed = train_separator.resume(run)
    assert 0 < resumed.first_step == reached < 40
    config = load_experiment(tmp_path / "tiny.yaml")
    assert isinstance(config, SeparatorExperiment)
    whole = train_separator.start(config, tmp_path / "whole")
    assert resumed.validations == whole.validations
    for name, value in load_file(tmp_path / "whole" / "separator.safetensors").items():
        assert torch.equal(value, load_file(run / "separator.safetensors")[name])


@pytest.mark.parametrize("when", ["train.checkpoint_every=4", "train.eval_every=4"])
def test_a_divergence_is_neither_judged_nor_saved_over_the_last_good_checkpoint(tmp_path: Path, monkeypatch, when):
    run = tmp_path / "run"
    quiet = ("train.eval_every=0", "train.log_every=24", "train.checkpoint_every=0", "train.time_limit=1e-6")
    assert train_separator.start(tiny(*quiet), run).timed_out
    step = SeparatorTraining.step

    def diverging(training: SeparatorTraining) -> None:
        if training.steps == 2:
            with torch.no_grad():
                next(training._separator.parameters()).fill_(torch.nan)
        step(training)

    monkeypatch.setattr(SeparatorTraining, "step", diverging)
    with pytest.raises(AuralNavError, match="diverged by step 4"):
        train_separator.resume(run, ("train.time_limit=null", when))
    monkeypatch.undo()
    assert not (run / "eval" / "validation.json").exists()
    assert train_separator.resume(run, ("train.time_limit=null", "train.total_steps=5")).first_step == 1


@pytest.mark.parametrize(("outputs", "kinds"), [(1, 1), (2, 3), (6, 4)])
def test_any_number_of_outputs_can_be_trained_and_judged(tmp_path: Path, outputs: int, kinds: int):
    shares = f"mixtures.active={[1.0] * min(outputs, 4)}"
    result = train_separator.start(
        tiny(f"separator.sources={outputs}", shares, "train.total_steps=1"), tmp_path / "run"
    )
    names = [name for name in result.validations[-1] if name.startswith("si_sdr")]
    assert len(names) == kinds
    assert DPRNNSeparator.load(tmp_path / "run" / "separator.safetensors").config.sources == outputs


def test_no_training_has_the_rooms_of_validation():
    with pytest.raises(ConfigError, match=r"train.seed.*1000000"):
        tiny("train.seed=1000003")


def test_wrong_use_of_runs_and_configs_is_told_in_one_line(tmp_path: Path):
    train_separator.start(tiny("train.total_steps=1", "train.eval_every=0"), tmp_path / "run")
    assert (tmp_path / "run" / "separator.safetensors").is_file()
    with pytest.raises(ConfigError, match="holds a run already"):
        train_separator.start(tiny(), tmp_path / "run")
    with pytest.raises(ConfigError, match="keeps its mixtures"):
        train_separator.resume(tmp_path / "run", ("mixtures.rooms=5",))
    with pytest.raises(ConfigError, match="keeps its seed"):
        train_separator.resume(tmp_path / "run", ("train.seed=5",))
    with pytest.raises(ConfigError, match=r"separator.sources: 3 is below the 4 sources of mixtures.active"):
        tiny("separator.sources=3")
    with pytest.raises(ConfigError, match=r"separator.kernel: 8001 is longer than the 8000 samples of train.segment"):
        tiny("separator.kernel=8001")
    with pytest.raises(ConfigError, match=r"rt60 \[0.6, 0.2\] runs backwards"):
        tiny("mixtures.rt60=[0.6, 0.2]")
    config = tmp_path / "run" / "config.yaml"
    earlier = config.read_text()
    config.write_text(earlier.replace("ears: 1", "ears: 2"))
    with pytest.raises(CheckpointError, match=r"^[^\n]*does not fit the network of config.yaml[^\n]*spatial[^\n]*$"):
        train_separator.resume(tmp_path / "run", ("train.total_steps=2",))
    config.write_text(earlier)
    state = next((tmp_path / "run" / "resume").glob("state-*"))
    state.write_bytes(state.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match="cut off"):
        train_separator.resume(tmp_path / "run", ("train.total_steps=2",))


def test_cuda_is_refused_where_there_is_none(monkeypatch):
    monkeypatch.setattr(training_module.torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="sees no GPU"):
        torch_device("cuda", "train.device")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="this torch sees no GPU")
@pytest.mark.parametrize(
    ("ears", "sources", "precision"),
    # Two ears start here with outputs that are all alike, where half precision decides which way each of them goes.
    [(1, 4, "fp32"), (1, 4, "tf32"), (1, 4, "bf16"), (2, 4, "fp32"), (2, 4, "tf32"), (2, 6, "fp32"), (2, 6, "tf32")],
)
def test_an_update_on_a_gpu_is_recorded_where_it_can_be_and_is_the_one_that_is_not(precision, ears, sources):
    sizes = ("separator.hidden=16", f"separator.ears={ears}", f"separator.sources={sources}")
    config = tiny(*sizes, f"train.precision={precision}")
    rng = np.random.default_rng(0)
    rooms = (0.1 * rng.standard_normal((4, 5, 2, 2, 1_600))).astype(np.float16)
    clips = rng.standard_normal((11, 1, 8_000)).astype(np.float32)
    renderer = MixtureRenderer(rooms, clips, rng.standard_normal((2, 8_000)).astype(np.float32), FS, "cuda")
    torch.manual_seed(0)
    first = DPRNNSeparator(SeparatorConfig(**config.separator.model_dump())).cuda()
    recorded, plain = (SeparatorTraining(config, deepcopy(first), renderer) for _ in range(2))
    assert isinstance(recorded._descend, Recorded) == (sources == 4)  # six sources are put in order on the host
    plain._descend = plain._gradients
    for _ in range(5):
        recorded.step()
        plain.step()
    weights = zip(first.parameters(), recorded.averaged.parameters(), plain.averaged.parameters(), strict=True)
    for before, one, other in weights:
        # Adam makes whole steps of what is left of a gradient near 0, so single weights say little.
        moved, apart = (other - before).norm(), (one - other).norm()
        assert moved > 0 and apart < 0.02 * moved
    assert recorded.figures() == pytest.approx(plain.figures(), rel=1e-3)
