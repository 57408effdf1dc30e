"""Training in the real environment resumes exactly, whatever the id."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from auralnav.agents.history import HistoryWrapper
from auralnav.agents.sb3_env import make_vector_adapter
from auralnav.agents.tensor_tree import decode, encode
from auralnav.agents.train import resume, start
from auralnav.agents.training_callback import TrainingCallback
from auralnav.configs.load import load_config

SMALL = (
    "env.num_envs=8",
    "env.threads=2",
    "train.total_steps=640",
    "train.checkpoint_every=240",
    "train.log_every=80",
    "train.eval_every=320",
    "train.eval_episodes=4",
    "env.horizon=30",
    "dqn.learning_starts=80",
    "dqn.batch_size=16",
    "dqn.buffer_size=400",
    "ppo.n_steps=20",
    "ppo.batch_size=80",
    "ppo.window=10",
    "dqn.seq_len=8",
    "dqn.burn_in=4",
    "policy.core.d_model=16",
    "policy.net_arch=[16]",
)


@pytest.mark.parametrize(
    "name",
    ["auralnav-dqn", "auralnav-ppo", "auralnav-dqn-spectrogram", "auralnav-mamba-dqn", "auralnav-mamba-ppo"],
)
def test_a_resumed_run_equals_an_uninterrupted_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config = load_config(name, SMALL)
    start(config, tmp_path / "whole")
    step = TrainingCallback._on_step

    def dying(self: TrainingCallback) -> bool:
        if self.num_timesteps >= 400:
            raise RuntimeError("killed")
        return step(self)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingCallback, "_on_step", dying)
        with pytest.raises(RuntimeError, match="killed"):
            start(config, tmp_path / "broken")
    assert json.loads((tmp_path / "broken/resume/manifest.json").read_text())["about"]["step"] < 400
    resume(tmp_path / "broken")
    for file in ("policy.safetensors", "eval/evaluations.json"):
        assert (tmp_path / "broken" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


@pytest.mark.parametrize(
    "env_id", ["AuralNav-Anechoic-v0", "AuralNav-Moving-v0", "AuralNav-Maze-v0", "AuralNav-Hard-v0"]
)
def test_every_id_continues_bit_for_bit_from_the_bytes_of_its_state(env_id: str):
    config = load_config("auralnav-dqn", (*SMALL, f"env.id={env_id}")).env
    rows = np.random.default_rng(0).integers(0, 4, (60, config.num_envs))
    env, other = (HistoryWrapper(make_vector_adapter(config), 3, True) for _ in range(2))
    env.seed(1)
    env.reset()
    other.reset()
    for row in rows[:35]:  # the horizon is 30: every world is in a later episode
        env.step(row)
    other.restore(decode(encode(env.state()), "state")[0])
    for row in rows[35:]:
        for mine, its in zip(env.step(row)[:3], other.step(row)[:3], strict=True):
            np.testing.assert_array_equal(mine, its)
