"""The reward: it telescopes to the tour, and no loop of actions earns anything."""

from __future__ import annotations

import itertools

import gymnasium as gym
import numpy as np
import pytest

import auralnav
from auralnav.envs.audio.tour import TourPotential

auralnav.register_envs()


def make(id_: str = "AuralNav-v0", **kwargs):
    kwargs.setdefault("rt60", 0.0)
    return gym.make(id_, disable_env_checker=True, **kwargs).unwrapped


def key(env) -> tuple:
    state = env.state()
    x, y, _ = state["pose"]
    turns = state["turns"] % round(2 * np.pi / env.settings.turn)
    return round(x, 6), round(y, 6), turns, tuple(state["found"])


@pytest.mark.parametrize("id_", ["Easy", "", "Anechoic", "Hard", "Maze"])
def test_no_short_sequence_that_returns_earns_anything(id_: str) -> None:
    """Exhaustive: every sequence of two and of four actions from a start, for all ids whose sources stand still."""
    env = make(f"AuralNav-{id_}-v0".replace("--", "-"))
    env.reset(seed=2)
    start = env.state()
    origin = key(env)
    worst, loops = -np.inf, 0
    for length in (2, 4):
        for actions in itertools.product(range(4), repeat=length):
            env.restore(start)
            total = sum(env.step(action)[1] for action in actions)
            if key(env) == origin:
                loops += 1
                worst = max(worst, total)
    assert loops > 10
    assert worst < 0


@pytest.mark.parametrize("seed", range(6))
def test_long_loops_earn_nothing(seed: int) -> None:
    """Random walks: between any two visits of the same pose with the same sources found, the return is negative."""
    env = make(num_sources=3, found_radius=1.2, horizon=100_000)
    env.reset(seed=seed)
    rng = np.random.default_rng(seed)
    total, seen, returns = 0.0, {key(env): 0.0}, 0
    for _ in range(1500):
        # Turning much and moving little comes back often.
        _, reward, terminated, _, _ = env.step(rng.choice(4, p=[0.2, 0.2, 0.3, 0.3]))
        total += reward
        if terminated:
            break
        place = key(env)
        if place in seen:
            returns += 1
            assert total - seen[place] < -0.009
        seen.setdefault(place, total)
        seen[place] = max(seen[place], total)
    assert returns > 20


@pytest.mark.parametrize("id_", ["AuralNav-v0", "AuralNav-Hard-v0", "AuralNav-Maze-v0"])
def test_the_shaping_telescopes_to_the_tour(id_: str) -> None:
    env = make(id_)
    for seed in range(3):
        env.reset(seed=seed)
        world = env.world
        tour = TourPotential(world.episode.geo, world.sources)
        expected = tour.length(*world.pose[:2], np.ones(len(world.sources), dtype=bool))
        plan = env.oracle_actions()
        assert plan, "the oracle finds a way"
        shaping, info, terminated = 0.0, {}, False
        for action in plan:
            assert not terminated
            *_, terminated, _, info = env.step(action)
            shaping += info["reward/shaping"]
        assert terminated, "the oracle's plan, replayed, finds every source with its last action"
        assert shaping == pytest.approx(expected, abs=1e-9)
        metrics = info["episode_metrics"]
        assert metrics["success"] == 1.0 and metrics["sna"] == 1.0 and 0 < metrics["spl"] <= 1.0


def test_terms_of_the_ancestor_and_that_they_can_be_farmed() -> None:
    env = make(num_sources=1, reward="otoworld", found_radius=0.5, head="none", room_size=(8.0, 8.0, 3.0))
    env.reset(seed=0, options={"pose": (4.0, 4.0, 0.0), "sources": [[5.0, 4.0]]})
    _, reward, _, _, info = env.step(2)
    assert info["reward/step"] == -0.5 and info["reward/turn"] == -0.1
    assert info["reward/closeness"] == pytest.approx(1.0)
    assert reward == pytest.approx(0.4), "turning beside a source for ever"


def test_found_and_complete() -> None:
    env = make(num_sources=2, room_size=(8.0, 8.0, 3.0))
    env.reset(seed=0, options={"pose": (4.0, 4.0, 0.0), "sources": [[5.4, 4.0], [2.6, 4.0]]})
    *_, terminated, _, info = env.step(0)
    assert info["reward/found"] == 10.0 and info["reward/complete"] == 0.0 and not terminated
    assert info["num_found"] == 1
    env.step(1)
    *_, terminated, _, info = env.step(1)
    assert info["reward/found"] == 10.0 and info["reward/complete"] == 10.0 and terminated
    assert info["episode_metrics"]["found_share"] == 1.0


def test_distractors_cost_and_are_never_found() -> None:
    env = make(num_sources=1, distractors=1, distractor_penalty=0.5, horizon=50)
    env.reset(seed=4)
    scene = env.scene()
    assert scene["distractor_classes"][0] in ("running_water", "rotor")
    assert scene["classes"][0] not in ("running_water", "rotor")
    state = env.state()
    state["pose"] = np.array([*(scene["distractors"][0] + [0.3, 0.0]), 0.0])
    env.restore(state)
    *_, info = env.step(2)
    assert info["reward/distractor"] == -0.5 and info["num_found"] == 0


def test_walls_stop_and_are_felt() -> None:
    env = make(num_sources=1, room_size=(6.0, 6.0, 3.0))
    env.reset(seed=0, options={"pose": (0.4, 3.0, np.pi), "sources": [[5.0, 3.0]]})
    observation, *_, info = env.step(0)
    assert info["bumped"] and observation["agent_info"][2] == 1.0
    assert env.state()["pose"][0] == 0.4
    observation, *_, info = env.step(1)
    assert not info["bumped"] and observation["agent_info"][2] == 0.0
    assert env.state()["pose"][0] == pytest.approx(0.9)
