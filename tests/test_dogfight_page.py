"""The code on docs/dogfight.md about replays runs as it stands there, and its commands are those there are."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from auralnav.cli import main
from auralnav.envs.dogfight.replay import Replay

PAGE = (Path(__file__).parents[1] / "docs" / "dogfight.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## Replays\n")[2].partition("\n## ")[0]
FENCE = "```"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^{FENCE}{language}\n(.*?)^{FENCE}", SECTION, re.S | re.M)


def test_the_section_on_replays_works_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    [code], [commands] = blocks("python"), blocks("bash")
    names: dict[str, Any] = {}
    exec(compile(code, "dogfight.md", "exec"), names)
    game = names["game"]
    assert isinstance(game, Replay) and game.ships == 8
    assert game.result in capsys.readouterr().out
    for command in commands.splitlines():
        words = shlex.split(command, comments=True)
        if any(word.endswith(".mp4") for word in words):
            words += ["--fps", "1"]
        with pytest.raises(SystemExit) as done:
            main(words[1:])
        assert done.value.code == 0, command
    made = sorted(path.name for path in tmp_path.iterdir())
    assert made == ["game.html", "game.mp4", "game.npz", "game.png"]
