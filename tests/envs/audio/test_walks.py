"""The kernels that move and reward many agents against plain Python, one agent and one formula at a time."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from auralnav.envs.acoustics.soundbank import open_bank
from auralnav.envs.audio.episode import BODY_RADIUS, Episode, draw_episode
from auralnav.envs.audio.settings import AudioSettings
from auralnav.envs.audio.tour import TourPotential
from auralnav.envs.audio.walks import Walks

CASES = {
    "shoebox": {},
    "polygon": {"room": "polygon", "layout": "random", "num_obstacles": (1, 3), "num_sources": 3},
    "distractors": {"distractors": 2, "found_radius": 2.0, "shaping_scale": 0.7},
    "continuous": {"continuous": True, "found_radius": 2.0},
    "otoworld": {"reward": "otoworld", "found_radius": 2.0},
}


class PlainWalk:
    """One agent's walk and reward by their definitions."""

    def __init__(self, settings: AudioSettings, episode: Episode) -> None:
        self.settings, self.episode = settings, episode
        self.x, self.y, self.theta = episode.start
        self.left = list(range(settings.num_sources))
        self.places = episode.places(0)[:, :2]
        self.potential = self.tour()
        self.steps, self.length, self.bumped = 0, 0.0, False

    def tour(self) -> float:
        """Minus the shortest of all tours through what is left."""
        distance = self.episode.geo.distance
        tours = [
            sum(distance(a, b) for a, b in itertools.pairwise([(self.x, self.y), *self.places[list(order)]]))
            for order in itertools.permutations(self.left)
        ]
        return -min(tours)

    def step(self, action) -> list[float]:
        """Move and find; the terms of the reward."""
        settings = self.settings
        if settings.continuous:
            forward, rate = action
        else:
            forward, rate = ((1, 0), (-1, 0), (0, 1), (0, -1))[action]
        self.theta += rate * math.radians(settings.turn_deg)
        x = self.x + forward * settings.step_size * math.cos(self.theta)
        y = self.y + forward * settings.step_size * math.sin(self.theta)
        self.bumped = not self.episode.plan.segment_free((self.x, self.y), (x, y), BODY_RADIUS)
        if not self.bumped:
            self.length += math.dist((x, y), (self.x, self.y))
            self.x, self.y = x, y
        self.steps += 1
        distances = [self.episode.geo.distance((self.x, self.y), place) for place in self.places]
        found = [k for k in self.left if distances[k] <= settings.found_radius]
        self.left = [k for k in self.left if k not in found]
        before, self.potential = self.potential, self.tour()
        if settings.reward == "shaped":
            near = any(d <= settings.found_radius for d in distances[settings.num_sources :])
            return [
                10.0 * len(found),
                -0.01,
                settings.shaping_scale * (self.potential - before),
                0.0 if self.left else 10.0,
                -0.5 if near else 0.0,
            ]
        closeness = 0.0 if found else 1.0 / min(distances[k] for k in self.left)
        return [100.0 * len(found), -0.5, -0.1 if rate else 0.0, closeness]


@pytest.mark.parametrize("case", CASES)
def test_walks_are_their_definitions(case: str) -> None:
    settings = AudioSettings.make({"rt60": 0.0, "horizon": 60, **CASES[case]})
    bank = open_bank(settings.sounds, settings.fs, settings.split)
    count = 4
    walks, plain = Walks(settings, count), []
    for room in range(count):
        episode = draw_episode(room, settings, bank)
        tour = TourPotential(episode.geo, episode.places(0)[: settings.num_sources, :2])
        walks.begin(room, episode)
        walks.place(room, tour, episode.places(0)[settings.num_sources :, :2])
        plain.append(PlainWalk(settings, episode))
        walks.potential[room] = plain[room].potential
    rng = np.random.default_rng(0)
    running = np.ones(count, dtype=bool)
    bumps = found = 0
    for _ in range(80):
        rooms = np.flatnonzero(running & (rng.random(count) < 0.8))  # some stand still
        still = walks.poses.copy()
        actions = rng.uniform(-1, 1, (len(rooms), 2)) if settings.continuous else rng.integers(0, 4, len(rooms))
        walks.move(rooms, actions)
        found += walks.score(rooms)
        for room, action in zip(rooms, actions, strict=True):
            me = plain[room]
            assert np.allclose(walks.terms[room], me.step(action), atol=1e-9)
            assert walks.rewards[room] == pytest.approx(sum(walks.terms[room]), abs=1e-12)
            assert np.allclose(walks.poses[room], (me.x, me.y, me.theta), atol=1e-9)
            assert np.array_equal(walks.previous[room], still[room])
            assert walks.bumped[room] == me.bumped and walks.path_length[room] == pytest.approx(me.length)
            assert [k for k, at in enumerate(walks.found_step[room]) if at < 0] == me.left
            assert walks.terminated[room] == (not me.left)
            assert walks.truncated[room] == (bool(me.left) and me.steps >= 60)
            bumps += me.bumped
            running[room] = not (walks.terminated[room] or walks.truncated[room])
        assert np.array_equal(walks.poses[np.setdiff1d(np.arange(count), rooms)], np.delete(still, rooms, 0))
    info = np.empty((count, 4), dtype=np.float32)
    walks.odometry(info)
    for row, me in zip(info, plain, strict=True):
        turned = me.theta - me.episode.start[2]
        assert np.allclose(row, [math.cos(turned), math.sin(turned), me.bumped, 1 - me.steps / 60], atol=1e-6)
    assert bumps > 0 and not running.all()
    assert found == sum(settings.num_sources - len(me.left) for me in plain)
