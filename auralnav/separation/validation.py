"""Fixed held-out mixtures on which a separator's training is judged: other rooms, other instances of the sounds.

These choose the best weights, so they share no sound with evaluation either: see :mod:`auralnav.separation.clip_pool`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from auralnav.envs.acoustics.head import spherical_head
from auralnav.envs.acoustics.tail import noise_bank
from auralnav.separation.clip_pool import VALIDATION_SEEDS, clip_pool
from auralnav.separation.mixtures import Draw, MixtureRecipe, MixtureRenderer, draw_mixtures
from auralnav.separation.room_pool import RoomRecipe, room_pool
from auralnav.separation.scores import separation_score

SECONDS = 2.0
LEVEL_DB = 2.5
"""Sources lie so far or less from their common level: any two within ±5 dB."""

_SEED = 1_000_003  # of rooms and mixtures, and the next ones; those of trainings are below a million
_BATCH = 4  # mixtures in a call: with more, a processor takes longer for each
_MOST = 30.0  # dB that count in the score: a source alone could else outweigh all that is mixed


@dataclass(frozen=True)
class Kind:
    """Mixtures of one kind: how many sources, the rooms' reverberation time in s (0: none), with noise or without."""

    name: str
    active: int
    rt60: float
    noise: bool = False


KINDS = (
    Kind("2_anechoic", 2, 0.0),
    Kind("2_rt60_0.3", 2, 0.3),
    Kind("3_anechoic", 3, 0.0),
    Kind("1_rt60_0.3", 1, 0.3),
)


@dataclass(frozen=True, eq=False)
class ValidationSet:
    """Mixtures of one kind, on the CPU.

    Attributes:
        kind: what they are.
        audio: float32 [M, 2, N] at the ears.
        targets: float32 [M, kind.active, N].
        sounds: int64 [M, kind.active] classes of the sources.
    """

    kind: Kind
    audio: Tensor
    targets: Tensor
    sounds: np.ndarray

    @property
    def mid(self) -> Tensor:
        """[M, N], what the targets are the parts of."""
        return self.audio.mean(dim=1)


@dataclass(frozen=True, eq=False)
class Judgement:
    """What a separator makes of a validation set.

    Attributes:
        si_sdr: float64 [M, active] dB.
        improvement: float64 [M, active] dB of SI-SDR over the mixture's.
        level_error: float64 [M, active] dB by which the estimates are louder than the sources.
        leak: float64 [M] energy of the outputs without a source over the mixture's, dB, at least −100; without such
            outputs −100.
    """

    si_sdr: np.ndarray
    improvement: np.ndarray
    level_error: np.ndarray
    leak: np.ndarray


def validation_sets(mixtures: int, sample_rate: int, outputs: int | None = None) -> list[ValidationSet]:
    """`mixtures` mixtures of SECONDS of each of KINDS, each in a room of its own.

    Kinds with more sources than `outputs` are left out: a separator with so few cannot be scored on them.
    """
    clips = clip_pool(VALIDATION_SEEDS, sample_rate)
    return [
        mixture_set(kind, mixtures, clips, sample_rate, _SEED + number, np.random.default_rng([_SEED, number]))
        for number, kind in enumerate(KINDS)
        if outputs is None or kind.active <= outputs
    ]


def mixture_set(
    kind: Kind,
    mixtures: int,
    clips: np.ndarray,
    sample_rate: int,
    room_seed: int,
    rng: np.random.Generator,
    adjust: Callable[[Draw], None] = lambda draw: None,
) -> ValidationSet:
    """Mixtures of SECONDS, each in a room of its own; any two sources of one are within ±5 dB.

    Args:
        kind: what they are.
        mixtures: how many.
        clips: float32 [C, I, n], as `MixtureRenderer` takes them.
        sample_rate: Hz.
        room_seed: of the rooms.
        rng: for all else.
        adjust: may change what was drawn before it is rendered.
    """
    rt60 = (kind.rt60, kind.rt60) if kind.rt60 else (0.0, 0.0)
    rooms = RoomRecipe(mixtures, kind.active, rt60, float(not kind.rt60), sample_rate, room_seed)
    noise = noise_bank(spherical_head(sample_rate))
    renderer = MixtureRenderer(room_pool(rooms, None), clips, noise, sample_rate)
    shares = (0.0,) * (kind.active - 1) + (1.0,)
    recipe = MixtureRecipe(active=shares, level_db=LEVEL_DB, noise_share=float(kind.noise))
    samples = round(SECONDS * sample_rate)
    shapes = renderer.room_shape, renderer.clip_shape
    draw = draw_mixtures(rng, recipe, mixtures, samples, kind.active, *shapes, sample_rate)
    draw.rooms[:] = np.arange(mixtures)
    adjust(draw)
    audio, targets = renderer.render(draw)
    return ValidationSet(kind, audio, targets, draw.sounds)


@torch.no_grad()
def judge(separator: nn.Module, mixtures: ValidationSet, device: torch.device | str = "cpu") -> Judgement:
    """Separate a validation set (audio [B, 2, N] → sources [B, K, N]) and score it with the best permutation."""
    parts: list[tuple[Tensor, ...]] = []
    for first in range(0, len(mixtures.audio), _BATCH):
        audio = mixtures.audio[first : first + _BATCH]
        mid = audio.mean(dim=1)
        targets = mixtures.targets[first : first + _BATCH]
        estimates = separator(audio.to(device)).float().cpu()
        score = separation_score(estimates, targets, mid)
        energies = estimates.double().square().sum(-1)
        chosen = energies.gather(1, score.order)
        errors = 10.0 * torch.log10((chosen + 1e-12) / (targets.double().square().sum(-1) + 1e-12))
        rest = (energies.sum(1) - chosen.sum(1)).clamp(min=0.0) / mid.double().square().sum(-1)
        parts.append((score.si_sdr, score.improvement, errors, 10.0 * torch.log10(rest.clamp(min=1e-10))))
    si_sdr, improvement, level_error, leak = (torch.cat(part).numpy() for part in zip(*parts, strict=True))
    return Judgement(si_sdr, improvement, level_error, leak)


def figures(
    separator: nn.Module, sets: Sequence[ValidationSet], device: torch.device | str = "cpu"
) -> dict[str, float]:
    """What is logged of a separator, dB: SI-SDRi of each kind (SI-SDR of a source alone), and the `score`.

    The score is the mean over the kinds, with at most 30 dB of each; `level_error` is the mean size of the
    estimates' level errors, `leak` the mean level of the outputs that should be silent, both over all kinds.
    """
    judged = [(mixtures.kind, judge(separator, mixtures, device)) for mixtures in sets]
    values = {
        ("si_sdri_" if kind.active > 1 else "si_sdr_") + kind.name: float(
            np.mean(found.improvement if kind.active > 1 else found.si_sdr)
        )
        for kind, found in judged
    }
    score = float(np.mean([min(value, _MOST) for value in values.values()]))
    level_error = float(np.mean(np.concatenate([np.abs(found.level_error).ravel() for _, found in judged])))
    leak = float(np.mean(np.concatenate([found.leak for _, found in judged])))
    return {**values, "level_error": level_error, "leak": leak, "score": score}
