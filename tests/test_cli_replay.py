from __future__ import annotations

import pytest
from PIL import Image
from typer.testing import CliRunner

from auralnav.agents.video import count_frames
from auralnav.cli import app, main
from auralnav.envs.dogfight.recorder import record_game
from auralnav.envs.dogfight.replay_file import save_replay
from auralnav.envs.dogfight.world import DogfightWorld


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    world = DogfightWorld(1, (1, 1), horizon=40)
    world.command("random")
    return save_replay(tmp_path_factory.mktemp("replay") / "game.npz", record_game(world, ["[red]ann", "bob"], 3))


def test_a_replay_is_told_and_made_into_a_page_a_picture_and_a_video(file, tmp_path):
    outs = [str(tmp_path / name) for name in ("game.html", "game.png", "game.mp4")]
    result = CliRunner().invoke(app, ["replay", str(file), *outs, "--fps", "15"])
    assert result.exit_code == 0, result.output
    assert "[red]ann against bob: draw after 0.7 s (40 ticks)" in result.output
    assert all(f"written: {out}" in result.output for out in outs)
    assert "bob" in (tmp_path / "game.html").read_text()
    with Image.open(outs[1]) as still:
        assert still.size == (1120, 720)
    assert count_frames(outs[2]) == (1 + round((40 / 60 + 1.5) * 15), 15.0)


def test_a_replay_alone_is_only_told(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["replay", str(file)])
    assert result.exit_code == 0 and "shots" in result.output and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{file}", "a.gif"], "ends in .html, .mp4, .png"),
        (["{file}", "a.png", "--at", "9"], "there is nothing at 9.0 s"),
        (["{file}", "a.png", "--follow", "3"], "no ship 3 to follow"),
        (["{file}", "a.html", "--follow", "1"], "leave out --follow"),
        (["{file}.cut", "a.html"], "truncated or damaged"),
        (["nothing.npz"], "nothing.npz"),
    ],
)
def test_what_cannot_be_shown_is_one_line_and_leaves_nothing(file, tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    cut = file.with_name(file.name + ".cut")
    cut.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(SystemExit) as stopped:
        main(["replay", *(argument.format(file=file) for argument in arguments)])
    shown = capsys.readouterr()
    assert stopped.value.code == 2 and words in " ".join(shown.err.replace("│", " ").split())
    assert "Traceback" not in shown.err and list(tmp_path.iterdir()) == []
