"""Mamba (Gu & Dao 2023, arXiv:2312.00752): a selective scan with its own rates for every channel."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from auralnav.errors import ConfigError
from auralnav.policies.ssm.backends import Kernels
from auralnav.policies.ssm.layer import SSMLayer, without_autocast
from auralnav.policies.ssm.parameters import StepSizeProjection, protected
from auralnav.policies.ssm.sizes import require_positive


class Mamba(SSMLayer):
    """The Mamba layer under the parameter names and shapes of `mamba_ssm.Mamba`: state dicts load both ways.

    Args:
        d_model: width d of input and output.
        d_state: N, states a channel.
        d_conv: K, taps of the convolution.
        expand: the scan's width D is expand · d_model.
        dt_rank: R, rank of the step sizes; "auto" is ceil(d_model / 16).
        backend: see `SSMLayer`.

    Raises:
        ConfigError: a size below 1, or an unknown backend.
        MissingDependencyError: a backend that was named and cannot be loaded.
    """

    def __init__(
        self,
        d_model: int,
        d_state: int = 16,
        d_conv: int = 4,
        expand: int = 2,
        dt_rank: int | Literal["auto"] = "auto",
        backend: str = "auto",
    ) -> None:
        require_positive(d_model=d_model, d_state=d_state, d_conv=d_conv, expand=expand)
        rank = math.ceil(d_model / 16) if dt_rank == "auto" else dt_rank
        if isinstance(rank, str):
            raise ConfigError(f"dt_rank: {rank!r} is neither a number nor 'auto'")
        require_positive(dt_rank=rank)
        d_inner = expand * d_model
        super().__init__(d_model, 2 * d_inner, d_inner, d_inner, d_conv, backend)
        self.d_state, self.dt_rank = d_state, rank
        self.x_proj = nn.Linear(d_inner, rank + 2 * d_state, bias=False)
        self.dt_proj = StepSizeProjection(rank, d_inner)
        self.A_log = protected(torch.log(torch.arange(1.0, d_state + 1)).repeat(d_inner, 1))
        self.D = protected(torch.ones(d_inner))
        self.out_proj = nn.Linear(d_inner, d_model, bias=False)

    def _ssm_shape(self) -> tuple[int, ...]:
        return self.d_inner, self.d_state

    def _split(self, projected: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        x, z = projected.chunk(2, dim=-1)
        return x, (z,)

    def _fused(self, kernels: Kernels, projected: Tensor, seq_idx: Tensor | None) -> Tensor | None:
        if kernels.fused_mamba is None or seq_idx is not None:
            return None
        return kernels.fused_mamba(self, projected)

    def _scan(
        self,
        kernels: Kernels,
        x: Tensor,
        parts: tuple[Tensor, ...],
        seq_idx: Tensor | None,
        h0: Tensor | None,
        with_state: bool,
    ) -> tuple[Tensor, Tensor | None]:
        dt, B, C = self._select(x)
        with without_autocast(x.device):
            y, h = kernels.selective_scan(x, dt, *self._rates(x.dtype, B, C), seq_idx, h0)
            return y * F.silu(parts[0]), h if with_state else None

    def _scan_step(
        self, kernels: Kernels, x: Tensor, parts: tuple[Tensor, ...], h: Tensor, inplace: bool
    ) -> tuple[Tensor, Tensor]:
        dt, B, C = self._select(x)
        with without_autocast(x.device):
            y, h = kernels.selective_step(x, dt, *self._rates(x.dtype, B, C), h, inplace)
            return y * F.silu(parts[0]), h

    def _select(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Step sizes dt [..., D] and weights B, C [..., N] that the input x [..., D] selects."""
        selected = self.x_proj(x.to(self.x_proj.weight.dtype))
        low_rank, B, C = selected.split([self.dt_rank, self.d_state, self.d_state], dim=-1)
        return self.dt_proj(low_rank), B, C

    def _rates(self, dtype: torch.dtype, B: Tensor, C: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """A, B, C and D of the scan in `dtype`."""
        return -torch.exp(self.A_log.to(dtype)), B.to(dtype), C.to(dtype), self.D.to(dtype)
