from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from auralnav.agents import demo, train
from auralnav.agents.video import count_frames
from auralnav.configs.load import parse_config
from auralnav.errors import ConfigError

TINY = """
name: tiny-demo
algorithm: dqn
env: {id: AuralNav-Anechoic-v0, num_sources: 1, horizon: 20, obs_mode: cues, num_envs: 4}
policy: {net_arch: [16]}
train: {total_steps: 600, eval_every: 300, eval_episodes: 3, checkpoint_every: 0, log_every: 200}
dqn: {learning_starts: 100, batch_size: 32, buffer_size: 1000}
"""


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(demo, "PROBE_STEPS", 240)
    monkeypatch.setattr(demo, "FEWEST_STEPS", 400)


def test_the_demo_makes_everything_it_promises(tmp_path):
    screen = io.StringIO()
    seen = []
    result = demo.run_demo(
        parse_config(TINY),
        minutes=5.0,
        episodes=3,
        run_dir=tmp_path / "run",
        console=Console(file=screen),
        on_agent=lambda name, total: seen.append((name, total)),
    )
    assert [entry.agent for entry in result.records] == ["tiny-demo", "random", "gcc-phat", "oracle"]
    assert seen == [(entry.agent, 3) for entry in result.records]
    assert result.steps == 600  # the config's own: more would have fitted
    assert result.curve.read_bytes().startswith(b"\x89PNG")
    assert count_frames(result.video)[0] > 12
    best = json.loads((result.run / "eval" / "best.json").read_text())
    record = json.loads((result.run / "eval" / "demo-policy.json").read_text())
    # The record speaks of the weights that were evaluated: the best ones, not the last ones.
    assert record["training"]["steps"] == best["step"] and len(record["episodes"]) == 3
    assert record["training"]["wall_seconds"] == best["wall_seconds"] <= result.seconds
    assert "240 steps each" in screen.getvalue()


def test_a_folder_that_holds_a_run_is_refused_before_the_machine_is_timed(tmp_path, monkeypatch):
    (tmp_path / "config.yaml").touch()
    monkeypatch.setattr(train, "start", lambda *_, **__: pytest.fail("timed already"))
    with pytest.raises(ConfigError, match="holds a run already"):
        demo.run_demo(parse_config(TINY), minutes=1.0, run_dir=tmp_path)


def test_training_is_cut_to_the_minutes_given(monkeypatch):
    config = parse_config(TINY.replace("total_steps: 600", "total_steps: 900000"))

    class Timed:
        steps_per_second, signal = 100.0, None

    monkeypatch.setattr(train, "start", lambda probe, folder: Timed())
    assert demo.steps_for(config, 2.0) == 10_000  # 0.9 · 100 · 120 = 10 800, whole thousands
    assert demo.steps_for(config, 0.01) == 400
    assert demo.steps_for(config, 1e6) == 900_000
    few = parse_config(TINY.replace("total_steps: 600", "total_steps: 300"))
    assert demo.steps_for(few, 2.0) == 300  # never more than the config's own
    assert config.train.total_steps == 900_000


def test_an_interrupt_while_timing_ends_the_demo(monkeypatch):
    class Stopped:
        steps_per_second, signal = 100.0, 2

    monkeypatch.setattr(train, "start", lambda probe, folder: Stopped())
    with pytest.raises(KeyboardInterrupt):
        demo.steps_for(parse_config(TINY), 1.0)
