"""Front or behind: the direction of a source from where it was heard at the headings of the last steps.

Two ears measure one number of a direction: its component along the axis through the ears, the sine of the lateral
angle. A source in front and its mirror image behind have the same. The components along the axes of several headings
give the whole direction, as soon as the listener has turned (Wallach, The role of head movements and vestibular and
visual cues in sound localization, J. Exp. Psychol. 27, 1940). They are fitted by recursive least squares with
exponential forgetting (Haykin, Adaptive Filter Theory, ch. 10), for while the listener walks directions change.
"""

from __future__ import annotations

import torch
from torch import Tensor

from auralnav.separation.cues import azimuth

BEARING = ("ahead", "left")
"""Names of the two numbers of a bearing, in their order."""

SUMS = 5
"""Numbers remembered of a source."""

FORGETTING = 0.8
"""Weight of a step's measurement one step later."""

RIDGE = 0.2
"""Weight of "no direction": how much is to be known before a bearing comes near its full length."""


def with_bearing(features: Tensor, sums: Tensor, heading: Tensor) -> tuple[Tensor, Tensor]:
    """The features of sources with their bearings after one more step.

    With n the unit vector to the listener's left at each step, in a frame that does not turn, a bearing is the u with
    the smallest Σ FORGETTING^age (n · u − sin azimuth)² + RIDGE |u|², in the listener's frame. Steps in which a source
    is silent say nothing of it, and what is known of it fades.

    Args:
        features: [B, K, C] of `SpatialCues(cues="masked")`, with or without timbre.
        sums: [B, K, SUMS] as the step before returned them; zeros when an episode starts.
        heading: [B, 2], its cosine and sine; zeros for a step before the episode.

    Returns:
        [B, K, C + 2]: the features, then the components of the bearing ahead and to the left, within [−1, 1] and zeros
        for a source never heard; and the new sums.

    Raises:
        ShapeError: other features.
    """
    heard = (features != 0).any(dim=-1)
    side = torch.sin(azimuth(features))  # [B, K]
    x, y = -heading[:, 1:], heading[:, :1]
    axis = torch.stack([x * x, x * y, y * y], dim=-1).expand(*side.shape, 3)
    measured = torch.cat([axis, torch.stack([x * side, y * side], dim=-1)], dim=-1)
    sums = FORGETTING * sums + measured * heard.unsqueeze(-1)
    xx, xy, yy, right_x, right_y = sums.unbind(dim=-1)
    xx, yy = xx + RIDGE, yy + RIDGE
    scale = 1.0 / (xx * yy - xy * xy)
    u, v = scale * (yy * right_x - xy * right_y), scale * (xx * right_y - xy * right_x)
    bearing = torch.stack([y * u - x * v, x * u + y * v], dim=-1)
    return torch.cat([features, bearing.clamp(-1.0, 1.0)], dim=-1), sums
