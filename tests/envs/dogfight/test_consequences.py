"""What follows exactly from the rules, beside figures that were worked out by hand or to which the motion converges."""

from __future__ import annotations

import numpy as np
import pytest
from dogfight_setups import hold, place, put_bullet, quiet_world

from auralnav.envs.dogfight import layout as at

COAST, BOOST, REVERSE = (0, 0, 0), (1, 0, 0), (2, 0, 0)
FIRE = (0, 0, 1)


def speeds(states: list[np.ndarray], slot: int = 0) -> np.ndarray:
    return np.array([np.hypot(state[at.VX, slot], state[at.VY, slot]) for state in states])


def flyer(vx: float = 100.0):
    """A world with ship 0 at full health and power that flies to the right, and ship 1 far from it."""
    world = quiet_world()
    place(world, 0, 512, 512, vx)
    place(world, 1, 100, 100)
    return world


def test_coasting_straight_keeps_100() -> None:
    assert np.abs(speeds(hold(flyer(), 600)) - 100).max() <= 1e-3


def test_boosting_ends_in_tick_150() -> None:
    states = hold(flyer(), 400, s0=BOOST)
    speed, power = speeds(states), np.array([state[at.POWER, 0] for state in states])
    assert speed.argmax() == 150 and speed.max() == pytest.approx(236.150, abs=1e-3)
    assert power[149] < 1e-3 and power[150] == 0
    assert power[74] == pytest.approx(50, abs=1e-3), "40 a second"


def test_boosting_with_power_held_settles_at_316() -> None:
    world = flyer()
    for _ in range(1500):
        world.state[0, at.POWER, 0] = 100
        states = hold(world, 1, s0=BOOST)
    # Where a tick adds less than half of float32's last place, 1.5e-5, the speed stands still: 1.8e-3 short.
    assert speeds(states)[-1] == pytest.approx(np.sqrt(80 / 8e-4), abs=2e-3)


@pytest.mark.parametrize(
    ("turn", "speed", "radius"), [(1, 87.82, 66.27), (2, 87.82, 66.27), (3, 40.42, 35.38), (4, 40.42, 35.38)]
)
def test_coasting_turns_settle(turn: int, speed: float, radius: float) -> None:
    states = hold(flyer(), 3000, s0=(0, turn, 0))
    angle = np.unwrap([np.arctan2(state[at.VY, 0], state[at.VX, 0]) for state in states])
    rate = (angle[-1] - angle[-601]) / 10
    assert speeds(states)[-1] == pytest.approx(speed, abs=6e-3)
    assert speeds(states)[-1] / abs(rate) == pytest.approx(radius, abs=1.2e-2)
    assert (rate > 0) == (turn in (2, 4)), "y is down: clockwise is to the right"


def test_settled_turns_satisfy_the_discrete_equations() -> None:
    """At rest in the turn, a tick multiplies the velocity by 1 + a dt / v, of which the modulus is 1."""
    for turn, (offset, drag, lift) in {2: (5, 1.2e-3, 15e-3), 4: (15, 5e-3, 27e-3)}.items():
        speed = speeds(hold(flyer(), 3000, s0=(0, turn, 0)))[-1]
        factor = 1 + (8 / speed * np.exp(1j * np.radians(offset)) - drag * speed + 1j * lift * speed) / 60
        assert abs(factor) == pytest.approx(1, abs=1e-5)


def test_air_brakes_and_reverse() -> None:
    for turn, drag in ((5, 1.2e-3), (6, 5e-3)):  # 2e-3: as above, float32 stands still a little before
        assert speeds(hold(flyer(), 4000, s0=(0, turn, 0)))[-1] == pytest.approx(np.sqrt(8 / drag), abs=2e-3)
    states = hold(flyer(), 60, s0=REVERSE)
    assert states[-1][at.VX, 0] < 100 - 9
    assert states[0][at.VX, 0] == pytest.approx(100 + (-10 - 8e-4 * 100**2) / 60, abs=1e-4)


def test_power_is_a_budget() -> None:
    world = flyer()
    world.state[0, at.POWER, 0] = 10
    assert hold(world, 60, s0=COAST)[-1][at.POWER, 0] == pytest.approx(20, abs=1e-3)
    assert hold(world, 60, s0=REVERSE)[-1][at.POWER, 0] == pytest.approx(40, abs=1e-3)
    world.state[0, at.POWER, 0] = 2.5
    states = hold(world, 12, s0=FIRE)
    shots = [state[at.SHOTS, 0] for state in states]
    assert shots == [0, 0, 1] + [0] * 9, "3 a shot, regained at 10 a second; and no second one at 1.5"


def test_endless_boosting_turns_stay_below_the_cap() -> None:
    for turn in (1, 3):
        world = flyer()
        top = 0.0
        for _ in range(3000):
            world.state[0, at.POWER, 0] = 100
            state = hold(world, 1, s0=(1, turn, 0))[0]
            assert np.isfinite(state).all()
            top = max(top, speeds([state])[0])
        assert top <= 400 * (1 + 1e-6)


def test_the_cap_holds_what_is_faster() -> None:
    assert speeds(hold(flyer(399.9), 1, s0=(1, 0, 0)))[-1] < 400
    assert speeds(hold(flyer(2000.0), 1))[-1] == pytest.approx(400, abs=1e-3)


def test_a_ship_at_rest_keeps_its_attitude() -> None:
    world = quiet_world()
    place(world, 0, 512, 512)
    world.state[0, at.COS, 0], world.state[0, at.SIN, 0] = 0.6, 0.8
    world.state[0, at.POWER, 0] = 0
    state = hold(world, 1, s0=(0, 4, 0))[0]
    assert (state[at.COS, 0], state[at.SIN, 0]) == (np.float32(0.6), np.float32(0.8))
    state = hold(world, 1, s0=(0, 4, 0))[0]
    assert np.arctan2(state[at.VY, 0], state[at.VX, 0]) == pytest.approx(np.arctan2(0.8, 0.6), abs=1e-5)


def test_ten_hits_kill_and_end_the_game() -> None:
    world = quiet_world()
    place(world, 0, 500, 500)
    for hits in range(1, 11):
        put_bullet(world, 1, 480, 500, 600, 0)
        states = hold(world, 3)
        assert states[-1][at.HEALTH, 0] == 100 - 10 * hits
    assert world.status[0] == at.TEAM_1_WON
    assert states[-1][at.VX, 0] == 0 and states[-1][at.TAKEN, 0] == 10
    before = world.state.copy()
    hold(world, 3, s0=BOOST)
    assert np.array_equal(before, world.state), "a game that is over stands still"


def test_bullets_fly_sixty_ticks() -> None:
    world = flyer()
    states = hold(world, 1, s0=FIRE) + hold(world, 60)
    alive = [bool(state[at.BULLET_LIFE, 0]) for state in states]
    assert alive == [True] * 59 + [False] * 2
    first, last = states[0], states[58]
    per_tick = (100 + 500) / 60
    assert (last[at.BULLET_X, 0] - first[at.BULLET_X, 0]) % 1024 == pytest.approx(58 * per_tick, abs=1e-2)
    assert 60 * per_tick == pytest.approx(600)


def test_shots_at_ticks_0_6_12_while_actions_are_held_for_four() -> None:
    world = quiet_world(action_repeat=4)
    states = hold(world, 4, s0=FIRE)
    assert [state[at.SHOTS, 0] for state in states] == [1, 1, 0, 1]
    ages = sorted(60 - state for state in world.state[0, at.BULLET_LIFE :, 0] if state > 0)
    assert [16 - age for age in ages] == [12, 6, 0]


def test_the_short_way_is_across_the_edge() -> None:
    world = quiet_world()
    place(world, 0, 2, 500)
    put_bullet(world, 1, 1015, 500, 600, 0)
    assert hold(world, 2)[-1][at.HEALTH, 0] == 90, "a bullet hits across the seam"
    place(world, 0, 1023.5, 0.25, 120, -60)
    state = hold(world, 1)[0]
    assert state[at.X, 0] == pytest.approx(1.5, abs=0.01) and state[at.Y, 0] == pytest.approx(1023.25, abs=0.02)


def test_friendly_fire_is_on_and_counted_apart() -> None:
    world = quiet_world((2, 1))
    place(world, 1, 500, 500)
    put_bullet(world, 0, 480, 500, 600, 0)
    states = hold(world, 3)
    assert states[-1][at.HEALTH, 1] == 90
    assert [state[at.FRIENDLY, 0] for state in states].count(10) == 1
    assert max(state[at.DEALT, 0] for state in states) == 0


def test_no_ship_hits_itself() -> None:
    world = quiet_world()
    place(world, 0, 500, 500)
    put_bullet(world, 0, 480, 500, 600, 0)
    assert hold(world, 6)[-1][at.HEALTH, 0] == 100


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_earliest_contact_wins_then_the_lower_slot(order: tuple[int, int]) -> None:
    near, far = order
    world = quiet_world((2, 1))
    place(world, near, 504, 500)
    place(world, far, 505, 500)
    put_bullet(world, 2, 490, 500, 900, 0)  # both within one tick: 15 units
    state = hold(world, 1)[0]
    assert (state[at.HEALTH, near], state[at.HEALTH, far]) == (90, 100)
    world = quiet_world((2, 1))
    place(world, near, 504, 505)
    place(world, far, 504, 495)
    put_bullet(world, 2, 490, 500, 900, 0)
    state = hold(world, 1)[0]
    assert (state[at.HEALTH, 0], state[at.HEALTH, 1]) == (90, 100), "equally early"


def test_a_bullet_that_jumps_over_a_ship_between_two_ticks_hits_it() -> None:
    world = quiet_world()
    place(world, 0, 500, 509.9)
    put_bullet(world, 1, 492, 500, 960, 0)  # before: 12.7 away; after: 12.8 away; between: 9.9
    state = hold(world, 1)[0]
    assert np.hypot(492 + 16 - 500, 9.9) > 10 and state[at.HEALTH, 0] == 90
    world = quiet_world()
    place(world, 0, 500, 510.1)
    put_bullet(world, 1, 492, 500, 960, 0)
    assert hold(world, 1)[0][at.HEALTH, 0] == 100


def test_the_sweep_follows_the_ship_too() -> None:
    """The ship passes in front of the bullet: at the tick's begin and end they are apart, on the way they are not."""
    world = quiet_world()
    place(world, 0, 500, 500 - 12.5, 0, 400)
    put_bullet(world, 1, 509.5, 500, 1, 0)
    states = hold(world, 4)
    assert states[-1][at.HEALTH, 0] == 90
    world = quiet_world()
    place(world, 0, 500, 500 - 12.5, 0, -400)
    put_bullet(world, 1, 509.5, 500, 1, 0)
    assert hold(world, 4)[-1][at.HEALTH, 0] == 100


def test_two_that_die_in_one_tick_draw() -> None:
    world = quiet_world()
    for slot, x in ((0, 300), (1, 700)):
        place(world, slot, x, 500, HEALTH=10)
        put_bullet(world, 1 - slot, x - 15, 500, 600, 0)
    hold(world, 1)
    assert world.status[0] == at.DRAW and (world.state[0, at.HEALTH, :2] == 0).all()


def test_the_dead_neither_shoot_nor_are_hit_nor_move() -> None:
    world = quiet_world((2, 1))
    place(world, 0, 500, 500, 50, 0, HEALTH=0)
    put_bullet(world, 2, 480, 500, 600, 0)
    states = hold(world, 5, s0=(1, 1, 1))
    assert states[-1][at.X, 0] == 500 and states[-1][at.SHOTS, 0] == 0
    assert states[-1][at.BULLET_LIFE, 2] == 25, "the bullet flies on through"


def test_the_horizon_is_a_draw() -> None:
    world = quiet_world(horizon=10, action_repeat=4)
    hold(world, 3)
    assert world.status[0] == at.DRAW and world.clock[0, at.CLOCK_TICK] == 10
