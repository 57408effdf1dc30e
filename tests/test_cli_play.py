from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import threading
from types import MappingProxyType

import pytest
from typer.testing import CliRunner

from auralnav.cli import app, main
from auralnav.cli_play import dogfight_teams
from auralnav.envs import registration
from auralnav.envs.dogfight.replay_file import load_replay

DUEL = "Duel-v0"


@pytest.fixture(autouse=True)
def duel(monkeypatch):
    """A dogfight of one against one, by whatever id."""
    kwargs = MappingProxyType({"teams": (1, 1)})
    entry = registration.EnvEntry(DUEL, "a duel", "auralnav.envs.dogfight.env:DogfightEnv", kwargs=kwargs)
    monkeypatch.setattr(registration, "ENTRIES", (*registration.ENTRIES, entry))


def test_an_id_says_whether_one_walks_or_flies():
    assert dogfight_teams(DUEL) == (1, 1)
    assert dogfight_teams("AuralNav-v0") is None and dogfight_teams("Nothing-v0") is None


@pytest.mark.parametrize("name", ["game.npz", "game.html", "game.png"])
def test_a_dogfight_is_flown_by_scripted_keys_and_kept(tmp_path, name):
    out = tmp_path / name
    arguments = ["play", DUEL, "--keys", "w..D  ..q", "--seed", "3", "--opponent", "jouster", "--record", str(out)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "you against jouster: unfinished after 0.5 s (32 ticks)" in result.output
    assert "space fire" in result.output and f"written: {out}" in result.output and out.exists()
    if name == "game.npz":
        replay = load_replay(out)
        assert replay.seed == 3 and replay.names == ("you", "jouster") and replay.last_tick == 32


def test_without_a_seed_each_game_is_another(tmp_path):
    seeds = set()
    for number in range(2):
        out = tmp_path / f"{number}.npz"
        CliRunner().invoke(app, ["play", DUEL, "--keys", ".", "--record", str(out)])
        seeds.add(load_replay(out).seed)
    assert len(seeds) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([DUEL, "--keys", "z"], "'z' is no key"),
        ([DUEL, "--keys", "w", "--opponent", "persuit"], "did you mean pursuit"),
        ([DUEL, "--keys", "w", "--skill", "2"], "less than or equal to 1"),
        ([DUEL, "--keys", "w", "--record", "a.wav"], "ends in .npz or .html"),
        ([DUEL, "--keys", "w", "--blind"], "--blind and --set are for AuralNav"),
        ([DUEL], "needs a terminal"),
        (["AuralNav-v0", "--keys", "w", "--opponent", "pursuit"], "for dogfights only"),
        (["AuralNav-v0", "--keys", "w", "--record", "a.npz"], "ends in .mp4 or .wav"),
    ],
)
def test_what_cannot_be_flown_is_one_line_before_anything_is_said(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with pytest.raises(SystemExit) as stopped:
        main(["play", *arguments])
    shown = capsys.readouterr()
    assert stopped.value.code == 2 and shown.out == ""
    assert words in " ".join(shown.err.replace("│", " ").split())
    assert "Traceback" not in shown.err and list(tmp_path.iterdir()) == []


GAME = """
from auralnav.envs import registration
entry = registration.EnvEntry("Duel-v0", "", "auralnav.envs.dogfight.env:DogfightEnv", kwargs={"teams": (1, 1)})
registration.ENTRIES = (*registration.ENTRIES, entry)
from auralnav.cli import main
main(["play", "Duel-v0", "--seed", "3", "--pace", "4", "--opponent", "random", "--record", "flown.npz"])
"""


def test_a_dogfight_in_a_real_terminal_goes_on_by_itself_and_takes_keys(tmp_path):
    master, slave = pty.openpty()
    game = subprocess.Popen(
        [sys.executable, "-c", GAME], stdin=slave, stdout=slave, stderr=slave, cwd=tmp_path,
        env={**os.environ, "TERM": "xterm-256color"},
    )  # fmt: skip
    os.close(slave)
    overdue = threading.Timer(120, game.kill)
    overdue.start()
    shown = b""
    try:
        while game.poll() is None:
            shown += os.read(master, 65536)
            if b"0.6 s" in shown and b"fire" not in shown.partition(b"0.6 s")[2]:
                os.write(master, b" ")
            if b"1.5 s" in shown:
                os.write(master, b"q")
    except OSError:
        pass  # the other end is closed: the game is over
    finally:
        overdue.cancel()
        os.close(master)
    assert game.wait() == 0
    replay = load_replay(tmp_path / "flown.npz")
    assert replay.last_tick >= 88  # it flew on while no key was pressed
    assert replay.action[:30, 0].sum() == 0 and replay.action[30:, 0, 2].any()
    assert (replay.bullets.owner == 0).any()
