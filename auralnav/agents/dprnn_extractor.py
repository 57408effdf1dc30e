"""The features of a policy that separates for itself: a DPRNN in the network, and the spatial cues of what it finds."""

from __future__ import annotations

from copy import deepcopy

import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor

from auralnav.agents.source_cues import AUDIO, FULL_SCALE, HEADING, mixture_columns, row_names
from auralnav.errors import ShapeError
from auralnav.policies.extractors import RunningStandardiser
from auralnav.policies.source_set import attended_first
from auralnav.separation.attention import NOBODY, attend
from auralnav.separation.bearing import SUMS, with_bearing
from auralnav.separation.cues import LEVEL_COLUMN, SpatialCues
from auralnav.separation.separator import DPRNNSeparator


class DPRNNExtractor(BaseFeaturesExtractor):
    """Features of stacked steps of sound: what a `SourceSetExtractor` makes of a frozen separator's rows.

    The k steps of a stack are one window for the separator, and all that bearings and attention are followed over: the
    source attended to is the loudest one of the first of them, as long as it is heard.

    Args:
        observation_space: a Dict of `audio` [2k, n], 16-bit full scale, the newest step's ears last, `heading` [k, 2],
            and flat parts.
        separator: copied, so that a network and its target have one each; the copy's weights are learned.
        cues: features of the estimates, for blocks of n samples.
        looked_at: of how many sources, the one attended to first, then the loudest now.
        standardise: all that comes out passes a `RunningStandardiser`.

    Raises:
        ShapeError: no such observation.
    """

    def __init__(
        self,
        observation_space: spaces.Dict,
        separator: DPRNNSeparator,
        cues: SpatialCues,
        looked_at: int,
        standardise: bool = False,
    ) -> None:
        sound, heading = (_shape(observation_space, key) for key in (AUDIO, HEADING))
        if len(sound) != 2 or sound[0] % 2:
            raise ShapeError(f"{AUDIO}: {list(sound)} is no stack of steps of two ears; give a Box of shape [2k, n]")
        count = sound[0] // 2
        if heading != (count, 2):
            raise ShapeError(f"{HEADING}: {list(heading)} is no stack of headings; give a Box of shape [{count}, 2]")
        flat = [key for key in observation_space.spaces if key not in (AUDIO, HEADING)]
        size = sum(int(torch.Size(_shape(observation_space, key)).numel()) for key in flat)
        per_step = looked_at * len(row_names(cues)) + len(mixture_columns(cues))
        super().__init__(observation_space, size + count * per_step)
        self._flat, self._looked_at = flat, looked_at
        self.separator, self.cues = deepcopy(separator), deepcopy(cues)
        self.standardiser = RunningStandardiser(self.features_dim) if standardise else None

    def forward(self, observations: dict[str, Tensor]) -> Tensor:
        """Features [B, features_dim]: the flat parts, the mixture of all steps, the sources, the attended one first."""
        steps = (observations[AUDIO] / FULL_SCALE).unflatten(1, (-1, 2))  # [B, k, 2, n]
        count, samples = steps.shape[1], steps.shape[3]
        estimates = self.separator(steps.transpose(1, 2).flatten(2))  # [B, K, k·n]
        parts = estimates.unflatten(2, (count, samples)).transpose(1, 2)  # [B, k, K, n]
        cues = self.cues.with_mixture(steps.flatten(0, 1), parts.flatten(0, 1)).unflatten(0, (-1, count))
        rows = self._followed(cues, observations[HEADING]) if self.cues.cues == "masked" else cues
        mixture = rows[:, :, 0, mixture_columns(self.cues)]
        levels = rows[:, :, 1:, LEVEL_COLUMN[self.cues.cues]]
        attended = torch.full((len(rows),), NOBODY, device=rows.device)
        for step in levels.unbind(dim=1):
            attended = attend(step, attended)
        sources = attended_first(rows[:, :, 1:], attended, levels[:, -1], self._looked_at)
        flat = [observations[key].flatten(1) for key in self._flat]
        features = torch.cat([*flat, mixture.flatten(1), sources.flatten(1)], dim=1)
        return features if self.standardiser is None else self.standardiser(features)

    def _followed(self, cues: Tensor, headings: Tensor) -> Tensor:
        """Cues [B, k, 1 + K, C] with the bearings that the steps up to each one tell."""
        sums, steps = cues.new_zeros(len(cues), cues.shape[2], SUMS), []
        for step, heading in zip(cues.unbind(dim=1), headings.unbind(dim=1), strict=True):
            rows, sums = with_bearing(step, sums, heading)
            steps.append(rows)
        return torch.stack(steps, dim=1)


def _shape(space: spaces.Dict, key: str) -> tuple[int, ...]:
    """The shape of a part, () where there is none."""
    part = space.spaces.get(key)
    return () if part is None else part.shape or ()
