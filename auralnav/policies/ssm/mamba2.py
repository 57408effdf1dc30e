"""Mamba-2 (Dao & Gu 2024, arXiv:2405.21060): heads with one rate each, computed as matrix products."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from auralnav.errors import ConfigError
from auralnav.policies.ssm.backends import Kernels
from auralnav.policies.ssm.layer import SSMLayer, without_autocast
from auralnav.policies.ssm.norm import gated_norm
from auralnav.policies.ssm.parameters import dt_bias, protected
from auralnav.policies.ssm.sizes import require_positive


class Mamba2(SSMLayer):
    """The Mamba-2 layer under the parameter names and shapes of `mamba_ssm.Mamba2`: state dicts load both ways.

    Args:
        d_model: width d of input and output.
        d_state: N, states a channel.
        d_conv: K, taps of the convolution.
        expand: the scan's width D is expand · d_model.
        headdim: P, channels a head; divides D.
        ngroups: G, groups of heads that share B and C; divides the D / P heads.
        chunk_size: Q, steps a matrix product, on the CPU and in plain torch; the outputs do not depend on it.
        backend: see `SSMLayer`.

    Raises:
        ConfigError: a size below 1, headdim or ngroups that does not divide, or an unknown backend.
        MissingDependencyError: a backend that was named and cannot be loaded.
    """

    def __init__(
        self,
        d_model: int,
        d_state: int = 128,
        d_conv: int = 4,
        expand: int = 2,
        headdim: int = 64,
        ngroups: int = 1,
        chunk_size: int = 64,
        backend: str = "auto",
    ) -> None:
        require_positive(
            d_model=d_model,
            d_state=d_state,
            d_conv=d_conv,
            expand=expand,
            headdim=headdim,
            ngroups=ngroups,
            chunk_size=chunk_size,
        )
        d_inner = expand * d_model
        if d_inner % headdim:
            raise ConfigError(
                f"headdim: {headdim} does not divide expand · d_model = {d_inner}; choose a divisor"
            )
        heads = d_inner // headdim
        if heads % ngroups:
            raise ConfigError(f"ngroups: {ngroups} does not divide the {heads} heads; choose a divisor")
        channels = d_inner + 2 * ngroups * d_state
        super().__init__(d_model, d_inner + channels + heads, d_inner, channels, d_conv, backend)
        self.d_state, self.headdim, self.ngroups, self.chunk_size = d_state, headdim, ngroups, chunk_size
        self.heads = heads
        self.dt_bias = protected(dt_bias(heads))
        self.A_log = protected(torch.log(torch.empty(heads).uniform_(1, 16)))
        self.D = protected(torch.ones(heads))
        self.norm = GatedRMSNorm(d_inner, d_inner // ngroups)
        self.out_proj = nn.Linear(d_inner, d_model, bias=False)

    def _ssm_shape(self) -> tuple[int, ...]:
        return self.heads, self.headdim, self.d_state

    def _split(self, projected: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        z, x, dt = projected.split([self.d_inner, self.conv1d.out_channels, self.heads], dim=-1)
        return x, (z, dt)

    def _fused(self, kernels: Kernels, projected: Tensor, seq_idx: Tensor | None) -> Tensor | None:
        return None if kernels.fused_mamba2 is None else kernels.fused_mamba2(self, projected, seq_idx)

    def _scan(
        self,
        kernels: Kernels,
        x: Tensor,
        parts: tuple[Tensor, ...],
        seq_idx: Tensor | None,
        h0: Tensor | None,
        with_state: bool,
    ) -> tuple[Tensor, Tensor | None]:
        z, dt = parts
        with without_autocast(x.device):
            y, h = kernels.chunk_scan(*self._operands(x, dt), self.chunk_size, seq_idx, h0, with_state)
            weight = self.norm.weight.to(y.dtype)
            return kernels.gated_norm(y.flatten(-2), z, weight, self.norm.group), h

    def _scan_step(
        self, kernels: Kernels, x: Tensor, parts: tuple[Tensor, ...], h: Tensor, inplace: bool
    ) -> tuple[Tensor, Tensor]:
        z, dt = parts
        with without_autocast(x.device):
            y, h = kernels.chunk_step(*self._operands(x, dt), h, inplace)
            return self.norm(y.flatten(-2), z), h

    def _operands(self, convolved: Tensor, dt: Tensor) -> tuple[Tensor, ...]:
        """What the scan takes: x [..., H, P], dt [..., H], A [H], B, C [..., G, N] and D [H], in one dtype."""
        dtype = convolved.dtype
        size = self.ngroups * self.d_state
        x, B, C = convolved.split([self.d_inner, size, size], dim=-1)
        return (
            x.unflatten(-1, (self.heads, self.headdim)),
            F.softplus(dt + self.dt_bias.to(dtype)),
            -torch.exp(self.A_log.to(dtype)),
            B.unflatten(-1, (self.ngroups, self.d_state)),
            C.unflatten(-1, (self.ngroups, self.d_state)),
            self.D.to(dtype),
        )


class GatedRMSNorm(nn.Module):
    """`gated_norm` with its weight, under upstream's name.

    Args:
        channels: D.
        group: channels that share a root mean square.
    """

    def __init__(self, channels: int, group: int) -> None:
        super().__init__()
        self.group = group
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """X and z [..., D] to [..., D] in the dtype of x."""
        return gated_norm(x, z, self.weight.to(x.dtype), self.group)
