"""The scripted fighters: what they do in situations drawn by hand, and who beats whom."""

from __future__ import annotations

import numpy as np
import pytest
from dogfight_setups import brawl, place, quiet_world

from auralnav.envs.dogfight import layout as at
from auralnav.envs.dogfight.scripts import SCRIPTS
from auralnav.envs.dogfight.world import DogfightWorld

FAR_OFF = (100.0, 100.0)


def choice(script: str, enemy: tuple[float, ...], power: float = 100.0, own=(100.0, 0.0), others=()) -> tuple[int, ...]:
    """What ship 0 at (500, 500), which flies with velocity `own`, does about an enemy at (dx, dy, vx, vy)."""
    world = quiet_world((1 + sum(team == 0 for team, _ in others), 1 + sum(team == 1 for team, _ in others)))
    place(world, 0, 500, 500, *own, POWER=power)
    mates = [where for team, where in others if team == 0]
    enemies = [enemy] + [where for team, where in others if team == 1]
    for slot, (dx, dy, vx, vy, *health) in enumerate(mates + enemies, start=1):
        place(world, slot, (500 + dx) % 1024, (500 + dy) % 1024, vx, vy, HEALTH=health[0] if health else 100)
    world.command(script, 0)
    return tuple(int(part) for part in world.decide()[0, 0])


def bearing(distance: float, degrees: float) -> tuple[float, float, float, float]:
    """An enemy that flies as ship 0 does, so that no lead is needed."""
    return distance * np.cos(np.radians(degrees)), distance * np.sin(np.radians(degrees)), 100.0, 0.0


@pytest.mark.parametrize(
    ("degrees", "turn"),
    [(0, 0), (9.9, 0), (10.1, 2), (14.9, 2), (15.1, 4), (170, 4), (-9.9, 0), (-10.1, 1), (-14.9, 1), (-15.1, 3)],
)
def test_pursuit_turns_from_10_and_sharply_from_15_degrees(degrees: float, turn: int) -> None:
    assert choice("pursuit", bearing(300, degrees))[1] == turn


@pytest.mark.parametrize(("distance", "degrees"), [(10, 44.5), (40, 44.5), (100, 22.5), (300, 7.62), (500, 4.2)])
def test_pursuit_shoots_within_a_cone_of_its_distance(distance: float, degrees: float) -> None:
    limit = np.degrees(np.clip(2 * np.arctan(20 / distance), np.radians(1), np.radians(45)))
    assert degrees < limit < degrees + 0.6
    assert choice("pursuit", bearing(distance, degrees))[2] == 1
    assert choice("pursuit", bearing(distance, degrees + 0.6))[2] == 0


def test_pursuit_shoots_within_a_range_of_its_power() -> None:
    for power in (100, 25, 4):
        reach = 600 * np.sqrt(power / 100)
        assert choice("pursuit", bearing(min(0.99 * reach, 511), 0), power)[2] == 1
        if reach < 500:
            assert choice("pursuit", bearing(1.01 * reach, 0), power)[2] == 0
    assert choice("pursuit", bearing(300, 0), 0)[2] == 0


def test_pursuit_boosts_and_backs_off() -> None:
    assert choice("pursuit", bearing(300, 0), 46)[0] == 1, "more power than 0.9 (1 - 300/600)"
    assert choice("pursuit", bearing(300, 0), 44)[0] == 0
    assert choice("pursuit", bearing(39, 0))[0] == 2
    assert choice("pursuit", bearing(41, 0), 50)[0] == 0
    assert choice("pursuit", bearing(300, 0), 10, own=(29.0, 0.0))[0] == 1, "slow"
    assert choice("pursuit", bearing(300, 0), 10, own=(31.0, 0.0))[0] == 0


def test_pursuit_aims_where_the_enemy_will_be() -> None:
    """At 250 units a bullet takes half a second, in which the enemy goes 75 units across: 17° of lead."""
    assert choice("pursuit", (250, 0, 100, 150))[1:] == (4, 0)
    assert choice("pursuit", (250, 0, 100, -150))[1:] == (3, 0)
    ahead = np.radians(-np.degrees(np.arctan2(75, 250)))
    own = (100 * np.cos(ahead), 100 * np.sin(ahead))
    turned = 250 * np.cos(ahead), 250 * np.sin(ahead)
    enemy = (*turned, own[0] - 150 * np.sin(ahead), own[1] + 150 * np.cos(ahead))
    nose = np.degrees(np.arctan2(turned[1] + 75 * np.cos(ahead), turned[0] - 75 * np.sin(ahead)))
    assert nose == pytest.approx(0, abs=0.1)
    assert choice("pursuit", enemy, own=own)[1] == 4, "the nose is on the enemy, the aim 17° off"


def test_the_nearest_enemy_across_the_edge_is_chosen() -> None:
    assert choice("pursuit", (400, 0, 100, 0), others=[(1, (-300, 0, 100, 0))])[1] in (3, 4)
    assert choice("pursuit", (-300, 0, 100, 0), others=[(1, (400, 0, 100, 0))])[1] in (3, 4)
    assert choice("pursuit", (400, 0, 100, 0), others=[(1, (-300, 0, 100, 0, 0))])[1] == 0, "a dead one is none"
    assert choice("pursuit", (400, 0, 100, 0), others=[(0, (-300, 0, 100, 0))])[1] == 0, "a mate is none"
    world = quiet_world()
    place(world, 0, 1000, 500, 100, 0)
    place(world, 1, 50, 500, 100, 0)
    world.command("pursuit", 0)
    assert world.decide()[0, 0].tolist() == [1, 0, 1]


def test_the_evader_runs_and_breaks_sideways() -> None:
    assert choice("evader", (200, 0, 100, 0))[:2] in ((1, 3), (1, 4)), "turns its back to it"
    assert choice("evader", (-200, 0, -100, 0))[:2] == (1, 0), "flies on away from one that looks elsewhere"
    gear, turn, _ = choice("evader", (-200, 0, 100, 0), own=(100.0, 20.0))
    assert (gear, turn) == (1, 4), "out of the line of fire, to the side it already goes to"
    assert choice("evader", (-200, 0, 100, 0), own=(100.0, -20.0))[1] == 3
    assert choice("evader", (400, 0, 100, 0)) == (0, 0, 1), "one that is far off is shot at"


def test_the_jouster_passes_and_comes_round() -> None:
    assert choice("jouster", (300, 0, -100, 0)) == (1, 0, 1)
    assert choice("jouster", (-100, 30, -100, 0))[1:] == (0, 0), "straight on once it has passed"
    assert choice("jouster", (-360, 30, -100, 0))[1] in (3, 4)
    assert choice("jouster", (-100, 30, -100, 0), 20)[0] == 0


def test_the_team_focuses_on_one_and_spares_its_mates() -> None:
    near, weak = (300, 0, 100, 0), (0, 310, 100, 0, 10)
    assert choice("focus", near, others=[(1, weak)])[1] == 4, "a little farther, but nearly dead"
    assert choice("pursuit", near, others=[(1, weak)])[1] == 0
    assert choice("focus", near)[2] == 1
    assert choice("focus", near, others=[(0, (150, 10, 100, 0))])[2] == 0, "a mate is in the line of fire"
    assert choice("focus", near, others=[(0, (150, 30, 100, 0))])[2] == 1
    assert choice("focus", near, others=[(0, (-150, 0, 100, 0))])[2] == 1


@pytest.mark.parametrize("script", ["random", "pursuit"])
def test_skill_is_the_share_of_the_script(script: str) -> None:
    """With skill p the script's action is taken with probability p, else one drawn from all 42."""
    world = brawl(3000, (4, 4), seed=1)
    world.command("pursuit")
    scripted = world.decide().copy()
    world.command(script, skill=0.3)
    mixed = world.decide()
    same = (mixed == scripted).all(-1).mean()
    drawn = 1.0 if script == "random" else 0.7
    assert same == pytest.approx(1 - drawn + drawn / 42, abs=4 * np.sqrt(0.21 / 24000))
    for column, classes in enumerate((3, 7, 2)):
        # Given that the three parts differ from the script's somewhere, the action was drawn.
        parts = mixed[(mixed != scripted).any(-1)][:, column]
        assert len(np.unique(parts)) == classes
    if script == "random":
        for column, classes in enumerate((3, 7, 2)):
            share = np.bincount(mixed[..., column].ravel(), minlength=classes) / mixed[..., column].size
            assert np.abs(share - 1 / classes).max() < 4 * np.sqrt(0.25 / 24000)


def test_scripts_write_only_the_actions_of_their_own_ships() -> None:
    world = DogfightWorld(2, (2, 2))
    world.command("pursuit", 1)
    given = np.array([[[1, 5, 0], [0, 0, 0], [2, 6, 1], [0, 3, 1]]] * 2)
    world.step(given)
    assert np.array_equal(world.actions[:, [0, 2, 3]], given[:, [0, 2, 3]])
    world.command("actions", 1)
    world.step(given)
    assert np.array_equal(world.actions[:, :4], given)


def results(first: str, second: str, size: int, games: int = 300) -> tuple[float, float]:
    """Shares of games that each of two teams wins."""
    world = DogfightWorld(games, (size, size))
    world.reset(11)
    world.command(first, slice(0, size))
    world.command(second, slice(size, 2 * size))
    for _ in range(at.HORIZON // at.ACTION_REPEAT):
        world.step()
    return float((world.status == at.TEAM_0_WON).mean()), float((world.status == at.TEAM_1_WON).mean())


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize(
    ("better", "worse"), [("pursuit", "random"), ("jouster", "random"), ("focus", "random"), ("pursuit", "evader")]
)
def test_the_ladder_has_rungs(better: str, worse: str, size: int) -> None:
    wins, losses = results(better, worse, size)
    assert wins > 0.75 and losses < 0.03


def test_no_side_has_an_advantage() -> None:
    wins, losses = results("pursuit", "pursuit", 2, games=1200)
    assert abs(wins - losses) < 4 * np.sqrt(1 / 1200)


def test_every_script_plays_every_team_size() -> None:
    for script in SCRIPTS:
        world = DogfightWorld(20, [(1, 1), (1, 7), (7, 1), (4, 4), (2, 3)] * 4)
        world.command(script)
        for _ in range(100):
            world.step(restart=True)
        assert np.isfinite(world.state).all() and (world.clock[:, at.CLOCK_TOTAL] > 300).all()
