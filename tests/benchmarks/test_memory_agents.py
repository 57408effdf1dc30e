from __future__ import annotations

import torch

from auralnav.benchmarks import memory_agents
from auralnav.policies.ssm.cores import CORES


def test_every_core_and_every_reference_trains_and_is_measured(monkeypatch, tmp_path):
    monkeypatch.setenv("SB3_LOGDIR", str(tmp_path / "logs"))
    monkeypatch.setattr(memory_agents, "LEARNER", {"n_steps": 32, "batch_size": 64, "n_epochs": 1})
    monkeypatch.setattr(memory_agents, "ROLLOUT", 8 * 32)
    monkeypatch.setitem(memory_agents.OFF_POLICY, "learning_starts", 64)
    threads = torch.get_num_threads()
    record = memory_agents.memory_agents_speed(0.01, 1)
    torch.set_num_threads(threads)
    assert not (tmp_path / "logs").exists(), "a log folder that nobody asked for"
    names = {one.name for one in record.measurements}
    agents = {*memory_agents.REFERENCES, "dqn/mlp", *(f"memory-ppo/{core}" for core in CORES)}
    agents |= {f"memory-dqn/{core}" for core in memory_agents.DQN_CORES}
    assert names == {"env/cart"} | {f"{name}{part}" for name in agents for part in ("", "+rollout", "+update")}
    for name in agents:
        whole, rollout, update = (record.measurement(name + part).value for part in ("", "+rollout", "+update"))
        assert 1 / whole >= 1 / rollout + 1 / update
    compared = {(ratio.name, ratio.reference) for ratio in record.ratios}
    assert compared == {
        *((f"memory-ppo/{core}", reference) for core in CORES for reference in memory_agents.REFERENCES),
        *((f"memory-dqn/{core}", "dqn/mlp") for core in memory_agents.DQN_CORES),
    }
    widths = [record.measurement(name).settings["parameters"] for name in sorted(agents)]
    assert min(widths) > 5_000
