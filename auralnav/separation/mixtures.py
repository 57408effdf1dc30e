"""Mixtures for a separator, drawn on the host and rendered on the device: what both ears hear and what is in it.

What a mixture is made of (a :class:`Draw`) is a few small arrays from one random generator; the sound is then one
batched FFT product of clips and room responses. A batch is a function of the seed and its number alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy import fft as sfft
from torch import Tensor

from auralnav.envs.acoustics.loops import REFERENCE_RMS

STEP_SECONDS = 0.25
"""How long the agent of AuralNav hears the room from one pose."""

FADE_SECONDS = 0.02
"""Crossfade from one pose's response to the next one's."""

QUIETEST = 1e-3
"""Share of the mixture's energy below which a source is left out: its target would be below −30 dB."""


@dataclass(frozen=True)
class MixtureRecipe:
    """What mixtures are drawn from; shares are probabilities, 0 to 1.

    Attributes:
        active: shares of mixtures with 1, 2, … active sources; at most as many as outputs.
        level_db: each active source's level lies this far or less from their common one, …
        natural_share: … but for this share of mixtures, where distance and room decide.
        gate_share: share of sources that begin or end inside the segment (a tail rings out).
        cold_share: share of mixtures that begin with silence, as an episode's first windows do.
        walk_share: share of mixtures in which the pose changes every STEP_SECONDS.
        noise_share: share of mixtures with a diffuse background …
        noise_snr_db: … at this ratio, least and largest, to all sources together.
    """

    active: tuple[float, ...]
    level_db: float = 5.0
    natural_share: float = 0.0
    gate_share: float = 0.0
    cold_share: float = 0.0
    walk_share: float = 0.0
    noise_share: float = 0.0
    noise_snr_db: tuple[float, float] = (10.0, 30.0)


@dataclass(frozen=True, eq=False)
class Draw:
    """What B mixtures of N samples with K places for sources are made of.

    Attributes:
        samples: N.
        rooms: int64 [B] room of the pool.
        places: int64 [B, K] place in the room; −1: no source (always the last ones of a row).
        sounds: int64 [B, K] class of the clip.
        instances: int64 [B, K].
        starts: int64 [B, K] sample of the loop that is played at sample 0 of the segment.
        begins: int64 [B, K] sample at which the source is switched on, far below 0 for "before".
        ends: int64 [B, K] sample at which it is switched off, N or more for "after".
        levels: float32 [B, K] dB above the common level; NaN: as it is in the room.
        cold: int64 [B] samples of silence at the beginning.
        walks: float32 [B] samples of the segment's first step that have passed at its beginning, 0 to 2 steps (the
            poses take turns); NaN: the pose stays.
        noise_snr: float32 [B] dB, infinite for no noise.
        noise_starts: int64 [B] where the noise is cut.
    """

    samples: int
    rooms: np.ndarray
    places: np.ndarray
    sounds: np.ndarray
    instances: np.ndarray
    starts: np.ndarray
    begins: np.ndarray
    ends: np.ndarray
    levels: np.ndarray
    cold: np.ndarray
    walks: np.ndarray
    noise_snr: np.ndarray
    noise_starts: np.ndarray


def draw_mixtures(
    rng: np.random.Generator,
    recipe: MixtureRecipe,
    batch: int,
    samples: int,
    outputs: int,
    room_shape: tuple[int, ...],
    clip_shape: tuple[int, ...],
    sample_rate: int,
) -> Draw:
    """Draw `batch` mixtures of `samples` samples for `outputs` outputs; shapes are those of the two pools.

    A room needs a place for each source that the recipe lets be active, not for each output.
    """
    shape = (batch, outputs)
    counts = rng.choice(len(recipe.active), size=batch, p=np.array(recipe.active) / sum(recipe.active)) + 1
    order = rng.permuted(np.tile(np.arange(room_shape[1]), (batch, 1)), axis=1)[:, :outputs]
    places = np.full(shape, -1)
    places[:, : order.shape[1]] = order
    places[np.arange(outputs) >= counts[:, None]] = -1
    # A source that begins or ends inside is on for a step of the agent at least.
    gated, early = rng.random(shape) < recipe.gate_share, rng.random(shape) < 0.5
    least = min(round(STEP_SECONDS * sample_rate), samples // 2)
    moments = rng.integers(least, samples - least + 1, size=shape)
    natural = rng.random((batch, 1)) < recipe.natural_share
    levels = rng.uniform(-recipe.level_db, recipe.level_db, size=shape)
    cold = rng.integers(1, samples - least + 1, size=batch) * (rng.random(batch) < recipe.cold_share)
    walking, noisy = (rng.random(batch) < share for share in (recipe.walk_share, recipe.noise_share))
    return Draw(
        samples=samples,
        rooms=rng.integers(room_shape[0], size=batch),
        places=places,
        sounds=rng.integers(clip_shape[0], size=shape),
        instances=rng.integers(clip_shape[1], size=shape),
        starts=rng.integers(clip_shape[2], size=shape),
        begins=np.where(gated & ~early, moments, -(2**40)),
        ends=np.where(gated & early, moments, 2**40),
        levels=np.where(natural, np.nan, levels).astype(np.float32),
        cold=cold,
        walks=np.where(walking, rng.uniform(0.0, 2.0 * STEP_SECONDS * sample_rate, batch), np.nan).astype(np.float32),
        noise_snr=np.where(noisy, rng.uniform(*recipe.noise_snr_db, size=batch), np.inf).astype(np.float32),
        noise_starts=rng.integers(2**40, size=batch),
    )


class MixtureRenderer:
    """Turns draws into sound on a device.

    Args:
        rooms: float16 [R, S, 2, 2, L] responses of poses and ears in units of the direct sound at 1 m.
        clips: float32 [C, I, n] loops of RMS 1.
        noise: float32 [2, M] circular background noise of the ears, any level.
        sample_rate: Hz.
        device: where the sound is wanted; the pools are put there.
    """

    def __init__(
        self,
        rooms: np.ndarray,
        clips: np.ndarray,
        noise: np.ndarray,
        sample_rate: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self.device = torch.device(device)
        self._step, self._fade = STEP_SECONDS * sample_rate, FADE_SECONDS * sample_rate
        self.room_shape, self.clip_shape = rooms.shape, clips.shape
        self._rooms = _on(rooms, self.device)
        self._clips = _on(clips.reshape(-1, clips.shape[2]), self.device)
        level = math.sqrt(float(np.mean(np.square(noise.mean(axis=0)))))
        self._noise = _on((noise / level).astype(np.float32), self.device)

    @torch.no_grad()
    def render(self, draw: Draw) -> tuple[Tensor, Tensor]:
        """The mixtures of a draw.

        Returns:
            audio float32 [B, 2, N], targets float32 [B, K, N]: each source's image at the mean of the ears, exact
            zeros where there is no source or where its energy is below QUIETEST of all images'.
        """
        batch, outputs = draw.places.shape
        samples = draw.samples
        rows, columns = np.nonzero(draw.places >= 0)
        images = self._images(draw, rows, columns)
        warm = torch.arange(samples, device=self.device) >= _on(draw.cold[rows], self.device)[:, None]
        images = images * warm.unsqueeze(1)
        ears = torch.zeros(batch, outputs, 2, samples, device=self.device)
        ears[_on(rows, self.device), _on(columns, self.device)] = images
        targets = ears.mean(2)
        gains = self._gains(targets, draw)
        energies = (targets * gains[:, :, None]).square().sum(-1)
        gains = gains * (energies > QUIETEST * energies.sum(1, keepdim=True))
        targets = targets * gains[:, :, None]
        audio = (ears * gains[:, :, None, None]).sum(1)
        return audio + self._background(targets, draw), targets

    def _images(self, draw: Draw, rows: np.ndarray, columns: np.ndarray) -> Tensor:
        """Sound of the active sources at the ears in their rooms, float32 [A, 2, N]."""
        samples, taps = draw.samples, self._rooms.shape[4]
        n = sfft.next_fast_len(samples + taps - 1, real=True)
        time = torch.arange(-(taps - 1), samples, device=self.device)
        at = (rows, columns)
        clip = _on(draw.sounds[at] * self.clip_shape[1] + draw.instances[at], self.device)
        index = (time + _on(draw.starts[at], self.device)[:, None]) % self.clip_shape[2]
        on = (time >= _on(draw.begins[at], self.device)[:, None]) & (
            time < _on(draw.ends[at], self.device)[:, None]
        )
        spectra = torch.fft.rfft(self._clips[clip[:, None], index] * on, n).unsqueeze(1)
        room, place = _on(draw.rooms[rows], self.device), _on(draw.places[at], self.device)

        def heard(which: Tensor, pose: int) -> Tensor:
            responses = self._rooms[room[which], place[which], pose].float()
            sound = torch.fft.irfft(spectra[which] * torch.fft.rfft(responses, n), n)
            return sound[..., taps - 1 : taps - 1 + samples]

        images = heard(torch.arange(len(rows), device=self.device), 0)
        walking = np.nonzero(~np.isnan(draw.walks[rows]))[0]
        if len(walking):
            which, passed = _on(walking, self.device), _on(draw.walks[rows[walking]], self.device)
            position = time[taps - 1 :] + passed[:, None]
            ramp = (position % self._step / self._fade).clamp(max=1.0)
            weight = torch.where(position // self._step % 2 == 0, 1.0 - ramp, ramp)
            images[which] = torch.lerp(images[which], heard(which, 1), weight.unsqueeze(1))
        return images * REFERENCE_RMS

    def _gains(self, images: Tensor, draw: Draw) -> Tensor:
        """Factors [B, K] that give levelled mixtures their levels; a mixture's mean level in dB stays."""
        on = draw.ends.clip(0, images.shape[2]) - np.maximum(draw.begins, draw.cold[:, None]).clip(0, images.shape[2])
        power = images.square().sum(-1) / _on(np.maximum(on, 1), self.device)
        active = power > 0
        level = 10.0 * torch.log10(torch.where(active, power, 1.0))
        wanted = _on(draw.levels, self.device)
        common = (level * active).sum(1, keepdim=True) / active.sum(1, keepdim=True).clamp(min=1)
        gains = 10.0 ** ((common + wanted - level) / 20.0)
        return torch.where(torch.isnan(wanted) | ~active, 1.0, gains)

    def _background(self, targets: Tensor, draw: Draw) -> Tensor:
        """Noise of the mixtures, float32 [B, 2, N]."""
        samples = targets.shape[2]
        index = torch.arange(samples, device=self.device) + _on(draw.noise_starts, self.device)[:, None]
        noise = self._noise[:, index % self._noise.shape[1]].transpose(0, 1)
        level = targets.sum(1).square().mean(-1).sqrt() * 10.0 ** (-_on(draw.noise_snr, self.device) / 20.0)
        warm = torch.arange(samples, device=self.device) >= _on(draw.cold, self.device)[:, None]
        return noise * (level[:, None] * warm).unsqueeze(1)


def _on(array: np.ndarray, device: torch.device) -> Tensor:
    """A NumPy array as a tensor on a device, never sharing read-only memory; the host does not wait for the device."""
    own = np.ascontiguousarray(array) if array.flags.writeable else np.array(array)
    return torch.from_numpy(own).to(device, non_blocking=True)
