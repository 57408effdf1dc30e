from __future__ import annotations

import builtins
import sys
import types
from typing import Any

import numpy as np
import pytest

from auralnav.envs.audio.geometry import FloorPlan
from auralnav.envs.audio.palette import FLOOR, FOUND_GREY, GOOD, LEFT, RIGHT, class_colour
from auralnav.envs.audio.panel import level_db
from auralnav.envs.audio.render import MapView, _room, draw_scene
from auralnav.envs.window import Window
from auralnav.errors import MissingDependencyError

SIZE = (960, 640)


def scene(**changes: Any) -> dict[str, Any]:
    plan = FloorPlan(
        np.array([[0, 0], [8, 0], [8, 6], [0, 6]], float),
        (np.array([[5, 1], [6, 1], [6, 2], [5, 2]], float),),
    )
    values = {
        "plan": plan,
        "agent": (2.0, 3.0, np.pi / 2),
        "sources": np.array([[6.0, 4.0], [0.5, 5.0]]),
        "found": np.array([False, False]),
        "classes": ["telephone", "running_water"],
        "trail": np.array([[1.0, 2.0], [2.0, 3.0]]),
        "audio": np.stack([np.full(4000, 0.1), np.full(4000, 0.01)]).astype(np.float32),
        "step": 12,
        "horizon": 200,
        "found_radius": 1.0,
        "distractors": np.zeros((0, 2)),
        "fs": 16_000,
        "bumped": False,
    }
    return {**values, **changes}


def colour_at(picture: np.ndarray, s: dict[str, Any], x: float, y: float) -> np.ndarray:
    column, row = MapView(s["plan"].bounds, SIZE[1], SIZE[1])([x, y]).round().astype(int)
    return picture[row, column].astype(int)


def close(colour: np.ndarray, wanted: tuple[int, int, int], tolerance: int = 30) -> bool:
    return bool(np.abs(colour - np.array(wanted)).max() <= tolerance)


def count(picture: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((np.abs(picture.astype(int) - colour).max(axis=-1) <= 8).sum())


def test_the_map_shows_floor_and_obstacle_in_their_places():
    s = scene()
    picture = draw_scene(s, SIZE)
    assert picture.shape == (640, 960, 3) and picture.dtype == np.uint8
    assert close(colour_at(picture, s, 3.5, 1.5), FLOOR, 12)
    assert not close(colour_at(picture, s, 5.5, 1.5), FLOOR, 40)


@pytest.mark.parametrize("theta", [0.0, np.pi / 2, np.pi, -2.0])
def test_the_left_ear_is_left_of_the_heading(theta):
    s = scene(agent=(3.0, 3.0, theta), trail=np.zeros((0, 2)))
    picture = draw_scene(s, SIZE)
    pixels_per_metre = MapView(s["plan"].bounds, SIZE[1], SIZE[1]).scale
    reach = 22.0 / pixels_per_metre
    left = (3 - reach * np.sin(theta), 3 + reach * np.cos(theta))
    right = (3 + reach * np.sin(theta), 3 - reach * np.cos(theta))
    assert close(colour_at(picture, s, *left), LEFT)
    assert close(colour_at(picture, s, *right), RIGHT)


def test_a_found_source_turns_grey_and_all_found_says_so():
    hidden = draw_scene(scene(), SIZE)
    one = draw_scene(scene(found=np.array([True, False])), SIZE)
    everything = draw_scene(scene(found=np.array([True, True])), SIZE)
    telephone = class_colour("telephone")
    assert count(hidden[:, :640], telephone) > 100
    assert count(one[:, :640], telephone) == 0
    assert count(one, FOUND_GREY) > count(hidden, FOUND_GREY) + 100
    assert count(everything, GOOD) > count(one, GOOD) + 100


def test_the_found_radius_stops_at_the_wall():
    s = scene(sources=np.array([[6.0, 4.0], [0.5, 3.0]]))
    picture = draw_scene(s, SIZE)
    without = draw_scene(scene(sources=np.array([[6.0, 4.0], [6.0, 3.0]])), SIZE)
    view = MapView(s["plan"].bounds, SIZE[1], SIZE[1])
    x = int(view([0.0, 3.0])[0]) - 4  # outside the left wall
    np.testing.assert_array_equal(picture[100:280, : x - 1], without[100:280, : x - 1])


def test_meters_follow_the_levels():
    np.testing.assert_allclose(level_db(scene()["audio"]), [-20.0, -40.0], atol=0.01)
    picture = draw_scene(scene(), SIZE)[300:350, 640:]
    assert count(picture, LEFT) > 1.6 * count(picture, RIGHT)


def test_another_room_is_drawn_anew():
    before = draw_scene(scene(), SIZE)
    small = FloorPlan.shoebox(4.0, 6.0)
    other = draw_scene(scene(plan=small, sources=np.ones((2, 2))), SIZE)
    assert (before != other).any()
    np.testing.assert_array_equal(draw_scene(scene(), SIZE), before)


def test_a_square_picture_has_no_panel_and_odd_names_work():
    assert draw_scene(scene(classes=["my-file_01", "ü"]), (320, 320)).shape == (320, 320, 3)
    assert class_colour("my-file_01") == class_colour("my-file_01")
    crowded = scene(distractors=np.array([[4.0, 5.0]]), distractor_classes=["bird"], bumped=True)
    assert (draw_scene(crowded, SIZE) != draw_scene(scene(), SIZE)).any()


def test_the_room_is_drawn_once_an_episode():
    s = scene()
    first, again = _room(s["plan"], *SIZE, 200), _room(s["plan"], *SIZE, 200)
    assert first[0] is again[0] and first[1] is again[1]


def test_a_window_without_tkinter_or_display_names_the_fix(monkeypatch):
    real = builtins.__import__

    def no_tkinter(name, *args, **kwargs):
        if name == "tkinter":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.delenv("DISPLAY", raising=False)
    with monkeypatch.context() as patch:
        patch.setattr(builtins, "__import__", no_tkinter)
        with pytest.raises(MissingDependencyError, match="apt install python3-tk"):
            Window().show(np.zeros((4, 4, 3), np.uint8))
    window = Window()
    with pytest.raises(MissingDependencyError, match=r"display|tkinter"):
        window.show(np.zeros((4, 4, 3), np.uint8))
    assert not window.is_open
    window.close()


class FakeTk(types.ModuleType):
    """As much of tkinter as a window needs; `click` is what the next update finds in the queue."""

    TclError = RuntimeError

    def __init__(self) -> None:
        super().__init__("tkinter")
        self.opened = 0
        self.on_close = self.click = None

    def Tk(self):
        self.opened += 1
        return types.SimpleNamespace(
            title=lambda text: None,
            resizable=lambda *sides: None,
            protocol=lambda name, call: setattr(self, "on_close", call),
            destroy=lambda: None,
        )

    def Label(self, *args, **options):
        def update():
            if self.click is not None:
                self.click()

        return types.SimpleNamespace(pack=lambda: None, configure=lambda **options: None, update=update)

    def PhotoImage(self, **options):
        return options["data"]


def test_a_window_a_person_closed_stays_closed(monkeypatch):
    tk = FakeTk()
    monkeypatch.setitem(sys.modules, "tkinter", tk)
    picture = np.zeros((4, 4, 3), np.uint8)
    window = Window()
    window.show(picture)
    assert window.is_open
    tk.click = tk.on_close
    window.show(picture)
    assert not window.is_open
    window.show(picture)
    assert not window.is_open and tk.opened == 1
    other = Window()  # one closed by the program opens again
    tk.click = None
    other.show(picture)
    other.close()
    other.show(picture)
    assert other.is_open and tk.opened == 3
