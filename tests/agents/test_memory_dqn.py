"""DQN on memory cores: states, targets, exploration, saving; without memory it is SB3's DQN."""

from __future__ import annotations

from copy import deepcopy
from functools import partial
from itertools import pairwise
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from memory_envs import TMaze, vector
from stable_baselines3 import DQN
from stable_baselines3.common.buffers import ReplayBufferSamples
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from tiny_world import TinyBell

from auralnav.agents.memory_dqn import MemoryDQN, rescale, unscale
from auralnav.agents.memory_dqn_policy import MemoryDQNPolicy, MemoryQNetwork
from auralnav.agents.memory_replay import SequenceBatch
from auralnav.errors import CheckpointError, ConfigError, ShapeError
from auralnav.policies.extractors import AuralExtractor
from auralnav.policies.ssm.cores import CORES

SMALL: dict[str, dict[str, Any]] = {
    "transformer": {"d_model": 16, "window": 8},
    "mamba": {"d_model": 16, "d_state": 4},
    "mamba2": {"d_model": 16, "d_state": 8, "headdim": 8},
}


def small(core: str = "gru", env: Any = None, policy: str = "MlpPolicy", **kwargs: Any) -> MemoryDQN:
    options: dict[str, Any] = {
        "memory": core,
        "memory_kwargs": SMALL.get(core, {"d_model": 16}),
        "seq_len": 8,
        "burn_in": 4,
        "n_steps": 2,
        "batch_size": 8,
        "buffer_size": 1024,
        "learning_starts": 200,
        "train_freq": 4,
        "target_update_interval": 100,
        "exploration_fraction": 0.5,
        "seed": 0,
        "device": "cpu",
        "policy_kwargs": {"net_arch": [16]},
    }
    env = vector("t-maze", 3, length=6) if env is None else env
    return MemoryDQN(policy, env, **{**options, **kwargs})


def held(model: MemoryDQN, count: int = 64) -> SequenceBatch:
    np.random.seed(1)
    return model.replay.sample(count)


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


def test_saved_and_loaded_it_predicts_the_same_and_learns_on(tmp_path):
    model = small("lstm", dueling=True, n_steps=3)
    model.learn(400)
    model.save(tmp_path / "model.zip")
    model.save_replay_buffer(tmp_path / "replay.pkl")
    loaded = MemoryDQN.load(tmp_path / "model.zip", env=vector("t-maze", 3, length=6), device="cpu")
    observation = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    for (a, state_a), (b, state_b) in [(m.predict(observation, deterministic=True) for m in (model, loaded))]:
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(state_a[0], state_b[0])
    assert loaded.replay.n_steps == 3 and loaded.memory == "lstm"
    loaded.load_replay_buffer(tmp_path / "replay.pkl")
    assert loaded.replay.size() == model.replay.size()
    loaded.learn(100, reset_num_timesteps=False)
    assert loaded._n_updates > model._n_updates


def test_checkpoints_of_another_core_or_network_are_refused_in_one_line(tmp_path):
    model = small("gru")
    model.save(tmp_path / "model.zip")
    with pytest.raises(
        CheckpointError, match="has memory gru, not lstm; load it with memory='gru' or without"
    ) as error:
        MemoryDQN.load(tmp_path / "model.zip", memory="lstm")
    assert "\n" not in str(error.value)
    with pytest.raises(CheckpointError, match=r"has memory_kwargs {'d_model': 16}, not {'d_model': 8}"):
        MemoryDQN.load(tmp_path / "model.zip", memory_kwargs={"d_model": 8})
    for other, message in (
        (small("lstm"), "weights of another memory core"),
        (small("gru", dueling=True), "does not fit a network with memory gru"),
    ):
        with pytest.raises(CheckpointError, match=message) as error:
            other.set_parameters(tmp_path / "model.zip")
        assert "\n" not in str(error.value)
    model.save_replay_buffer(tmp_path / "replay.pkl")
    with pytest.raises(CheckpointError, match=r"not a sequence replay of 2 worlds"):
        small("gru", vector("t-maze", 2)).load_replay_buffer(tmp_path / "replay.pkl")
    for name, value in (("seq_len", 16), ("burn_in", 2), ("n_steps", 1), ("gamma", 0.5)):
        with pytest.raises(CheckpointError, match=f"a replay of {name} .*, and the model has {value}; build it"):
            small("gru", **{name: value}).load_replay_buffer(tmp_path / "replay.pkl")
    with pytest.raises(CheckpointError, match=r"memory states of 16, not of 32 numbers"):
        small("lstm").load_replay_buffer(tmp_path / "replay.pkl")


@pytest.mark.parametrize("state", [(np.zeros((2, 15)),), (np.zeros((3, 16)),), (np.zeros(16),), (), (0, 1)])
def test_a_state_of_another_shape_is_refused_in_one_line(state: Any):
    with pytest.raises(ShapeError, match=r"^state") as error:
        small("gru").predict(np.zeros((2, 2), np.float32), state)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"memory": "grru"}, "'grru' is none of .*; did you mean gru"),
        ({"memory_kwargs": {"d_modell": 3}}, "memory gru: .*d_modell"),
        ({"burn_in": 8}, "burn_in: 8 must be from 0 to seq_len - 1 = 7"),
        ({"buffer_size": 20}, "buffer_size: 20 is less than a sequence"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(kwargs: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message) as error:
        small(**{"core": kwargs.pop("memory", "gru"), **kwargs})
    assert "\n" not in str(error.value)


def test_arguments_of_the_memory_are_no_policy_kwargs():
    with pytest.raises(TypeError, match="multiple values for keyword argument 'memory'"):
        small("gru", policy_kwargs={"memory": "lstm"})


def test_a_q_network_saved_alone_is_rebuilt_with_its_core(tmp_path):
    net = small("lstm", dueling=True).policy.q_net
    net.save(str(tmp_path / "net.pth"))
    loaded = MemoryQNetwork.load(str(tmp_path / "net.pth"), device="cpu")
    observations = torch.randn(5, 2)
    assert torch.equal(net(observations), loaded(observations))


def test_learning_before_a_sequence_is_there_is_refused():
    with pytest.raises(ConfigError, match="learning_starts: no world has 7 steps yet"):
        small("gru", learning_starts=3).learn(100)


def test_worlds_that_start_anew_end_their_episodes_in_the_replay():
    model = small("gru", vector("t-maze", 3, length=50), learning_starts=10**6, burn_in=0, n_steps=1)
    worlds = np.arange(3)

    def row(number: int) -> tuple[Any, Any]:
        """Whether that row is an episode's first, and whether it is learned from."""
        batch = model.replay.sequences(worlds, np.full(3, number // 8 * 8))
        return batch.starts[:, number % 8], batch.mask[:, number % 8]

    model.learn(36)  # 12 rows a world, too few for an episode to end
    model.learn(36)
    assert row(12)[0].all() and row(12)[1].all()
    assert not row(11)[1].any()  # the newest row of then has lost its action
    assert row(10)[1].all()
    model.learn(36, reset_num_timesteps=False)
    assert not row(24)[0].any() and row(23)[1].all()


def test_normalised_worlds_are_stored_raw_and_learned_from_normalised():
    env = VecNormalize(vector("t-maze", 3, length=6), gamma=0.9)
    model = small("gru", env, learning_starts=10**6)
    model.learn(300)
    raw = held(model)
    np.random.seed(1)
    normalised = model.replay.sample(64, env=env)
    assert isinstance(raw.observations, torch.Tensor) and isinstance(normalised.observations, torch.Tensor)
    assert set(np.unique(raw.observations.numpy().round(6))) == {-1.0, 0.0, 1.0}
    assert normalised.observations.abs().max() > 2
    np.testing.assert_array_equal(normalised.observations, env.normalize_obs(raw.observations.numpy()))
    model.learn(300)


@pytest.mark.parametrize("maps", [False, True])
def test_dict_observations_and_spectrograms(maps: bool):
    env = DummyVecEnv([lambda: TinyBell(maps=maps)] * 2)
    extractor = {"features_extractor_class": AuralExtractor} if maps else {}
    model = small("gru", env, "MultiInputPolicy", policy_kwargs={"net_arch": [16], **extractor})
    model.learn(400)
    batch = held(model)
    assert isinstance(batch.observations, dict) and set(batch.observations) == set(
        env.observation_space.spaces
    )  # type: ignore[attr-defined]
    assert model._n_updates > 0 and all(torch.isfinite(p).all() for p in model.policy.parameters())


def test_discrete_observations_and_images():
    class Seen(TMaze):
        def __init__(self, image: bool) -> None:
            super().__init__(4)
            self.observation_space = (
                spaces.Box(0, 255, (36, 36, 1), np.uint8) if image else spaces.Discrete(6)
            )

        def _observe(self) -> Any:
            code = int(super()._observe()[0]) + 1 + 3 * int(super()._observe()[1])
            image = np.zeros((36, 36, 1), np.uint8)
            image[code] = 255
            return image if isinstance(self.observation_space, spaces.Box) else code

    for image in (False, True):
        model = small(
            "gru", DummyVecEnv([lambda image=image: Seen(image)] * 2), "CnnPolicy" if image else "MlpPolicy"
        )
        model.learn(300)
        batch = held(model)
        assert isinstance(batch.observations, torch.Tensor) and batch.observations.dtype == torch.uint8
        assert model._n_updates > 0


def test_rates_of_a_state_space_core_take_no_weight_decay():
    model = small("mamba2", policy_kwargs={"net_arch": [16], "optimizer_kwargs": {"weight_decay": 0.1}})
    names = {id(p): name for name, p in model.policy.q_net.named_parameters()}
    spared = {
        names[id(p)]
        for g in model.policy.optimizer.param_groups
        if not g["weight_decay"]
        for p in g["params"]
    }
    assert {name.rpartition(".")[2] for name in spared} == {"A_log", "D", "dt_bias"}
    total = sum(len(group["params"]) for group in model.policy.optimizer.param_groups)
    assert total == len(names)


def test_a_training_continues_bit_for_bit_from_what_it_gives_away():
    def fresh() -> MemoryDQN:
        return small("gru", DummyVecEnv([TinyBell] * 2), "MultiInputPolicy", buffer_size=256)

    model = fresh()
    model.learn(500)
    worlds = model.env.env_method("state")  # type: ignore[union-attr]
    rng = np.random.get_state()
    kept = {name: array.copy() for name, array in model.replay.arrays().items()}
    other = fresh()
    other._setup_learn(500)
    for name, array in other.replay.arrays().items():
        array[:] = kept[name]
    other.replay.restore(model.replay.written)
    other.policy.load_state_dict(model.policy.state_dict())
    other.policy.optimizer.load_state_dict(deepcopy(model.policy.optimizer.state_dict()))
    for name in ("num_timesteps", "_n_calls", "_n_updates", "exploration_rate", "_last_obs",
                 "_last_episode_starts", "_current_progress_remaining"):  # fmt: skip
        setattr(other, name, getattr(model, name))
    other.memory_state = model.memory_state.clone()
    for number, world in enumerate(worlds):
        other.env.env_method("restore", world, indices=number)  # type: ignore[union-attr]
    for learner in (model, other):
        np.random.set_state(rng)
        learner.learn(200, reset_num_timesteps=False)
    for name, value in model.policy.state_dict().items():
        assert torch.equal(value, other.policy.state_dict()[name]), name
    assert torch.equal(model.memory_state, other.memory_state)
