"""The backend `cuda`: the kernels of `mamba_ssm` and `causal_conv1d`, and our own where they lack something.

`mamba_ssm` has a fused kernel for a whole layer without carried states; Mamba-1's takes one episode a row, and with
several, with a state or with a gradient through the last state the scan is `triton_scan`. The step kernels have no
gradients: while these are recorded, a step is plain torch.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from auralnav.policies.ssm import conv, norm, scan_torch, ssd_torch, triton_tuning
from auralnav.policies.ssm.backends import Kernels

if TYPE_CHECKING:
    from auralnav.policies.ssm.mamba import Mamba
    from auralnav.policies.ssm.mamba2 import Mamba2

if not torch.cuda.is_available():
    raise RuntimeError("torch sees no CUDA device")

# For kernels that are tuned all the same, and for users who ask for it: later processes read what Triton chose from
# its cache on disk. Read when the kernels are defined, hence before the imports.
os.environ.setdefault("TRITON_CACHE_AUTOTUNING", "1")

_conv1d = import_module("causal_conv1d")
_mamba = import_module("mamba_ssm.ops.selective_scan_interface")
_mamba2 = import_module("mamba_ssm.ops.triton.ssd_combined")
_update = import_module("mamba_ssm.ops.triton.selective_state_update").selective_state_update
_triton_scan = import_module("auralnav.policies.ssm.triton_scan")

triton_tuning.pin(import_module(name) for name in triton_tuning.MODULES)

CHUNK = 256
"""Steps a matrix product: upstream's own default for these kernels, faster here than the CPU's 64."""


def causal_conv(
    x: Tensor, weight: Tensor, bias: Tensor, seq_idx: Tensor | None = None, taps: Tensor | None = None
) -> Tensor:
    """As `conv.causal_conv`; by plain torch where `causal_conv1d` has no kernel for the sizes."""
    if not _conv_fits(x, weight):
        return conv.causal_conv(x, weight, bias, seq_idx, taps)
    lags = weight.shape[1] - 1
    if taps is not None:
        # Upstream takes either earlier taps or episodes: run over both, drop what is too much.
        x = torch.cat([taps.transpose(1, 2), x], dim=1)
        if seq_idx is not None:
            seq_idx = torch.nn.functional.pad(seq_idx, (lags, 0))
    y = _conv1d.causal_conv1d_fn(
        x.contiguous().transpose(1, 2), weight, bias, seq_idx=seq_idx, activation="silu"
    )
    y = y.transpose(1, 2)
    return y if taps is None else y[:, lags:]


def selective_step(
    u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, h: Tensor, inplace: bool = False
) -> tuple[Tensor, Tensor]:
    """As `scan_torch.selective_step`."""
    if torch.is_grad_enabled():
        return scan_torch.selective_step(u, dt, A, B, C, D, h, inplace)
    h = h if inplace else h.clone()
    # Upstream takes the strides of this bias whether there is one or not.
    y = _update(h, u, dt, A, B, C, D, dt_bias=torch.zeros_like(D))
    torch.autograd.graph.increment_version(h)  # the kernel wrote over it, of which autograd knows nothing
    return y, h


def chunk_scan(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    chunk_size: int,
    seq_idx: Tensor | None = None,
    h0: Tensor | None = None,
    with_state: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """As `ssd_torch.chunk_scan`; `chunk_size` is for the CPU and does not matter here."""
    out = _mamba2.mamba_chunk_scan_combined(
        x, dt, A, B, C, CHUNK, D=D, initial_states=h0, seq_idx=seq_idx, return_final_states=with_state
    )
    return out if with_state else (out, None)


def chunk_step(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, h: Tensor, inplace: bool = False
) -> tuple[Tensor, Tensor]:
    """As `ssd_torch.chunk_step`."""
    if torch.is_grad_enabled():
        return ssd_torch.chunk_step(x, dt, A, B, C, D, h, inplace)
    h = h if inplace else h.clone()
    heads, headdim, d_state = h.shape[1:]
    y = _update(
        h,
        x,
        dt[:, :, None].expand(-1, -1, headdim),
        A[:, None, None].expand(-1, headdim, d_state),
        B,
        C,
        D[:, None].expand(-1, headdim),
        dt_bias=dt.new_zeros(heads, 1).expand(-1, headdim),
    )
    torch.autograd.graph.increment_version(h)
    return y, h


def fused_mamba(layer: Mamba, projected: Tensor) -> Tensor | None:
    """What follows the input projection of a Mamba layer, [B, L, 2 D] to [B, L, d], in one kernel."""
    weight = layer.conv1d.weight
    if not _conv_fits(projected, weight):
        return None
    return _mamba.mamba_inner_fn(
        projected.transpose(1, 2),
        weight,
        layer.conv1d.bias,
        layer.x_proj.weight,
        layer.dt_proj.weight,
        layer.out_proj.weight,
        None,
        -torch.exp(layer.A_log.float()),
        D=layer.D.float(),
        delta_bias=layer.dt_proj.bias.float(),
        delta_softplus=True,
    )


def fused_mamba2(layer: Mamba2, projected: Tensor, seq_idx: Tensor | None) -> Tensor | None:
    """What follows the input projection of a Mamba-2 layer, [B, L, …] to [B, L, d], in one kernel."""
    weight = layer.conv1d.weight
    if not _conv_fits(projected, weight):
        return None
    return _mamba2.mamba_split_conv1d_scan_combined(
        projected,
        weight.squeeze(1),
        layer.conv1d.bias,
        layer.dt_bias,
        -torch.exp(layer.A_log.float()),
        layer.D,
        chunk_size=CHUNK,
        seq_idx=seq_idx,
        activation="silu",
        rmsnorm_weight=layer.norm.weight,
        rmsnorm_eps=norm.EPS,
        outproj_weight=layer.out_proj.weight,
        headdim=layer.headdim,
        ngroups=layer.ngroups,
        norm_before_gate=False,
    )


def _conv_fits(x: Tensor, weight: Tensor) -> bool:
    """Whether `causal_conv1d` takes inputs [B, L, …] and weights [C, …, K], with episodes.

    Not a single step of a single row: its strides say nothing and torch leaves them as they are, but upstream wants
    multiples of 8.
    """
    return x.shape[0] * x.shape[1] > 1 and weight.shape[0] % 8 == 0 and 2 <= weight.shape[-1] <= 4


KERNELS = Kernels(
    name="cuda",
    selective_scan=_triton_scan.selective_scan,
    selective_step=selective_step,
    chunk_scan=chunk_scan,
    chunk_step=chunk_step,
    causal_conv=causal_conv,
    gated_norm=norm.gated_norm,
    fused_mamba=fused_mamba,
    fused_mamba2=fused_mamba2,
)
