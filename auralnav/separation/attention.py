"""Which source to walk to: the loudest, and then the same one until it falls silent.

What is loudest changes from step to step where several sources are about as near, and who follows it turns from one to
the next. Told apart, a source can be kept to. It is left when it falls silent, as it does when it is found, and for one
that is much louder, which is much nearer.
"""

from __future__ import annotations

import torch
from torch import Tensor

NOBODY = -1
"""Attended to before an episode's first step."""

MARGIN = 0.06
"""How much louder another source must be to be attended to instead, in units of the level feature: 6 dB."""


def attend(levels: Tensor, attended: Tensor) -> Tensor:
    """The source that is attended to after one more step.

    Args:
        levels: [B, K], how loud each source is in the step, 0 for silence; see `SpatialCues`.
        attended: int64 [B], which one was attended to until now; NOBODY where an episode starts.

    Returns:
        int64 [B]: the same one, or the loudest (the first of equals) where that one is silent or the loudest is more
        than MARGIN louder.
    """
    level, loudest = levels.max(dim=1)
    kept = levels.gather(1, attended.clamp(min=0).unsqueeze(1)).squeeze(1)
    leave = (attended == NOBODY) | (kept <= 0) | (level > kept + MARGIN)
    return torch.where(leave, loudest, attended)
