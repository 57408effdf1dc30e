from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from auralnav.agents.checkpoint import load_zip, rebuild_policy
from auralnav.agents.evaluate import load_policy_agent
from auralnav.agents.resume_store import MANIFEST
from auralnav.agents.train import resume, start, with_absolute_paths
from auralnav.agents.training_callback import TrainingCallback
from auralnav.agents.training_guards import deterministic_torch, stop_signals
from auralnav.configs.load import parse_config
from auralnav.configs.schema import ExperimentConfig
from auralnav.errors import AuralNavError, CheckpointError, ConfigError

TEXT = """\
name: tiny
env: {id: "tiny_world:TinyBell-v0", num_envs: 4, history: 2, previous_action: true}
policy: {net_arch: [24]}
train: {total_steps: 2400, eval_every: 800, eval_episodes: 6, checkpoint_every: 600, log_every: 200}
dqn:
  {buffer_size: 600, learning_starts: 100, batch_size: 16, n_steps: 3, target_update_interval: 100,
   learning_rate_final: 1.0e-4, exploration_fraction: 0.8}
ppo: {n_steps: 20, batch_size: 40, n_epochs: 2, learning_rate: 1.0e-3, clip_range_final: 0.1}
"""
TIMES = {"time/fps", "time/time_elapsed"}
SEQUENCES = ("policy.core.d_model=16", "dqn.seq_len=8", "dqn.burn_in=3", "dqn.batch_size=4", "dqn.train_freq=2")


def config(*overrides: str) -> ExperimentConfig:
    return parse_config(TEXT, overrides)


def metrics(run: Path) -> list[dict[str, str]]:
    with open(run / "metrics.csv", newline="") as handle:
        return [
            {key: value for key, value in row.items() if key not in TIMES} for row in csv.DictReader(handle)
        ]


def train_until(monkeypatch: pytest.MonkeyPatch, step: int, run: Any) -> None:
    whole = TrainingCallback._on_step

    def dying(self: TrainingCallback) -> bool:
        if self.num_timesteps >= step:
            raise RuntimeError("killed")
        return whole(self)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingCallback, "_on_step", dying)
        with pytest.raises(RuntimeError, match="killed"):
            run()


def facts(run: Path) -> dict[str, float]:
    return json.loads((run / "training.json").read_text())


@pytest.mark.parametrize(
    "overrides",
    [
        ("algorithm=dqn", "dqn.double=true"),
        ("algorithm=dqn", "dqn.double=false", "dqn.n_steps=1", "dqn.buffer_size=100000"),
        ("algorithm=dqn", "dqn.n_steps=1", "env.kwargs={maps: true}", "policy.cnn_features=8"),
        ("algorithm=dqn", "dqn.dueling=true", "policy.standardise=true", "dqn.reward_scale=0.1"),
        ("algorithm=ppo",),
        ("algorithm=ppo", "policy.standardise=true", "ppo.reward_scale=0.1"),
        ("algorithm=ppo", "env.kwargs={maps: true}", "policy.cnn_features=8"),
        ("algorithm=ppo", "policy.memory=mamba2", "ppo.window=10", "ppo.core_learning_rate=1e-4"),
        ("algorithm=ppo", "policy.memory=gru", "ppo.window=20", "env.kwargs={maps: true}",
         "policy.cnn_features=8", "policy.standardise=true"),
        ("algorithm=dqn", "policy.memory=mamba", *SEQUENCES, "dqn.rescale=true", "policy.standardise=true"),
        ("algorithm=dqn", "policy.memory=lstm", *SEQUENCES, "dqn.dueling=true", "dqn.buffer_size=100000",
         "env.kwargs={maps: true}", "policy.cnn_features=8"),
        ("algorithm=dqn", "policy.memory=transformer", *SEQUENCES, "policy.core.kwargs={window: 6}"),
    ],
)  # fmt: skip
def test_a_resumed_run_equals_an_uninterrupted_one(
    overrides: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    start(config(*overrides), whole)
    train_until(monkeypatch, 1000, lambda: start(config(*overrides), broken))
    saved = json.loads((broken / "resume" / MANIFEST).read_text())["about"]["step"]
    assert saved == (640 if "algorithm=ppo" in overrides else 600)
    train_until(monkeypatch, 1900, lambda: resume(broken))
    np.random.seed(999)  # what the process did before must not matter
    result = resume(broken)
    assert result.steps == 2400
    assert (broken / "policy.safetensors").read_bytes() == (whole / "policy.safetensors").read_bytes()
    assert (broken / "eval" / "best.safetensors").read_bytes() == (
        whole / "eval" / "best.safetensors"
    ).read_bytes()
    assert (broken / "eval" / "evaluations.json").read_text() == (
        whole / "eval" / "evaluations.json"
    ).read_text()
    assert metrics(broken) == metrics(whole)
    assert [row["step"] for row in json.loads((whole / "eval" / "evaluations.json").read_text())] == [
        800,
        1600,
        2400,
    ]


def test_both_algorithms_learn_the_corridor(tmp_path: Path):
    for algorithm, steps in (("dqn", 6000), ("ppo", 16000)):
        result = start(
            config(f"algorithm={algorithm}", f"train.total_steps={steps}", "train.eval_every=100000",
                   "train.eval_episodes=40", "dqn.learning_rate=1e-3", "dqn.buffer_size=6000", "env.num_envs=8"),
            tmp_path / algorithm,
        )  # fmt: skip
        assert result.evaluations[-1]["success"] >= 0.95
        assert result.evaluations[-1]["return"] > 10


def test_wall_time_adds_up_over_resumes_and_counts_only_what_the_checkpoint_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A clock that moves one second a look: what a killed process did after its checkpoint does not count."""
    now = iter(range(10**9))
    monkeypatch.setattr("auralnav.agents.train.time", SimpleNamespace(perf_counter=lambda: float(next(now))))
    run = tmp_path / "run"
    train_until(monkeypatch, 1000, lambda: start(config(), run))
    first = facts(run)
    assert first["step"] == 600 and first["wall_seconds"] > 0
    result = resume(run)
    last = facts(run)
    assert last["step"] == 2400 and result.first_step == 600
    assert first["wall_seconds"] < last["wall_seconds"] < first["wall_seconds"] + result.seconds
    best = json.loads((run / "eval" / "best.json").read_text())
    assert best["wall_seconds"] <= last["wall_seconds"]
    for newest in (False, True):
        known = load_policy_agent(run, best=not newest).training
        assert known == {
            "steps": last["step"] if newest else best["step"],
            "wall_seconds": (last if newest else best)["wall_seconds"],
            "seed": 0,
        }
    resume(run)  # nothing left to do: nothing is added
    assert facts(run) == last
    # After a crash between the two files, the weights have no wall time rather than another's.
    (run / "training.json").write_text(json.dumps({**last, "step": 1}))
    assert load_policy_agent(run, best=False).training == {"steps": 2400, "seed": 0}


def test_periods_changed_by_a_resume_act_at_once(tmp_path: Path):
    run = tmp_path / "run"
    start(config("train.total_steps=300", "train.eval_every=0", "train.log_every=100000"), run)
    result = resume(run, ("train.total_steps=900", "train.eval_every=200", "train.log_every=100"))
    assert [row["step"] for row in result.evaluations] == [400, 600, 800, 900]
    # The row of the first training's end, then one each hundred steps, beside the evaluations' own.
    steps = [int(row["step"]) for row in metrics(run)]
    assert steps[0] == 300 and sorted(set(steps[1:])) == [400, 500, 600, 700, 800, 900]


def test_a_run_folder_holds_what_it_should(tmp_path: Path):
    start(config("train.total_steps=400"), tmp_path / "run", export_zip=True)
    run = tmp_path / "run"
    names = {path.name for path in run.iterdir()}
    assert {
        "config.yaml",
        "command.txt",
        "env.json",
        "policy.safetensors",
        "policy.zip",
        "metrics.csv",
    } <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    described = json.loads((run / "env.json").read_text())
    assert described["env_id"] == "tiny_world:TinyBell-v0"
    assert described["packages"]["torch"]
    assert parse_config((run / "config.yaml").read_text()).train.total_steps == 400
    row = metrics(run)[-2]
    for name in ("rollout/ep_rew_mean", "rollout/success_rate", "task/spl", "reward/found", "train/loss"):
        assert row[name] != ""


def test_a_saved_policy_acts_as_the_trained_one(tmp_path: Path):
    checked = config("train.total_steps=600", "algorithm=ppo", "env.kwargs={maps: true}")
    start(checked, tmp_path / "run", export_zip=True)
    file = tmp_path / "run" / "policy.safetensors"
    policy, raw, actions = rebuild_policy(file.read_bytes(), checked, str(file))
    assert set(raw.spaces) == {"cues", "agent_info", "spectrogram"}  # type: ignore[attr-defined]
    assert actions.n == 3  # type: ignore[attr-defined]
    with pytest.raises(CheckpointError, match="--trust"):
        load_zip(tmp_path / "run" / "policy.zip", checked)
    model = load_zip(tmp_path / "run" / "policy.zip", checked, trust=True)
    rng = np.random.default_rng(0)
    obs = {key: rng.random((50, *space.shape), np.float32) for key, space in model.observation_space.items()}  # type: ignore[attr-defined]
    np.testing.assert_array_equal(
        policy.predict(obs, deterministic=True)[0], model.predict(obs, deterministic=True)[0]
    )


def test_a_policy_of_something_else_is_refused(tmp_path: Path):
    start(config("train.total_steps=200", "train.eval_every=0"), tmp_path / "run")
    file = tmp_path / "run" / "policy.safetensors"
    data = file.read_bytes()
    for override, words in [
        ("env.id=AuralNav-Easy-v0", "trained on tiny_world:TinyBell-v0, not on AuralNav-Easy-v0"),
        ("algorithm=ppo", "trained by dqn, the config says ppo"),
        ("policy.net_arch=[25]", "does not fit the network"),
        ("env.history=3", "does not fit the network"),
    ]:
        with pytest.raises(CheckpointError, match=words):
            rebuild_policy(data, config(override), str(file))
    for length in (0, 5, 100, len(data) // 2, len(data) - 1):
        with pytest.raises(CheckpointError, match="damaged or cut off"):
            rebuild_policy(data[:length], config(), str(file))


def test_a_checkpoint_of_another_environment_is_refused(tmp_path: Path):
    run = tmp_path / "run"
    start(config("train.total_steps=200", "train.eval_every=0"), run)
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(
        text.replace("kwargs: {}", "kwargs: {maps: true}").replace("n_steps: 3", "n_steps: 1")
    )
    with pytest.raises(CheckpointError, match="observation space is not that of"):
        resume(run, ("train.total_steps=400",))
    (run / "config.yaml").write_text(text.replace("tiny_world:TinyBell-v0", "CartPole-v1"))
    with pytest.raises(CheckpointError, match="trained on tiny_world"):
        resume(run, ("train.total_steps=400",))


def test_a_cut_off_checkpoint_is_refused_and_named(tmp_path: Path):
    run = tmp_path / "run"
    start(config("train.total_steps=200", "train.eval_every=0"), run)
    for file in sorted((run / "resume").glob("*.safetensors")):
        data = file.read_bytes()
        file.write_bytes(data[: len(data) // 2])
        with pytest.raises(CheckpointError, match=rf"{file.name}: cut off"):
            resume(run, ("train.total_steps=400",))
        file.write_bytes(data)
    assert resume(run, ("train.total_steps=400",)).steps == 400


def test_a_resume_keeps_what_made_the_run(tmp_path: Path):
    run = tmp_path / "run"
    start(config("train.total_steps=200", "train.eval_every=0"), run)
    for override in (
        "dqn.gamma=0.5",
        "env.history=1",
        "train.seed=1",
        "algorithm=ppo",
        "policy.net_arch=[8]",
    ):
        with pytest.raises(ConfigError, match="a resumed run keeps"):
            resume(run, (override,))
    with pytest.raises(ConfigError, match="--resume"):
        start(config(), run)
    text = (run / "config.yaml").read_text()
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="sees no GPU"):
            resume(run, ("train.device=cuda",))
        assert (run / "config.yaml").read_text() == text
    with pytest.raises(CheckpointError, match="no run lies there"):
        resume(tmp_path / "nowhere")


def test_a_full_disk_while_saving_stops_with_one_line_and_keeps_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run = tmp_path / "run"
    real = os.fsync

    def full(descriptor: int) -> None:
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        if "state-000002" in name:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match=rf"No space left.*the last checkpoint is intact.*--resume {run}$"):
        start(config(), run)
    monkeypatch.setattr(os, "fsync", real)
    start(config(), tmp_path / "whole")
    assert json.loads((run / "resume" / MANIFEST).read_text())["about"]["step"] == 600
    resume(run)
    assert (run / "policy.safetensors").read_bytes() == (
        tmp_path / "whole" / "policy.safetensors"
    ).read_bytes()


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize(("algorithm", "saved"), [("dqn", 600), ("ppo", 640)])
def test_divergence_stops_with_a_clear_error_and_a_sound_checkpoint(
    algorithm: str, saved: int, tmp_path: Path
):
    with pytest.raises(AuralNavError, match=r"training diverged at step .*learning_rate") as caught:
        start(config("env.kwargs={explode_at: 250}", f"algorithm={algorithm}"), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert json.loads((tmp_path / "run" / "resume" / MANIFEST).read_text())["about"]["step"] == saved


@pytest.mark.parametrize("limit", [3_000, 60_000])  # config.yaml has 2 200 bytes, a checkpoint more than 3 000
def test_a_log_that_cannot_grow_stops_with_one_line_and_resumes(limit: int, tmp_path: Path):
    """A limit on file sizes, in a process of its own: the TensorBoard file reaches it first, from its own thread."""
    run, file = tmp_path / "run", tmp_path / "tiny.yaml"
    text = TEXT
    for old, new in (
        ("total_steps: 2400", "total_steps: 40000"),
        ("eval_every: 800", "eval_every: 0"),
        ("log_every: 200", "log_every: 8"),
        ("buffer_size: 600", "buffer_size: 60"),
    ):
        text = text.replace(old, new)
    file.write_text(text)
    code = (
        "import resource, sys, torch.utils.tensorboard; from auralnav.cli import main;"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit})); main(sys.argv[1:])"
    )
    arguments = [sys.executable, "-c", code, "train", str(file), "--run-dir", str(run)]
    where = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[2])])
    done = subprocess.run(
        arguments, env={**os.environ, "PYTHONPATH": where}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    assert "--resume" in done.stderr
    saved = (run / "resume" / MANIFEST).exists()
    # Files were allowed to be as large as a checkpoint only in the last case.
    assert saved == ("the last checkpoint is intact" in done.stderr) == (limit == 60_000)
    assert resume(run, ("train.total_steps=3000", "train.log_every=1000")).steps >= 3000


def test_a_signal_amid_another_write_still_asks_to_stop():
    def busy(text: str) -> None:
        raise RuntimeError("reentrant call")

    with stop_signals(busy) as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.number == signal.SIGINT


def test_deterministic_torch_prepares_cublas_and_goes_back(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    before = torch.are_deterministic_algorithms_enabled()
    with deterministic_torch(True):
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert torch.are_deterministic_algorithms_enabled() == before


def test_a_run_keeps_the_absolute_path_of_its_sounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    text = "name: a\nenv: {sounds: mine, head: sphere}\n"
    env = with_absolute_paths(parse_config(text)).env
    assert env.sounds == str(tmp_path / "mine") and env.head == "sphere"
    plain = parse_config("name: a\nenv: {sounds: procedural, head: ear.sofa}\n")
    env = with_absolute_paths(plain).env
    assert env.sounds == "procedural" and env.head == str(tmp_path / "ear.sofa")
    assert plain.env.head == "ear.sofa"


def test_a_foreign_task_trains_and_is_evaluated_with_what_it_has(tmp_path: Path):
    changes = ("env.id=CartPole-v1", "train.total_steps=800")
    result = start(config(*changes), tmp_path / "run")
    assert result.evaluations[-1]["return"] > 5 and "success" not in result.evaluations[-1]
    assert (tmp_path / "run" / "eval" / "best.safetensors").is_file()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_with_a_checkpoint_that_resumes_exactly(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole = TrainingCallback._on_step

    def interrupted(self: TrainingCallback) -> bool:
        if self.num_timesteps == 1004:
            os.kill(os.getpid(), number)
        return whole(self)

    handler = signal.getsignal(number)
    with monkeypatch.context() as patch:
        patch.setattr(TrainingCallback, "_on_step", interrupted)
        stopped = start(config(), tmp_path / "run")
    assert stopped.signal == number
    assert stopped.steps == 1004
    assert signal.getsignal(number) == handler
    start(config(), tmp_path / "whole")
    assert resume(tmp_path / "run").signal is None
    assert (tmp_path / "run" / "policy.safetensors").read_bytes() == (
        tmp_path / "whole" / "policy.safetensors"
    ).read_bytes()


def test_a_second_interrupt_quits_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def impatient(self: TrainingCallback) -> bool:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        return True

    monkeypatch.setattr(TrainingCallback, "_on_step", impatient)
    with pytest.raises(KeyboardInterrupt):
        start(config(), tmp_path / "run")


def test_an_environment_without_state_resumes_with_fresh_episodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from rich.console import Console

    run = tmp_path / "run"
    changes = ("env.id=CartPole-v1", "train.eval_every=0", "env.kwargs={}")
    train_until(monkeypatch, 900, lambda: start(config(*changes), run))
    console = Console(record=True, width=200, file=StringIO())
    assert resume(run, ("train.total_steps=1200",), console=console).steps == 1200
    assert "CartPole-v1 cannot save its state: its episodes start anew" in console.export_text()


def test_what_the_task_refuses_leaves_no_run_folder(tmp_path: Path):
    config = ExperimentConfig.model_validate(
        {"name": "deaf", "env": {"id": "AuralNav-Easy-v0", "sounds": str(tmp_path / "nowhere")}}
    )
    with pytest.raises(AuralNavError, match="nowhere"):
        start(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("env.kwargs={maps: true}",), r"dqn\.n_steps: must be 1"),
        (("env.id=Pendulum-v1",), "dqn needs discrete actions"),
        (("train.device=cuda",), "sees no GPU"),
    ],
)
def test_what_the_algorithm_or_the_machine_refuses_leaves_no_run_folder(
    overrides: tuple[str, ...], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=words):
        start(config(*overrides), tmp_path / "run")
    assert not (tmp_path / "run").exists()
