"""Mamba-2's gated norm in plain torch, on any device."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

EPS = 1e-5


def gated_norm(x: Tensor, z: Tensor, weight: Tensor, group: int) -> Tensor:
    """RMSNorm(x · silu(z)) over groups of channels, times a weight; eps 1e-5 is added to the mean square.

    Args:
        x: inputs [..., D].
        z: gates [..., D].
        weight: [D], in the dtype of x.
        group: channels that share a root mean square; divides D.

    Returns:
        [..., D].
    """
    gated = (x * F.silu(z)).unflatten(-1, (-1, group))
    return F.rms_norm(gated, (group,), eps=EPS).flatten(-2) * weight
