"""Runs on dogfights: a row a ship is one game to an evaluation, and what the league makes of runs with other rules."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from auralnav.agents.baselines import RandomAgent
from auralnav.agents.evaluate import evaluate, load_policy_agent, record
from auralnav.agents.pilots import ScriptPilot, find_pilot
from auralnav.agents.sb3_env import make_worlds, rows_per_episode
from auralnav.agents.train import resume, start
from auralnav.benchmarks.league import run_league
from auralnav.configs.load import parse_config
from auralnav.configs.schema import AudioEnvConfig
from auralnav.errors import ConfigError

TEXT = """\
name: fighter
algorithm: ppo
env: {id: Dogfight-v0, num_envs: 4, kwargs: {per_ship: true, horizon: 64, opponent: [pursuit, evader]}}
policy: {net_arch: [8], memory: mamba2, core: {d_model: 8, kwargs: {d_state: 8, headdim: 8}}}
train: {total_steps: 64, eval_every: 32, eval_episodes: 3, checkpoint_every: 32, device: cpu}
ppo: {n_steps: 8, window: 8, batch_size: 32}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "ships"
    start(parse_config(TEXT), folder)
    return folder


@pytest.mark.parametrize(("teams", "worlds"), [((2, 2), 5), ((3, 1), 16), ((1, 1), 4), ((4, 4), 1)])
def test_an_evaluation_counts_games_and_not_ships(teams: tuple[int, int], worlds: int) -> None:
    kwargs = {"teams": teams, "horizon": 64, "rewards": {"facing": 1.0}}
    lines = {}
    for per_ship in (False, True):
        env = AudioEnvConfig(id="Dogfight-v0", kwargs={**kwargs, "per_ship": per_ship})
        assert rows_per_episode(env) == (teams[0] if per_ship else 1)

        class Still(RandomAgent):
            def act(self, observation, start):
                return np.zeros((len(start), *self.space.shape), np.int64)

        lines[per_ship] = evaluate(Still(), env, 7, seed=50, num_envs=worlds)
    assert lines[True] == lines[False]
    assert [line["seed"] for line in lines[True]] == list(range(50, 57))
    assert len({line["return"] for line in lines[True]}) == 7, "every seed is a game of its own"
    assert {"draw", "damage_taken", "enemies_left"} <= lines[True][0].keys()
    assert lines[True][0]["spl"] is None and lines[True][0]["success_60"] is None


def test_a_run_evaluates_as_it_trains_and_resumes(run: Path) -> None:
    result = record(load_policy_agent(run), load_policy_agent(run).config.env, 5)
    assert len(result.episodes) == 5 and {"success", "draw", "return", "steps"} <= result.summary.keys()
    assert resume(run, ("train.total_steps=96",)).steps == 96


@pytest.mark.parametrize(
    ("overrides", "ships", "words"),
    [
        (("env.kwargs={teams: [1, 2]}",), 1, "trained for 1 against 2"),
        (("env.kwargs={action_repeat: 8}",), 2, "trained at action_repeat 8; the games here have 4"),
        (("env.kwargs={horizon: 64}",), 2, "trained at horizon 64; the games here have 1024"),
        (("env={id: CartPole-v1, num_envs: 4}",), 2, "trained on CartPole-v1, not on a dogfight"),
    ],
    ids=str,
)  # fmt: skip
def test_a_run_that_cannot_play_is_refused_in_one_line(
    overrides: tuple[str, ...], ships: int, words: str, tmp_path: Path
) -> None:
    more = ("policy.memory=none", "train.eval_every=0", "train.total_steps=32")
    start(parse_config(TEXT, (*overrides, *more)), tmp_path / "run")
    with pytest.raises(ConfigError, match=words):
        run_league([ScriptPilot("pursuit"), find_pilot(str(tmp_path / "run"))], ships, 1)


def test_teams_given_by_keyword_and_ids_with_their_package_play(tmp_path: Path) -> None:
    task = ("env.id=auralnav:Dogfight-v0", "env.num_envs=6", "env.kwargs={per_ship: true, teams: [3, 3]}")
    training = ("ppo.batch_size=48", "train.eval_every=0", "train.total_steps=48")
    start(parse_config(TEXT, (*task, *training)), tmp_path / "run")
    standings = run_league([ScriptPilot("pursuit"), find_pilot(str(tmp_path / "run"))], 3, 1)
    assert standings.training["run"]["steps"] == 48


@pytest.mark.parametrize("name", ["threads", "num_envs", "device", "autoreset_mode"])
def test_what_an_experiment_says_elsewhere_is_refused_among_the_arguments(name: str) -> None:
    with pytest.raises(ConfigError, match=f"env.kwargs.{name}: "):
        make_worlds(AudioEnvConfig(id="Dogfight-v0", kwargs={name: 1}))
