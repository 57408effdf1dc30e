"""The code on docs/dogfight.md runs as it stands there, and the commands about replays are those there are."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auralnav.cli import main
from auralnav.envs.dogfight.replay import Replay

PAGE = (Path(__file__).parents[1] / "docs" / "dogfight.md").read_text(encoding="utf-8")
FENCE = "```"


def blocks(section: str, language: str = "python") -> list[str]:
    text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return re.findall(rf"^{FENCE}{language}\n(.*?)^{FENCE}", text, re.S | re.M)


def names_after(code: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(code, "dogfight.md", "exec"), names)
    return names


def test_the_section_on_the_world_works() -> None:
    [code] = blocks("The world")
    names = names_after(code)
    assert names["intrinsic"].shape == (1024, 8, 11) and names["edges"].shape == (1024, 8, 8, 45)
    assert names["alive"].shape == (1024, 8) and names["alive"].any()
    assert not names["alive"][:, :4].all(), "team 1 has flown and shot by itself"


def test_the_section_on_environments_works() -> None:
    single, several = blocks("As an environment")
    names = names_after(single)
    assert names["env"].observation_space.contains(names["observation"])
    games, ships = names["games"], names["ships"]
    assert (games.num_envs, ships.num_envs, len(ships.unwrapped.env.games.world.state)) == (1024, 1024, 512)
    assert np.shape(ships.reset(seed=0)[1]["alive"]) == (1024,)
    names = names_after(several)
    assert names["env"].agents == [] and all(
        names["terminations"][agent] or names["truncations"][agent] for agent in names["terminations"]
    )


def test_the_section_on_replays_works_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    [code], [commands] = blocks("Replays"), blocks("Replays", "bash")
    names = names_after(code)
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
