from __future__ import annotations

import io
import json

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from auralnav.agents.video import read_audio
from auralnav.cli import app, main

SHORT = ["--set", "env.num_sources=1", "--set", "env.horizon=30"]


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.output


def test_eval_compares_baselines_and_writes_records_and_a_video(tmp_path):
    out, video = tmp_path / "result.json", tmp_path / "film.mp4"
    text = run(
        "eval", "gcc-phat", "random", "--env", "AuralNav-Anechoic-v0", "--episodes", "4", *SHORT,
        "--record", str(out), "--video", str(video),
    )  # fmt: skip
    assert "gcc-phat" in text and "random" in text and "SPL" in text
    tracker = json.loads((tmp_path / "result-gcc-phat.json").read_text())
    assert tracker["env_kwargs"]["horizon"] == 30 and len(tracker["episodes"]) == 4
    assert (tmp_path / "result-random.json").exists()
    track, _ = read_audio(tmp_path / "film-gcc-phat.mp4")
    assert abs(track).max() > 0.01


def test_eval_hears_a_run_s_own_sounds_from_anywhere_and_keeps_every_record(tmp_path, monkeypatch):
    sounds = tmp_path / "mine"
    sounds.mkdir()
    rng = np.random.default_rng(0)
    for number in range(6):
        soundfile.write(sounds / f"{number}.wav", 0.1 * rng.standard_normal((8000, 2)), 8_000)
    monkeypatch.chdir(tmp_path)
    run(
        "train", "auralnav-easy-dqn", "--run-dir", "run", "--export-zip", "--steps", "160", "--set", "env.sounds=mine",
        "--set", "env.num_envs=2", "--set", "env.horizon=20", "--set", "dqn.buffer_size=200",
        "--set", "dqn.learning_starts=50", "--set", "train.eval_episodes=2",
    )  # fmt: skip
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    place = tmp_path / "run"
    run("eval", str(place), str(place / "policy.zip"), "--trust", "--newest", "--episodes", "2",
        "--record", "result.json")  # fmt: skip
    own, again = (
        json.loads((tmp_path / "elsewhere" / f"result-auralnav-easy-dqn{mark}.json").read_text())
        for mark in ("", "-2")
    )
    assert own["env_kwargs"]["sounds"] == str(sounds)
    assert own["training"]["steps"] == 160 and own["training"]["wall_seconds"] > 0
    assert own["episodes"] == again["episodes"]
    sounds.rename(tmp_path / "moved")
    with pytest.raises(SystemExit):
        main(["eval", str(place), "--episodes", "1"])
    with pytest.raises(SystemExit):
        main(["eval", str(place / "policy.zip"), "--episodes", "1"])


def test_tasks_that_differ_have_tables_of_their_own_and_baselines_join_the_first_run(tmp_path, monkeypatch):
    """Two runs of one task that observe it differently, one of another room, and a baseline that was given no id."""
    monkeypatch.chdir(tmp_path)
    small = (
        "--steps", "40", "--set", "env.horizon=5", "--set", "env.num_envs=2", "--set", "dqn.buffer_size=200",
        "--set", "dqn.learning_starts=1000", "--set", "train.eval_every=0", "--set", "env.rt60=0",
    )  # fmt: skip
    run("train", "auralnav-easy-dqn", "--run-dir", "plain", "--set", "name=plain", *small)
    run("train", "auralnav-easy-dqn", "--run-dir", "posed", "--set", "name=posed", "--set", "env.expose_pose=true",
        "--set", "env.num_sources=1", *small)  # fmt: skip
    run("train", "auralnav-easy-dqn", "--run-dir", "far", "--set", "name=far", *small, "--set", "env.step_size=0.25")
    text = run("eval", "plain", "posed", "far", "random", "--episodes", "2")
    first, _, second = text.partition("step_size=0.25")
    assert text.count("AuralNav-Easy-v0 (") == 2 and "rt60=0.0" in first
    assert all(name in first for name in ("plain", "posed", "random"))
    assert "far" in second and "random" not in second
    # With an id, the baselines take that one.
    assert "AuralNav-Anechoic-v0" in run("eval", "random", "--env", "AuralNav-Anechoic-v0", "--episodes", "1")


def test_what_cannot_be_played_or_filmed_is_refused_before_anything_is_said(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    for arguments, words in (
        (["play"], "needs a terminal"),
        (["play", "--keys", "wz"], "'z' is no key"),
        (["play", "--keys", "w", "--set", "env.continuous=true"], "discrete actions"),
        (["eval", "random", "--env", "CartPole-v1", "--video", "a.mp4"], "AuralNav environments only"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        shown = capsys.readouterr()
        assert stopped.value.code == 2 and shown.out == "" and words in shown.err


def test_play_walks_scripted_keys_and_saves_the_walk(tmp_path):
    video = tmp_path / "walk.mp4"
    text = run("play", "AuralNav-v0", "--keys", "wwadq", "--seed", "1", "--mute", "--record", str(video))
    assert "step 4/200" in text and "return" in text and "turn left" in text
    track, rate = read_audio(video)
    assert abs(track.shape[1] / rate - (5 * 0.25 + 1.0)) < 0.2
    assert "█" not in run("play", "--keys", "q", "--blind", "--mute").split("step 0")[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["eval", "nobody"], "baselines are random, gcc-phat, oracle"),
        (["eval", "gccphat"], "did you mean gcc-phat?"),
        (["eval", "random", "--env", "a: b"], "no such environment"),
        (["eval", "random", "--env", "AuralNav-v99"], "auralnav envs"),
        (["eval", "random", "--set", "env.num_source=1"], "num_sources"),
        (["eval", "random", "--set", "train.seed=1"], "only env"),
        (["eval", "gcc-phat", "--set", "env.continuous=true"], "continuous=False"),
        (["eval", "random", "--set", "env.sounds=/no/such/folder", "--episodes", "1"], "/no/such/folder"),
        (["play", "AuralNav-v0", "--keys", "wz"], "'z' is no key"),
        (["play", "CartPole-v1", "--keys", "w"], "only AuralNav"),
    ],
)
def test_bad_requests_are_one_line_with_the_fix(arguments, words, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    error = capsys.readouterr().err.strip()
    assert words in error and error.startswith("error: ") and len(error.splitlines()) == 1


@pytest.mark.parametrize(
    "command", [["eval", "random", "--env", "AuralNav-Easy-v0"], ["play", "AuralNav-Easy-v0"]]
)
def test_a_negative_seed_is_refused(command):
    result = CliRunner().invoke(app, [*command, "--seed", "-3"])
    assert result.exit_code == 2
    assert "seed" in result.output
