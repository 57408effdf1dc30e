"""The sound of one episode: room, head, clips and background put together for the streaming renderer."""

from __future__ import annotations

import math

import numpy as np

from auralnav.envs.acoustics.head import HeadModel, head_model
from auralnav.envs.acoustics.images import shoebox_images
from auralnav.envs.acoustics.loops import BlockedClip, blocked_clip
from auralnav.envs.acoustics.polygon import PolygonImages
from auralnav.envs.acoustics.polygon_rooms import late_energy, mean_reflection_for_rt60, missing_energy
from auralnav.envs.acoustics.soundbank import ClipRef, SoundBank
from auralnav.envs.acoustics.stream import BinauralStream, Images, Pose
from auralnav.envs.acoustics.tail import cut_noise, late_tail
from auralnav.envs.acoustics.walls import JOIN_SECONDS, solve_reflection
from auralnav.envs.audio.episode import EAR_HEIGHT, Episode
from auralnav.envs.audio.settings import AudioSettings

SPEED_OF_SOUND = 343.0


class RoomSound:
    """What the agent's ears hear in an episode, step after step.

    Args:
        episode: the world.
        settings: the environment's arguments.
        bank: the sounds.
    """

    def __init__(self, episode: Episode, settings: AudioSettings, bank: SoundBank) -> None:
        self._episode = episode
        self._settings = settings
        self.head: HeadModel = head_model(settings.head, settings.fs)
        self.ear_height = min(EAR_HEIGHT, episode.plan.height - 0.3)
        self.reflection = 0.0
        self._polygon: PolygonImages | None = None
        self._static: Images | None = None
        rng = np.random.Generator(np.random.PCG64(episode.noise_seed))
        tail, limit = self._design(rng)
        self._noise_start = int(rng.integers(2**30))
        self._noise_level = 0.0
        clips = [self._clip(bank, ref) for ref in episode.clips]
        self._stream = BinauralStream(
            settings.block,
            self.head,
            clips,
            [int(o) for o in episode.offsets],
            limit,
            tail,
            direct_only=self._polygon is None and self.reflection == 0.0,
        )

    def _clip(self, bank: SoundBank, ref: ClipRef) -> BlockedClip:
        block, fs = self._settings.block, self._settings.fs
        return blocked_clip((bank.identity, ref), lambda: bank.clip(ref), block, fs)

    def _design(self, rng: np.random.Generator) -> tuple[np.ndarray | None, int]:
        """Walls and tail: sets the reflection, returns the tail and the sample that ends the early images."""
        episode, settings = self._episode, self._settings
        x0, y0, x1, y1 = episode.plan.bounds
        size = np.array([x1 - x0, y1 - y0, episode.plan.height])
        fs = settings.fs
        join = round(JOIN_SECONDS * fs)
        sources = len(episode.clips)
        whole = math.ceil(float(np.linalg.norm(size)) * fs / SPEED_OF_SOUND) + 1
        hybrid = settings.renderer == "hybrid"
        if settings.room == "polygon":
            reach = 2 if episode.rt60 == 0 else settings.max_order + 2  # a path round corners, then walls
            return self._design_polygon(rng, join if hybrid and episode.rt60 > 0 else reach * whole)
        if episode.rt60 == 0:
            return None, whole
        listener = np.array([*episode.start[:2], self.ear_height])
        walls = solve_reflection(size, episode.places(0), listener, episode.rt60, settings.max_order, fs)
        self.reflection = walls.reflection
        if not hybrid:
            return None, whole * (settings.max_order + 1)
        tail = late_tail(rng, sources, walls.tail_rt60, self.head, walls.late_energy, walls.missing_energy)
        return tail, join

    def _design_polygon(self, rng: np.random.Generator, limit: int) -> tuple[np.ndarray | None, int]:
        """As :meth:`_design`, for polygon rooms: walls and tail from the statistics of the diffuse field."""
        episode = self._episode
        plan = episode.plan
        volume = plan.area * plan.height
        walls = np.concatenate([plan.segments[:, 2:] - plan.segments[:, :2]])
        surface = 2 * plan.area + float(np.linalg.norm(walls, axis=1).sum()) * plan.height
        tail = None
        if episode.rt60 > 0:
            self.reflection = mean_reflection_for_rt60(volume, surface, episode.rt60)
            if self._settings.renderer == "hybrid":
                late = late_energy(volume, episode.rt60)
                missing = missing_energy(volume, surface, episode.rt60, self._settings.max_order)
                tail = late_tail(rng, len(episode.clips), episode.rt60, self.head, late, missing)
        order = self._settings.max_order if episode.rt60 > 0 else 0
        self._polygon = PolygonImages(
            plan.boundary,
            plan.height,
            plan.obstacles,
            self.reflection,
            order,
            geodesic_path=episode.geo.path,
        )
        return tail, limit

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

    def start(self, pose: tuple[float, float, float]) -> np.ndarray:
        """Steady-state sound at `pose` (x, y, heading); float32 [2, block] in [−1, 1]."""
        ears = self._ears(pose)
        audio = self._stream.start(self._images(0, ears), ears)
        if self._settings.noise_snr_db is not None:
            level = math.sqrt(float(np.mean(np.square(audio))))
            bank_level = math.sqrt(float(np.mean(np.square(self._noise(0)))))
            self._noise_level = level / bank_level * 10 ** (-self._settings.noise_snr_db / 20)
        return self._finish(audio, 0)

    def step(self, pose: tuple[float, float, float], step: int) -> np.ndarray:
        """Sound of `step` while the ears go from the last pose to `pose`; float32 [2, block] in [−1, 1]."""
        ears = self._ears(pose)
        return self._finish(self._stream.step(self._images(step, ears), ears), step)

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
        self._stream.muted_from = list(muted_from)
        ears, ears_before = self._ears(pose), self._ears(before)
        images_before = self._images(max(step - 1, 0), ears_before)
        self._stream.resume(step, self._images(step, ears), ears, images_before, ears_before)

    def mute(self, source: int) -> None:
        """Switch a source off from the next step on; its tail rings out."""
        self._stream.mute(source)

    def source_images(self) -> np.ndarray:
        """What each source alone put into the ears in the last step, without noise; float32 [K + D, 2, block]."""
        return self._stream.source_images()

    def _noise(self, step: int) -> np.ndarray:
        block = self._settings.block
        return cut_noise(self.head, self._noise_start + step * block, block)

    def _finish(self, audio: np.ndarray, step: int) -> np.ndarray:
        if self._noise_level > 0:
            audio += np.float32(self._noise_level) * self._noise(step)
        return np.clip(audio, -1.0, 1.0, out=audio)
