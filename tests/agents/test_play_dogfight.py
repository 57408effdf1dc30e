from __future__ import annotations

import io
import os
import pty
import sys
import time

import numpy as np
import pytest
from rich.console import Console

from auralnav.agents.dogfight_text import text_arena, text_status
from auralnav.agents.play import split_keys
from auralnav.agents.play_dogfight import (
    HOLD_STEPS,
    Controls,
    DogfightSession,
    scripted_steps,
    terminal_steps,
)
from auralnav.envs.dogfight.recorder import record_game
from auralnav.envs.dogfight.scene import scene_at
from auralnav.envs.dogfight.world import DogfightWorld
from auralnav.errors import AuralNavError, ConfigError


def flown(keys: str, teams=(1, 1), seed=3, **kwargs):
    screen = io.StringIO()
    session = DogfightSession(teams, Console(file=screen, width=100), **kwargs)
    return session.run(scripted_steps(keys), seed), screen.getvalue()


def test_a_key_is_held_for_a_moment_and_others_beside_it():
    controls = Controls()
    steps = [controls.step(keys).tolist() for keys in (["w"], ["d", " "], *[[]] * HOLD_STEPS)]
    assert steps[0] == [1, 0, 0] and steps[1] == [1, 2, 1]
    assert steps[HOLD_STEPS - 1] == [1, 2, 1] and steps[HOLD_STEPS] == [0, 2, 1] and steps[HOLD_STEPS + 1] == [0, 0, 0]
    # The newer key of a kind counts at once, and a key that repeats goes on.
    assert controls.step(["a", "D"]).tolist() == [0, 4, 0]
    for _ in range(20):
        assert controls.step(["\x1b[A"])[0] == 1
    assert controls.step(["s", "X"]).tolist() == [2, 6, 0]


def test_keys_fly_the_first_ship_and_scripts_the_others():
    replay, shown = flown("w...... .D....", teams=(2, 1), opponent="jouster")
    assert replay.names == ("you", "focus", "jouster") and not replay.finished
    assert replay.last_tick == 4 * 14 and len(replay.tick) == replay.last_tick + 1
    held = replay.action[4::4, 0]
    assert held[:6].tolist() == [[1, 0, 0]] * 6 and held[6].tolist() == [0, 0, 0]
    assert held[7:9].tolist() == [[0, 0, 1]] * 2 and held[9].tolist() == [0, 4, 1]
    assert (replay.bullets.owner[replay.bullets.born <= 40] == 0).any()
    assert np.unique(replay.action[:, 1:].reshape(-1, 3), axis=0).shape[0] > 2
    assert "you" in shown and "jouster" in shown


def test_the_same_keys_and_seed_give_the_same_game():
    one, two, other = (flown("wd  .a  ....", seed=seed)[0] for seed in (5, 5, 6))
    np.testing.assert_array_equal(one.position, two.position)
    assert (one.position[0] != other.position[0]).any()
    assert one.seed == 5


def test_q_and_the_end_of_the_keys_leave_the_game_and_its_end_ends_it():
    assert flown("w.q....")[0].last_tick == 8
    assert flown("")[0].last_tick == 0
    replay, _ = flown("." * 300, opponent="pursuit")
    assert replay.finished and replay.winner == 1 and replay.result == "pursuit wins"


def test_an_interrupt_keeps_what_was_flown():
    steps = iter([["w"], []])

    def impatient(seconds):
        try:
            return next(steps)
        except StopIteration:
            raise KeyboardInterrupt from None

    replay = DogfightSession((1, 1), Console(file=io.StringIO())).run(impatient, 1)
    assert replay.last_tick == 8


def test_what_cannot_be_played_is_named(monkeypatch):
    with pytest.raises(AuralNavError, match="'z' is no key"):
        scripted_steps("wz")
    with pytest.raises(ConfigError, match="pursuit"):
        DogfightSession((1, 1), Console(file=io.StringIO()), opponent="persuit")
    with pytest.raises(ConfigError, match="skill"):
        DogfightSession((1, 1), Console(file=io.StringIO()), skill=2.0)
    monkeypatch.setattr(sys, "stdin", io.StringIO("w"))
    with pytest.raises(AuralNavError, match="--keys"), terminal_steps():
        pass


def test_keys_that_come_together_are_told_apart():
    assert split_keys("wD \x1b[A\x1bOCq") == ["w", "D", " ", "\x1b[A", "\x1bOC", "q"]


def test_a_terminal_gives_the_keys_of_each_step_in_time(monkeypatch):
    master, slave = pty.openpty()
    with os.fdopen(slave, "r", closefd=True) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        with terminal_steps() as pressed:
            began = time.monotonic()
            os.write(master, b"w\x1b[C")
            assert pressed(0.1) == ["w", "\x1b[C"]
            assert pressed(0.1) == []
            assert 0.2 <= time.monotonic() - began < 2.0
            time.sleep(0.3)
            began = time.monotonic()
            pressed(0.1)
            assert time.monotonic() - began < 0.09  # late already: it does not wait, and does not catch up
            began = time.monotonic()
            pressed(0.1)
            assert time.monotonic() - began > 0.09
    os.close(master)


def test_the_text_has_the_ship_in_the_middle_and_its_rivals_where_they_are():
    world = DogfightWorld(1, (1, 2), horizon=4)
    replay = record_game(world, ["you", "a", "b"], 1)
    scene = scene_at(replay, 0)
    scene.position[:] = [[1000, 500], [1000 + 256 - 1024, 500], [1000, 500 + 256]]
    scene.attitude[:] = [0, np.pi / 2, np.pi]
    lines = text_arena(scene, 0, width=40).plain.split("\n")
    assert len(lines) == 20 and lines[10][20] == "→"  # in the middle
    assert lines[10][30] == "↓"  # a quarter of the torus to the right, over its edge
    assert lines[15][20] == "←"
    status = text_status(scene, 0).plain.split("\n")
    assert "→  256 away" in status[2] and "↓  256 away" in status[3] and "away" not in status[1]
