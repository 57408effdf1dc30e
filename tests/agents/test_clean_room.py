"""Code that knows nothing of this package, but for the id, trains on it unmodified."""

from __future__ import annotations

import subprocess
import sys
import warnings

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3 import DQN, PPO
from torch import nn

import auralnav

auralnav.register_envs()


def test_plain_sb3_dqn() -> None:
    env = gym.make("AuralNav-Easy-v0", obs_mode="cues", rt60=0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = DQN("MultiInputPolicy", env, buffer_size=20_000, learning_starts=64, train_freq=4, seed=0)
        before = [p.detach().clone() for p in model.q_net.parameters()]
        model.learn(256)
    assert any(not torch.equal(a, b) for a, b in zip(before, model.q_net.parameters(), strict=True))
    action, _ = model.predict(env.reset(seed=1)[0], deterministic=True)
    assert env.action_space.contains(int(action))


def test_plain_sb3_dqn_on_the_default_observation() -> None:
    """The waveform: 20 000 transitions of 2 × 4 000 samples would be 1.3 GB, so the buffer is what is small here."""
    env = gym.make("AuralNav-v0", rt60=0.0)
    model = DQN("MultiInputPolicy", env, buffer_size=200, learning_starts=16, batch_size=8, seed=0)
    model.learn(32)


def test_plain_sb3_ppo_with_continuous_actions() -> None:
    env = gym.make("AuralNav-v0", obs_mode="cues", continuous=True, rt60=0.0)
    PPO("MultiInputPolicy", env, n_steps=32, batch_size=16, n_epochs=1, seed=0).learn(64)


def test_a_loop_in_the_style_of_cleanrl() -> None:
    """Vector environments, flattened observations and autoreset by Gymnasium's own wrappers."""
    envs = gym.make_vec(
        "AuralNav-Easy-v0",
        num_envs=4,
        vectorization_mode="sync",
        obs_mode="cues",
        rt60=0.0,
        horizon=8,
        wrappers=[gym.wrappers.FlattenObservation, gym.wrappers.RecordEpisodeStatistics],
    )
    torch.manual_seed(0)
    size = int(np.prod(envs.single_observation_space.shape))
    network = nn.Sequential(nn.Linear(size, 32), nn.ReLU(), nn.Linear(32, envs.single_action_space.n))
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    observation, _ = envs.reset(seed=0)
    episodes = 0
    for _ in range(30):
        values = network(torch.as_tensor(observation))
        actions = values.argmax(1).numpy()
        following, rewards, terminated, _, infos = envs.step(actions)
        with torch.no_grad():
            future = network(torch.as_tensor(following)).amax(1)
            goal = (
                torch.as_tensor(rewards).float() + 0.99 * future * torch.as_tensor(1.0 - terminated).float()
            )
        loss = nn.functional.smooth_l1_loss(values.gather(1, torch.as_tensor(actions)[:, None])[:, 0], goal)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if "episode" in infos:
            episodes += int(infos["_episode"].sum())
            assert np.isfinite(infos["episode"]["r"]).all()
        observation = following
    assert torch.isfinite(loss) and episodes >= 4
    envs.close()


def test_the_id_works_by_module_name_alone() -> None:
    """`package:Id` is Gymnasium's way to an id whose package has not been imported."""
    code = "import gymnasium as gym; gym.make('auralnav:AuralNav-Easy-v0', rt60=0.0).reset(seed=0); print('heard')"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "heard", done.stderr
