from __future__ import annotations

import numpy as np
import pytest

from auralnav.envs.dogfight import layout as at
from auralnav.envs.dogfight.recorder import GameRecorder, record_game
from auralnav.envs.dogfight.replay_check import EXPIRED, FLYING, HIT
from auralnav.envs.dogfight.scene import scene_at
from auralnav.envs.dogfight.world import DogfightWorld
from auralnav.errors import ReplayError


def wrapped(difference):
    return (difference + 512) % 1024 - 512


def duel(distance, *, horizon=100, height=500.0, spread=0.0):
    """Two ships, the first behind the second, both flying right without turning."""
    world = DogfightWorld(1, (1, 1), horizon=horizon, spread=spread)
    state = world.state[0]
    state[at.X, :2], state[at.Y, :2] = [800, (800 + distance) % 1024], [500, height]
    state[at.VX, :2], state[at.VY, :2] = 100, 0
    state[at.COS, :2], state[at.SIN, :2] = 1, 0
    return world


def record(world, actions, every_tick):
    recorder = GameRecorder(["hunter", "prey"], horizon=world.horizon)
    recorder.add(world.state[0], world.clock[0], world.actions[0])
    while world.status[0] == at.RUNNING:
        world.actions[0, :2] = actions
        if every_tick:
            for _ in range(world.action_repeat):
                world.tick(first=True)
                recorder.add(world.state[0], world.clock[0], world.actions[0])
        else:
            world.step()
            recorder.add(world.state[0], world.clock[0], world.actions[0])
    return recorder.replay()


SHOOT = [[0, 0, 1], [0, 0, 0]]


@pytest.mark.parametrize("every_tick", [True, False])
def test_every_bullet_is_where_the_world_had_it(every_tick):
    """The world's own states again, tick by tick, against where the replay says that bullets fly."""
    world = DogfightWorld(1, (3, 2))
    world.command("pursuit", slice(0, 3))
    world.command("jouster", slice(3, 5))
    replay = record_game(world, ["a"] * 3 + ["b"] * 2, 3, every_tick=every_tick)
    world.reset(3)
    seen = missing = extra = 0
    while world.status[0] == at.RUNNING:
        world.decide()
        for part in range(world.action_repeat):
            world.tick(first=part == 0)
            scene = scene_at(replay, int(world.clock[0, at.CLOCK_TICK]))
            life = world.state[0, at.BULLET_LIFE : at.BULLET_LIFE + at.BARRELS]
            x, y = (world.state[0, row : row + at.BARRELS][life > 0] for row in (at.BULLET_X, at.BULLET_Y))
            truth = np.stack([x, y], 1)
            if truth.size == 0:
                continue
            apart = np.hypot(*np.moveaxis(wrapped(truth[:, None] - scene.bullet_position[None]), -1, 0))
            missing += int((apart.min(axis=1, initial=np.inf) > 0.02).sum())
            extra += int((apart.min(axis=0, initial=np.inf) > 0.02).sum())
            seen += len(truth)
    # A bullet in the last tick of its life is drawn and no longer in the state. One that no frame of a step shows is
    # placed without its noise.
    assert seen > 300 and replay.finished
    assert missing <= (0 if every_tick else 0.05 * seen)
    # With a frame a step the tick of a hit may be taken for the next one.
    late = 0 if every_tick else int((replay.bullets.fate == HIT).sum())
    assert extra <= missing + int((replay.bullets.fate == EXPIRED).sum()) + late


@pytest.mark.parametrize(("scripts", "seed"), [(("pursuit", "focus"), 2), (("random", "jouster"), 4)])
def test_frames_of_steps_tell_the_same_bullets_as_frames_of_ticks(played, scripts, seed):
    fine, coarse = (played(seed, every_tick, scripts) for every_tick in (True, False))
    for name in ("owner", "born", "fate", "victim"):
        np.testing.assert_array_equal(getattr(coarse.bullets, name), getattr(fine.bullets, name))
    assert np.abs(coarse.bullets.end - fine.bullets.end).max() <= 1
    away = np.abs(wrapped(coarse.bullets.position - fine.bullets.position)).max(axis=1)
    assert away.max() < 3 and np.median(away) < 0.01
    np.testing.assert_array_equal(coarse.health, fine.health[np.isin(fine.tick, coarse.tick)])


@pytest.mark.parametrize("seed", range(4))
def test_no_bullet_is_lost_or_invented_in_long_steps(seed):
    """Twelve ticks a step are two reloads: a ship may fire twice, or once at any of them where power runs out."""
    world = DogfightWorld(1, (3, 3), action_repeat=12)
    world.command("pursuit", slice(0, 3))
    world.command("random", slice(3, 6))
    fine, coarse = (record_game(world, ["a"] * 6, seed, every_tick=every_tick) for every_tick in (True, False))
    for ship in range(6):
        assert (coarse.bullets.owner == ship).sum() == (fine.bullets.owner == ship).sum() > 0
        assert coarse.health[-1, ship] == max(0, 100 - 10 * (coarse.bullets.victim == ship).sum())
    assert (coarse.bullets.fate == HIT).sum() == (fine.bullets.fate == HIT).sum()


@pytest.mark.parametrize("seed", range(3))
def test_the_hits_on_each_ship_are_the_health_it_lost(played, seed):
    replay = played(seed)
    for ship in range(replay.ships):
        hits = int((replay.bullets.victim == ship).sum())
        assert replay.health[-1, ship] == max(0, 100 - 10 * hits)
        assert (replay.death_tick[ship] >= 0) == (hits >= 10)
        if hits >= 10:
            killer = replay.killing_bullet[ship]
            assert replay.bullets.victim[killer] == ship and replay.bullets.end[killer] == replay.death_tick[ship]
    assert (replay.bullets.fate == EXPIRED).any() and (replay.bullets.fate == HIT).any()


@pytest.mark.parametrize("every_tick", [True, False])
def test_the_end_of_a_bullet_in_numbers(every_tick):
    """At 600 units/s a bullet gains 500 on a ship that flies ahead at 100: 8.33 a tick, contact at distance 10."""
    replay = record(duel(100), SHOOT, every_tick)
    first = 0
    assert replay.bullets.born[first] == 1 and replay.bullets.victim[first] == 1
    assert replay.bullets.end[first] == 11  # (100 - 10) / 8.33 = 10.8
    assert (np.diff(replay.bullets.born[:4]) == 6).all()  # a reload of 6 ticks, the trigger held
    missed = record(duel(300, height=550.0, horizon=80), SHOOT, every_tick)
    assert missed.bullets.fate[0] == EXPIRED and missed.bullets.end[0] == 60
    assert missed.bullets.fate[-1] == FLYING and missed.bullets.end[-1] == missed.last_tick == 80
    assert missed.winner is None and missed.finished and missed.result == "draw"


@pytest.mark.parametrize("every_tick", [True, False])
def test_a_shot_from_so_near_that_no_state_shows_its_bullet(every_tick):
    replay = record(duel(15, horizon=8), SHOOT, every_tick)
    bullets = replay.bullets
    assert bullets.fate[0] == HIT and bullets.victim[0] == 1 and bullets.owner[0] == 0
    assert bullets.born[0] == bullets.end[0] == 1
    assert np.hypot(*wrapped(bullets.position[0] - replay.position[0, 1])) < 10


@pytest.mark.parametrize("every_tick", [True, False])
def test_the_bullet_of_one_is_not_taken_for_that_of_another(every_tick):
    """Both shoot at both: each is hit by the other, over the edge of the torus too, and nobody by its own."""
    world = duel(400)
    world.state[0, at.VX, 1], world.state[0, at.COS, 1] = -100, -1
    replay = record(world, [[0, 0, 1]] * 2, every_tick)
    assert (replay.bullets.victim != replay.bullets.owner).all()
    for ship in (0, 1):
        hits = int(((replay.bullets.victim == ship) & (replay.bullets.owner == 1 - ship)).sum())
        assert replay.health[-1, ship] == 100 - 10 * min(10, hits)
    assert replay.finished and replay.winner is None and (replay.health[-1] == 0).all()


def test_what_is_no_state_of_the_game_is_refused(game):
    world = duel(100)
    state, clock, actions = world.state[0], world.clock[0], world.actions[0]
    with pytest.raises(ReplayError, match="nothing was recorded"):
        GameRecorder(["a", "b"]).replay()
    with pytest.raises(ReplayError, match="3 names for 2 ships"):
        GameRecorder(["a", "b", "c"]).add(state, clock, actions)
    with pytest.raises(ReplayError, match=r"\[70, 8\]"):
        GameRecorder(["a", "b"]).add(state.ravel(), clock, actions)
    recorder = GameRecorder(["a", "b"])
    recorder.add(state, clock, actions)
    recorder.add(state, clock, actions)
    world.step()
    broken = state.copy()
    broken[at.VX, 1] = np.nan
    with pytest.raises(ReplayError, match="row 2 of ship 2 is nan at tick 4"):
        recorder.add(broken, clock, actions)
    recorder.add(state, clock, actions)
    world.reset(1)
    with pytest.raises(ReplayError, match="tick 0 after tick 4"):
        recorder.add(state, clock, actions)
    assert recorder.replay().tick.tolist() == [0, 4] and not recorder.replay().finished


def test_a_replay_says_where_it_comes_from(game):
    assert game.seed == 1 and game.settings == {"spread": 12.0} and game.arena.action_repeat == 4
    assert "auralnav" in game.versions and "python" in game.versions
    assert game.names == ("pursuit",) * 4 + ("focus",) * 4
    assert game.result == f"{('pursuit', 'focus')[game.winner]} wins"
    losers = game.team != game.winner
    assert (game.health[-1, losers] == 0).all() and (game.health[-1, ~losers] > 0).any()
