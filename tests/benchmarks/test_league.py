"""The league: points by hand, sides changed, policies on both sides, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from auralnav.agents.pilots import PolicyPilot, ScriptPilot, find_pilot
from auralnav.agents.train import start
from auralnav.benchmarks.league import LeagueRecord, play, run_league
from auralnav.cli import app
from auralnav.configs.load import parse_config
from auralnav.envs.dogfight.observe import Observer
from auralnav.envs.dogfight.world import DogfightWorld
from auralnav.errors import ConfigError

TEXT = """\
name: fighter
algorithm: ppo
env: {id: Dogfight-v0, num_envs: 4}
policy: {net_arch: [8]}
train: {total_steps: 64, eval_every: 0, checkpoint_every: 0, device: cpu}
ppo: {n_steps: 16, batch_size: 32}
"""
FORMS = {
    "flat": (),
    "factorised": ("env.kwargs={observation: factorised}",),
    "ships": ("env.kwargs={per_ship: true}",),
    "memory": ("policy.memory=gru", "ppo.window=16", "env.kwargs={per_ship: true}"),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run folder of each form, hardly trained."""
    folders = {}
    for name, overrides in FORMS.items():
        folders[name] = tmp_path_factory.mktemp("runs") / name
        start(parse_config(TEXT, overrides), folders[name])
    return folders


def test_points_of_both_sides_add_up_and_do_not_hang_on_who_is_named_first() -> None:
    one, other = ScriptPilot("jouster"), ScriptPilot("pursuit", 0.5)
    first, second = play(one, other, 2, 12), play(other, one, 2, 12)
    assert first.shape == (12, 2) and set(np.unique(first)) <= {0.0, 0.5, 1.0}
    assert np.array_equal(first, 1.0 - second[:, ::-1])


def test_a_better_pilot_wins_from_either_side() -> None:
    points = play(ScriptPilot("pursuit"), ScriptPilot("random"), 1, 20)
    assert (points.mean(axis=0) > 0.9).all()


@pytest.mark.parametrize("form", FORMS)
def test_a_policy_does_on_either_side_what_it_does_on_the_other(form: str, runs: dict[str, Path]) -> None:
    """Two worlds that differ in nothing but which team is which give the same actions to the same ships."""
    pilot = find_pilot(str(runs[form]))
    assert isinstance(pilot, PolicyPilot) and pilot.name == form
    world = DogfightWorld(2, (2, 2))
    world.reset(3)
    state = world.state
    team = 10
    state[1] = state[0][:, [2, 3, 0, 1, 4, 5, 6, 7]]
    state[1, team] = state[0, team]
    pilot.begin(world, np.array([0, 1]), 2)
    observer = Observer(world)
    for _ in range(3):
        actions = pilot.act(observer)
        assert actions.shape == (2, 2, 3) and np.array_equal(actions[0], actions[1])
        commands = np.zeros((2, 4, 3), np.int64)
        commands[0, :2], commands[1, 2:] = actions
        world.step(commands)
        assert np.array_equal(world.state[0, :10, :4], world.state[1][:10, [2, 3, 0, 1]])


def test_policies_and_scripts_play_in_one_league(runs: dict[str, Path]) -> None:
    pilots = [find_pilot(name) for name in ("pursuit", "random", "pursuit:0.5", *map(str, runs.values()))]
    record = run_league(pilots, 2, 2)
    assert record.names == ["pursuit", "random", "pursuit:0.5", *FORMS]
    assert record.standings[0].name == "pursuit"
    for one in record.standings:
        assert one.won + one.drawn + one.lost == 4 * 6 and one.low <= one.elo <= one.high
    points = np.array(record.points)
    assert np.allclose(points + points.T, 1 - np.eye(7))


@pytest.mark.parametrize(
    ("players", "options", "words"),
    [
        (["persuit"], [], "persuit: no script and no run folder; did you mean pursuit"),
        (["pursuit:2"], [], "the skill is a probability"),
        (["pursuit:fast"], [], "'fast' is no number"),
        (["pursuit"], ["--only"], "at least two players"),
        (["evader", "random"], ["--only"], "--anchor pursuit: does not play"),
        (["pursuit", "pursuit"], ["--only"], "pursuit: two players of that name"),
    ],
)
def test_what_a_league_refuses_is_said_in_one_line(players: list[str], options: list[str], words: str) -> None:
    result = CliRunner().invoke(app, ["league", *players, *options, "--starts", "1"])
    assert result.exit_code != 0
    problem = result.output if not isinstance(result.exception, ConfigError) else str(result.exception)
    assert words in problem and "\n" not in problem.strip()


def test_a_policy_flies_in_teams_of_its_size(runs: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match="trained for teams of 2; give --ships 2"):
        run_league([ScriptPilot("pursuit"), find_pilot(str(runs["flat"]))], 1, 1)


def test_the_command_shows_a_table_and_writes_a_record(tmp_path: Path) -> None:
    out = tmp_path / "league.json"
    command = ["league", "pursuit", "random", "--only", "--ships", "1", "--starts", "3", "--out", str(out)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "1 pursuit" in result.output and "2 random" in result.output
    record = LeagueRecord.model_validate(json.loads(out.read_text()))
    assert (record.ships, record.starts, record.anchor, record.standings[0].elo) == (1, 3, "pursuit", 1000.0)
