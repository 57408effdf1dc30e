"""`policy.memory` in trainings: what it builds, what it refuses, and how its agents remember."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from auralnav.agents.algorithms import build_model
from auralnav.agents.checkpoint import rebuild_policy
from auralnav.agents.evaluate import evaluate, load_policy_agent
from auralnav.agents.memory_dqn import MemoryDQN
from auralnav.agents.memory_policy import CORE_GROUP
from auralnav.agents.memory_ppo import MemoryPPO
from auralnav.agents.resume_store import MANIFEST
from auralnav.agents.train import make_training_env, resume, start
from auralnav.agents.training_callback import TrainingCallback
from auralnav.configs.load import parse_config
from auralnav.configs.schema import ExperimentConfig
from auralnav.errors import AuralNavError, CheckpointError, ConfigError

TEXT = """\
name: tiny
env: {id: "tiny_world:TinyBell-v0", num_envs: 4}
policy: {net_arch: [24], memory: gru, core: {d_model: 16}}
train: {total_steps: 800, eval_every: 0, checkpoint_every: 400, log_every: 200}
dqn: {buffer_size: 2000, learning_starts: 100, batch_size: 4, n_steps: 3, seq_len: 8, burn_in: 3, train_freq: 2}
ppo: {n_steps: 20, batch_size: 40, n_epochs: 2, window: 10}
"""


def config(*overrides: str) -> ExperimentConfig:
    return parse_config(TEXT, overrides)


def model_of(*overrides: str) -> Any:
    checked = config(*overrides)
    return build_model(checked, make_training_env(checked))


def test_every_setting_of_a_ppo_with_memory_arrives():
    model = model_of(
        "algorithm=ppo", "policy.memory=mamba", "policy.core={d_model: 24, n_layers: 2, kwargs: {d_state: 8}}",
        "ppo.core_learning_rate=1e-4", "ppo.learning_rate=1e-3", "ppo.learning_rate_final=5e-4",
    )  # fmt: skip
    assert type(model) is MemoryPPO and model.window == 10
    assert model.policy.core.d_output == 24 and len(model.policy.core.layers) == 2
    assert model.policy.core.layers[0].d_state == 8
    assert model.observation_space.shape == (3 + 2 + 3,)  # one frame with the previous action
    assert model.core_lr_schedule(1.0) == pytest.approx(1e-4)
    assert model.core_lr_schedule(0.0) == pytest.approx(5e-5)  # falls by the same share as the rest
    assert {group.get("name") for group in model.policy.optimizer.param_groups} == {None, CORE_GROUP}


def test_every_setting_of_a_dqn_with_memory_arrives():
    model = model_of(
        "algorithm=dqn", "policy.memory=transformer", "policy.core.kwargs={window: 5}", "dqn.double=false",
        "dqn.rescale=true", "dqn.dueling=true", "dqn.gamma=0.9",
    )  # fmt: skip
    assert isinstance(model, MemoryDQN) and model.rescale and not model.double
    assert model.policy.q_net.core.window == 5
    assert model.policy.q_net.q_net[-1].__class__.__name__ == "DuelingHead"
    replay = model.replay
    assert (replay.seq_len, replay.burn_in, replay.n_steps, replay.gamma) == (8, 3, 3, 0.9)
    assert replay.state_size == model.policy.q_net.core.state_size


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("policy.core.kwargs={n_heads: 3}",), "memory gru: .*n_heads"),
        (("policy.memory=transformer", "policy.core.kwargs={n_heads: 3}"), "n_heads: 3 does not divide"),
        (("policy.memory=mamba2", "policy.core.kwargs={headdim: 5}"), "headdim"),
        (("policy.memory=mamba", "policy.core.kwargs={backend: cudda}"), "backend"),
    ],
)
@pytest.mark.parametrize("algorithm", ["dqn", "ppo"])
def test_what_a_core_refuses_leaves_no_run_folder(
    algorithm: str, overrides: tuple[str, ...], words: str, tmp_path: Path
):
    with pytest.raises(AuralNavError, match=words) as caught:
        start(config(f"algorithm={algorithm}", *overrides), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("algorithm", ["dqn", "ppo"])
def test_a_policy_with_another_core_is_refused_in_one_line(algorithm: str, tmp_path: Path):
    mine = f"algorithm={algorithm}"
    start(config(mine, "train.total_steps=200"), tmp_path / "run")
    file = tmp_path / "run" / "policy.safetensors"
    for override, words in [
        ("policy.memory=lstm", "trained with memory gru, the config says lstm"),
        ("policy.memory=none", "trained with memory gru, the config says none"),
        ("policy.core.d_model=8", "another memory core"),
        ("policy.core.n_layers=2", "another memory core"),
    ]:
        with pytest.raises(CheckpointError, match=words) as caught:
            rebuild_policy(file.read_bytes(), config(mine, override), str(file))
        assert "\n" not in str(caught.value)
        with pytest.raises(ConfigError, match="a resumed run keeps its policy"):
            resume(tmp_path / "run", (override,))
    # A folder whose config was edited by hand: the checkpoint itself says whose it is.
    text = (tmp_path / "run" / "config.yaml").read_text()
    (tmp_path / "run" / "config.yaml").write_text(text.replace("memory: gru", "memory: lstm"))
    with pytest.raises(CheckpointError, match="trained with memory gru, the config says lstm"):
        resume(tmp_path / "run", ("train.total_steps=400",))


@pytest.mark.parametrize("algorithm", ["dqn", "ppo"])
def test_an_environment_without_state_resumes_with_an_empty_memory(
    algorithm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run = tmp_path / "run"
    changes = (f"algorithm={algorithm}", "env.id=CartPole-v1", "train.total_steps=1200")
    seen: list[np.ndarray] = []
    step = TrainingCallback._on_step

    def dying(self: TrainingCallback) -> bool:
        if self.num_timesteps >= 900:
            raise RuntimeError("killed")
        return step(self)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingCallback, "_on_step", dying)
        with pytest.raises(RuntimeError, match="killed"):
            start(config(*changes), run)
    assert json.loads((run / "resume" / MANIFEST).read_text())["about"]["step"] >= 800

    def watching(self: TrainingCallback) -> bool:
        if not seen:
            seen.append(np.array(self.model._last_episode_starts))
            if isinstance(self.model, MemoryDQN):
                written, flags = self.model.replay.written, self.model.replay.arrays()["flags"]
                # What was running is cut off: no world goes on from an episode of before the resume.
                newest = flags.reshape(4, -1)[np.arange(4), (written - 1) % self.model.replay.rows]
                assert (newest & 14).all()
        return step(self)

    monkeypatch.setattr(TrainingCallback, "_on_step", watching)
    assert resume(run).steps == 1200
    assert seen[0].all()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    for algorithm in ("dqn", "ppo"):
        start(config(f"algorithm={algorithm}"), folder / algorithm)
    return {algorithm: folder / algorithm for algorithm in ("dqn", "ppo")}


@pytest.mark.parametrize("algorithm", ["dqn", "ppo"])
def test_an_agent_carries_each_world_s_memory_to_the_end_of_its_episode(
    algorithm: str, runs: dict[str, Path]
):
    rng = np.random.default_rng(0)
    agent, fresh = (load_policy_agent(runs[algorithm]) for _ in range(2))
    worlds = make_training_env(agent.config).venv
    rows = [
        {key: rng.uniform(-1, 1, (2, *part.shape)).astype(np.float32)
         for key, part in worlds.observation_space.spaces.items()}  # type: ignore[attr-defined]
        for _ in range(12)
    ]  # fmt: skip
    for one in (agent, fresh):
        one.attach(worlds.venv)  # type: ignore[attr-defined]
        one.reset(2)
    for step, row in enumerate(rows):
        agent.act(row, np.array([step == 0, step in (0, 7)]))
        if step >= 7:
            fresh.act(row, np.full(2, step == 7))
    assert agent._memory is not None and fresh._memory is not None
    apart = np.abs(agent._memory[0] - fresh._memory[0]).max(axis=1)
    assert apart[1] < 1e-5 < 1e-3 < apart[0]
    agent.reset(2)
    assert agent._memory is None


@pytest.mark.parametrize("algorithm", ["dqn", "ppo"])
def test_episodes_of_a_remembering_agent_do_not_depend_on_how_many_worlds_step_at_once(
    algorithm: str, runs: dict[str, Path]
):
    agent = load_policy_agent(runs[algorithm])
    one, three = (evaluate(agent, agent.config.env, 12, num_envs=count) for count in (1, 3))
    assert one == three


@pytest.mark.parametrize("algorithm", ["dqn", "ppo"])
def test_the_memory_of_running_worlds_is_part_of_a_checkpoint(
    algorithm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The attribute itself, for a short episode would soon hide a memory that was lost."""
    from auralnav.agents import train

    states: list[torch.Tensor] = []
    learn = train._learn

    def watching(checked: Any, model: Any, callback: Any, fresh: bool) -> None:
        states.append((model._last_memory_state if algorithm == "ppo" else model.memory_state).clone())
        learn(checked, model, callback, fresh)
        states.append((model._last_memory_state if algorithm == "ppo" else model.memory_state).clone())

    monkeypatch.setattr(train, "_learn", watching)
    start(config(f"algorithm={algorithm}"), tmp_path / "run")
    resume(tmp_path / "run", ("train.total_steps=1600",))
    assert not states[0].any() and states[1].any()
    assert torch.equal(states[1], states[2])
