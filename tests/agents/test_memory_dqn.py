"""DQN on memory cores: states, targets, exploration, saving; without memory it is SB3's DQN."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from memory_envs import vector
from memory_models import held
from memory_models import small_dqn as small
from stable_baselines3 import DQN
from stable_baselines3.common.buffers import ReplayBufferSamples
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv

from auralnav.agents.memory_dqn import MemoryDQN, rescale, unscale
from auralnav.agents.memory_dqn_policy import MemoryDQNPolicy
from auralnav.agents.sequence_batch import SequenceBatch
from auralnav.policies.ssm.cores import CORES


@pytest.mark.parametrize("core", CORES)
def test_the_stored_state_is_that_of_the_episode_run_from_its_start(core: str):
    # Nothing is learned, so the weights that acted are those that run the episode again.
    model = small(core, learning_starts=10**6)
    model.learn(1500)
    net = model.policy.q_net
    replay = model.replay
    assert replay.written.max() > replay.rows  # rows of the first round are gone: the states must do without
    blocks = np.arange((replay.written[0] - replay.rows) // 8 + 1, replay.written[0] // 8)
    batches = replay.sequences(np.zeros(len(blocks), np.int64), blocks * 8)
    assert isinstance(batches.observations, torch.Tensor)
    observations, starts = batches.observations[:, :8].flatten(0, 1), batches.starts[:, :8].flatten()
    compared = 0
    for block in range(1, len(blocks)):
        firsts = np.flatnonzero(starts[: block * 8])
        if starts[block * 8] or not len(firsts):
            continue  # the state before an episode's first row does not matter
        episode = slice(int(firsts[-1]), block * 8)
        with torch.no_grad():
            _, state = net.run(observations[None, episode], net.core.initial_state(1), starts[None, episode])
        torch.testing.assert_close(batches.states[block], state[0], rtol=2**-11, atol=1e-6)
        compared += 1
    assert compared > 20


@pytest.mark.parametrize("core", CORES)
def test_the_state_when_acting_is_that_of_the_episode_run_from_its_start(core: str):
    model = small(core, vector("t-maze", 2, length=30), learning_starts=10**6)
    seen: list[Any] = []
    step = model.policy.q_net.core.step

    def stepping(x: Any, state: Any, start: Any) -> Any:
        out = step(x, state, start)
        seen.append((x, start, out[1]))
        return out

    model.policy.q_net.core.step = stepping  # type: ignore[method-assign]
    model.learn(2 * 150)
    inputs, starts = (torch.stack([part[i] for part in seen], 1) for i in (0, 1))
    core_ = model.policy.q_net.core
    for world in range(2):
        firsts = [*np.flatnonzero(starts[world].numpy()).tolist(), len(seen)]
        assert len(firsts) > 2
        for begin, end in pairwise(firsts):
            with torch.no_grad():
                _, state = core_(
                    inputs[world : world + 1, begin:end],
                    core_.initial_state(1),
                    starts[world : world + 1, begin:end],
                )
            torch.testing.assert_close(seen[end - 1][2][world], state[0], rtol=1e-5, atol=1e-5)


def _given(batch: Any, *_: Any, **__: Any) -> Any:
    return batch


@pytest.mark.parametrize("n_steps", [1, 3])
@pytest.mark.parametrize("dueling", [False, True])
def test_without_memory_an_update_is_that_of_sb3(n_steps: int, dueling: bool, monkeypatch):
    torch.manual_seed(0)
    env = vector("t-maze", 3, length=4)
    model = small(
        "none", env, seq_len=1, burn_in=0, n_steps=n_steps, double=False, dueling=dueling,
        learning_starts=10**6, gamma=0.9, batch_size=32, learning_rate=1e-2,
    )  # fmt: skip
    model.learn(600)
    batch = model.replay.sample(32)
    plain = DQN(
        MemoryDQNPolicy, env, gamma=0.9, learning_rate=1e-2, device="cpu",
        policy_kwargs=dict(model.policy_kwargs),
    )  # fmt: skip
    plain.policy.load_state_dict(model.policy.state_dict())
    # The targets differ from the online weights, as they do in training.
    with torch.no_grad():
        for parameter in model.policy.q_net_target.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    plain.policy.q_net_target.load_state_dict(model.policy.q_net_target.state_dict())
    rows = torch.arange(32)
    assert isinstance(batch.observations, torch.Tensor)
    assert batch.mask.sum() > 20
    chosen = batch.mask[:, 0]
    samples = ReplayBufferSamples(
        batch.observations[chosen, 0], batch.actions[chosen],
        batch.observations[rows, batch.bootstraps[:, 0]][chosen],
        (batch.discounts[chosen] == 0).float(), batch.returns[chosen],
        torch.where(batch.discounts[chosen] == 0, 1.0, batch.discounts[chosen]),
    )  # fmt: skip
    losses = {}
    for name, learner, drawn in (("memory", model, batch), ("plain", plain, samples)):
        monkeypatch.setattr(learner.replay_buffer, "sample", partial(_given, drawn))
        learner._setup_learn(1, None)
        for _ in range(3):
            learner.train(1, 32)
        losses[name] = learner.logger.name_to_value["train/loss"]
    assert losses["memory"] == pytest.approx(losses["plain"], abs=1e-6)
    ours, theirs = model.policy.state_dict(), plain.policy.state_dict()
    for key, value in ours.items():
        torch.testing.assert_close(value, theirs[key], rtol=0, atol=1e-6)


def naive_loss(model: MemoryDQN, batch: SequenceBatch) -> torch.Tensor:
    """The loss of a loop over sequences and steps, each network from the stored state on."""
    net, target_net = model.policy.q_net, model.policy.q_net_target
    assert isinstance(batch.observations, torch.Tensor)
    burn_in, losses = model.replay.burn_in, []
    h, inverse = (rescale, unscale) if model.rescale else (lambda x: x, lambda x: x)
    for item in range(len(batch.states)):
        values: dict[Any, list[torch.Tensor]] = {net: [], target_net: []}
        for network, out in values.items():
            state = batch.states[item : item + 1]
            for step in range(batch.starts.shape[1]):
                if step == burn_in:
                    state = state.detach()
                start = batch.starts[item, step : step + 1]
                value, state = network.step(batch.observations[item, step : step + 1], state, start)
                out.append(value[0])
        for row in np.flatnonzero(batch.mask[item]).tolist():
            ahead = burn_in + int(batch.bootstraps[item, row])
            after = values[target_net][ahead].detach()
            best = after[values[net][ahead].argmax()] if model.double else after.max()
            target = h(batch.returns[item, row] + batch.discounts[item, row] * inverse(best))
            value = values[net][burn_in + row][batch.actions[item, row]]
            losses.append(torch.nn.functional.smooth_l1_loss(value, target))
    return torch.stack(losses).mean()


@pytest.mark.parametrize(
    ("core", "kwargs"),
    [
        *[(core, {}) for core in CORES],
        ("gru", {"double": False}),
        ("gru", {"rescale": True}),
        ("gru", {"dueling": True}),
        ("gru", {"burn_in": 0}),
    ],
)
def test_loss_and_gradient_are_those_of_a_loop_over_steps(core: str, kwargs: dict[str, Any]):
    model = small(core, vector("t-maze", 3, length=1), learning_starts=10**6, **kwargs)
    model.learn(600)
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    batch = held(model, 6)
    ended = batch.discounts == 0
    assert ended.any() and not ended.all() and not batch.mask.all()
    results = []
    for loss in (model._loss(batch), naive_loss(model, batch)):
        model.policy.q_net.zero_grad()
        loss.backward()
        gradients = [p.grad.clone() for p in model.policy.q_net.parameters() if p.grad is not None]
        results.append((loss.detach(), gradients))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-5, atol=1e-7)
    for ours, theirs in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)


class Clock(gym.Env):
    """Each step earns 1 and nothing is ever seen; after four steps the episode ends, or is cut off."""

    def __init__(self, ends: bool) -> None:
        self.observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.action_space = spaces.Discrete(2)
        self.ends, self.steps = ends, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any):
        self.steps += 1
        over = self.steps == 4
        return np.zeros(1, np.float32), 1.0, over and self.ends, over and not self.ends, {}


@pytest.mark.parametrize("n_steps", [1, 3])
@pytest.mark.parametrize("ends", [True, False])
def test_a_cut_off_episode_is_worth_what_would_come_and_a_terminated_one_is_not(ends: bool, n_steps: int):
    model = small(
        "gru", DummyVecEnv([lambda: Clock(ends)] * 2), gamma=0.5, n_steps=n_steps, learning_rate=1e-2,
        train_freq=2, target_update_interval=20, buffer_size=512,
    )  # fmt: skip
    model.learn(1200)
    with torch.no_grad():
        starts = torch.tensor([[True, False, False, False]])
        outputs, _ = model.policy.q_net.run(
            torch.zeros(1, 4, 1), model.policy.q_net.core.initial_state(1), starts
        )
        values = model.policy.q_net.values(outputs).mean(dim=2)[0].tolist()
    expected = [1.875, 1.75, 1.5, 1.0] if ends else [2.0, 2.0, 2.0, 2.0]
    assert values == pytest.approx(expected, abs=0.1)


def test_rescaling_and_its_inverse():
    x = torch.cat([-torch.logspace(5, -6, 300), torch.zeros(1), torch.logspace(-6, 5, 300)])
    torch.testing.assert_close(unscale(rescale(x)), x, rtol=1e-5, atol=1e-6)
    assert rescale(torch.tensor([0.0, 3.0, -8.0])).tolist() == pytest.approx([0.0, 1.003, -2.008])


def test_each_world_explores_on_its_own_and_its_memory_moves_on_alike():
    model = small("gru")
    model.exploration_rate = 0.5
    observation = np.tile(np.array([1.0, 0.0], np.float32), (3000, 1))
    greedy, state = model.predict(observation, deterministic=True)
    assert len(np.unique(greedy)) == 1
    np.random.seed(0)
    actions, explored_state = model.predict(observation)
    other = float((actions != greedy[0]).mean())
    assert other == pytest.approx(0.5 * 2 / 3, abs=0.04)  # a drawn action may be the greedy one
    assert state is not None and explored_state is not None
    np.testing.assert_array_equal(state[0], explored_state[0])
    assert (state[0] != 0).any()


def test_warm_up_draws_all_actions_and_remembers():
    model = small("gru", learning_starts=10**6, exploration_initial_eps=0.0, exploration_final_eps=0.0)
    model.learn(900)
    counts = torch.bincount(held(model, 200).actions.flatten(), minlength=3)
    assert counts.min() > 0.25 * counts.sum()
    assert (model.memory_state != 0).any()


@pytest.mark.parametrize("core", CORES)
def test_predict_step_by_step_is_one_run_over_the_episode(core: str):
    model = small(core)
    rng = np.random.default_rng(0)
    observations = rng.normal(size=(2, 12, 2)).astype(np.float32).clip(-1, 1)
    starts = np.zeros((2, 12), bool)
    starts[:, 0] = starts[1, 7] = True
    net = model.policy.q_net
    with torch.no_grad():
        outputs, last = net.run(
            torch.from_numpy(observations), net.core.initial_state(2), torch.from_numpy(starts)
        )
        expected = net.values(outputs).argmax(2).numpy()
    state = None
    for step in range(12):
        actions, state = model.predict(observations[:, step], state, starts[:, step], deterministic=True)
        np.testing.assert_array_equal(actions, expected[:, step])
    assert state is not None
    np.testing.assert_allclose(state[0], last.numpy(), atol=1e-5)
    single = None
    for step in range(12):
        action, single = model.predict(observations[0, step], single, deterministic=True)
        assert np.shape(action) == () and action == expected[0, step]


def test_sb3_evaluates_it_with_its_memory():
    model = small("gru", RepeatEnvs())
    rewards, lengths = evaluate_policy(
        model, RepeatEnvs(), n_eval_episodes=4, return_episode_rewards=True, warn=False
    )
    assert lengths == [12] * 4 and len(rewards) == 4


def RepeatEnvs() -> DummyVecEnv:
    return vector("repeat", 2, k=2, length=12)
