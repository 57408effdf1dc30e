from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from auralnav.envs.dogfight import palette
from auralnav.envs.dogfight.render import SIZE, WRECK_SECONDS, draw_scene
from auralnav.envs.dogfight.scene import scene_at

MAP = (512, 512)
"""A map of one drawn pixel a unit: enlarged twice, moving by whole even units moves it by whole pixels."""


def has(picture, colour, tolerance=40):
    """Where a picture has about this colour."""
    return np.abs(picture.astype(int) - colour).max(axis=-1) <= tolerance


def moved(scene, shift):
    size = scene.arena.size
    places = ("position", "bullet_position", "hit_position")
    return dataclasses.replace(scene, **{name: (getattr(scene, name) + shift) % size for name in places})


def test_a_picture_has_its_size_and_is_drawn_alike_each_time(game):
    scene = scene_at(game, 100)
    picture = draw_scene(scene)
    assert picture.dtype == np.uint8 and picture.shape == (SIZE[1], SIZE[0], 3)
    np.testing.assert_array_equal(draw_scene(scene), picture)
    assert draw_scene(scene, (300, 400)).shape == (400, 300, 3)


@pytest.mark.parametrize("tick", [60, 133, 200])
def test_the_torus_has_no_edge_in_the_picture(game, tick):
    """The camera on a ship shows what the whole map shows, rolled: whatever crosses an edge is drawn on both sides."""
    scene = scene_at(game, tick)
    ship = int(np.flatnonzero(scene.dead_for < 0)[0])
    # To even units, where the roll is of whole pixels.
    scene = moved(scene, np.rint(scene.position[ship] / 2) * 2 - scene.position[ship])
    shift = np.rint((512 - scene.position[ship]) / 2).astype(int)
    plain, followed = draw_scene(scene, MAP), draw_scene(scene, MAP, follow=ship)
    rolled = np.roll(plain, (shift[1], shift[0]), axis=(0, 1))
    np.testing.assert_array_equal(rolled, followed)
    assert (np.abs(plain.astype(int) - followed) > 24).any(axis=-1).sum() > 500


def test_a_ship_in_the_corner_appears_in_all_four(simple):
    position = np.array([[[1, 1], [500, 500]]] * 3, np.float32)
    picture = draw_scene(scene_at(simple(position=position), 0), MAP)
    blue = has(picture, palette.TEAMS[0])
    corners = [blue[:12, :12], blue[:12, -12:], blue[-12:, :12], blue[-12:, -12:]]
    assert all(corner.any() for corner in corners)
    assert blue.sum() == sum(corner.sum() for corner in corners)


def test_a_ship_points_where_it_heads_clockwise_with_y_down(simple):
    """The nose is 1.75 radii from the middle, the tail 1.15: more of the ship lies ahead of its place."""
    for angle, ahead in ((0.0, (1, 0)), (np.pi / 2, (0, 1)), (np.pi, (-1, 0)), (-np.pi / 2, (0, -1))):
        position = np.array([[[600, 400], [100, 100]]] * 3, np.float32)
        attitude = np.full((3, 2), angle, np.float32)
        power = np.zeros((3, 2), np.float32)  # no flame
        picture = draw_scene(scene_at(simple(position=position, attitude=attitude, power=power), 0), (1024, 1024))
        rows, columns = np.nonzero(has(picture, palette.TEAMS[0], 12))
        reach = np.stack([columns - 600, rows - 400], 1) @ np.array(ahead)
        assert 14 < reach.max() < 21 and -13 < reach.min() < -5


def test_boost_shows_a_longer_flame_than_coast_and_no_power_none(simple):
    sizes = []
    for gear, power in ((1, 50), (0, 50), (1, 0)):
        action = np.zeros((3, 2, 3), np.uint8)
        action[:, 0, 0] = gear
        replay = simple(action=action, power=np.full((3, 2), power, np.float32), team=np.zeros(2, np.int8))
        sizes.append(int(has(draw_scene(scene_at(replay, 4), (1024, 1024)), palette.FLAME, 60).sum()))
    assert sizes[0] > 2 * sizes[1] > 0 and sizes[2] == 0


def test_wrecks_fade_and_are_gone(simple):
    health = np.array([[100, 100], [100, 0], [100, 0]], np.float32)
    tick = np.array([0, 4, 400], np.int32)
    empty = {"position": np.full((3, 2, 2), 300, np.float32), "velocity": np.zeros((3, 2, 2), np.float32)}
    replay = simple(health=health, tick=tick, **empty)
    here = slice(130, 170)  # about (300, 300)

    def brightness(seconds):
        scene = scene_at(replay, 4 + 60 * seconds)
        alone = dataclasses.replace(scene, position=np.array([[800.0, 800.0], [300.0, 300.0]]))
        alone = dataclasses.replace(alone, bullet_age=alone.bullet_age[:0], hit_age=alone.hit_age[:0])
        return int(draw_scene(alone, MAP)[here, here].astype(int).sum())

    shown = [brightness(seconds) for seconds in (0.1, 1.2, 2.0, WRECK_SECONDS + 0.1, WRECK_SECONDS + 1)]
    assert shown[0] > shown[1] > shown[2] > shown[3] == shown[4]


def test_the_panel_says_what_the_scene_holds(simple):
    """Bars as long as their shares: the panel of a healthy ship against that of one at 30 %."""
    widths = []
    for share in (100, 30):
        health = np.full((3, 2), share, np.float32)
        replay = simple(health=health, bullets=simple().bullets)
        panel = draw_scene(scene_at(replay, 0))[:, 730:]
        colour = palette.health_colour(share / 100)
        widths.append(int(has(panel, colour, 8).sum(axis=1).max()))
    assert widths[0] == pytest.approx(widths[1] / 0.3, rel=0.06)


def test_names_of_any_length_fit_the_panel(simple):
    for names in (("x" * 300, "y"), ("", ""), ("Ж漢🚀", "<b>&amp;")):
        picture = draw_scene(scene_at(simple(names=names), 0))
        assert not has(picture[:, -20:], palette.TEAMS[0]).any()


COLOUR_BLIND = {  # Machado, Oliveira and Fernandes 2009, table 1, severity 1.0; on linear RGB.
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


def lab(colour, matrix):
    """CIELAB of an sRGB colour as it is seen through a matrix (D65)."""
    value = np.asarray(colour) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.asarray(matrix) @ linear, 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear
    f = np.cbrt(xyz / [0.9505, 1.0, 1.089])
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("sight", ["ordinary", *COLOUR_BLIND])
def test_teams_are_told_apart_by_everybody(sight):
    """A difference of 2.3 in CIELAB is just seen; the teams and their bullets are ten times as far apart."""
    matrix = COLOUR_BLIND.get(sight, np.eye(3))
    for pair in (palette.TEAMS, palette.LIGHT):
        assert np.linalg.norm(lab(pair[0], matrix) - lab(pair[1], matrix)) > 23
