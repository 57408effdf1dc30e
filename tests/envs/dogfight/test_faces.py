"""The single and the vector form beyond what every id is checked for: rewards, opponents, seats, and bad input."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

from auralnav.envs.dogfight import layout as at
from auralnav.envs.dogfight import scoring
from auralnav.envs.dogfight.env import DogfightEnv
from auralnav.envs.dogfight.games import DogfightGames
from auralnav.envs.dogfight.scoring import score_games, score_ships
from auralnav.envs.dogfight.settings import DEFAULT_SCALES, REWARD_TERMS, DogfightSettings
from auralnav.envs.dogfight.ships import ShipsVectorEnv, make_vector
from auralnav.envs.dogfight.tensors import score_tensors
from auralnav.envs.dogfight.vector import DogfightVectorEnv
from auralnav.errors import ActionError, ConfigError

ALL_TERMS = {"win": 1.0, "hit": 0.2, "dealt": 0.5, "taken": 0.7, "facing": 0.3, "closing": 0.1}


def played(worlds: int = 24, steps: int = 60, **kwargs) -> DogfightGames:
    """Games between scripts of both teams, some of which are over."""
    games = DogfightGames(DogfightSettings.make({"teams": (3, 2), "rewards": ALL_TERMS, **kwargs}), worlds)
    games.begin(np.ones(worlds, bool), np.arange(worlds))
    games.world.command("pursuit", slice(0, 3))
    actions = np.zeros((worlds, 9), np.int64)
    for _ in range(steps):
        games.step(actions)
    return games


# Rewards --------------------------------------------------------------------------------------------------------


def test_the_rewards_of_tensors_are_those_of_arrays() -> None:
    games = played()
    rng = np.random.default_rng(0)
    for step in range(60):
        over = games.world.status != at.RUNNING
        games.world.step(rng.integers(0, 2, (24, 5, 3)))
        clock, state = games.world.clock, games.world.state
        outputs = []
        for convert, score in ((lambda array: array.copy(), score_games), (torch.tensor, score_tensors)):
            made = [np.full((24, 3), 2.0, np.float32), np.zeros((24, 6)), np.zeros(24, bool), np.zeros(24, bool)]
            mine = [convert(array) for array in made]
            restart = bool(step % 2)
            score(convert(state), convert(clock), (3, 2), tuple(ALL_TERMS.values()), convert(over), restart, *mine)
            outputs.append([np.asarray(array) for array in mine])
        sums, terms, *ends = zip(*outputs, strict=True)
        assert np.array_equal(*sums)
        np.testing.assert_allclose(*terms, rtol=1e-4, atol=1e-5)
        for k, rows in enumerate(ends):
            # What was over before keeps what it was, which is not part of the comparison.
            assert np.array_equal(rows[0][~over], rows[1][~over]), k


def test_terms_by_hand() -> None:
    games = played(1, 0, rewards=ALL_TERMS)
    state, clock = games.world.state.copy(), games.world.clock.copy()
    ships = state[0]
    ships[at.HEALTH, :5] = 100.0, 0.0, 40.0, 30.0, 50.0
    ships[at.X, :5], ships[at.Y, :5] = (10.0, 0.0, 100.0, 1014.0, 500.0), (20.0, 0.0, 20.0, 20.0, 500.0)
    ships[at.COS, :5], ships[at.SIN, :5] = (-1.0, 1.0, 0.0, 1.0, 1.0), (0.0, 0.0, 1.0, 0.0, 0.0)
    ships[at.VX, :5], ships[at.VY, :5] = (-50.0, 0.0, 0.0, 150.0, 0.0), 0.0
    ships[at.DEALT, :5], ships[at.TAKEN, :5] = (30.0, 0.0, 10.0, 0.0, 0.0), (0.0, 20.0, 0.0, 0.0, 40.0)
    ships[at.FRIENDLY, :5] = 0.0, 0.0, 10.0, 0.0, 0.0
    outputs = np.zeros((1, 3), np.float32), np.zeros((1, 6)), np.zeros(1, bool), np.zeros(1, bool)
    score_games(state, clock, (3, 2), tuple(ALL_TERMS.values()), np.zeros(1, bool), False, *outputs)
    sums, terms, terminated, truncated = outputs
    # Ship 0 points at the enemy 20 units behind the seam, which comes at 200 units/s; ship 2 is abeam of the one that
    # is 110 units away by the seam and flies at 150 units/s.
    facing, closing = (1.0 + 0.0) / 2, (2.0 + 1.5) / 2
    expected = [0.0, 0.2 * (4 - 2), 0.5 * 0.4, -0.7 * 0.2, 0.3 * facing, 0.1 * closing]
    assert terms[0] == pytest.approx(expected, abs=1e-4)
    assert sums[0].tolist() == [40.0, 20.0, 10.0] and not terminated[0] and not truncated[0]
    each = score_ships(ships, clock[0], (3, 2), tuple(ALL_TERMS.values()))
    assert each[:3, :4].sum(0) == pytest.approx(terms[0, :4], abs=1e-9)
    assert each[0] == pytest.approx([0.0, 0.6, 0.15, 0.0, 0.3, 0.2], abs=1e-4)
    assert each[4, 3] == pytest.approx(-0.7 * 0.4) and not each[1, 4:].any()


@pytest.mark.parametrize("winner", [0, 1, None])
def test_a_game_that_is_over_has_one_reward_for_its_outcome(winner: int | None) -> None:
    env = DogfightEnv(teams=(1, 1), rewards={"hit": 0.0})
    env.reset(seed=1)
    for ship in (0, 1):
        if winner != ship:
            env.games.world.state[0, at.HEALTH, ship] = 0.0
    _, reward, terminated, truncated, info = env.step([0, 0, 0])
    assert terminated and not truncated
    assert reward == info["reward/win"] == {0: 1.0, 1: -1.0, None: 0.0}[winner]
    assert info["episode_metrics"]["success"] == (winner == 0) and info["episode_metrics"]["draw"] == (winner is None)
    with pytest.raises(gym.error.ResetNeeded, match="call reset"):
        env.step([0, 0, 0])


# Opponents ------------------------------------------------------------------------------------------------------


def test_each_game_draws_its_opponent_whatever_else_is_played() -> None:
    kwargs = {"teams": (1, 2), "opponent": ("pursuit", "evader", "random"), "skill": (0.25, 0.75), "horizon": 8}
    vector = DogfightVectorEnv(64, **kwargs)
    vector.reset(seed=5)
    drawn = []
    for _ in range(9):  # three games each
        state = vector.games.world.state
        drawn.append(state[:, at.SCRIPT : at.SKILL + 1, 1:3].copy())
        assert (drawn[-1][..., 0] == drawn[-1][..., 1]).all(), "a team flies alike"
        vector.step(np.zeros((64, 3), np.int64))
    assert np.array_equal(drawn[0], drawn[2]) and not np.array_equal(drawn[0], drawn[3])
    scripts, skills = drawn[0][:, 0, 0], drawn[0][:, 1, 0]
    assert np.unique(scripts).tolist() == [1, 2, 3] and 0.25 <= skills.min() < 0.35 and 0.65 < skills.max() <= 0.75
    single = DogfightEnv(**kwargs)
    single.reset(seed=5 + 40)
    assert np.array_equal(single.games.world.state[0, at.SCRIPT : at.SKILL + 1, 1:3], drawn[0][40])


def test_a_function_can_fly_the_other_team_and_sees_itself_first() -> None:
    seen = []

    def pilot(observation: np.ndarray) -> np.ndarray:
        seen.append(observation.copy())
        return np.tile([1, 3, 1], (len(observation), 2, 1))

    env = DogfightEnv(teams=(2, 2), opponent=pilot, spread=0.0)
    first, _ = env.reset(seed=2)
    env.step(np.zeros(6, np.int64))
    assert np.array_equal(env.games.world.actions[0, :4], [[0, 0, 0], [0, 0, 0], [1, 3, 1], [1, 3, 1]])
    own = 11 * 2
    assert np.array_equal(seen[0][0, :own], first[own : 2 * own])
    assert np.array_equal(seen[0][0, own : 2 * own], first[:own])
    before = env.games.observation()
    ships = env.games.world.state[0, : at.BULLET_X]
    ships[:, :4] = ships[:, [2, 3, 0, 1]]  # the teams change places
    assert np.array_equal(env.games.observation(team=1), before)


def returns(actions):
    """An opponent that lets its ships do this."""
    return lambda observation: actions


@pytest.mark.parametrize("shape", [(3, 2, 3), (3, 6)])
def test_an_opponents_actions_come_in_either_shape_and_any_integers(shape: tuple) -> None:
    for own, theirs in (("int64", "uint64"), ("uint8", "int32")):
        games = DogfightGames(DogfightSettings(teams=(1, 2), opponent=returns(np.ones(shape, theirs))), 3)
        games.step(np.zeros((3, 3), own))
        assert games.world.actions[:, :3].sum((1, 2)).tolist() == [6, 6, 6]
        with pytest.raises(ActionError, match="actions are float64, not integers"):
            games.step(np.zeros((3, 3)))


@pytest.mark.parametrize(
    ("actions", "words"),
    [
        (np.zeros((1, 1, 3), int), r"actions are \(1, 1, 3\), not \(1, 2, 3\)"),
        (np.zeros((1, 3, 3), int), r"actions are \(1, 3, 3\), not"),
        (np.zeros((2, 3), int), r"actions are \(2, 3\), not"),
        (np.zeros((1, 5), int), r"actions are \(1, 5\), not"),
        (np.zeros((1, 2, 3)), "float64, not integers"),
        (np.zeros((1, 2, 3), bool), "bool, not integers"),
        ([[[0, 0, 0], [0, 0]]], "no array of actions"),
        (None, r"actions are \(\), not"),
        (np.full((1, 2, 3), -1), "power=-1 is outside its classes"),
    ],
    ids=str,
)
def test_what_an_opponent_may_not_return(actions: np.ndarray, words: str) -> None:
    env = DogfightEnv(teams=(2, 2), opponent=returns(actions))
    env.reset(seed=0)
    before = env.state()
    with pytest.raises(ActionError, match=f"^opponent: .*{words}") as raised:
        env.step(np.zeros(6, np.int64))
    assert "\n" not in str(raised.value)
    assert all(np.array_equal(before[name], value) for name, value in env.state().items())


# Rows of ships --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("observation", ["flat", "factorised"])
def test_rows_of_ships_are_the_game_from_every_seat(observation: str) -> None:
    rows = make_vector(6, per_ship=True, teams=(3, 1), observation=observation)
    games = make_vector(2, teams=(3, 1), observation=observation)
    assert isinstance(rows, ShipsVectorEnv) and rows.num_envs == 6
    mine, _ = rows.reset(seed=3)
    theirs, _ = games.reset(seed=3)
    rng, some_died = np.random.default_rng(0), False
    for _ in range(300):
        if observation == "flat":
            assert np.array_equal(mine[::3], theirs), "the first seat is the team's"
            assert np.array_equal(mine[1::3][:, :11], theirs[:, 11:22]), "each ship is the first of its own row"
            assert rows.observation_space.contains(mine)
        else:
            assert np.array_equal(mine["edges"][1::3][:, 0, 1], theirs["edges"][:, 1, 0])
            assert np.array_equal(mine["edges"][2::3][:, 0, 3], theirs["edges"][:, 2, 3])
        actions = rng.integers(0, [3, 7, 2], (6, 3))
        mine, rewards, terminated, truncated, info = rows.step(actions)
        theirs, *others, other_info = games.step(actions.reshape(2, 9))
        for row, game in zip((rewards, terminated, truncated), others, strict=True):
            assert np.array_equal(row, np.repeat(game, 3))
        assert np.array_equal(info["reward/win"], np.repeat(other_info["reward/win"], 3))
        living = games.games.world.state[:, at.HEALTH, :3] > 0
        assert np.array_equal(info["alive"], living.ravel()) and info["_alive"].all()
        some_died |= not living.all()
    assert some_died, "and who is dead is seen in the infos"


def test_a_reset_tells_as_much_as_a_step() -> None:
    games, rows = make_vector(2, teams=(3, 1)), make_vector(6, per_ship=True, teams=(3, 1))
    info = games.reset(seed=0)[1]
    assert info["ships"].tolist() == [3, 3] and info["enemies"].tolist() == [1, 1]
    assert info["_ships"].all() and info["_enemies"].all()
    info = rows.reset(seed=0)[1]
    assert info["ships"].tolist() == [3] * 6 and info["enemies"].tolist() == [1] * 6 and info["_enemies"].all()
    assert info["alive"].tolist() == info["_alive"].tolist() == [True] * 6
    masked = make_vector(2, teams=(3, 1), autoreset_mode=AutoresetMode.DISABLED)
    masked.reset(seed=0)
    masked.games.world.state[0, at.HEALTH, :2] = 0.0
    info = masked.reset(options={"reset_mask": np.array([False, True])})[1]
    assert info["ships"].tolist() == [1, 3] and info["_ships"].tolist() == [False, True]


def test_rows_of_one_game_begin_together() -> None:
    rows = make_vector(4, per_ship=True, teams=(2, 1), autoreset_mode=AutoresetMode.DISABLED, horizon=4)
    rows.reset(seed=[7, None, 9, None])
    alone = DogfightEnv(teams=(2, 1), horizon=4)
    assert np.array_equal(rows.env.games.observation()[1], alone.reset(seed=9)[0])
    rows.step(np.zeros((4, 3), np.int64))
    rows.reset(options={"reset_mask": np.array([False, False, True, True])})
    assert rows.env.games.world.clock[:, at.CLOCK_EPISODE].tolist() == [0, 1]
    with pytest.raises(ConfigError, match="all rows of a game or none"):
        rows.reset(options={"reset_mask": np.array([False, True, True, True])})
    with pytest.raises(ConfigError, match=r"reset_mask must be bool of shape \(4,\), got int64 \(4,\)"):
        rows.reset(options={"reset_mask": np.array([0, 0, 1, 1])})
    with pytest.raises(ConfigError, match="a row for each of the 2 ships"):
        make_vector(3, per_ship=True, teams=(2, 1))
    with pytest.raises(ConfigError, match="did you mean opponent"):
        make_vector(4, per_ship=True, oponent="pursuit")
    for kind in (list, np.array):
        rows.reset(seed=kind([7, 8, 9, 10]))
        assert np.array_equal(rows.env.games.observation()[1], alone.reset(seed=9)[0])
        with pytest.raises(ConfigError, match="2 seeds for 4 rows"):
            rows.reset(seed=kind([7, 9]))


# Bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"teams": (0, 1)}, "each needs a ship"),
        ({"teams": (5, 4)}, "8 at most"),
        ({"teams": "many"}, "teams="),
        ({"opponent": "persuit"}, "did you mean pursuit"),
        ({"opponent": "actions"}, "none of random, pursuit"),
        ({"opponent": ()}, "nobody is named"),
        ({"skill": 1.5}, "not a probability"),
        ({"skill": (0.9, 0.1)}, "not a probability"),
        ({"skill": "high"}, "not a probability"),
        ({"rewards": {"wins": 1.0}}, "did you mean win"),
        ({"rewards": {"win": float("nan")}}, "not a finite number"),
        ({"observation": "pixels"}, "none of flat, factorised"),
        ({"horizon": 0}, "horizon=0"),
        ({"action_repeat": 1.5}, r"action_repeat=1\.5"),
        ({"spread": -1.0}, r"spread=-1\.0"),
        ({"spread": 1j}, "spread=1j"),
        ({"rewards": None}, "rewards=None is no mapping"),
        ({"rewards": ["win"]}, "no mapping"),
        ({"rewards": 5}, "no mapping"),
        ({"rewards": {"win": True}}, "win=True is not a finite number"),
        ({"rewards": {5: 1.0}}, "5 is none of win"),
        ({"opponent": None}, "opponent=None is no script"),
        ({"opponent": 5}, "opponent=5 is no script"),
        ({"opponent": [5]}, "opponent 5 is none of"),
        ({"opponent": len, "skill": 0.5}, r"skill=0\.5: a function flies the other team"),
        ({"opponent": len, "skill": (0.5, 1.0)}, "a function flies the other team"),
        ({"skill": True}, "skill=True is not a probability"),
        ({"skill": (0.0, 0.5, 1.0)}, "not a probability"),
        ({"skill": float("nan")}, "not a probability"),
        ({"oponent": "pursuit"}, "did you mean opponent"),
        ({"render_mode": "ansi"}, "render_mode='ansi'"),
    ],
    ids=str,
)
def test_arguments_that_cannot_be(kwargs: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as raised:
        DogfightEnv(**kwargs)
    assert "\n" not in str(raised.value)


def test_numbers_of_numpy_are_numbers() -> None:
    rewards = {"win": np.int64(2), "hit": np.float32(0.5)}
    given = {"skill": (np.float32(0.25), np.float64(0.5)), "rewards": rewards, "spread": np.float32(1.0)}
    settings = DogfightSettings.make(given)
    assert settings.skills == (0.25, 0.5) and settings.scales[:2] == (2.0, 0.5)
    assert DogfightSettings.make({"skill": np.float16(0.5)}).skills == (0.5, 0.5)


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ([0, 7, 0], "turn=7 is outside its classes, 0 to 6"),
        ([-1, 0, 0], "power=-1 is outside"),
        ([0.0, np.nan, 0.0], "not integers"),
        ([0, 0], "each of 1 ships"),
    ],
)
def test_actions_that_cannot_be(action: list, words: str) -> None:
    env = DogfightEnv(teams=(1, 1))
    env.reset(seed=0)
    with pytest.raises(ActionError, match=words):
        env.step(np.array(action))


def test_an_option_that_is_refused_leaves_the_seed_alone() -> None:
    env, other = DogfightEnv(), DogfightEnv()
    for each in (env, other):
        each.reset(seed=1)
    before = env.np_random.bit_generator.state
    with pytest.raises(ConfigError, match="reset option 'sources'"):
        env.reset(seed=2, options={"sources": 1})
    assert env.np_random.bit_generator.state == before
    assert np.array_equal(env.reset()[0], other.reset()[0])


def test_what_a_vector_environment_refuses() -> None:
    for count in (0, 1.5, "2", True):
        with pytest.raises(ConfigError, match=f"num_envs={count!r}"):
            DogfightVectorEnv(count)
    for mode in (AutoresetMode.SAME_STEP, "SameStep", "foo", None):
        with pytest.raises(ConfigError, match="autoreset_mode"):
            DogfightVectorEnv(1, autoreset_mode=mode)
    assert DogfightVectorEnv(1, autoreset_mode="Disabled").metadata["autoreset_mode"] == AutoresetMode.DISABLED
    env = DogfightVectorEnv(2, autoreset_mode=AutoresetMode.DISABLED, horizon=4, render_mode="rgb_array")
    with pytest.raises(gym.error.ResetNeeded, match="no games yet"):
        env.step(np.zeros((2, 6), np.int64))
    with pytest.raises(gym.error.ResetNeeded, match="no games yet"):
        env.render()
    with pytest.raises(ConfigError, match="3 seeds for 2 worlds"):
        env.reset(seed=[1, 2, 3])
    with pytest.raises(ConfigError, match="reset option 'sources'"):
        env.reset(options={"sources": 1})
    env.reset(seed=0)
    with pytest.raises(ActionError, match=r"actions are \(2, 3\), not \(2, 6\)"):
        env.step(np.zeros((2, 3), np.int64))
    env.step(np.zeros((2, 6), np.int64))
    with pytest.raises(gym.error.ResetNeeded, match="reset_mask"):
        env.step(np.zeros((2, 6), np.int64))


def test_seeds_that_fail_begin_nothing() -> None:
    env, other = DogfightVectorEnv(3), DogfightVectorEnv(3)
    with pytest.raises(gym.error.Error):
        env.reset(seed=[1, -1, 2])
    with pytest.raises(gym.error.ResetNeeded, match="no games yet"):
        env.step(np.zeros((3, 6), np.int64))
    env.reset(seed=[4, 5, 6])
    before = env.state()
    with pytest.raises(gym.error.Error):
        env.reset(seed=[1, -1, 2])
    assert all(np.array_equal(before[name], value) for name, value in env.state().items())
    assert np.array_equal(env.games.observation(), other.reset(seed=np.array([4, 5, 6]))[0])


def broken_states(state: dict) -> dict[str, dict]:
    """What a state of an environment is not, by what is wrong with it."""
    broken = {f"no {name}": {key: value for key, value in state.items() if key != name} for name in state}
    broken["negative series"] = {**state, "series": state["series"] * 0 - 1}
    broken["sums of float64"] = {**state, "sums": state["sums"].astype(np.float64)}
    broken["sums of NaN"] = {**state, "sums": state["sums"] * np.nan}
    broken["one more world"] = {
        key: np.concatenate([value, value[:1]]) if isinstance(value, np.ndarray) else value
        for key, value in state.items()
    }
    teams = state["state"].copy()
    teams[:, at.TEAM, 1] = 1.0
    broken["other teams"] = {**state, "state": teams}
    return broken


@pytest.mark.parametrize("form", ["single", "vector", "per_ship"])
def test_a_state_that_is_refused_changes_nothing(form: str) -> None:
    def played(seed: int):
        kwargs = {"teams": (2, 1), "horizon": 64}
        env = DogfightEnv(**kwargs) if form == "single" else make_vector(4, per_ship=form == "per_ship", **kwargs)
        env.reset(seed=seed)
        env.action_space.seed(seed)
        for _ in range(6):
            env.step(env.action_space.sample())
        return env

    env, other = played(0), played(1)
    before = env.state()
    refused = broken_states(other.state())
    single, vector = DogfightEnv(teams=(2, 1)), DogfightVectorEnv(1, teams=(2, 1))
    single.reset(seed=3)
    vector.reset(seed=3)
    refused["of one world"] = vector.state()
    if form == "single":
        refused["running of another type"] = {**other.state(), "running": 1}
    else:
        refused["of a single environment"] = single.state()
    for what, state in refused.items():
        with pytest.raises(ConfigError) as raised:
            env.restore(state)
        assert "\n" not in str(raised.value), what
        assert all(np.array_equal(before[name], value) for name, value in env.state().items()), what
    env.restore(other.state())
    assert all(np.array_equal(other.state()[name], value) for name, value in env.state().items())


@pytest.mark.parametrize(("repeat", "fps"), [(4, 15), (1, 60), (8, 8), (200, 1)])
def test_pictures_a_second_follow_the_length_of_a_step(repeat: int, fps: int) -> None:
    for env in (
        DogfightEnv(action_repeat=repeat),
        make_vector(2, action_repeat=repeat),
        make_vector(2, per_ship=True, action_repeat=repeat),
    ):
        assert env.metadata["render_fps"] == fps
    assert DogfightEnv.metadata["render_fps"] == 15


@pytest.mark.skipif(torch.cuda.is_available(), reason="here is a CUDA device")
def test_a_device_that_is_missing_is_said_in_one_line() -> None:
    with pytest.raises(ConfigError, match="no CUDA device"):
        DogfightVectorEnv(2, device="cuda")


def test_the_names_of_the_terms_are_the_scales() -> None:
    assert tuple(DEFAULT_SCALES) == REWARD_TERMS
    places = [getattr(scoring, f"TERM_{name.upper()}") for name in REWARD_TERMS]
    assert places == list(range(len(REWARD_TERMS)))


# On a GPU -------------------------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="this torch sees no GPU")
@pytest.mark.parametrize("observation", ["flat", "factorised"])
def test_on_cuda_it_is_torch_in_and_torch_out_and_the_same_games(observation: str) -> None:
    kwargs = {"teams": (2, 2), "observation": observation, "rewards": ALL_TERMS, "horizon": 80}
    cuda, cpu = (DogfightVectorEnv(32, device=device, **kwargs) for device in ("cuda", "cpu"))
    (seen, begun), expected = cuda.reset(seed=0), cpu.reset(seed=0)[0]
    assert all(torch.is_tensor(value) and value.is_cuda for value in begun.values())
    rng = np.random.default_rng(0)
    for _ in range(25):
        for key in expected if isinstance(expected, dict) else [...]:
            assert seen[key].is_cuda
            np.testing.assert_allclose(seen[key].cpu().numpy(), expected[key], atol=2e-3)
        actions = rng.integers(0, [3, 7, 1] * 2, (32, 6))  # nobody shoots: no hit that only one of them sees
        seen, *rest, info = cuda.step(torch.as_tensor(actions, device="cuda"))
        expected, *others, other_info = cpu.step(actions)
        for mine, theirs in zip(rest, others, strict=True):
            np.testing.assert_allclose(mine.float().cpu().numpy(), theirs, atol=1e-3)
        assert np.array_equal(info["ships"].cpu().numpy(), other_info["ships"])
        assert all(value.is_cuda for key, value in info.items() if key != "episode_metrics")
    with pytest.raises(ActionError, match="integer tensors"):
        cuda.step(actions)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="this torch sees no GPU")
def test_on_cuda_a_function_flies_the_other_team_and_states_are_checked() -> None:
    kwargs = {"teams": (1, 2), "device": "cuda"}
    for theirs in (torch.ones((3, 2, 3), dtype=torch.int32, device="cuda"), np.ones((3, 6), np.int64)):
        env = DogfightVectorEnv(3, opponent=returns(theirs), **kwargs)
        env.reset(seed=0)
        before = env.state()
        env.step(torch.zeros((3, 3), dtype=torch.int64, device="cuda"))
        after = env.state()
        assert after["actions"][:, :3].sum((1, 2)).tolist() == [6, 6, 6]
        for refused in broken_states(before).values():
            with pytest.raises(ConfigError):
                env.restore(refused)
        assert all(np.array_equal(after[name], value) for name, value in env.state().items())
        env.restore(before)
        assert all(np.array_equal(before[name], value) for name, value in env.state().items())
    for theirs in (torch.ones((3, 2, 3), device="cuda"), torch.ones((3, 1, 3), dtype=torch.int32, device="cuda"), None):
        env = DogfightVectorEnv(3, opponent=returns(theirs), **kwargs)
        env.reset(seed=0)
        with pytest.raises(ActionError, match=r"^opponent: "):
            env.step(torch.zeros((3, 3), dtype=torch.int64, device="cuda"))
