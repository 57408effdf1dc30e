"""Rows of sources as a network sees them: the loudest now first, each with its own history.

Slots in a fixed order leave it to chance which of them the sound to walk to is in, and a network has to learn for each
slot anew what a sound on the left asks for. Ordered by level the first row always is what the ears would follow without
a separator, now alone; often that is all that a network needs. Nothing is pooled: encoders for all rows with attention
and maxima over them (Zaheer et al., Deep Sets, NeurIPS 2017) were learned more slowly in this task.
"""

from __future__ import annotations

import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor

from auralnav.errors import ShapeError
from auralnav.policies.extractors import RunningStandardiser


def loudest_first(rows: Tensor, level: int, count: int) -> Tensor:
    """Rows [B, h, count, C] of the sources that are loudest now, the loudest first, of rows [B, h, K, C] over h steps.

    Column `level` of the last step says how loud. Sources keep their histories. Equal levels, as of silent sources,
    keep their order.
    """
    order = rows[:, -1, :, level].argsort(dim=1, descending=True, stable=True)[:, :count]
    return rows.take_along_dim(order[:, None, :, None], dim=2)


class SourceSetExtractor(BaseFeaturesExtractor):
    """Features of a Dict of `sources`, rows of K sources over h steps, and flat parts, which come first.

    Args:
        observation_space: with `sources` [h · K, C], step after step, the newest last.
        sources: K.
        level: the column of a row that orders sources.
        loudest: how many of them are looked at, 1 to K.
        standardise: all that comes out passes a `RunningStandardiser`.

    Raises:
        ShapeError: no such observation.
    """

    def __init__(
        self, observation_space: spaces.Dict, sources: int, level: int, loudest: int, standardise: bool = False
    ) -> None:
        rows = observation_space.spaces.get("sources")
        shape = () if rows is None else rows.shape or ()
        if len(shape) != 2 or shape[0] % sources or not level < shape[1]:
            raise ShapeError(
                f"sources: {rows} is no Box of shape [steps · {sources}, more than {level}]; "
                f"give rows of {sources} sources"
            )
        flat = {key: part for key, part in observation_space.spaces.items() if key != "sources"}
        size = sum(int(torch.Size(part.shape or ()).numel()) for part in flat.values())
        super().__init__(observation_space, size + shape[0] // sources * loudest * shape[1])
        self._flat, self._sources, self._level, self._loudest = list(flat), sources, level, loudest
        self.standardiser = RunningStandardiser(self.features_dim) if standardise else None

    def forward(self, observations: dict[str, Tensor]) -> Tensor:
        """Features [B, features_dim]: the flat parts, then step after step the sources, the loudest now first."""
        rows = observations["sources"].unflatten(1, (-1, self._sources))  # [B, h, K, C]
        flat = [observations[key].flatten(1) for key in self._flat]
        features = torch.cat([*flat, loudest_first(rows, self._level, self._loudest).flatten(1)], dim=1)
        return features if self.standardiser is None else self.standardiser(features)
