"""The sound of one episode: room, head, clips and background put together for the streaming renderer."""

from __future__ import annotations

import math

import numpy as np

from auralnav.envs.acoustics.fractional import SPEED_OF_SOUND
from auralnav.envs.acoustics.head import HeadModel, head_model
from auralnav.envs.acoustics.images import shoebox_images
from auralnav.envs.acoustics.loops import BlockedClip, blocked_clip
from auralnav.envs.acoustics.polygon import PolygonImages
from auralnav.envs.acoustics.polygon_rooms import late_energy, mean_reflection_for_rt60, missing_energy
from auralnav.envs.acoustics.soundbank import ClipRef, SoundBank
from auralnav.envs.acoustics.stream import BinauralStream, Images, Pose, StreamGroup
from auralnav.envs.acoustics.tail import cut_noise, late_tail
from auralnav.envs.acoustics.walls import (
    BIN_SECONDS,
    JOIN_SECONDS,
    TailDesign,
    extra_decay,
    join_seconds,
    solve_reflection,
)
from auralnav.envs.audio.episode import EAR_HEIGHT, Episode
from auralnav.envs.audio.settings import AudioSettings

LARGEST_PLAN = (12.0, 12.0, 3.5)
"""Sides that no polygon layout exceeds, m."""


def stream_group(settings: AudioSettings, rooms: int) -> StreamGroup:
    """A group of streams that holds any episode of these settings."""
    polygon = settings.room == "polygon"
    sides = LARGEST_PLAN if polygon else [side[1] for side in settings.room_size]
    fs = settings.fs
    whole = math.ceil(math.hypot(*sides) * fs / SPEED_OF_SOUND) + 1
    reverberant = settings.rt60[1] > 0
    order = settings.max_order if reverberant else 0
    if reverberant and settings.renderer == "hybrid":
        limit = round(_join(settings) * fs)
    else:
        limit = whole * (order + (2 if polygon else 1))  # in a polygon, a path round corners comes first
    sources = settings.num_sources + settings.distractors
    head = head_model(settings.head, fs)
    return StreamGroup(rooms, sources, settings.block, head, limit, direct_only=not (polygon or reverberant))


def _join(settings: AudioSettings) -> float:
    """Time after emission at which the tail takes over from the early images, s."""
    if settings.room == "polygon":  # where what comes round corners from farther is drawn nearer
        return JOIN_SECONDS
    return join_seconds(math.hypot(*(side[1] for side in settings.room_size)))


class RoomSound:
    """What the agent's ears hear in an episode, step after step.

    Args:
        episode: the world.
        settings: the environment's arguments.
        bank: the sounds.
        group: the streams that are rendered together.
        room: this one's place among them.
    """

    def __init__(
        self, episode: Episode, settings: AudioSettings, bank: SoundBank, group: StreamGroup, room: int = 0
    ) -> None:
        self._episode = episode
        self._settings = settings
        self._group = group
        self._room = room
        self.head: HeadModel = group.head
        self.ear_height = min(EAR_HEIGHT, episode.plan.height - 0.3)
        self.reflection = 0.0
        self._polygon: PolygonImages | None = None
        self._static: Images | None = None
        rng = np.random.Generator(np.random.PCG64(episode.noise_seed))
        tail = self._design_polygon(rng) if settings.room == "polygon" else self._design(rng)
        self._noise_start = int(rng.integers(2**30))
        self._noise_level = 0.0
        clips = [self._clip(bank, ref) for ref in episode.clips]
        self._stream = BinauralStream(group, room, clips, [int(o) for o in episode.offsets], tail)

    def _clip(self, bank: SoundBank, ref: ClipRef) -> BlockedClip:
        block, fs = self._settings.block, self._settings.fs
        return blocked_clip((bank.identity, ref), lambda: bank.clip(ref), block, fs)

    def _design(self, rng: np.random.Generator) -> np.ndarray | None:
        """Walls and tail of a shoebox: sets the reflection, returns the tail."""
        episode, settings = self._episode, self._settings
        if episode.rt60 == 0:
            return None
        size = np.array([*episode.plan.bounds[2:], episode.plan.height])
        listener = np.array([*episode.start[:2], self.ear_height])
        walls = solve_reflection(
            size,
            episode.places(0),
            listener,
            episode.rt60,
            settings.max_order,
            settings.fs,
            join=_join(settings),
            band_shares=dict(settings.band_rt60),
        )
        self.reflection = walls.reflection
        if settings.renderer != "hybrid":
            return None
        return late_tail(rng, len(episode.clips), self.head, walls.tail, walls.bands)

    def _design_polygon(self, rng: np.random.Generator) -> np.ndarray | None:
        """As :meth:`_design`, for polygon rooms: walls and tail from the statistics of the diffuse field."""
        episode = self._episode
        plan = episode.plan
        volume = plan.area * plan.height
        walls = plan.segments[:, 2:] - plan.segments[:, :2]
        surface = 2 * plan.area + float(np.linalg.norm(walls, axis=1).sum()) * plan.height
        tail = None
        hybrid = self._settings.renderer == "hybrid"
        if episode.rt60 > 0:
            self.reflection = mean_reflection_for_rt60(volume, surface, episode.rt60)
            if hybrid:
                design, bands = self._polygon_tails(volume, surface)
                tail = late_tail(rng, len(episode.clips), self.head, design, bands)
        order = self._settings.max_order if episode.rt60 > 0 else 0
        self._polygon = PolygonImages(
            plan.boundary,
            plan.height,
            plan.obstacles,
            self.reflection,
            order,
            geodesic_path=episode.geo.path,
            farthest=0.99 * JOIN_SECONDS * SPEED_OF_SOUND if hybrid else math.inf,
        )
        return tail

    def _polygon_tails(self, volume: float, surface: float) -> tuple[TailDesign, dict[float, TailDesign]]:
        """The tail of a polygon room, and those of its bands."""
        rt60 = self._episode.rt60
        missing = missing_energy(volume, surface, rt60, self._settings.max_order)[None]
        times = (np.arange(missing.shape[1]) + 0.5) * BIN_SECONDS

        def design(share: float) -> TailDesign:
            late = late_energy(volume, share * rt60)
            left = np.exp(-extra_decay(rt60, share) * times)
            return TailDesign(np.array([share * rt60]), np.array([late]), missing * left)

        return design(1.0), {centre: design(share) for centre, share in self._settings.band_rt60}

    def _images(self, step: int, pose: Pose) -> Images:
        """Image sources at `step` heard from `pose`."""
        places = self._episode.places(step)
        if self._polygon is not None:
            return self._polygon.images_of(places, np.array(pose[:3]))
        if self._static is not None:
            return self._static
        x1, y1 = self._episode.plan.bounds[2:]
        size = np.array([x1, y1, self._episode.plan.height])
        images = shoebox_images(size, places, np.full(6, self.reflection), self._settings.max_order)
        if len(self._episode.positions) == 1:
            self._static = images
        return images

    def _ears(self, pose: tuple[float, float, float]) -> Pose:
        return pose[0], pose[1], self.ear_height, pose[2]

    def start(self, pose: tuple[float, float, float]) -> None:
        """Put the steady-state sound at `pose` (x, y, heading) into the group's `audio`, in [−1, 1]."""
        ears = self._ears(pose)
        audio = self._stream.start(self._images(0, ears), ears)
        if self._settings.noise_snr_db is not None:
            level = math.sqrt(float(np.mean(np.square(audio))))
            bank_level = math.sqrt(float(np.mean(np.square(self._noise(0)))))
            self._noise_level = level / bank_level * 10 ** (-self._settings.noise_snr_db / 20)
        self.finish()
        self._group.limit_levels(np.array([self._room]))

    def advance(self, pose: tuple[float, float, float], step: int) -> None:
        """Go on to `step`, in which the ears go from the last pose to `pose`; the group renders it."""
        ears = self._ears(pose)
        self._stream.advance(self._images(step, ears), ears)

    def finish(self) -> None:
        """Add the background to what the group has rendered; the group's `limit_levels` must follow."""
        if self._noise_level > 0:
            audio = self._group.audio[self._room]
            audio += np.float32(self._noise_level) * self._noise(self._stream.index)

    def resume(
        self,
        step: int,
        pose: tuple[float, float, float],
        before: tuple[float, float, float],
        start: tuple[float, float, float],
        muted_from: list[int | None],
    ) -> None:
        """Continue after `step`, whose step led from `before` to `pose` (the same pose at step 0)."""
        if self._settings.noise_snr_db is not None:
            self.start(start)  # sets the noise level
        ears, ears_before = self._ears(pose), self._ears(before)
        images_before = self._images(max(step - 1, 0), ears_before)
        self._stream.resume(step, self._images(step, ears), ears, images_before, ears_before, muted_from)

    def mute(self, source: int) -> None:
        """Switch a source off from the next step on; its tail rings out."""
        self._stream.mute(source)

    def source_images(self) -> np.ndarray:
        """What each source alone put into the ears in the last step, without noise; float32 [K + D, 2, block]."""
        return self._stream.source_images()

    def _noise(self, step: int) -> np.ndarray:
        block = self._settings.block
        return cut_noise(self.head, self._noise_start + step * block, block)
