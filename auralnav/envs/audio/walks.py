"""Where the agents of many worlds walk, what they find and what that earns: one call a step for all of them.

Python would take longer over one world's step than the kernels over a room full of worlds, and would keep other
threads waiting for the GIL. The kernels keep it too: they take less time than handing it over would.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from auralnav.envs.audio.episode import BODY_RADIUS, Episode
from auralnav.envs.audio.geodesic import reaches_from
from auralnav.envs.audio.geometry import segment_free
from auralnav.envs.audio.motion import LEFT, RIGHT, advance, heading, move_pose
from auralnav.envs.audio.settings import AudioSettings
from auralnav.envs.audio.tour import TourPotential, source_distances, tour_length

REWARD_TERMS = {
    "shaped": ("found", "step", "shaping", "complete", "distractor"),
    "otoworld": ("found", "step", "turn", "closeness"),
}
"""Names of the terms of each reward, in the order in which they are summed."""


class Walks:
    """Agents in `rooms` rooms; every array's first axis is the room.

    Args:
        settings: the environment's arguments.
        rooms: R.

    Attributes:
        poses: float64 [R, 3] x, y in m and heading in rad; `previous` those before the last step.
        theta0: float64 [R] rad; the heading is theta0 + turns · turn.
        turns: int64 [R].
        steps: int64 [R] steps taken.
        found_step: int64 [R, K] step at which each source was found, −1: not yet.
        bumped: bool [R] whether the last step met a wall; `bumps` int64 [R] how many have.
        path_length: float64 [R] m walked.
        potential: float64 [R] minus the shortest tour through what remains, m.
        terms: float64 [R, T] of the last step's reward, in the order of REWARD_TERMS.
        rewards: float64 [R] their sums.
        terminated, truncated: bool [R] whether the last step ended the episode.
    """

    def __init__(self, settings: AudioSettings, rooms: int) -> None:
        self._settings = settings
        # As floats, so that the kernels are compiled for one type of them.
        self._step_size, self._turn = float(settings.step_size), settings.turn
        self._radius = float(settings.found_radius)
        self._scales = (
            float(settings.found_reward),
            float(settings.step_penalty),
            float(settings.shaping_scale),
            float(settings.completion_reward),
            float(settings.distractor_penalty),
        )
        sources, places = settings.num_sources, settings.num_sources + settings.distractors
        self.poses = np.zeros((rooms, 3))
        self.previous = np.zeros((rooms, 3))
        self.starts = np.zeros(rooms)  # headings
        self.theta0 = np.zeros(rooms)
        self.turns = np.zeros(rooms, dtype=np.int64)
        self.steps = np.zeros(rooms, dtype=np.int64)
        self.found_step = np.full((rooms, sources), -1, dtype=np.int64)
        self.bumped = np.zeros(rooms, dtype=np.bool_)
        self.bumps = np.zeros(rooms, dtype=np.int64)
        self.path_length = np.zeros(rooms)
        self.potential = np.zeros(rooms)
        self.terms = np.zeros((rooms, len(REWARD_TERMS[settings.reward])))
        self.rewards = np.zeros(rooms)
        self.terminated = np.zeros(rooms, dtype=np.bool_)
        self.truncated = np.zeros(rooms, dtype=np.bool_)
        self._turned = np.zeros(rooms, dtype=np.bool_)
        # Floors differ in their numbers of walls and corners: rows beyond a room's own are unused.
        self._walls = np.zeros(rooms, dtype=np.int64)
        self._segments = np.zeros((rooms, 0, 4))
        self._bends = np.zeros(rooms, dtype=np.int64)
        self._corners = np.zeros((rooms, 0, 2))
        self._places = np.zeros((rooms, places, 2))
        self._reach = np.zeros((rooms, places, 0))
        self._tails = np.zeros((rooms, 1 << sources, sources))

    def begin(self, room: int, episode: Episode) -> None:
        """Put a room's agent at the start of an episode; `place` must follow."""
        geo = episode.geo
        walls, bends = len(geo.segments), len(geo.corners)
        self._segments = _wide(self._segments, walls)
        self._corners = _wide(self._corners, bends)
        self._reach = np.ascontiguousarray(_wide(self._reach.swapaxes(1, 2), bends).swapaxes(1, 2))
        self._walls[room], self._segments[room, :walls] = walls, geo.segments
        self._bends[room], self._corners[room, :bends] = bends, geo.corners
        x, y, theta = episode.start
        self.poses[room] = self.previous[room] = x, y, theta
        self.theta0[room] = self.starts[room] = theta
        self.turns[room] = self.steps[room] = self.bumps[room] = 0
        self.found_step[room] = -1
        self.bumped[room] = False
        self.path_length[room] = 0.0

    def place(self, room: int, tour: TourPotential, distractors: np.ndarray) -> None:
        """Put a room's sources, those of `tour`, and distractors [D, 2] where they are now."""
        sources = len(tour.sources)
        geo = tour.geo
        bends = self._bends[room]
        self._places[room, :sources] = tour.sources
        self._reach[room, :sources, :bends] = tour.reach
        self._tails[room] = tour.tails
        if len(distractors):
            self._places[room, sources:] = distractors
            reach = reaches_from(geo.segments, geo.corners, geo.lengths, distractors)
            self._reach[room, sources:, :bends] = reach

    def move(self, rooms: np.ndarray, actions: Any) -> None:
        """Carry out one action in each of the rooms (int64 [r]).

        Args:
            rooms: int64 [r].
            actions: [r] 0 to 3, or [r, 2] forward speed and turn rate where actions are continuous.
        """
        continuous = self._settings.continuous
        (steer if continuous else walk)(
            rooms,
            np.asarray(actions, dtype=np.float64 if continuous else np.int64),
            self._step_size,
            self._turn,
            self._segments,
            self._walls,
            self.poses,
            self.previous,
            self.theta0,
            self.turns,
            self.bumped,
            self.bumps,
            self.path_length,
            self._turned,
            self.steps,
        )

    def score(self, rooms: np.ndarray) -> int:
        """Find what is within reach in the rooms that have moved, and reward it; the number of sources found."""
        return score(
            rooms,
            self._settings.reward == "shaped",
            self._radius,
            self._settings.horizon,
            *self._scales,
            self._segments,
            self._walls,
            self._corners,
            self._bends,
            self._places,
            self._reach,
            self._tails,
            self.poses,
            self._turned,
            self.steps,
            self.found_step,
            self.potential,
            self.terms,
            self.rewards,
            self.terminated,
            self.truncated,
        )

    def odometry(self, out: np.ndarray) -> None:
        """Write cos θ and sin θ since the start, the last bump and the share of the horizon left; float32 [R, 4]."""
        odometry(self.poses, self.starts, self.bumped, self.steps, self._settings.horizon, out)


def _wide(array: np.ndarray, count: int) -> np.ndarray:
    """`array` with at least `count` entries on its second axis."""
    more = count - array.shape[1]
    return np.pad(array, ((0, 0), (0, more), (0, 0))) if more > 0 else array


@njit(cache=True)
def walk(
    rooms, actions, step_size, turn, segments, walls, poses, previous, theta0, turns, bumped, bumps, path_length,
    turned, steps,
):  # fmt: skip
    """Carry out the discrete actions (int64 [r]) of the rooms' agents; the arrays are those of :class:`Walks`."""
    for i in range(rooms.shape[0]):
        room = rooms[i]
        x, y = poses[room, 0], poses[room, 1]
        nx, ny, turns[room] = move_pose(x, y, theta0[room], turns[room], actions[i], step_size, turn)
        theta = heading(theta0[room], turns[room], turn)
        turned[room] = actions[i] == LEFT or actions[i] == RIGHT
        arrive(room, nx, ny, theta, segments, walls, poses, previous, bumped, bumps, path_length, steps)


@njit(cache=True)
def steer(
    rooms, actions, step_size, turn, segments, walls, poses, previous, theta0, turns, bumped, bumps, path_length,
    turned, steps,
):  # fmt: skip
    """As :func:`walk` for actions [r, 2]: forward speed and turn rate as fractions of a step.

    The turn moves the reference, so that the heading stays theta0 + turns · turn.
    """
    for i in range(rooms.shape[0]):
        room = rooms[i]
        forward, rate = actions[i, 0], actions[i, 1]
        theta0[room] += rate * turn
        theta = heading(theta0[room], turns[room], turn)
        nx, ny = advance(poses[room, 0], poses[room, 1], theta, forward * step_size)
        turned[room] = rate != 0.0
        arrive(room, nx, ny, theta, segments, walls, poses, previous, bumped, bumps, path_length, steps)


@njit(cache=True)
def arrive(room, nx, ny, theta, segments, walls, poses, previous, bumped, bumps, path_length, steps):
    """Take a room's agent to (nx, ny), or leave it where it is if a wall is in the way, with heading theta."""
    pose = poses[room]
    x, y = pose[0], pose[1]
    previous[room, :] = pose
    bumped[room] = False
    if nx != x or ny != y:
        if segment_free(segments[room, : walls[room]], x, y, nx, ny, BODY_RADIUS):
            path_length[room] += math.hypot(nx - x, ny - y)
            pose[0], pose[1] = nx, ny
        else:
            bumped[room] = True
            bumps[room] += 1
    pose[2] = theta
    steps[room] += 1


@njit(cache=True)
def score(
    rooms, shaped, radius, horizon, found_reward, step_penalty, shaping_scale, completion_reward,
    distractor_penalty, segments, walls, corners, bends, places, reach, tails, poses, turned, steps, found_step,
    potential, terms, rewards, terminated, truncated,
):  # fmt: skip
    """Find the sources within `radius` (geodesic, m) of the rooms' agents, reward the step; how many were found."""
    sources = found_step.shape[1]
    total_found = 0
    for room in rooms:
        floor, bend = segments[room, : walls[room]], corners[room, : bends[room]]
        ways = reach[room, :, : bends[room]]
        x, y = poses[room, 0], poses[room, 1]
        distances = source_distances(floor, bend, ways, places[room], x, y)
        found = 0
        for k in range(sources):
            if found_step[room, k] < 0 and distances[k] <= radius:
                found_step[room, k] = steps[room]
                found += 1
        remaining = found_step[room] < 0
        done = not remaining.any()
        before = potential[room]
        potential[room] = -tour_length(floor, bend, ways, tails[room], places[room, :sources], x, y, remaining)
        if shaped:
            terms[room, 0] = found_reward * found
            terms[room, 1] = -step_penalty
            terms[room, 2] = shaping_scale * (potential[room] - before)
            terms[room, 3] = completion_reward if done else 0.0
            # A second distractor within reach costs no more than the first.
            near = (distances[sources:] <= radius).any()
            terms[room, 4] = -distractor_penalty if near else 0.0
        else:
            nearest = math.inf
            for k in range(sources):
                if found == 0 and remaining[k]:
                    nearest = min(nearest, distances[k])
            terms[room, 0] = 100.0 * found
            terms[room, 1] = -0.5
            terms[room, 2] = -0.1 if turned[room] else 0.0
            terms[room, 3] = 1.0 / max(nearest, 1e-3)
        total = 0.0
        for term in terms[room]:
            total += term
        rewards[room] = total
        terminated[room] = done
        truncated[room] = not done and steps[room] >= horizon
        total_found += found
    return total_found


@njit(cache=True)
def odometry(poses, starts, bumped, steps, horizon, out):
    """Write [cos θ, sin θ, last bump, share of the horizon left] of every room, θ since the start."""
    for room in range(poses.shape[0]):
        theta = poses[room, 2] - starts[room]
        out[room, 0] = math.cos(theta)
        out[room, 1] = math.sin(theta)
        out[room, 2] = bumped[room]
        out[room, 3] = 1.0 - steps[room] / horizon
