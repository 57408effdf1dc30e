"""Initial values of a state-space layer's own parameters, and their protection from an outer library's."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

DT_MIN, DT_MAX, DT_FLOOR = 1e-3, 0.1, 1e-4


def protected(values: Tensor) -> nn.Parameter:
    """A parameter marked `_no_weight_decay` and `_no_reinit`, as `mamba_ssm` marks its own.

    An optimizer that decays weights leaves out what has the first mark, a routine that initialises a whole
    network skips what has the second. Stable-Baselines3's orthogonal initialisation knows no marks: it rewrites
    weight and bias of every `nn.Linear` and `nn.Conv2d`, so no protected parameter may live in one of these.
    """
    parameter = nn.Parameter(values)
    for mark in ("_no_weight_decay", "_no_reinit"):
        setattr(parameter, mark, True)
    return parameter


def dt_bias(count: int) -> Tensor:
    """Biases [count] for which softplus gives log-uniform step sizes in [1e-3, 0.1] (arXiv:2312.00752, section 3.6)."""
    dt = torch.exp(torch.empty(count).uniform_(math.log(DT_MIN), math.log(DT_MAX))).clamp(min=DT_FLOOR)
    return dt + torch.log(-torch.expm1(-dt))


class StepSizeProjection(nn.Module):
    """The linear map from rank R to step sizes before the softplus; deliberately no `nn.Linear`: see `protected`.

    Args:
        rank: R.
        channels: D.
    """

    def __init__(self, rank: int, channels: int) -> None:
        super().__init__()
        self.weight = protected(torch.empty(channels, rank).uniform_(-(rank**-0.5), rank**-0.5))
        self.bias = protected(dt_bias(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Step sizes softplus(x Wᵀ + b) [..., D] of x [..., R], at least float32 from the bias on."""
        product = F.linear(x.to(self.weight.dtype), self.weight)
        dtype = torch.promote_types(product.dtype, torch.float32)
        return F.softplus(product.to(dtype) + self.bias.to(dtype))
