"""Observations beside their formulas in float64, and what they must not depend on."""

from __future__ import annotations

import numpy as np
import pytest
from dogfight_setups import brawl, place, quiet_world, random_actions

from auralnav.envs.dogfight import layout as at
from auralnav.envs.dogfight.observe import Observer, flat_size
from auralnav.envs.dogfight.observe_rules import EDGE, INTRINSIC, RELATION
from auralnav.envs.dogfight.world import FEW, DogfightWorld
from auralnav.errors import ConfigError


def played(worlds: int = 30) -> DogfightWorld:
    world = brawl(worlds, [(4, 4), (1, 1), (2, 5)] * (worlds // 3), seed=8)
    rng = np.random.default_rng(1)
    for _ in range(60):
        world.step(random_actions(rng, worlds))
    return world


def by_hand(state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """INTRINSIC and EDGE of [W, ROWS, 8], with angles where the kernels have products."""
    s = {name: state[:, getattr(at, name)].astype(np.float64) for name in (
        "X", "Y", "VX", "VY", "COS", "SIN", "HEALTH", "POWER", "ACC_X", "ACC_Y", "OMEGA", "SHOTS"
    )}  # fmt: skip
    alive = s["HEALTH"] > 0
    own = np.stack(
        [s["VX"] / 180, s["VY"] / 180, s["OMEGA"] / (2 * np.pi), s["ACC_X"] / 150, s["ACC_Y"] / 150, s["COS"], s["SIN"],
         np.hypot(s["VX"], s["VY"]) / 180, s["HEALTH"] / 100, s["POWER"] / 100, s["SHOTS"] > 0], -1
    )  # fmt: skip
    dx, dy, dvx, dvy = (s[name][:, None, :] - s[name][:, :, None] for name in ("X", "Y", "VX", "VY"))
    dx, dy = (dx + 512) % 1024 - 512, (dy + 512) % 1024 - 512
    distance, sight = np.hypot(dx, dy), np.arctan2(dy, dx)
    nose = np.arctan2(s["SIN"], s["COS"])
    octave = 2 * np.pi * 2.0 ** np.arange(8) / 1024
    closing = -(dvx * np.cos(sight) + dvy * np.sin(sight))
    with np.errstate(divide="ignore", invalid="ignore"):
        time = np.where(closing > 0, np.minimum(distance / closing, 10), 10) / 10
    ata, aa = sight - nose[:, :, None], sight - nose[:, None, :]
    hca = nose[:, None, :] - nose[:, :, None]
    waves = [wave(d[..., None] * octave) for d in (dx, dy) for wave in (np.sin, np.cos)]
    scalars = [dvx / 180, dvy / 180, np.sin(ata), np.cos(ata), np.sin(aa), np.cos(aa), np.sin(hca), np.cos(hca),
               np.log1p(distance), closing / 180, time, np.cos(sight), np.sin(sight)]  # fmt: skip
    edges = np.concatenate([*waves, np.stack(scalars, -1)], -1)
    there = alive[:, :, None] & alive[:, None, :] & ~np.eye(at.SLOTS, dtype=bool)
    return own * alive[..., None], edges * there[..., None]


def test_observations_are_their_formulas() -> None:
    world = played()
    own, edges = Observer(world).observe()
    own_by_hand, edges_by_hand = by_hand(world.state)
    assert own.shape == (30, 8, len(INTRINSIC)) and edges.shape == (30, 8, 8, len(EDGE))
    assert (len(INTRINSIC), len(EDGE), own.dtype, edges.dtype) == (11, 45, np.float32, np.float32)
    assert np.abs(own - own_by_hand).max() <= 2e-6
    for k, name in enumerate(EDGE):
        # A time is a quotient: where the ships hardly close, a rounding of their speeds moves it.
        tolerance = 2e-4 if name == "time_to_go" else 2e-6
        assert np.abs(edges[..., k] - edges_by_hand[..., k]).max() <= tolerance, name
    assert ((world.state[:, at.HEALTH] <= 0) & (world.state[:, at.TEAM] >= 0)).any(), "some are dead"


def test_flat_is_the_factorised_form_without_waves_and_diagonal() -> None:
    world = played()
    observer = Observer(world)
    own, edges = observer.observe()
    pairs = ~np.eye(8, dtype=bool)
    expected = np.concatenate([own.reshape(30, -1), edges[:, pairs][..., -len(RELATION) :].reshape(30, -1)], 1)
    assert flat_size(8) == expected.shape[1] and np.array_equal(observer.flatten(), expected)


@pytest.mark.parametrize("ships", range(1, 9))
@pytest.mark.parametrize("worlds", [3, 2 * FEW + 5])
def test_fewer_ships_are_the_first_of_eight(ships: int, worlds: int) -> None:
    world = brawl(worlds, (4, 4), seed=3)
    world.step()
    whole, part = Observer(world, 8), Observer(world, ships)
    own, edges = whole.observe()
    own_part, edges_part = part.observe()
    assert np.array_equal(own_part, own[:, :ships]) and np.array_equal(edges_part, edges[:, :ships, :ships])
    pairs = ~np.eye(ships, dtype=bool)
    tails = edges_part[:, pairs][..., -len(RELATION) :].reshape(worlds, -1)
    assert np.array_equal(part.flatten(), np.concatenate([own_part.reshape(worlds, -1), tails], 1))


def test_a_world_shows_as_many_ships_as_it_has() -> None:
    assert Observer(DogfightWorld(2, [(1, 1), (2, 3)])).ships == 5
    with pytest.raises(ConfigError, match="ships=9"):
        Observer(DogfightWorld(), 9)


def test_angles_have_the_signs_that_a_pilot_expects() -> None:
    world = quiet_world()
    place(world, 0, 500, 500, 100, 0)
    place(world, 1, 500, 600, 0, 100)
    seen = dict(zip(EDGE, Observer(world).observe()[1][0, 0, 1], strict=True))
    assert (seen["sin_ata"], seen["cos_ata"]) == (1, 0), "y is down: it is to the right"
    assert (seen["sin_aa"], seen["cos_aa"]) == (0, 1), "seen from behind"
    assert (seen["sin_hca"], seen["cos_hca"]) == (1, 0), "it flies off to the right"
    assert seen["closing"] == pytest.approx(-100 / 180) and seen["time_to_go"] == 1
    assert (seen["ux"], seen["uy"]) == (0, 1)


def test_ships_on_top_of_each_other_give_no_nan() -> None:
    world = quiet_world()
    place(world, 0, 500, 500, 100, 0)
    place(world, 1, 500, 500, -100, 0)
    own, edges = Observer(world).observe()
    assert np.isfinite(own).all() and np.isfinite(edges).all()
    assert edges[0, 0, 1, EDGE.index("log_distance")] == pytest.approx(0, abs=1e-6)
