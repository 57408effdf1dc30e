"""DQN on memory cores: saving, loading, resuming, what is refused, and the spaces it takes."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from memory_envs import TMaze, vector
from memory_models import held
from memory_models import small_dqn as small
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from tiny_world import TinyBell

from auralnav.agents.memory_dqn import MemoryDQN
from auralnav.agents.memory_dqn_policy import MemoryQNetwork
from auralnav.errors import CheckpointError, ConfigError, ShapeError
from auralnav.policies.extractors import AuralExtractor


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
    with pytest.raises(CheckpointError, match=r"not a SequenceReplay of 2 worlds; take one that a model"):
        small("gru", vector("t-maze", 2)).load_replay_buffer(tmp_path / "replay.pkl")
    for name, value in (("seq_len", 16), ("burn_in", 2), ("n_steps", 1), ("gamma", 0.5)):
        with pytest.raises(CheckpointError, match=f"a replay of {name} .*, and the model has {value}; build it"):
            small("gru", **{name: value}).load_replay_buffer(tmp_path / "replay.pkl")
    with pytest.raises(CheckpointError, match=r"memory states of 16, not of 32 numbers"):
        small("lstm").load_replay_buffer(tmp_path / "replay.pkl")
    with pytest.raises(CheckpointError, match=r"replay\.pkl: holds observations of other .* of another task"):
        small("gru", vector("repeat", 3, k=2, length=12)).load_replay_buffer(tmp_path / "replay.pkl")


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
