"""The page that plays a replay, in a real browser: what it shows, what keys do, and that it asks for nothing."""

from __future__ import annotations

import base64
import dataclasses
import io
import re
import shutil
import time

import numpy as np
import pytest
from PIL import Image

from auralnav.envs.dogfight.html import page, write_page
from auralnav.envs.dogfight.replay_file import load_replay, save_replay
from auralnav.envs.dogfight.scene import scene_at

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser():
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip("no Chromium here: pages are not tested (Debian: apt install chromium)")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield running
        running.close()


class Player:
    """A page that plays a replay, and everything it complained of or asked for."""

    def __init__(self, browser, path, **options):
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page = browser.new_page(**({"viewport": {"width": 1200, "height": 760}} | options))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())
        self.address = path.as_uri()

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)

    def text(self, selector):
        return self.page.inner_text(selector)

    @property
    def tick(self):
        return int(re.match(r"tick (\d+) of", self.text("#tick"))[1])

    def pixels(self):
        """The drawn map, uint8 [side, side, 3]."""
        address = self.page.evaluate("document.getElementById('map').toDataURL('image/png')")
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))).convert("RGB"))

    def wait(self, condition):
        """Until a condition in the page's own words holds: its policy lets no text be run in it later."""
        deadline = time.monotonic() + 20
        while not self.page.evaluate(condition):
            assert time.monotonic() < deadline, condition
            self.page.wait_for_timeout(20)

    def scene(self, tick):
        return self.page.evaluate("tick => sceneAt(replay, tick)", tick)

    def close(self):
        """Close the page; it must have been silent and alone."""
        self.page.close()
        assert self.complaints == [] and self.requests == [self.address]


@pytest.fixture(scope="module")
def kept(game, tmp_path_factory):
    """The game as its file holds it: the page has the same steps."""
    return load_replay(save_replay(tmp_path_factory.mktemp("kept") / "game.npz", game))


@pytest.fixture
def player(browser, kept, tmp_path):
    opened = Player(browser, write_page(tmp_path / "game.html", kept))
    yield opened
    opened.close()


@pytest.mark.parametrize("every_tick", [True, False])
def test_the_page_and_the_renderer_show_the_same_scene(browser, played, tmp_path, every_tick):
    """Its own script, against `scene_at`: ships, bullets, hits and tallies at moments on and between frames."""
    replay = load_replay(save_replay(tmp_path / "a.npz", played(2, every_tick)))
    player = Player(browser, write_page(tmp_path / "a.html", replay))
    for tick in (0, 1, 37.25, 90, 119.5, 158.75, replay.last_tick, replay.last_tick + 20):
        ours, theirs = scene_at(replay, tick), player.scene(tick)
        assert theirs["tick"] == ours.tick and theirs["result"] == ours.result
        for name, key in (
            ("health", "health"), ("power", "power"), ("attitude", "attitude"), ("dead_for", "deadFor"),
            ("shots", "shots"), ("hits", "hits"), ("team", "team"), ("action", "action"),
        ):  # fmt: skip
            np.testing.assert_allclose([s[key] for s in theirs["ships"]], getattr(ours, name), atol=2e-4)
        for name, part in (("position", "ships"), ("bullet_position", "bullets"), ("hit_position", "flashes")):
            places = np.array([[s["x"], s["y"]] for s in theirs[part]]).reshape(-1, 2)
            apart = (places - getattr(ours, name) + 512) % 1024 - 512
            assert np.abs(apart).max(initial=0) < 2e-3
        np.testing.assert_allclose([s["vx"] for s in theirs["ships"]], ours.velocity[:, 0], atol=1e-3)
        np.testing.assert_allclose([b["age"] for b in theirs["bullets"]], ours.bullet_age, atol=1e-6)
        np.testing.assert_allclose([b["owner"] for b in theirs["bullets"]], ours.bullet_owner)
        np.testing.assert_allclose([f["age"] for f in theirs["flashes"]], ours.hit_age, atol=1e-6)
    player.close()


def test_keys_move_the_moment_and_the_picture(player, kept):
    assert player.tick == 0 and player.text("#seconds") == "0.0 s"
    first = player.pixels()
    player.press("ArrowRight")
    assert player.tick == 4
    assert (player.pixels() != first).any()
    player.press("ArrowRight", ".", "Shift+ArrowRight")
    assert player.tick == 69
    player.press("Shift+ArrowLeft", "ArrowLeft", ",")
    assert player.tick == 4
    player.press("ArrowLeft", "ArrowLeft")
    assert player.tick == 0
    np.testing.assert_array_equal(player.pixels(), first)
    player.press("End")
    assert player.tick == kept.last_tick and player.text("#banner") == kept.result
    player.press("ArrowRight")
    assert player.tick == kept.last_tick
    player.press("Home")
    assert player.tick == 0 and not player.page.is_visible("#banner")


def test_keys_work_wherever_the_focus_is(player):
    """A slider takes arrows, a button takes the space bar: here both are the page's."""
    player.page.focus("#scrub")
    player.press("ArrowRight", "ArrowRight")
    assert player.tick == 8
    player.page.focus("#finish")
    player.press(" ")
    assert player.tick < 60  # it plays; the button would have gone to the end
    player.press(" ")
    player.page.focus("#speed")
    player.press("ArrowUp")
    assert player.page.input_value("#speed") == "2"


def test_it_plays_in_real_time_and_stops_at_the_end(player, kept):
    player.press(" ")
    player.wait("view.tick >= 30")
    # What was shown at the browser's last frame, and when that was, however slow its frames come.
    began = player.page.evaluate("[view.tick, view.before]")
    player.page.wait_for_timeout(500)
    ended = player.page.evaluate("[view.tick, view.before]")
    assert ended[1] - began[1] > 200
    assert (ended[0] - began[0]) / (ended[1] - began[1]) * 1000 == pytest.approx(60, abs=0.01)
    player.press(" ")
    still = player.tick
    player.page.wait_for_timeout(100)
    assert player.tick == still
    player.press("End", "ArrowLeft", "ArrowUp", "ArrowUp", " ")
    player.wait("!view.playing")
    assert player.tick == kept.last_tick
    player.press(" ")
    assert player.tick < kept.last_tick // 2  # from the start again


def test_the_numbers_are_those_of_the_replay(player, kept):
    scene = scene_at(kept, 60)
    player.press("Shift+ArrowRight", "6")
    assert player.text("#chosen") == f"ship 6 · {kept.names[5]}"
    assert player.text("#ship-position") == f"{scene.position[5, 0]:.1f}, {scene.position[5, 1]:.1f}"
    assert player.text("#ship-speed") == f"{np.hypot(*scene.velocity[5]):.1f} u/s"
    assert player.text("#ship-attitude") == f"{np.degrees(scene.attitude[5]) % 360:.1f}°"
    assert player.text("#ship-health") == f"{scene.health[5]:.0f}"
    assert player.text("#ship-hits") == f"{scene.hits[5]} of {scene.shots[5]} shots"
    tally = f"{scene.hits[:4].sum()} hits of {scene.shots[:4].sum()} shots"
    assert tally in player.text(".team:first-child")
    player.press("End")
    alive = int((kept.health[-1, 4:] > 0).sum())
    assert f"{alive} of 4 alive" in player.text(".team:last-child")
    dead = int(np.flatnonzero(kept.health[-1] <= 0)[0])
    player.press(str(dead + 1))
    assert "shot down" in player.text("#ship-action")
    player.press("Escape")
    assert player.text("#chosen") == "no ship selected"


def test_a_ship_is_selected_by_a_click_and_followed(player, kept):
    player.press("Shift+ArrowRight")
    side = player.page.locator("#map").bounding_box()["width"] - 2
    scene = scene_at(kept, 60)
    alone = next(
        ship for ship in range(8)
        if np.sort(np.hypot(*((scene.position - scene.position[ship] + 512) % 1024 - 512).T))[1] > 80
    )  # fmt: skip
    x, y = scene.position[alone] / 1024 * side
    player.page.click("#map", position={"x": float(x) + 1, "y": float(y) + 1})
    assert player.text("#chosen").startswith(f"ship {alone + 1} ")
    whole = player.pixels()
    player.press("f")
    followed = player.pixels()
    colour = (86, 180, 233) if alone < 4 else (240, 150, 30)
    middle = followed.shape[0] // 2
    near = followed[middle - 12 : middle + 12, middle - 12 : middle + 12].astype(int)
    assert (np.abs(near - colour).max(axis=-1) < 30).sum() > 40
    player.press("f")
    np.testing.assert_array_equal(player.pixels(), whole)
    player.page.click(f"[data-ship='{alone + 1}']")
    assert player.text("#chosen") == "no ship selected"


def test_the_timeline_moves_and_marks_hits_and_kills(player, kept):
    box = player.page.locator("#scrub").bounding_box()
    player.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert player.tick == pytest.approx(kept.last_tick / 2, abs=2)
    columns = player.page.evaluate(
        "() => { const c = document.getElementById('marks');"
        " const d = c.getContext('2d').getImageData(0, 0, c.width, 9).data; const seen = [];"
        " for (let x = 0; x < c.width; x++) for (let y = 0; y < 9; y++)"
        "   if (d[4 * (y * c.width + x) + 3] > 128) { seen.push(x / c.width); break; } return seen; }"
    )
    deaths = np.sort(kept.death_tick[kept.death_tick >= 0]) / kept.last_tick
    away = np.abs(np.array(columns)[:, None] - deaths[None])
    assert (away.min(axis=0) < 0.012).all() and (away.min(axis=1) < 0.02).all()


def test_nothing_in_a_name_becomes_part_of_the_page(browser, simple, tmp_path):
    names = ("</script><script>document.title='taken'</script>", "<img src=x onerror=\"document.title='taken'\">")
    replay = simple(names=names, settings={"<b>{data}": "</SCRIPT><!--{script}"}, finished=True, winner=0)
    player = Player(browser, write_page(tmp_path / "a.html", replay))
    player.press("End", "1")
    assert player.text("#chosen") == f"ship 1 · {names[0]}"
    assert player.text("#banner") == f"{names[0]} wins"
    assert names[1] in player.page.title() and "taken" != player.page.title()
    player.page.click("summary")
    assert "</SCRIPT><!--{script}" in player.text("#facts")
    assert player.page.locator("img, main script, b#taken").count() == 0
    # What is not in the page's own script cannot run, whoever puts it there.
    blocked = player.page.evaluate(
        "() => { const s = document.createElement('script'); s.textContent = 'window.ran = 1';"
        " document.body.append(s); return window.ran; }"
    )
    assert blocked is None
    assert any("Content Security Policy" in complaint for complaint in player.complaints)
    player.complaints.clear()
    player.close()


def test_a_page_fits_a_narrow_screen(browser, kept, tmp_path):
    path = write_page(tmp_path / "a.html", kept)
    player = Player(browser, path, viewport={"width": 420, "height": 800}, device_scale_factor=2)
    assert player.page.evaluate("document.documentElement.scrollWidth") <= 420
    assert player.pixels().shape[0] > 600  # drawn at the screen's own resolution
    player.close()


def test_the_page_asks_for_nothing_by_its_text(kept):
    text = page(kept)
    assert re.findall(r"(?:https?:)?//[a-z]", text.split("<script")[0]) == []
    assert re.findall(r"\b(?:src|href|url|import|fetch|XMLHttpRequest|WebSocket)\b\s*[=(]", text) == []
    assert "default-src 'none'" in text
    assert len(page(dataclasses.replace(kept, settings={}))) < 150_000
