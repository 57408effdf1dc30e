from __future__ import annotations

import numpy as np
import pytest

from auralnav.envs.dogfight.scene import scene_at


def wrapped(difference, size=1024.0):
    return (difference + size / 2) % size - size / 2


def test_between_steps_ships_are_where_their_ticks_had_them(played):
    """Cubics through the frames of steps against the frames of ticks of the same game."""
    fine, coarse = played(5), played(5, every_tick=False)
    living = fine.health > 0
    away, turned = [], []
    for index, tick in enumerate(fine.tick):
        scene = scene_at(coarse, tick)
        moved = np.hypot(*wrapped(scene.position - fine.position[index]).T)
        off = np.abs(wrapped(scene.attitude - fine.attitude[index], 2 * np.pi))
        away += moved[living[index]].tolist()
        turned += off[living[index]].tolist()
        np.testing.assert_array_equal(scene.action[living[index]], fine.action[index][living[index]])
    # Straight lines between frames are off by 0.29 there. The worst is a ship that dies, and stops, within a step.
    assert np.quantile(away, 0.99) < 0.05 and max(away) < 1.0
    # An attitude jumps by up to 30° when the pilot turns the other way, and is shown to swing there in a step.
    assert np.quantile(turned, 0.5) < np.radians(0.5) and max(turned) < np.radians(31)


def test_a_way_over_the_edge_is_the_short_one(simple):
    replay = simple()
    np.testing.assert_allclose(scene_at(replay, 2).position[0], [1020, 500], atol=1e-3)
    np.testing.assert_allclose(scene_at(replay, 5).position[0], [2, 500], atol=1e-3)
    np.testing.assert_allclose(scene_at(replay, 3.75).position[0], [1023.5, 500], atol=1e-3)


def test_bullets_fly_straight_over_the_edge_and_end_in_time(simple):
    replay = simple()
    at_two, at_three = scene_at(replay, 2), scene_at(replay, 3)
    np.testing.assert_allclose(at_two.bullet_position, [[291, 300], [1020, 500]], atol=1e-3)
    np.testing.assert_allclose(at_three.bullet_position[1], [6, 500], atol=1e-3)
    np.testing.assert_allclose(at_three.bullet_age, [2 / 60, 1 / 60, 0], atol=1e-9)
    assert len(scene_at(replay, 0.5).bullet_age) == 0
    assert len(scene_at(replay, 5.9).bullet_age) == 3
    hit = scene_at(replay, 6)
    assert len(hit.bullet_age) == 2 and hit.hit_age.tolist() == [0.0]
    np.testing.assert_allclose(hit.hit_position, [[295, 300]], atol=1e-3)
    assert len(scene_at(replay, 7.5).bullet_age) == 1
    assert (hit.shots.tolist(), hit.hits.tolist()) == ([3, 0], [1, 0])
    assert scene_at(replay, 5.9).hits.tolist() == [0, 0]


def test_a_hit_on_one_s_own_team_is_not_counted_as_one(simple):
    assert scene_at(simple(team=np.zeros(2, np.int8)), 8).hits.tolist() == [0, 0]


def test_health_falls_with_the_frame_power_runs_and_actions_lead_there(simple):
    replay = simple()
    assert scene_at(replay, 7.9).health.tolist() == [100, 100] and scene_at(replay, 8).health.tolist() == [100, 90]
    np.testing.assert_allclose(scene_at(replay, 2).power, [99, 55])
    assert scene_at(replay, 0).action.tolist() == [[0, 0, 0]] * 2
    assert scene_at(replay, 0.1).action.tolist() == scene_at(replay, 4).action.tolist() == [[1, 0, 1], [0, 2, 0]]


def test_a_turn_goes_the_short_way(simple):
    attitude = np.array([[3.1, 0], [-3.1, 0], [-3.1, 0]], np.float32)
    assert np.cos(scene_at(simple(attitude=attitude), 2).attitude[0]) == pytest.approx(-1.0)


def test_death_comes_with_the_bullet_that_brought_it(simple):
    health = np.array([[100, 10], [100, 10], [100, 0]], np.float32)
    replay = simple(health=health, finished=True, winner=0)
    assert replay.death_tick.tolist() == [-1, 6] and replay.killing_bullet.tolist() == [-1, 0]
    assert scene_at(replay, 5.9).dead_for.tolist() == [-1, -1] and scene_at(replay, 5.9).health[1] == 10
    np.testing.assert_allclose(scene_at(replay, 7.5).dead_for, [-1, 1.5 / 60])
    assert scene_at(replay, 7.5).health[1] == 0
    assert scene_at(replay, 7.9).result == "" and scene_at(replay, 8).result == "ann wins"


def test_after_the_end_ships_stand_still_while_blasts_fade(simple):
    replay = simple()
    end, later = scene_at(replay, 8), scene_at(replay, 20)
    for name in ("tick", "position", "bullet_position", "bullet_age", "health", "power"):
        np.testing.assert_array_equal(getattr(later, name), getattr(end, name))
    np.testing.assert_allclose(later.hit_age - end.hit_age, 12 / 60)
    assert len(scene_at(replay, 40).hit_age) == 0
    np.testing.assert_array_equal(scene_at(replay, -3).position, scene_at(replay, 0).position)
