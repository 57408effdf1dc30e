"""AuralDQN's update by hand, what its separator learns at, and trainings of every form that resume exactly.

Among these are faults of the ancestors: a Bellman target that went on past the end of an episode, [B] against [B, 1]
broadcast in the loss, Q-values squeezed through a softmax.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.logger import Logger
from tiny_separator import save_tiny
from torch import Tensor
from torch.nn import functional as F

from auralnav.agents import algorithms
from auralnav.agents.algorithms import build_model, choose_device
from auralnav.agents.aural_dqn import SEPARATOR_GROUP, AuralDQN
from auralnav.agents.batched_dqn import BatchedDQN
from auralnav.agents.evaluate import load_policy_agent, load_zip_agent, record
from auralnav.agents.frame_replay import FrameReplay
from auralnav.agents.train import make_training_env, resume, start
from auralnav.agents.training_callback import TrainingCallback
from auralnav.configs.load import load_config, parse_config
from auralnav.configs.schema import ExperimentConfig
from auralnav.errors import CheckpointError, ConfigError
from auralnav.separation.separator import DPRNNSeparator

GAMMA = 0.9
ACTIONS = 3


class Hallway(gym.Env):
    """Observations and rewards without meaning; the tests fill the replay themselves."""

    observation_space = spaces.Box(-10, 10, (2,), np.float32)
    action_space = spaces.Discrete(ACTIONS)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> Any:
        return np.zeros(2, np.float32), 0.0, False, False, {}


def dqn(double: bool, history: int | None, device: str = "cpu", **kwargs: Any) -> AuralDQN:
    model = AuralDQN(
        "MlpPolicy", Hallway(), double=double, history=history, gamma=GAMMA, batch_size=32, buffer_size=200, seed=0,
        policy_kwargs={"net_arch": [8]}, device=device, **kwargs,
    )  # fmt: skip
    model.set_logger(Logger(None, []))
    with torch.no_grad():
        for weight in model.q_net_target.parameters():  # not those of the online network
            weight.add_(0.3 * torch.randn_like(weight))
    return model


def fill(model: AuralDQN) -> None:
    """Transitions of which every third ends an episode: by the task, or cut off by a limit."""
    rng = np.random.default_rng(0)
    for number in range(100):
        obs, after = rng.normal(0, 1, (2, 1, 2)).astype(np.float32)
        done, cut = number % 3 == 2, number % 6 == 5
        model.replay_buffer.add(  # type: ignore[union-attr]
            obs, after, rng.integers(0, ACTIONS, (1, 1)), rng.normal(0, 5, 1), np.array([done]),
            [{"TimeLimit.truncated": cut}],
        )  # fmt: skip


@pytest.mark.parametrize("history", [None, 1])
@pytest.mark.parametrize("double", [False, True])
def test_the_update_is_the_bellman_equation_by_hand(double: bool, history: int | None):
    model = dqn(double, history)
    fill(model)
    batches: list[Any] = []
    sample = model.replay_buffer.sample  # type: ignore[union-attr]
    model.replay_buffer.sample = lambda *a, **k: batches.append(sample(*a, **k)) or batches[-1]  # type: ignore
    online = {key: value.clone() for key, value in model.q_net.state_dict().items()}
    model.train(1, 32)
    learned = float(model.logger.name_to_value["train/loss"])
    batch = batches[0]
    model.q_net.load_state_dict(online)
    ended = batch.dones.squeeze(1).bool()
    assert ended.any() and not ended.all()
    losses = []
    with torch.no_grad():
        for row in range(32):
            after = model.q_net_target(batch.next_observations[row : row + 1])[0]
            chooser = model.q_net(batch.next_observations[row : row + 1])[0] if double else after
            target = float(batch.rewards[row])
            if not ended[row]:
                target += GAMMA * float(after[int(chooser.argmax())])
            value = float(model.q_net(batch.observations[row : row + 1])[0, int(batch.actions[row])])
            losses.append(float(F.smooth_l1_loss(torch.tensor(value), torch.tensor(target))))
    assert learned == pytest.approx(np.mean(losses), rel=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="this torch sees no GPU")
@pytest.mark.parametrize("history", [None, 1])
def test_recorded_updates_are_those_that_are_not(history: int | None, monkeypatch: pytest.MonkeyPatch):
    results = []
    for recorded in (False, True):
        np.random.seed(0)
        model = dqn(True, history, device="cuda")
        fill(model)
        if not recorded:
            monkeypatch.setattr(model, "_gradients", partial(BatchedDQN._gradients, model))
        np.random.seed(1)
        for size in (32, 32, 16):  # another size is recorded anew
            model.train(3, size)
        assert (model._recorded is None) == (not recorded)
        results.append((float(model.logger.name_to_value["train/loss"]), model.q_net.state_dict()))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-4)
    for name, weight in results[0][1].items():
        torch.testing.assert_close(weight, results[1][1][name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("history", [None, 1])
def test_a_saved_replay_comes_back_and_is_learned_from(history: int | None, tmp_path: Path):
    model = dqn(True, history, learning_starts=20)
    model.learn(60)
    model.save_replay_buffer(tmp_path / "replay.pkl")
    other = dqn(True, history)
    other.load_replay_buffer(tmp_path / "replay.pkl")
    batches = []
    for each in (model, other):
        assert each.replay_buffer is not None
        if isinstance(each.replay_buffer, FrameReplay):
            each.replay_buffer.sequences.cut_episodes()
        np.random.seed(0)
        batches.append(each.replay_buffer.sample(32))
    for ours, theirs in zip(*batches, strict=True):
        assert (ours is None and theirs is None) or torch.equal(ours, theirs)
    other.train(1, 32)


def test_a_replay_of_another_model_is_refused_in_one_line(tmp_path: Path):
    path = tmp_path / "replay.pkl"
    for saved, said in (
        (dqn(True, None), "not a FrameReplay of 1 worlds; take one that a model like this"),
        (dqn(True, 2), "a replay of history 2, and the model has 1; build it with history=2"),
        (dqn(True, 1, n_steps=3), "a replay of n_steps 3, and the model has 1"),
    ):
        saved.save_replay_buffer(path)
        with pytest.raises(CheckpointError, match=said) as error:
            dqn(True, 1).load_replay_buffer(path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("history", [None, 1])
def test_values_and_targets_of_a_batch_are_columns(history: int | None, monkeypatch: pytest.MonkeyPatch):
    shapes: list[tuple[torch.Size, torch.Size]] = []

    def loss(values: Tensor, targets: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        shapes.append((values.shape, targets.shape))
        return (values - targets).square().mean()

    monkeypatch.setattr(F, "smooth_l1_loss", loss)
    for double in (False, True):
        model = dqn(double, history)
        fill(model)
        model.train(1, 16)
    assert shapes == [((16, 1), (16, 1))] * 2


@pytest.mark.parametrize("memory", ["none", "gru", "mamba2"])
@pytest.mark.parametrize("dueling", [False, True])
def test_action_values_are_not_bounded_and_no_distribution(dueling: bool, memory: str):
    """Of what networks a config makes, the outermost layer is linear."""
    changes = (f"dqn.dueling={dueling}", f"policy.memory={memory}")
    experiment = parse_config("name: a\nenv: {id: CartPole-v1, num_envs: 1}\n", changes)
    model = build_model(experiment, make_training_env(experiment))
    net: Any = model.policy.q_net  # type: ignore[union-attr]
    obs = torch.randn(16, *net.observation_space.shape)
    with torch.no_grad():
        values = net(obs)
        layer = [part for part in net.q_net.modules() if isinstance(part, torch.nn.Linear)][-1]
        layer.weight.mul_(1000.0)
        layer.bias.mul_(1000.0)
        torch.testing.assert_close(net(obs), 1000.0 * values, rtol=1e-4, atol=1e-3)
    assert not torch.allclose(values.sum(dim=1), torch.ones(16))


# With a separator ---------------------------------------------------------------------------------------------

SMALL = (
    "env.num_envs=4", "env.threads=1", "env.horizon=12", "env.fs=8000",
    "train.total_steps=160", "train.checkpoint_every=60", "train.log_every=40", "train.eval_every=80",
    "train.eval_episodes=2", "policy.net_arch=[16]", "dqn.learning_starts=60", "dqn.batch_size=4",
    "dqn.buffer_size=240", "dqn.gradient_steps=1", "dqn.target_update_interval=40", "separation.sources=2",
)  # fmt: skip
MEMORY = ("policy.core.d_model=8", "dqn.seq_len=8", "dqn.burn_in=2", "dqn.n_steps=2", "dqn.batch_size=2")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("separator") / "tiny.safetensors", sample_rate=8000)


def small(name: str, weights: Path, *overrides: str) -> ExperimentConfig:
    return load_config(name, (*SMALL, f"separation.weights={weights}", *overrides))


def test_the_separator_learns_at_its_own_rate_and_the_target_has_its_own(weights: Path):
    experiment = small("auralnav-dprnn-dqn-finetune", weights, "separation.learning_rate=1e-4")
    model = build_model(experiment, make_training_env(experiment))
    assert isinstance(model, AuralDQN)
    mine, target = (net.features_extractor.separator for net in (model.q_net, model.q_net_target))
    assert all(torch.equal(a, b) for a, b in zip(mine.parameters(), target.parameters(), strict=True))
    groups = {group.get("name"): group for group in model.policy.optimizer.param_groups}
    assert {id(weight) for weight in groups[SEPARATOR_GROUP]["params"]} == {id(weight) for weight in mine.parameters()}
    grouped = sum(len(group["params"]) for group in groups.values())
    assert grouped == len(list(model.q_net.parameters()))
    model.set_logger(Logger(None, []))
    for progress in (1.0, 0.5, 0.0):
        model._current_progress_remaining = progress
        model._update_learning_rate(model.policy.optimizer)
        # From 3e-4 to 3e-5: the separator's rate falls by the same share.
        assert groups[SEPARATOR_GROUP]["lr"] == pytest.approx(groups[None]["lr"] / 3)
    assert groups[None]["lr"] == pytest.approx(3e-5)


def test_learning_moves_the_separator_and_target_updates_carry_it_over(weights: Path):
    experiment = small("auralnav-dprnn-dqn-finetune", weights, "dqn.target_update_interval=80", "dqn.tau=0.5",
                       "train.eval_every=0", "separation.learning_rate=1e-3")  # fmt: skip
    env = make_training_env(experiment)
    model: Any = build_model(experiment, env)
    model.set_logger(Logger(None, []))
    mine, target = (net.features_extractor.separator for net in (model.q_net, model.q_net_target))
    before = [weight.detach().clone() for weight in mine.parameters()]
    model.learn(76, log_interval=None)
    learned = [weight.detach().clone() for weight in mine.parameters()]
    assert any(not torch.equal(a, b) for a, b in zip(before, learned, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(before, target.parameters(), strict=True)), "not yet its turn"
    model.learn(4, log_interval=None, reset_num_timesteps=False)
    moved = list(target.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(before, moved, strict=True))
    for start_value, online, now in zip(before, mine.parameters(), moved, strict=True):
        # Half way, but for the one update of the online network after it.
        torch.testing.assert_close(now, (start_value + online) / 2, atol=2e-3, rtol=0)


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("auralnav-dprnn-dqn", ()),
        ("auralnav-dprnn-dqn", ("separation.masks=oracle", "separation.cues=seed", "dqn.double=false")),
        ("auralnav-dprnn-dqn", ("separation.masks=mixture", "algorithm=ppo", "ppo.n_steps=20", "ppo.batch_size=40")),
        ("auralnav-dprnn-mamba-dqn", MEMORY),
        ("auralnav-dprnn-dqn-finetune", ()),
        pytest.param("auralnav-dprnn-dqn-finetune", ("policy.memory=gru", *MEMORY), marks=pytest.mark.slow),
    ],
)
def test_a_resumed_run_equals_an_uninterrupted_one(
    name: str, overrides: tuple[str, ...], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    experiment = small(name, weights, *overrides)
    start(experiment, tmp_path / "whole")
    step = TrainingCallback._on_step

    def dying(self: TrainingCallback) -> bool:
        if self.num_timesteps >= 100:
            raise RuntimeError("killed")
        return step(self)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingCallback, "_on_step", dying)
        with pytest.raises(RuntimeError, match="killed"):
            start(experiment, tmp_path / "broken")
    assert 0 < json.loads((tmp_path / "broken/resume/manifest.json").read_text())["about"]["step"] < 100
    resume(tmp_path / "broken")
    for file in ("policy.safetensors", "eval/evaluations.json"):
        assert (tmp_path / "broken" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    agent = load_policy_agent(tmp_path / "whole")
    assert len(record(agent, agent.config.env, 2).episodes) == 2


def test_a_separator_that_learned_along_is_a_file_that_a_frozen_one_can_be(weights: Path, tmp_path: Path):
    experiment = small("auralnav-dprnn-dqn-finetune", weights, "train.eval_every=0", "separation.learning_rate=1e-3")
    start(experiment, tmp_path / "run", export_zip=True)
    file = tmp_path / "run" / "separator.safetensors"
    learned, given = DPRNNSeparator.load(file), DPRNNSeparator.load(weights)
    assert learned.config == given.config
    agent = load_policy_agent(tmp_path / "run")
    inside = agent.policy.q_net.features_extractor.separator
    assert all(torch.equal(a, b) for a, b in zip(inside.parameters(), learned.parameters(), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(learned.parameters(), given.parameters(), strict=True))
    frozen = small("auralnav-dprnn-dqn", file, "train.total_steps=8", "train.eval_every=0")
    assert start(frozen, tmp_path / "frozen").steps == 8
    zipped = load_zip_agent(tmp_path / "run" / "policy.zip", trust=True)
    assert record(zipped, zipped.config.env, 2).episodes == record(agent, agent.config.env, 2).episodes


@pytest.mark.parametrize("name", ["auralnav-dprnn-dqn", "auralnav-dprnn-dqn-finetune"])
def test_a_run_keeps_a_separator_of_its_own(name: str, tmp_path: Path):
    """Its file may change or go: the run goes on, and is evaluated, with what it began with."""
    file = save_tiny(tmp_path / "tiny.safetensors", sample_rate=8000)
    experiment = small(name, file, "train.total_steps=40", "train.eval_every=0")
    original = file.read_bytes()
    start(experiment, tmp_path / "run")
    agent = load_policy_agent(tmp_path / "run")
    before = record(agent, agent.config.env, 2).episodes
    file.unlink()
    agent = load_policy_agent(tmp_path / "run")
    assert record(agent, agent.config.env, 2).episodes == before
    assert resume(tmp_path / "run", ("train.total_steps=80",)).steps == 80
    learns = experiment.separation.separator == "finetune"
    assert ((tmp_path / "run" / "separator.safetensors").read_bytes() == original) != learns
    other = save_tiny(tmp_path / "other.safetensors", sample_rate=8000)
    with pytest.raises(ConfigError, match="keeps its separation"):
        resume(tmp_path / "run", (f"separation.weights={other}",))
    assert load_policy_agent(tmp_path / "run", (f"separation.weights={other}",)).config.separation.weights == str(other)


def test_a_rate_for_a_separator_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match="has no separator"):
        dqn(double=True, history=1, separator_learning_rate=1e-4)


@pytest.mark.parametrize("timbre", [0, 16])
@pytest.mark.parametrize("name", ["auralnav-dprnn-dqn", "auralnav-dprnn-mamba-dqn"])
def test_the_frozen_replay_takes_at_most_120_bytes_a_source_and_transition(name: str, timbre: int):
    changes = ("separation.masks=mixture", f"separation.timbre={timbre}", "env.num_envs=2", "dqn.buffer_size=4000")
    experiment = load_config(name, changes)
    model: Any = build_model(experiment, make_training_env(experiment))
    replay = model.replay_buffer.sequences if isinstance(model.replay_buffer, FrameReplay) else model.replay
    rows = replay.rows * replay.n_envs
    assert (replay.nbytes - replay.arrays()["states"].nbytes) / rows / experiment.separation.sources <= 120


def test_the_finetune_replay_holds_each_step_of_sound_once_in_sixteen_bits(weights: Path):
    experiment = small("auralnav-dprnn-dqn-finetune", weights)
    model: Any = build_model(experiment, make_training_env(experiment))
    replay = model.replay_buffer.sequences
    audio = replay.arrays()["observations/audio"]
    assert audio.dtype == np.int16 and audio.shape[2:] == (2, 2000)
    assert replay.nbytes / (replay.rows * 4) < 2 * 2000 * 2 + 100


@pytest.mark.parametrize(
    ("name", "overrides", "asked"),
    [
        ("auralnav-dprnn-dqn", (), "cpu"),
        ("auralnav-dprnn-mamba-dqn", (), "cpu"),
        ("auralnav-dprnn-dqn", ("train.device=cuda",), "cuda"),
        ("auralnav-dprnn-dqn-finetune", (), "auto"),
    ],
)
def test_a_policy_of_a_few_numbers_stays_on_the_cpu_and_one_with_a_separator_does_not(
    name: str, overrides: tuple[str, ...], asked: str, weights: Path, monkeypatch: pytest.MonkeyPatch
):
    wanted: list[str] = []

    def device(which: str, key: str) -> torch.device:
        wanted.append(which)
        return torch.device("cpu")

    monkeypatch.setattr(algorithms, "torch_device", device)
    experiment = small(name, weights, *overrides)
    choose_device(experiment, make_training_env(experiment).observation_space)
    assert wanted == [asked]


@pytest.mark.parametrize("name", ["auralnav-dprnn-dqn", "auralnav-dprnn-dqn-finetune"])
def test_features_of_a_separation_are_standardised_where_asked(name: str, weights: Path):
    experiment = small(name, weights, "policy.standardise=true", "train.total_steps=72", "train.eval_every=0")
    model: Any = build_model(experiment, make_training_env(experiment))
    model.learn(72, log_interval=None)
    standardiser = model.q_net.features_extractor.standardiser
    assert standardiser.running_rows > 0 and standardiser.running_mean.shape == (model.q_net.features_dim,)
