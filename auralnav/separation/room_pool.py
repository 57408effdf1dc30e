"""Rooms to train a separator in: the responses of random shoeboxes at both ears, rendered once into one array.

The rooms are those of AuralNav: 5–10 m sides, 2.4–3.5 m high, a sphere head at ear height, sources 0.5 m and more
away, early images to order 6 and a diffuse late tail. Each room is heard from two poses one step of the agent apart,
so that a mixture can hold the crossfades that walking makes. Responses are kept, not sounds: any clip can then be
played at any place of any room, switched on and off at any time, which takes one FFT product on the device.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from auralnav.envs.acoustics.head import HeadModel, spherical_head
from auralnav.envs.acoustics.images import FRONT_GUARD, back_guard, ear_responses, shoebox_images
from auralnav.envs.acoustics.tail import late_tail
from auralnav.envs.acoustics.walls import join_seconds, solve_reflection
from auralnav.files import atomic_write

POSES, EARS = 2, 2
ROOM_SIZE = ((5.0, 5.0, 2.4), (10.0, 10.0, 3.5))
"""Least and largest sides, m."""

EAR_HEIGHT = 1.5
SOURCE_HEIGHTS = (1.0, 1.8)
WALL_GAP = 0.5
"""m that sources and the head keep from walls."""

NEAREST = 0.5
"""m between a source and the head, in either pose."""

STEP, TURN = 0.5, math.radians(30.0)
"""What the agent does between the two poses: m forward or radians to either side."""

_ORDER = 6
_CHUNK = 64  # rooms rendered between two reports of progress
_UNIT = 4 * math.pi  # responses are stored in units of the direct sound at 1 m


@dataclass(frozen=True)
class RoomRecipe:
    """Which rooms to draw.

    Attributes:
        rooms: number of rooms.
        sources: places of sources in each.
        rt60: s, least and largest, of a reverberant room.
        anechoic_share: share of rooms without reflections.
        sample_rate: Hz.
        seed: rooms of different seeds, and of different numbers under one seed, are different.
    """

    rooms: int
    sources: int
    rt60: tuple[float, float]
    anechoic_share: float
    sample_rate: int
    seed: int

    @property
    def samples(self) -> int:
        """Length of a response: the longest decay to −60 dB, and the early images of the largest room."""
        farthest = math.hypot(*ROOM_SIZE[1])
        reverberant = self.rt60[1] if self.anechoic_share < 1.0 else 0.0
        return math.ceil(max(reverberant, 2 * join_seconds(farthest)) * self.sample_rate)

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """Of the pool: rooms, sources, poses, ears, samples."""
        return self.rooms, self.sources, POSES, EARS, self.samples


def render_room(recipe: RoomRecipe, number: int) -> np.ndarray:
    """Responses of room `number`.

    Returns:
        float32 [sources, POSES, EARS, samples]; the direct sound at 1 m would be 1, time 0 is the emission.
    """
    rng = np.random.default_rng([recipe.seed, number])
    fs, head = recipe.sample_rate, spherical_head(recipe.sample_rate)
    size = rng.uniform(*ROOM_SIZE)
    rt60 = 0.0 if rng.random() < recipe.anechoic_share else float(rng.uniform(*recipe.rt60))
    poses = _draw_poses(rng, size)
    places = _draw_places(rng, size, poses, recipe.sources)
    tail, reflection = np.zeros((recipe.sources, 2, 0), dtype=np.float32), 0.0
    join = join_seconds(math.hypot(*ROOM_SIZE[1]))
    if rt60 > 0:
        walls = solve_reflection(size, places, poses[0, :3], rt60, _ORDER, fs, join=join)
        tail, reflection = late_tail(rng, recipe.sources, head, walls.tail), walls.reflection
    images = shoebox_images(size, places, np.full(6, reflection), _ORDER)
    responses = np.empty(recipe.shape[1:], dtype=np.float32)
    for number_of_pose, pose in enumerate(poses):
        ears = _early(images, pose, head, recipe.sources, recipe.samples, round(join * fs))
        length = min(tail.shape[2], recipe.samples)
        ears[:, :, :length] += tail[:, :, :length]
        responses[:, number_of_pose] = _UNIT * ears
    return responses


def _early(images, pose, head: HeadModel, sources: int, samples: int, limit: int) -> np.ndarray:
    """Responses of the images that arrive before sample `limit`, float32 [sources, 2, samples]."""
    out = np.zeros((sources, 2, FRONT_GUARD + samples + back_guard(head)), dtype=np.float32)
    ear_responses(images, tuple(pose), head, out, limit)
    return out[:, :, FRONT_GUARD : FRONT_GUARD + samples]


def _draw_poses(rng: np.random.Generator, size: np.ndarray) -> np.ndarray:
    """A pose and the one after the agent's next action, float64 [POSES, 4]: x, y, z, heading."""
    x, y = rng.uniform(WALL_GAP, size[:2] - WALL_GAP)
    heading = rng.uniform(-math.pi, math.pi)
    z = min(EAR_HEIGHT, size[2] - 0.3)
    ahead = np.array([x + STEP * math.cos(heading), y + STEP * math.sin(heading)])
    free = bool(((ahead >= WALL_GAP) & (ahead <= size[:2] - WALL_GAP)).all())
    if free and rng.random() < 0.5:
        after = [*ahead, z, heading]
    else:
        after = [x, y, z, heading + (TURN if rng.random() < 0.5 else -TURN)]
    return np.array([[x, y, z, heading], after])


def _draw_places(rng: np.random.Generator, size: np.ndarray, poses: np.ndarray, count: int) -> np.ndarray:
    """Places of sources, NEAREST or farther from both poses, float64 [count, 3]."""
    places: list[np.ndarray] = []
    while len(places) < count:
        place = np.array([*rng.uniform(WALL_GAP, size[:2] - WALL_GAP), rng.uniform(*SOURCE_HEIGHTS)])
        if (np.linalg.norm(poses[:, :3] - place, axis=1) >= NEAREST).all():
            places.append(place)
    return np.array(places)


def room_pool(
    recipe: RoomRecipe,
    folder: Path | None,
    threads: int = 1,
    report: Callable[[int], None] = lambda rooms: None,
) -> np.ndarray:
    """The responses of all rooms of a recipe, from the cache in `folder` or rendered (and put there).

    Args:
        recipe: the rooms.
        folder: where pools are kept, None for nowhere. A pool's name holds all of its recipe.
        threads: rooms are shared among this many threads.
        report: told the number of rooms done.

    Returns:
        float16 [rooms, sources, POSES, EARS, samples], read-only, mapped from the file where there is one.
    """
    if folder is None:
        pool = np.empty(recipe.shape, dtype=np.float16)
        _render(recipe, pool, threads, report)
        pool.flags.writeable = False
        return pool
    path = folder / f"rooms-{zlib.crc32(repr(recipe).encode()):08x}.npy"
    if not path.is_file():
        with atomic_write(path) as temporary:
            pool = np.lib.format.open_memmap(temporary, "w+", np.float16, recipe.shape)
            _render(recipe, pool, threads, report)
            pool.flush()
            del pool
    return np.load(path, mmap_mode="r")


def _render(recipe: RoomRecipe, pool: np.ndarray, threads: int, report: Callable[[int], None]) -> None:
    def render(number: int) -> None:
        pool[number] = render_room(recipe, number)

    with ThreadPoolExecutor(threads) as workers:
        for first in range(0, recipe.rooms, _CHUNK):
            list(workers.map(render, range(first, min(first + _CHUNK, recipe.rooms))))
            report(min(first + _CHUNK, recipe.rooms))
