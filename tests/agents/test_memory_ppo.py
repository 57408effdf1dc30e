"""PPO on memory cores: windows, states, bootstraps, saving, and that an update begins where the rollout ended."""

from __future__ import annotations

import re
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from memory_envs import RepeatPrevious, vector
from memory_models import SMALL
from memory_models import small_ppo as small
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv
from tiny_world import TinyBell

from auralnav.agents.history import HistoryWrapper
from auralnav.agents.memory_policy import MemoryPolicy
from auralnav.agents.memory_ppo import MemoryPPO
from auralnav.agents.sb3_env import make_vector_adapter
from auralnav.configs.schema import AudioEnvConfig
from auralnav.errors import CheckpointError, ConfigError, ShapeError
from auralnav.policies.extractors import AuralExtractor
from auralnav.policies.ssm.cores import CORES, make_core


class Reach(gym.Env):
    """Continuous: move a point towards 0 within 7 steps; every episode is cut off by the limit."""

    def __init__(self) -> None:
        self.observation_space = spaces.Box(-5.0, 5.0, (2,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.place, self.steps = np.zeros(2, np.float32), 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        self.place, self.steps = self.np_random.uniform(-2, 2, 2).astype(np.float32), 0
        return self.place.copy(), {}

    def step(self, action: Any):
        self.place = np.clip(self.place + action, -5, 5).astype(np.float32)
        self.steps += 1
        return self.place.copy(), -float(np.abs(self.place).sum()), False, self.steps >= 7, {}


def worlds(kind: type[gym.Env], num_envs: int = 4) -> DummyVecEnv:
    envs = DummyVecEnv([kind for _ in range(num_envs)])
    envs.seed(0)
    return envs


def first_minibatch(model: MemoryPPO, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-ratios of the first minibatch of the last update, and its starts [W, T]."""
    seen: list[tuple[torch.Tensor, ...]] = []
    evaluate, sample = model.policy.evaluate_actions, model.rollout_buffer.get

    def evaluating(*args: Any) -> Any:
        out = evaluate(*args)
        seen[-1] += (out[1].detach().clone(),)
        return out

    def sampling(batch_size: int | None = None) -> Any:
        for batch in sample(batch_size):
            seen.append((batch.old_log_prob, batch.episode_starts))
            yield batch

    model.policy.evaluate_actions = evaluating  # type: ignore[method-assign]
    model.rollout_buffer.get = sampling  # type: ignore[method-assign]
    model.learn(steps)
    updates = steps // (model.n_steps * model.n_envs)
    old, starts, new = seen[(updates - 1) * len(seen) // updates]
    return new - old, starts.reshape(-1, model.window)


@pytest.mark.parametrize("core", CORES)
def test_an_update_begins_with_the_policy_that_acted(core):
    log_ratio, starts = first_minibatch(small(core), 3 * 4 * 32)
    assert starts[:, 1:].any(), "no episode begins inside a window: the test shows nothing"
    assert (starts[:, 0] == 0).any(), "no window continues an episode: the test shows nothing"
    ratio = log_ratio.double().exp()
    assert (ratio - 1).abs().max() < 1e-5
    assert ((ratio - 1) - log_ratio.double()).mean() < 1e-8  # approx_kl


@pytest.mark.parametrize(
    ("kind", "policy", "policy_kwargs"),
    [
        (Reach, "MlpPolicy", {}),
        (TinyBell, "MultiInputPolicy", {}),
        (TinyBell, "MultiInputPolicy", {"features_extractor_class": AuralExtractor}),
    ],
    ids=["box-actions", "dict", "dict-aural"],
)
def test_it_holds_for_other_spaces_and_extractors(kind, policy, policy_kwargs):
    model = small("gru", worlds(kind), policy, policy_kwargs={"net_arch": [16], **policy_kwargs})
    log_ratio, _ = first_minibatch(model, 3 * 4 * 32)
    assert log_ratio.abs().max() < 1e-5


def test_it_holds_on_the_native_vector_environments():
    env = HistoryWrapper(make_vector_adapter(AudioEnvConfig(id="CartPole-v1", num_envs=4)), previous_action=True)
    log_ratio, starts = first_minibatch(small("gru", env), 3 * 4 * 32)
    assert starts[:, 1:].any()
    assert log_ratio.abs().max() < 1e-5


def test_it_holds_for_state_dependent_exploration():
    log_ratio, _ = first_minibatch(small("gru", worlds(Reach), use_sde=True), 2 * 4 * 32)
    assert log_ratio.abs().max() < 1e-5


def test_windows_are_what_happened_and_begin_with_the_state_of_that_moment():
    model = small("gru", n_steps=32, window=8, batch_size=16)
    policy, states = model.policy, []
    step = policy.core.step

    def stepping(x, state, start):
        states.append(state.clone())
        return step(x, state, start)

    policy.core.step = stepping  # type: ignore[method-assign]

    class OneRollout(BaseCallback):
        def _on_step(self) -> bool:
            return True

        def _on_rollout_end(self) -> None:
            raise StopIteration

    with pytest.raises(StopIteration):
        model.learn(1, callback=OneRollout())
    buffer = model.rollout_buffer
    seen = []
    batches = list(buffer.get(16))
    for batch in batches:
        assert len(batch.lstm_states) == 2
        for row, state in enumerate(batch.lstm_states):
            part = batch.observations.reshape(2, 8, 2)[row].numpy()
            [(begin, world)] = [
                (t, n)
                for t in range(0, 32, 8)
                for n in range(4)
                if np.array_equal(buffer.observations[t : t + 8, n], part)
            ]
            seen.append((begin, world))
            assert torch.equal(state, states[begin][world])
            for name, values in (
                ("returns", batch.returns),
                ("advantages", batch.advantages),
                ("values", batch.old_values),
                ("log_probs", batch.old_log_prob),
                ("episode_starts", batch.episode_starts),
                ("actions", batch.actions),
            ):
                told = getattr(buffer, name)[begin : begin + 8, world].reshape(-1)
                np.testing.assert_array_equal(values.reshape(2, -1)[row].numpy(), told)
    assert sorted(seen) == [(t, n) for t in range(0, 32, 8) for n in range(4)]
    assert buffer.states[1:].abs().amax(dim=-1).min() > 0


def test_the_memory_is_carried_from_one_rollout_into_the_next():
    model = small("gru", vector("t-maze", 4, length=200))
    model.learn(4 * 32)
    kept = model._last_memory_state.clone()
    model.learn(4 * 32, reset_num_timesteps=False)
    assert kept.abs().amax(dim=-1).min() > 0
    assert torch.equal(model.rollout_buffer.states[0], kept)


def test_an_episode_that_is_cut_off_goes_on_in_value_with_its_own_memory():
    model = small("gru", worlds(Reach), n_steps=16, gamma=0.9)
    told: list[tuple[np.ndarray, np.ndarray, list[dict[str, Any]]]] = []

    class Watch(BaseCallback):
        def _on_step(self) -> bool:
            told.append(
                (self.locals["rewards"].copy(), self.locals["dones"].copy(), self.locals["infos"])
            )
            return True

    # Weights stay as they are, so the values can be recomputed afterwards.
    model.train = lambda: None  # type: ignore[method-assign]
    model.learn(16 * 4, callback=Watch())
    buffer, policy = model.rollout_buffer, model.policy
    state = policy.initial_state(4)
    cut_offs = 0
    with torch.no_grad():
        for t, (rewards, dones, infos) in enumerate(told):
            starts = torch.from_numpy(buffer.episode_starts[t] > 0)
            _, state = policy.get_distribution(torch.from_numpy(buffer.observations[t]), state, starts)
            for world in range(4):
                extra = 0.0
                if dones[world]:
                    terminal = torch.from_numpy(infos[world]["terminal_observation"])[None]
                    row = state[world : world + 1]
                    value = policy.predict_values(terminal, row, torch.tensor([False])).item()
                    fresh = policy.predict_values(terminal, row, torch.tensor([True])).item()
                    assert abs(value - fresh) > 1e-5, "the memory makes no difference: nothing is tested"
                    extra = 0.9 * value
                    cut_offs += 1
                assert buffer.rewards[t, world] == pytest.approx(rewards[world] + extra, abs=1e-5)
    assert cut_offs == 8


def test_an_episode_that_ends_has_no_value_after_it():
    model = small("gru", worlds(RepeatPrevious), n_steps=64, window=16)
    model.train = lambda: None  # type: ignore[method-assign]
    model.learn(64 * 4)
    buffer = model.rollout_buffer
    [end] = np.flatnonzero(buffer.episode_starts[1:, 0])
    assert abs(buffer.rewards[end, 0]) <= 1.0 / 48 + 1e-6
    delta = buffer.rewards[end, 0] - buffer.values[end, 0]
    assert buffer.advantages[end, 0] == pytest.approx(delta, abs=1e-6)


@pytest.mark.parametrize("core", CORES)
def test_actor_and_critic_both_teach_the_core(core):
    model = small(core)
    model.learn(4 * 32)
    policy = model.policy
    batch = next(iter(model.rollout_buffer.get(64)))
    values, log_prob, _ = policy.evaluate_actions(
        batch.observations, batch.actions.long().flatten(), batch.lstm_states, batch.episode_starts
    )
    for loss in (values.square().mean(), -(log_prob * batch.advantages).mean()):
        gradients = torch.autograd.grad(loss, list(policy.core.parameters()), retain_graph=True)
        assert sum(float(gradient.abs().sum()) for gradient in gradients) > 0


@pytest.mark.parametrize("core", CORES)
def test_the_optimizer_holds_every_parameter_once_and_decays_no_rates(core):
    policy = small(core, policy_kwargs={"optimizer_kwargs": {"weight_decay": 0.1}}).policy
    groups = policy.optimizer.param_groups
    held = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(held) == sorted(id(parameter) for parameter in policy.parameters())
    decays = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    rates = re.compile(r"\.(A_log|D|dt_bias|dt_proj\.weight|dt_proj\.bias)$")
    for name, parameter in policy.core.named_parameters():
        assert decays[id(parameter)] == (0.0 if rates.search(name) else 0.1), name


@pytest.mark.parametrize("core", CORES)
def test_the_core_keeps_its_own_initialisation(core):
    # The extractor of a flat observation has no weights, so the core draws first.
    policy = small(core).policy
    torch.manual_seed(0)
    fresh = make_core(core, 2, **SMALL.get(core, {"d_model": 16}))
    for name, parameter in fresh.named_parameters():
        assert torch.equal(parameter, policy.core.get_parameter(name)), name


def test_the_core_has_a_learning_rate_of_its_own():
    model = small(learning_rate=1e-3, core_learning_rate=lambda left: 1e-5 + 1e-3 * left)
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    model.learn(4 * 32)
    change = {
        name: float((value - before[name]).abs().max()) for name, value in model.policy.state_dict().items()
    }
    core = [moved for name, moved in change.items() if name.startswith("core.")]
    assert 0 < max(core) < 5e-5
    assert change["action_net.weight"] > 5e-5
    assert model.logger.name_to_value["train/core_learning_rate"] == 1e-5
    assert model.logger.name_to_value["train/learning_rate"] == 1e-3


@pytest.mark.parametrize("core", CORES)
def test_a_saved_model_predicts_the_same_and_learns_on(core, tmp_path):
    model = small(core)
    model.learn(4 * 32)
    model.save(tmp_path / "model")
    loaded = MemoryPPO.load(tmp_path / "model", env=vector("cart", 4), device="cpu")
    assert loaded.policy.memory == core
    obs = vector("cart", 4).reset()
    state = other = None
    for _ in range(3):
        action, state = model.predict(obs, state, deterministic=True)
        again, other = loaded.predict(obs, other, deterministic=True)
        np.testing.assert_array_equal(action, again)
        np.testing.assert_array_equal(state[0], other[0])
    loaded.learn(4 * 32, reset_num_timesteps=False)
    assert loaded.num_timesteps == 2 * 4 * 32


def test_weights_of_another_core_are_refused_in_one_line(tmp_path):
    small("lstm").save(tmp_path / "lstm")
    with pytest.raises(CheckpointError, match="weights of another memory core") as caught:
        small("gru").set_parameters(str(tmp_path / "lstm"), device="cpu")
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_another_core_or_network_is_refused_in_one_line(tmp_path):
    small("lstm").save(tmp_path / "lstm")
    with pytest.raises(CheckpointError, match="has memory lstm, not gru; load it with memory='lstm'") as caught:
        MemoryPPO.load(tmp_path / "lstm", memory="gru", device="cpu")
    assert "\n" not in str(caught.value)
    wider = small("lstm", policy_kwargs={"net_arch": [24]})
    with pytest.raises(CheckpointError, match="does not fit a network with memory lstm") as caught:
        wider.set_parameters(str(tmp_path / "lstm"), device="cpu")
    assert "\n" not in str(caught.value)


def test_a_saved_policy_is_rebuilt_with_its_core(tmp_path):
    policy = small("lstm").policy
    policy.save(str(tmp_path / "policy.pth"))
    loaded = MemoryPolicy.load(str(tmp_path / "policy.pth"), device="cpu")
    assert loaded.memory == "lstm"
    obs = np.full(2, 0.1, np.float32)
    np.testing.assert_array_equal(policy.predict(obs)[1][0], loaded.predict(obs)[1][0])


def test_two_trainings_with_one_seed_are_the_same():
    weights = []
    for _ in range(2):
        model = small("gru")
        model.learn(2 * 4 * 32)
        weights.append(torch.cat([value.flatten() for value in model.policy.state_dict().values()]))
    assert torch.equal(*weights)


def test_predict_carries_the_state_and_forgets_at_a_start():
    model = small("gru")
    first, second = np.array([[0.3, 0.1]], np.float32), np.array([[-0.2, 0.0]], np.float32)
    _, fresh = model.predict(second)
    _, state = model.predict(first)
    _, carried = model.predict(second, state)
    _, reset = model.predict(second, state, episode_start=np.array([True]))
    assert np.abs(carried[0] - fresh[0]).max() > 1e-4
    np.testing.assert_array_equal(reset[0], fresh[0])
    action, single = model.predict(second[0], state)
    assert np.shape(action) == ()
    np.testing.assert_array_equal(single[0], carried[0])
    mean, _ = evaluate_policy(model, vector("cart", 3), n_eval_episodes=3)
    assert mean >= 8


def test_a_foreign_state_is_refused_in_one_line():
    model = small("gru")
    obs = np.zeros((2, 2), np.float32)
    _, state = model.predict(obs)
    for bad in (state[0], (state[0], state[0])):
        with pytest.raises(ShapeError, match=r"state: give a tuple of one array \[2, 16\]"):
            model.predict(obs, bad)
    with pytest.raises(ShapeError, match=r"takes \[2, 16\]"):
        model.predict(obs, (state[0][:1],))
    with pytest.raises(ShapeError, match=r"takes \[2, 16\]"):
        model.predict(obs, (np.zeros((2, 32), np.float32),))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"window": 5}, "window: 5 does not divide batch_size 64"),
        ({"n_steps": 24}, "window: 16 does not divide n_steps 24"),
        ({"memory": "lstn"}, r"did you mean lstm\?"),
        ({"memory_kwargs": {"width": 3}}, r"memory gru: .*width"),
        ({"policy_kwargs": {"share_features_extractor": False}}, "share the memory core"),
        ({"window": 1, "n_steps": 4, "batch_size": 5}, "batch_size: 5 leaves a minibatch of one step of the 16"),
        ({"window": 1, "batch_size": 1}, "batch_size: 1 leaves a minibatch of one step"),
    ],
)
def test_bad_arguments_are_refused(kwargs, message):
    with pytest.raises(ConfigError, match=message):
        small(**kwargs)


def test_minibatches_of_one_step_are_learned_from_where_nothing_is_normalised():
    model = small("gru", window=1, n_steps=4, batch_size=5, normalize_advantage=False)
    model.learn(2 * 4 * 4)
    assert all(torch.isfinite(parameter).all() for parameter in model.policy.parameters())


def test_arguments_of_the_memory_are_no_policy_kwargs():
    with pytest.raises(TypeError, match="multiple values for keyword argument 'memory'"):
        small("gru", policy_kwargs={"memory": "lstm"})


def test_a_remembered_cue_is_learned_and_without_memory_it_is_not():
    """Chance is 0.5; the junction itself looks the same whichever way is right."""
    reached = {}
    for core in ("gru", "none"):
        model = small(core, vector("t-maze", 8, length=3), learning_rate=3e-3, n_epochs=4)
        model.learn(15_000)
        results, _ = evaluate_policy(
            model, vector("t-maze", 10, seed=1_000, length=3), 200, return_episode_rewards=True
        )
        reached[core] = float(np.mean(np.asarray(results) > 0.5))
    assert reached["gru"] >= 0.95
    assert 0.3 < reached["none"] < 0.7
