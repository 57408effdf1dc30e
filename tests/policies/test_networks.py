from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces

from auralnav.agents.algorithms import build_model, build_policy
from auralnav.agents.history import HistoryWrapper
from auralnav.agents.sb3_env import make_vector_adapter
from auralnav.configs.load import parse_config
from auralnav.policies.dueling import DuelingHead
from auralnav.policies.extractors import RunningStandardiser

TEXT = """
name: tiny
algorithm: dqn
env: {id: CartPole-v1, num_envs: 4}
policy: {net_arch: [16], standardise: true}
dqn: {buffer_size: 400, learning_starts: 40, batch_size: 16, dueling: true, target_update_interval: 40}
"""


def test_the_statistics_are_those_of_all_the_batches():
    torch.manual_seed(0)
    batches = [torch.randn(n, 3) * torch.tensor([0.1, 1.0, 7.0]) + 4.0 for n in (5, 64, 31)]
    layer = RunningStandardiser(3)
    for batch in batches:
        layer(batch)
    every = torch.cat(batches)
    torch.testing.assert_close(layer.running_mean, every.mean(dim=0), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(layer.running_var, every.var(dim=0, correction=0), rtol=1e-4, atol=1e-6)
    layer.eval()
    out = layer(every)
    torch.testing.assert_close(out.mean(dim=0), torch.zeros(3), rtol=0, atol=1e-4)
    torch.testing.assert_close(out.std(dim=0, correction=0), torch.ones(3), rtol=0.01, atol=0)


def test_the_statistics_stand_still_when_acting_and_after_enough_rows():
    layer = RunningStandardiser(2, rows=20)
    layer.eval()
    layer(torch.full((8, 2), 3.0))
    assert float(layer.running_rows) == 0
    layer.train()
    for _ in range(2):
        layer(torch.rand(10, 2))
    before = layer.running_mean.clone()
    layer(torch.full((10, 2), 100.0))
    torch.testing.assert_close(layer.running_mean, before, rtol=0, atol=0)


def test_a_constant_input_stays_finite_and_an_outlier_is_clipped():
    layer = RunningStandardiser(1, limit=5.0)
    layer(torch.full((50, 1), 0.5))
    layer.eval()
    assert layer(torch.tensor([[0.5]])).item() == pytest.approx(0.0, abs=1e-3)
    assert layer(torch.tensor([[1e6]])).item() == 5.0


def test_dueling_advantages_sum_to_zero_about_the_value():
    out = DuelingHead()(torch.tensor([[10.0, 1.0, 2.0, 6.0]]))
    torch.testing.assert_close(out, torch.tensor([[8.0, 9.0, 13.0]]))
    config = parse_config(TEXT)
    policy = build_policy(config, spaces.Box(-1, 1, (5,), np.float32), spaces.Discrete(3))
    assert policy.q_net(torch.zeros(7, 5)).shape == (7, 3)  # type: ignore[operator]


@pytest.mark.parametrize("obs_mode", ["cues", "spectrogram"])
def test_standardised_dueling_networks_for_vectors_and_maps(obs_mode: str):
    config = parse_config(
        TEXT.replace("CartPole-v1", "AuralNav-Easy-v0"), [f"env.obs_mode={obs_mode}", "env.history=2"]
    )
    env = HistoryWrapper(make_vector_adapter(config.env), config.env.history)
    try:
        policy = build_policy(config, env.observation_space, env.action_space)
        kinds = [type(part).__name__ for part in policy.modules()]
        assert kinds.count("RunningStandardiser") == 2  # of the network and of its target
        actions, _ = policy.predict(env.reset())  # type: ignore[arg-type]
        assert actions.shape == (4,)
    finally:
        env.close()


def test_the_target_network_takes_the_statistics_over():
    config = parse_config(TEXT)
    env = HistoryWrapper(make_vector_adapter(config.env))
    model = build_model(config, env)
    model.learn(400)
    env.close()
    online = model.q_net.features_extractor.standardiser  # type: ignore[attr-defined]
    target = model.q_net_target.features_extractor.standardiser  # type: ignore[attr-defined]
    assert float(target.running_rows) > 0
    assert float(online.running_rows) - float(target.running_rows) < 40 * 16 * 3
    assert torch.isfinite(online.running_mean).all() and (online.running_var < 1.0).any()


def test_the_reward_scale_touches_what_is_learned_but_no_record():
    scaled = HistoryWrapper(make_vector_adapter(parse_config(TEXT).env), reward_scale=0.25)
    scaled.seed(0)
    scaled.reset()
    total, ended = np.zeros(4), None
    while ended is None:
        _, rewards, dones, infos = scaled.step(np.zeros(4, np.int64))
        total += rewards
        assert rewards.dtype == np.float32
        if dones.any():
            world = int(np.flatnonzero(dones)[0])
            ended = infos[world]["episode"]["r"], total[world]
    scaled.close()
    assert ended[1] == pytest.approx(0.25 * ended[0])
