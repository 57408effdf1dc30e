"""Kill −9 in the middle of training, at random moments, in processes of their own."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

CONFIG = """\
name: tiny
algorithm: {algorithm}
env: {{id: "tiny_world:TinyBell-v0", num_envs: 4, history: 2, previous_action: true}}
policy: {{net_arch: [24], memory: {memory}, core: {{d_model: 16}}}}
train: {{total_steps: {steps}, eval_every: 1000, eval_episodes: 6, checkpoint_every: 80, log_every: 80}}
dqn: {{buffer_size: 3000, learning_starts: 100, batch_size: 16, n_steps: 3, target_update_interval: 100,
  seq_len: 8, burn_in: 3}}
ppo: {{n_steps: 20, batch_size: 40, n_epochs: 2, window: 10}}
"""

AURAL_CONFIG = """\
name: aural
algorithm: {algorithm}
env: {{id: AuralNav-Easy-v0, obs_mode: cues, num_envs: 4, threads: 2, history: 2, previous_action: true, rt60: 0.2,
  horizon: 40}}
policy: {{net_arch: [24], memory: {memory}, core: {{d_model: 16}}}}
train: {{total_steps: {steps}, eval_every: 2000, eval_episodes: 4, checkpoint_every: 80, log_every: 80}}
dqn: {{buffer_size: 2000, learning_starts: 100, batch_size: 16, n_steps: 3, target_update_interval: 100,
  seq_len: 8, burn_in: 3}}
ppo: {{n_steps: 20, batch_size: 40, n_epochs: 2, window: 10}}
"""


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "auralnav", "train", *arguments]


def environment() -> dict[str, str]:
    here = Path(__file__).parent
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here.parents[1])])}


def run_to_the_end(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), env=environment(), capture_output=True, text=True, timeout=300)


def kill_repeatedly(
    folder: Path, algorithm: str, steps: int, kills: int, text: str = CONFIG, memory: str = "none"
) -> None:
    config = folder / "tiny.yaml"
    config.write_text(text.format(algorithm=algorithm, memory=memory, steps=steps))
    run = folder / "run"
    manifest = run / "resume" / "manifest.json"
    rng = random.Random(7)
    killed = moved = 0
    saved = -1
    while killed < kills:
        arguments = (
            ["--resume", str(run)] if (run / "config.yaml").exists() else [str(config), "--run-dir", str(run)]
        )
        process = subprocess.Popen(
            command(*arguments),
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        # From the moment the training moves on, wait a random while that spans several checkpoints.
        while process.poll() is None and not (
            manifest.exists() and json.loads(manifest.read_text())["about"]["step"] > saved
        ):
            time.sleep(0.005)
        time.sleep(rng.uniform(0.0, 0.4))
        process.send_signal(signal.SIGKILL)
        _, errors = process.communicate(timeout=60)
        assert process.returncode in (-signal.SIGKILL, 0), errors
        if process.returncode == 0:
            pytest.fail("the training ended before it could be killed often enough: raise its steps")
        killed += 1
        reached = json.loads(manifest.read_text())["about"]["step"]
        moved += reached > saved
        saved = reached
    assert moved == kills
    last = run_to_the_end("--resume", str(run))
    assert last.returncode == 0, last.stderr
    whole = run_to_the_end(str(config), "--run-dir", str(folder / "whole"))
    assert whole.returncode == 0, whole.stderr
    for name in ("policy.safetensors", "eval/best.safetensors", "eval/evaluations.json"):
        assert (run / name).read_bytes() == (folder / "whole" / name).read_bytes()
    # Nothing but what the manifest names is left behind.
    named = set(json.loads(manifest.read_text())["files"]) | {"manifest.json"}
    assert {path.name for path in (run / "resume").iterdir()} == named


def test_killed_training_resumes_exactly(tmp_path: Path):
    kill_repeatedly(tmp_path, "dqn", steps=20_000, kills=3)


def test_an_interrupt_saves_and_says_how_to_resume(tmp_path: Path):
    config, run = tmp_path / "tiny.yaml", tmp_path / "run"
    config.write_text(CONFIG.format(algorithm="dqn", memory="none", steps=1_000_000))
    process = subprocess.Popen(
        command(str(config), "--run-dir", str(run)),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and not (run / "resume" / "manifest.json").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    shown, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert f"continue with: auralnav train --resume {run}" in shown.replace("\n", " ")
    assert "Traceback" not in errors


@pytest.mark.slow
@pytest.mark.parametrize("memory", ["none", "mamba2"])
@pytest.mark.parametrize("algorithm", ["dqn", "ppo"])
def test_training_killed_ten_times_resumes_exactly(tmp_path: Path, algorithm: str, memory: str):
    steps = 60_000 if algorithm == "dqn" else 120_000
    if memory != "none":
        steps //= 2  # as many seconds: each step costs more
    kill_repeatedly(tmp_path, algorithm, steps, kills=10, memory=memory)


@pytest.mark.slow
@pytest.mark.parametrize("memory", ["none", "mamba2"])
@pytest.mark.parametrize("algorithm", ["dqn", "ppo"])
def test_training_on_sound_killed_ten_times_resumes_exactly(tmp_path: Path, algorithm: str, memory: str):
    kill_repeatedly(tmp_path, algorithm, steps=12_000, kills=10, text=AURAL_CONFIG, memory=memory)
