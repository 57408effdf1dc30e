"""Spatial cues of each separated source: where it is and how loud, read from the two-ear mixture through its mask.

Direction is read where a source is alone: bins count by the eighth power of their mask. And it is read at onsets, for
the direct sound comes before its reflections (the precedence effect; Litovsky et al., JASA 106, 1999): a bin of
energy E counts by (E / (E + P))⁶, P being the largest energy that it had before, decayed. Powers, gate and knee are
those with the smallest errors of direction in rendered scenes, anechoic and reverberant, with oracle masks and with
masks that leak.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from torch import nn

from auralnav.envs.acoustics.cues import ILD_LIMIT_DB, IPD_TOP_HZ, LEVEL_FLOOR_DB, LOWEST_HZ
from auralnav.errors import ConfigError, ShapeError, SoundError
from auralnav.separation.direction import DirectionMatch
from auralnav.separation.masks import Masks
from auralnav.separation.timbre import TIMBRE_BANDS, band_levels, band_table

ALIASING_HZ = 741.0
"""Below this the interaural phase is unambiguous for every direction (largest delay of the sphere: 675 µs)."""

MASKED = (
    "ipd_low_cos",
    "ipd_low_sin",
    "ipd_high_cos",
    "ipd_high_sin",
    "ild_low",
    "ild_high",
    "level",
    "azimuth",
    "clarity",
)
"""Names of the features of `cues="masked"`, in their order; see :class:`SpatialCues`."""

SEED = ("ipd", "ild", "vol")
"""Names of the features of `cues="seed"`, in their order."""

LEVEL_COLUMN = {"masked": MASKED.index("level"), "seed": SEED.index("vol")}
"""Which feature says how loud a source is."""

RECENT_SECONDS = 0.045
"""Decay of a bin's recent past, from which onsets stand out."""

_TINY = 1e-18  # its square is still a float32, so that gradients of quotients by it stay finite


class SpatialCues(nn.Module):
    """Features of separated sources from the two-ear sound they were separated from. No parameters.

    `cues="masked"`, nine numbers a source. A, B and C are a source's energies at the left and right ear and its cross
    spectrum L·R*, summed over the block with the weights of this module's page:

    | number | range | what |
    |---|---|---|
    | ipd_low_cos, ipd_low_sin | [−1, 1] | Re and Im of ΣC / Σ(A + B)/2, 80 to 741 Hz: phase difference × coherence |
    | ipd_high_cos, ipd_high_sin | [−1, 1] | the same from 741 to 1500 Hz, where it is ambiguous at the sides |
    | ild_low, ild_high | [−1, 1] | 10 log10(ΣA / ΣB) / 30 dB from 80 to 1500 Hz and above, clipped |
    | level | [0, 1] | (dBFS + 100) / 100 of the masked mixture, mean of both ears, clipped |
    | azimuth | (−1, 1) | lateral angle / 90°, positive to the left, whose ear responses fit A, B and C best |
    | clarity | [−1, 1] | how well: 2 × the share of energy that this direction explains − 1; low in reverberation |

    `cues="seed"`, the seed's three: means over all bins of mask × IPD / π, mask × ILD / 30 dB (clipped to ±1) and
    mask × VOL, the level of each bin as (dBFS + 100) / 100 clipped to [0, 1].

    `timbre=16` adds what the source sounds like, band_0 to band_15: its level in bands relative to its own level, in
    [−1, 1] (`band_levels`).

    A source below −100 dBFS (in the mixture, through its mask) has zeros for all. Masks of ones give the cues of the
    mixture itself. Gradients reach the sources through the masks, and are finite.

    Args:
        sample_rate: Hz, at least 4000.
        n: samples a block, at least one window of 32 ms.
        cues: "masked" or "seed".
        head: "sphere" or "none": the ears whose responses directions are compared with.
        timbre: bands after those cues, 0 or 16.

    Raises:
        ConfigError: unknown cues or head, or another number of bands.
        ShapeError: a block shorter than a window.
    """

    groups: torch.Tensor
    bands: torch.Tensor

    def __init__(
        self,
        sample_rate: int,
        n: int,
        cues: Literal["masked", "seed"] = "masked",
        head: Literal["sphere", "none"] = "sphere",
        timbre: Literal[0, 16] = 0,
    ) -> None:
        super().__init__()
        if cues not in ("masked", "seed"):
            raise ConfigError(f'cues={cues!r} is not "masked" or "seed"')
        if timbre not in (0, TIMBRE_BANDS):
            raise ConfigError(f"timbre={timbre!r}: give 0 or {TIMBRE_BANDS} bands")
        self.cues, self.timbre = cues, timbre
        self.names = (*(MASKED if cues == "masked" else SEED), *(f"band_{band}" for band in range(timbre)))
        self.masking = Masks(sample_rate, n)
        sizes = self.masking.sizes
        self.recent = sizes.hop / (sample_rate * RECENT_SECONDS)
        frequency = np.arange(sizes.bins) * sample_rate / sizes.window_length
        self.direction = DirectionMatch(frequency, sample_rate, head)
        self.register_buffer("groups", torch.from_numpy(_groups(frequency)), persistent=False)
        self.register_buffer("bands", band_table(sizes), persistent=False)

    def forward(self, audio: torch.Tensor, sources: torch.Tensor) -> torch.Tensor:
        """Features of the sources that a separator found in the mid signal.

        Args:
            audio: [B, 2, n] left and right ear.
            sources: [B, K, n] mono estimates.

        Returns:
            [B, K, C], C = 9 ("masked") or 3 ("seed") and `timbre`, in the order of `names`, within [−1, 1].

        Raises:
            ShapeError: mono sound, another length, no source.
            SoundError: NaN or infinite samples.
        """
        self.masking.check(audio, sources)
        return self._features(*self._heard(audio, sources))

    def with_mixture(self, audio: torch.Tensor, sources: torch.Tensor) -> torch.Tensor:
        """Features [B, 1 + K, C]: first those of the whole mixture, then `forward`'s, with its arguments and errors."""
        self.masking.check(audio, sources)
        return self.measure(audio, sources)

    def measure(self, audio: torch.Tensor, sources: torch.Tensor) -> torch.Tensor:
        """As `with_mixture`, for what is known to be sound: nothing is checked, so a GPU is not waited for."""
        ears, masks = self._heard(audio, sources)
        return self._features(ears, torch.cat([torch.ones_like(masks[:, :1]), masks], dim=1))

    def of_mixture(self, audio: torch.Tensor) -> torch.Tensor:
        """Features [B, 1, C] of the whole mixture [B, 2, n], as `with_mixture` has them; errors as for `forward`."""
        self.masking.check_audio(audio)
        ears = self.masking.spectra(audio)
        return self._features(ears, torch.ones_like(ears[:, :1], dtype=audio.dtype))

    def _heard(self, audio: torch.Tensor, sources: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Spectra of the ears, complex [B, 2, T, F], and the sources' masks [B, K, T, F]."""
        ears = self.masking.spectra(audio)
        return ears, self.masking.of_spectra(ears, self.masking.spectra(sources))

    def masks(self, audio: torch.Tensor, sources: torch.Tensor) -> torch.Tensor:
        """The masks behind the features: [B, K, F, T] in [0, 1], sum ≤ 1; arguments and errors as for `forward`."""
        return self.masking(audio, sources)

    def from_masks(self, audio: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        """Features [B, K, C] through given masks [B, K, F, T] in [0, 1] of two-ear sound [B, 2, n].

        Raises:
            ShapeError: mono sound, another length, masks of another shape.
            SoundError: NaN or infinite samples, masks outside their range.
        """
        self.masking.check_audio(audio)
        sizes = self.masking.sizes
        if masks.ndim != 4 or len(masks) != len(audio) or masks.shape[2:] != (sizes.bins, sizes.frames):
            raise ShapeError(
                f"masks of {len(audio)} blocks have the shape [{len(audio)}, K, {sizes.bins}, {sizes.frames}], "
                f"not {list(masks.shape)}: make them with `masks`"
            )
        if not ((masks >= 0) & (masks <= 1)).all():
            raise SoundError("masks hold values outside [0, 1]: make them with `masks`, or clip them")
        return self._features(self.masking.spectra(audio), masks.transpose(-1, -2))

    def _features(self, ears: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        """Features [B, K, C] from spectra of the ears [B, 2, T, F] and masks [B, K, T, F]."""
        # Powers of quiet sound lie below what half precision resolves, whatever the separator ran in.
        with torch.autocast(ears.device.type, enabled=False):
            power = ears.real.square() + ears.imag.square()
            energy = masks.square() * power.sum(dim=1, keepdim=True)
            level = 0.5 * energy.sum(dim=-1).mean(dim=-1)
            if self.cues == "seed":
                features = _plain_means(ears, power, masks)
            else:
                sums = self._weighted_sums(ears, power, masks, energy)
                parts = [*self._differences(sums), _scaled_level(level), *self.direction(sums)]
                # Level differences reach beyond 30 dB, and quotients round to a little above 1.
                features = torch.stack(parts, dim=-1).clamp(-1.0, 1.0)
            if self.timbre:
                features = torch.cat([features, band_levels(energy.sum(dim=-2), self.bands)], dim=-1)
            return torch.where(level.unsqueeze(-1) > 10.0 ** (LEVEL_FLOOR_DB / 10.0), features, 0.0)

    def _weighted_sums(
        self, ears: torch.Tensor, power: torch.Tensor, masks: torch.Tensor, energy: torch.Tensor
    ) -> torch.Tensor:
        """A, B, 2 Re C and 2 Im C of each source, [B, K, F, 4], on a scale of each block's own."""
        # Relative to the loudest bin, and masks to their own largest value: weights of faint sources stay float32s.
        loudest = power.detach().amax(dim=(1, 2, 3)).clamp(min=_TINY)[:, None, None, None]
        alone = masks / masks.detach().amax(dim=(-1, -2), keepdim=True).clamp(min=_TINY)
        weights = alone.square().square().square() * self._onsets(energy / loudest)
        cross = 2.0 * ears[:, 0] * ears[:, 1].conj()
        parts = torch.stack([power[:, 0], power[:, 1], cross.real, cross.imag], dim=-1) / loudest
        return torch.einsum("bktf,btfq->bkfq", weights, parts)

    def _onsets(self, energy: torch.Tensor) -> torch.Tensor:
        """(E / (E + P))⁶ with P the largest energy before, decayed: near 1 where the energy [.., T, F] has risen."""
        size = torch.log(energy + _TINY)
        decay = self.recent * torch.arange(size.shape[-2], device=size.device, dtype=size.dtype)[:, None]
        past = torch.cummax(size + decay, dim=-2).values[..., :-1, :] - decay[:-1]
        past = torch.cat([size[..., :1, :], past], dim=-2)
        rise = torch.sigmoid(size - past)
        return (rise * rise * rise).square()  # pow takes five times as long

    def _differences(self, sums: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The four phase and two level features of A, B, 2 Re C and 2 Im C [B, K, F, 4]; each [B, K]."""
        left, right, real, imag = torch.einsum("bkfq,fg->qgbk", sums, self.groups).unbind()
        low, high, below, above = range(4)
        both = left + right + _TINY
        ild = torch.log10((left + _TINY) / (right + _TINY)) * (10.0 / ILD_LIMIT_DB)
        return (
            real[low] / both[low],
            imag[low] / both[low],
            real[high] / both[high],
            imag[high] / both[high],
            ild[below],
            ild[above],
        )


def azimuth(features: torch.Tensor) -> torch.Tensor:
    """Direction of sources from their features: radians to the left of the heading, within ±π/2.

    Two ears on a sphere hear front and back alike: a source behind has the azimuth of its mirror image in front.
    It is the azimuth feature, in radians; 0 for a silent source.

    Args:
        features: [..., 9] of `SpatialCues(cues="masked")`, or [..., 25] with its timbre.

    Raises:
        ShapeError: other features.
    """
    if features.shape[-1] not in (len(MASKED), len(MASKED) + TIMBRE_BANDS):
        raise ShapeError(
            f"a direction is read from {len(MASKED)} features a source, not {features.shape[-1]}: "
            'use SpatialCues(cues="masked")'
        )
    return features[..., MASKED.index("azimuth")] * (math.pi / 2)


def _groups(frequency: np.ndarray) -> np.ndarray:
    """float32 [F, 4], ones in the groups of the phase (below and above ALIASING_HZ) and of the level differences."""
    edges = [
        (LOWEST_HZ, ALIASING_HZ),
        (ALIASING_HZ, IPD_TOP_HZ),
        (LOWEST_HZ, IPD_TOP_HZ),
        (IPD_TOP_HZ, math.inf),
    ]
    return np.stack([(low <= frequency) & (frequency < high) for low, high in edges], axis=-1).astype(np.float32)


def _plain_means(ears: torch.Tensor, power: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """The seed's features [B, K, 3] from spectra and powers of the ears [B, 2, T, F] and masks [B, K, T, F]."""
    ipd = torch.angle(ears[:, 0] * ears[:, 1].conj()) / math.pi
    ild = torch.log10((power[:, 0] + _TINY) / (power[:, 1] + _TINY)) * (10.0 / ILD_LIMIT_DB)
    vol = _scaled_level(power.mean(dim=1))
    cues = torch.stack([ipd, ild.clamp(-1.0, 1.0), vol], dim=1)
    return torch.einsum("bktf,bctf->bkc", masks, cues) / (masks.shape[-1] * masks.shape[-2])


def _scaled_level(power: torch.Tensor) -> torch.Tensor:
    """(dBFS + 100) / 100 of powers, clipped to [0, 1]."""
    return (1.0 - 10.0 / LEVEL_FLOOR_DB * torch.log10(power + _TINY)).clamp(0.0, 1.0)
