"""Agents with a separator on a GPU: what they hear is what they hear on a CPU, and the same in every run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from auralnav.agents.sb3_env import make_worlds
from auralnav.agents.source_cues import HeardWorlds, SourceCues
from auralnav.agents.train import start
from auralnav.agents.training_guards import deterministic_torch
from auralnav.configs.load import parse_config

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this torch sees no GPU"),
]

TEXT = """\
name: heard
algorithm: dqn
env: {num_envs: 4, history: 2, previous_action: true, horizon: 12, num_sources: 2}
separation: {separator: frozen, masks: learned, sources: 4}
dqn: {learning_starts: 16, buffer_size: 512, batch_size: 8, train_freq: 1}
train: {total_steps: 64, eval_every: 0, checkpoint_every: 0, device: cuda}
"""

ACTIONS = np.random.default_rng(0).integers(0, 4, (6, 4))


def heard(device: str) -> list[np.ndarray]:
    """Rows [4, 1 + K, C] of the mixture and of all sources over some steps."""
    experiment = parse_config(TEXT, (f"separation.device={device}",))
    worlds = make_worlds(experiment.env)
    env = HeardWorlds(worlds, SourceCues(experiment.separation, worlds))
    observations = [env.reset(seed=0)[0], *(env.step(row)[0] for row in ACTIONS)]
    return [np.concatenate([seen["mixture"][:, None], seen["sources"]], axis=1) for seen in observations]


def test_cues_are_those_of_the_cpu_and_the_same_in_every_run(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    with deterministic_torch(True):
        here, there, again = heard("cpu"), heard("cuda"), heard("cuda")
    assert all(np.array_equal(*pair) for pair in zip(there, again, strict=True))
    difference = np.abs(np.stack(here) - np.stack(there))
    # A slot's source may change where two estimates are equally like the one before.
    assert np.quantile(difference, 0.95) < 1e-2 and difference.mean() < 1e-2


@pytest.mark.parametrize("separator", ["frozen", "finetune"])
@pytest.mark.parametrize("memory", ["none", "mamba2"])
def test_a_training_runs_and_repeats(tmp_path: Path, separator: str, memory: str):
    overrides = [f"separation.separator={separator}", "separation.device=cuda"]
    if memory != "none":
        overrides += [f"policy.memory={memory}", "env.history=1", "dqn.seq_len=4", "dqn.burn_in=2"]
    weights = []
    for number in range(2):
        result = start(parse_config(TEXT, overrides), tmp_path / str(number))
        assert result.steps == 64
        weights.append(load_file(tmp_path / str(number) / "policy.safetensors"))
    assert all(torch.isfinite(value).all() for value in weights[0].values())
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
