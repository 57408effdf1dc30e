"""One episode's world, drawn from one integer: room, sources, sounds and start.

Everything random in an episode follows from its seed, so a state is a seed and a few moving numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from auralnav.envs.acoustics.soundbank import ClipRef, SoundBank
from auralnav.envs.audio.geodesic import Geodesics
from auralnav.envs.audio.geometry import FloorPlan
from auralnav.envs.audio.layouts import sample_layout
from auralnav.envs.audio.settings import AudioSettings, Range
from auralnav.errors import ConfigError, RoomError

BODY_RADIUS = 0.2
"""m the agent keeps from walls."""

EAR_HEIGHT = 1.5
SOURCE_HEIGHTS = (1.0, 1.8)
_WALL_GAP = 0.5
_SOURCE_GAP = 1.5
_START_GAP = 1.0  # beyond the found radius
_TRIES = 300

DISTRACTOR_CLASSES = ("running_water", "rotor")
"""Procedural classes kept for distractors when there are any."""


@dataclass(frozen=True, eq=False)
class Episode:
    """What does not change within an episode.

    Attributes:
        seed: the integer it was drawn from.
        plan: the floor.
        geo: its geodesics.
        rt60: s, 0 without reflections.
        positions: float64 [T, K + D, 3] m, sources then distractors at each step (T = 1 when they stand still).
        clips: what each plays.
        offsets: int64 [K + D] block of its clip each starts with.
        start: x, y in m, heading in rad.
        noise_seed: where tails and background are cut from the noise bank.
    """

    seed: int
    plan: FloorPlan
    geo: Geodesics
    rt60: float
    positions: np.ndarray
    clips: tuple[ClipRef, ...]
    offsets: np.ndarray
    start: tuple[float, float, float]
    noise_seed: int

    def places(self, step: int) -> np.ndarray:
        """Positions at `step`, float64 [K + D, 3]."""
        return self.positions[min(step, len(self.positions) - 1)]


def draw_episode(
    seed: int, settings: AudioSettings, bank: SoundBank, fixed: Mapping[str, np.ndarray] | None = None
) -> Episode:
    """The episode of `seed`.

    Args:
        seed: any non-negative integer.
        settings: the environment's arguments.
        bank: where the sounds come from.
        fixed: "pose" [3] (x, y, heading) and "sources" [K, 2 or 3] that replace what would be drawn.

    Raises:
        RoomError: the room cannot hold the sources and the agent, or a fixed place is not free.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    fixed = fixed or {}
    if settings.room == "shoebox":
        width, depth, height = (_draw(rng, side) for side in settings.room_size)
        plan = FloorPlan.shoebox(width, depth, height)
    else:
        low, high = (int(v) for v in settings.num_obstacles)
        plan = sample_layout(settings.layout, rng, num_obstacles=int(rng.integers(low, high + 1)))
    rt60 = _draw(rng, settings.rt60)
    geo = Geodesics(plan)
    count = settings.num_sources + settings.distractors
    heading = float(rng.uniform(-math.pi, math.pi))
    ceiling = plan.height - 0.3
    if ceiling <= 0.3:
        raise RoomError(f"the room is {plan.height:.2f} m high; give a height above 0.6 m")
    heights = np.minimum(rng.uniform(*SOURCE_HEIGHTS, size=count), ceiling)
    sources, agent = _place(rng, plan, geo, count, settings, fixed)
    if "pose" in fixed:
        heading = float(fixed["pose"][2])
    places = np.column_stack([sources, heights])
    if "sources" in fixed and fixed["sources"].shape[1] == 3:
        given = fixed["sources"][:, 2]
        if not ((given > 0.0) & (given < plan.height)).all():
            raise RoomError(
                f"a source of the reset options lies above or below the room; "
                f"give heights between 0 and {plan.height:.2f} m"
            )
        places[: len(given), 2] = given
    clips = tuple(_draw_clips(rng, bank, settings))
    offsets = rng.integers(0, 10_000, size=count)
    noise_seed = int(rng.integers(2**62))
    positions = places[None]
    if settings.moving:
        positions = _walks(rng, plan, geo, places, settings)
    return Episode(seed, plan, geo, rt60, positions, clips, offsets, (*agent, heading), noise_seed)


def checked_options(options: Mapping[str, Any] | None, settings: AudioSettings) -> dict[str, np.ndarray]:
    """The reset options "pose" and "sources" as arrays.

    Raises:
        ConfigError: an unknown option or a wrong shape.
    """
    fixed: dict[str, np.ndarray] = {}
    for name, value in (options or {}).items():
        if name not in ("pose", "sources"):
            raise ConfigError(f"reset takes no option {name!r}; it takes 'pose' and 'sources'")
        try:
            array = np.asarray(value, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"reset option {name!r} holds {value!r}; give numbers in metres") from error
        shapes = ((3,),) if name == "pose" else ((settings.num_sources, 2), (settings.num_sources, 3))
        if array.shape not in shapes or not np.isfinite(array).all():
            raise ConfigError(f"reset option {name!r} has shape {array.shape}; expected {shapes[0]}, finite")
        fixed[name] = array
    return fixed


def _draw(rng: np.random.Generator, bounds: Range) -> float:
    return float(rng.uniform(*bounds)) if bounds[0] < bounds[1] else bounds[0]


def _place(rng, plan, geo, count, settings, fixed) -> tuple[np.ndarray, tuple[float, float]]:
    """Free places of `count` sources and the agent, apart from each other; [count, 2] and (x, y)."""
    for name, key in (("the agent's pose", "pose"), ("a source", "sources")):
        if key in fixed:
            spots = np.atleast_2d(fixed[key])[:, :2]
            if not plan.contains(spots, BODY_RADIUS).all():
                raise RoomError(
                    f"{name} of the reset options lies outside the room or within 0.2 m of a wall"
                )
    apart = settings.found_radius + _START_GAP
    # Fixed places are as near to each other as they were given; what is drawn keeps its distance from all.
    given = np.zeros(count + 1, dtype=bool)
    given[: settings.num_sources] = "sources" in fixed
    given[count] = "pose" in fixed
    drawn = ~(given[:, None] & given)
    pairs = np.triu(drawn[:count, :count], 1)
    for attempt in range(_TRIES):
        # Small rooms get smaller gaps before they are refused: walls first, then neighbours.
        ease = max(0.3, 1.0 - attempt / (0.7 * _TRIES))
        try:
            spots = [plan.sample_point(rng, max(BODY_RADIUS, _WALL_GAP * ease)) for _ in range(count + 1)]
        except RoomError:
            continue
        points = np.array(spots)
        if "sources" in fixed:
            points[: len(fixed["sources"])] = fixed["sources"][:, :2]
        if "pose" in fixed:
            points[count] = fixed["pose"][:2]
        lengths = geo.distances(points, points)
        if not np.isfinite(lengths[drawn]).all():
            continue
        if (lengths[:count, :count][pairs] < _SOURCE_GAP * ease).any():
            continue
        away = max(apart * ease, 1.05 * settings.found_radius)
        if (lengths[count, :count][drawn[count, :count]] < away).any():
            continue
        return points[:count], (float(points[count, 0]), float(points[count, 1]))
    x0, y0, x1, y1 = plan.bounds
    raise RoomError(
        f"a room of {x1 - x0:.1f} × {y1 - y0:.1f} m cannot hold the agent and {count} sources "
        f"{settings.found_radius:g} m and more apart; enlarge room_size or lower num_sources or found_radius"
    )


def _draw_clips(rng: np.random.Generator, bank: SoundBank, settings: AudioSettings) -> Iterator[ClipRef]:
    """A clip a source, of different classes while there are enough; distractors from classes of their own."""
    classes = set(bank.classes)
    reserved: set[str] = set()
    if settings.distractors:
        if len(classes) < 2:
            raise ConfigError("distractors need a second sound class; put more sounds into the folder")
        reserved = classes & set(DISTRACTOR_CLASSES) or {max(classes)}
    for count, banned in ((settings.num_sources, reserved), (settings.distractors, classes - reserved)):
        used: set[str] = set()
        for _ in range(count):
            if used | banned >= classes:
                used = set()
            ref = bank.draw(rng, exclude=used | banned)
            used.add(ref.sound)
            yield ref


def _walks(rng, plan, geo, places, settings) -> np.ndarray:
    """Positions at each step of sources that walk geodesics between waypoints, float64 [T, n, 3]."""
    steps = settings.horizon + 1
    out = np.repeat(places[None], steps, axis=0)
    for k in range(len(places)):
        stride = _draw(rng, settings.source_speed) * settings.step_duration
        travelled = np.arange(steps) * stride
        corners = [places[k, :2]]
        length = 0.0
        while length < travelled[-1]:
            goal = plan.sample_point(rng, BODY_RADIUS)
            leg = geo.path(corners[-1], goal)
            corners.extend(leg[1:])
            length += float(np.linalg.norm(np.diff(leg, axis=0), axis=1).sum())
        line = np.array(corners)
        along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
        out[:, k, 0] = np.interp(travelled, along, line[:, 0])
        out[:, k, 1] = np.interp(travelled, along, line[:, 1])
    return out
