"""The features of a policy that separates for itself: a DPRNN in the network, and the spatial cues of what it finds."""

from __future__ import annotations

from copy import deepcopy

import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor

from auralnav.agents.source_cues import AUDIO, FULL_SCALE
from auralnav.errors import ShapeError
from auralnav.separation.cues import SpatialCues
from auralnav.separation.separator import DPRNNSeparator


class DPRNNExtractor(BaseFeaturesExtractor):
    """Features of stacked steps of sound: each step's cues of each source, and the flat parts of the observation.

    The k steps of a stack are one window for the separator. Its estimates are put in the order of their energy over
    the window, the loudest first, so that what a source is called does not change within a stack.

    Args:
        observation_space: a Dict of `audio` [2k, n], 16-bit full scale, the newest step's ears last, and flat parts.
        separator: copied, so that a network and its target have one each; the copy's weights are learned.
        cues: features of the estimates, for blocks of n samples.

    Raises:
        ShapeError: no such observation.
    """

    def __init__(self, observation_space: spaces.Dict, separator: DPRNNSeparator, cues: SpatialCues) -> None:
        sound = observation_space.spaces.get(AUDIO)
        shape = () if sound is None else sound.shape or ()
        if len(shape) != 2 or shape[0] % 2:
            raise ShapeError(f"{AUDIO}: {sound} is no stack of steps of two ears; give a Box of shape [2k, n]")
        flat = {key: part for key, part in observation_space.spaces.items() if key != AUDIO}
        size = sum(int(torch.Size(part.shape or ()).numel()) for part in flat.values())
        per_step = separator.config.sources * len(cues.names)
        super().__init__(observation_space, size + shape[0] // 2 * per_step)
        self._flat = list(flat)
        self.separator, self.cues = deepcopy(separator), deepcopy(cues)

    def forward(self, observations: dict[str, Tensor]) -> Tensor:
        """Features [B, flat + k · K · C]: the flat parts, then the cues step after step, source after source."""
        steps = (observations[AUDIO] / FULL_SCALE).unflatten(1, (-1, 2))  # [B, k, 2, n]
        batch, count, _, samples = steps.shape
        estimates = self.separator(steps.transpose(1, 2).flatten(2))  # [B, K, k·n]
        order = estimates.detach().square().sum(dim=-1).argsort(dim=1, descending=True, stable=True)
        estimates = estimates.gather(1, order.unsqueeze(-1).expand_as(estimates))
        parts = estimates.unflatten(2, (count, samples)).transpose(1, 2)  # [B, k, K, n]
        cues = self.cues(steps.flatten(0, 1), parts.flatten(0, 1))
        flat = [observations[key].flatten(1) for key in self._flat]
        return torch.cat([*flat, cues.reshape(batch, -1)], dim=1)
