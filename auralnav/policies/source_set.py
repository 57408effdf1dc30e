"""Rows of sources as a network sees them: first that of the source attended to, each with its own history.

Slots in a fixed order leave it to chance which of them the sound to walk to is in, and a network has to learn for each
slot anew what a sound on the left asks for. The row of the source that is attended to often is all that a network
needs; the others follow by their level. Nothing is pooled: encoders for all rows with attention and maxima over them
(Zaheer et al., Deep Sets, NeurIPS 2017) were learned more slowly in this task.
"""

from __future__ import annotations

import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor

from auralnav.errors import ShapeError
from auralnav.policies.extractors import RunningStandardiser

ATTENDED = "attended"
SOURCES = "sources"
"""Keys of the observation: which source is attended to, and the rows."""


def attended_first(rows: Tensor, attended: Tensor, levels: Tensor, count: int) -> Tensor:
    """Rows [B, h, count, C] of the source attended to and the loudest others, of rows [B, h, K, C] over h steps.

    Sources keep their histories, and equally loud ones, as silence is, their order.

    Args:
        rows: of K sources.
        attended: int64 [B], which of them.
        levels: [B, K], how loud each is now, within [0, 1].
        count: how many, 1 to K.
    """
    first = levels.scatter(1, attended.unsqueeze(1), 2.0)  # above every level
    order = first.argsort(dim=1, descending=True, stable=True)[:, :count]
    return rows.take_along_dim(order[:, None, :, None], dim=2)


class SourceSetExtractor(BaseFeaturesExtractor):
    """Features of a Dict of `sources`, rows of K sources over h steps, `attended`, and flat parts, which come first.

    Args:
        observation_space: with `sources` [h · K, C], step after step, the newest last, and `attended` [h, K], a 1 for
            the source attended to in each step.
        sources: K.
        level: the column of a row that orders the others.
        looked_at: how many of them are looked at, 1 to K.
        standardise: all that comes out passes a `RunningStandardiser`.

    Raises:
        ShapeError: no such observation.
    """

    def __init__(
        self, observation_space: spaces.Dict, sources: int, level: int, looked_at: int, standardise: bool = False
    ) -> None:
        rows = observation_space.spaces.get(SOURCES)
        shape = () if rows is None else rows.shape or ()
        if len(shape) != 2 or shape[0] % sources or not level < shape[1]:
            raise ShapeError(
                f"sources: {rows} is no Box of shape [steps · {sources}, more than {level}]; "
                f"give rows of {sources} sources"
            )
        attended = observation_space.spaces.get(ATTENDED)
        if attended is None or attended.shape != (shape[0] // sources, sources):
            raise ShapeError(
                f"attended: {attended} is no Box of shape [{shape[0] // sources}, {sources}]; "
                "say of each step which source is attended to"
            )
        flat = {key: part for key, part in observation_space.spaces.items() if key not in (SOURCES, ATTENDED)}
        size = sum(int(torch.Size(part.shape or ()).numel()) for part in flat.values())
        super().__init__(observation_space, size + shape[0] // sources * looked_at * shape[1])
        self._flat, self._sources, self._level, self._looked_at = list(flat), sources, level, looked_at
        self.standardiser = RunningStandardiser(self.features_dim) if standardise else None

    def forward(self, observations: dict[str, Tensor]) -> Tensor:
        """Features [B, features_dim]: the flat parts, then step after step the sources, the one attended to first."""
        rows = observations[SOURCES].unflatten(1, (-1, self._sources))  # [B, h, K, C]
        flat = [observations[key].flatten(1) for key in self._flat]
        attended = observations[ATTENDED][:, -1].argmax(dim=1)
        chosen = attended_first(rows, attended, rows[:, -1, :, self._level], self._looked_at)
        features = torch.cat([*flat, chosen.flatten(1)], dim=1)
        return features if self.standardiser is None else self.standardiser(features)
