"""The causal depthwise convolution before the scan, in plain torch: channel axis innermost, any device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def causal_conv(
    x: Tensor, weight: Tensor, bias: Tensor, seq_idx: Tensor | None = None, taps: Tensor | None = None
) -> Tensor:
    """silu(bias + Σ_j weight[:, K − 1 − j] · x[:, t − j]), taps only from the episode of step t.

    Args:
        x: inputs [B, L, C].
        weight: [C, K].
        bias: [C].
        seq_idx: int32 [B, L] from `episodes`; None for one episode a row.
        taps: the K − 1 inputs before the first step, newest last, [B, C, K − 1]; zeros when None. They count
            in the first episode only.

    Returns:
        [B, L, C].
    """
    lags = weight.shape[1] - 1
    length = x.shape[1]
    padded = _behind(x, taps, lags)
    if seq_idx is not None:  # what lies before the first step belongs to episode 0
        seq_idx = F.pad(seq_idx, (lags, 0))
    out = torch.addcmul(bias, x, weight[:, lags])
    for lag in range(1, lags + 1):
        start = lags - lag
        tap = padded[:, start : start + length]
        if seq_idx is not None:
            same = seq_idx[:, start : start + length] == seq_idx[:, lags:]
            tap = torch.where(same[:, :, None], tap, 0.0)
        out = torch.addcmul(out, tap, weight[:, start])
    return F.silu(out)


def last_inputs(
    x: Tensor, width: int, seq_idx: Tensor | None = None, conv_state: Tensor | None = None
) -> Tensor:
    """The convolution's state after the steps `x`: the last `width` inputs of the last episode, newest last.

    Args:
        x: inputs [B, L, C].
        width: K.
        seq_idx: int32 [B, L] from `episodes`, or None.
        conv_state: the state before these steps [B, C, K], or None.

    Returns:
        [B, C, K]; zeros where the episode is shorter.
    """
    length = x.shape[1]
    recent = x[:, max(0, length - width) :]
    missing = max(0, width - length)
    kept = _behind(recent, None if conv_state is None else conv_state[:, :, length:], missing)
    if seq_idx is not None:
        numbers = F.pad(seq_idx, (missing, 0))[:, -width:]
        kept = torch.where((numbers == seq_idx[:, -1:])[:, :, None], kept, 0.0)
    return kept.transpose(1, 2).contiguous()


def conv_step(weight: Tensor, bias: Tensor, conv_state: Tensor) -> Tensor:
    """One step of `causal_conv`.

    Args:
        weight: [C, K].
        bias: [C].
        conv_state: the last K inputs [B, C, K], this step's among them.

    Returns:
        [B, C].
    """
    return F.silu(bias + (conv_state * weight).sum(-1))


def _behind(x: Tensor, taps: Tensor | None, lags: int) -> Tensor:
    """X [B, L, C] behind `lags` earlier steps: `taps` [B, C, lags], or zeros when None."""
    if taps is None:
        return F.pad(x, (0, 0, lags, 0))
    return torch.cat([taps.transpose(1, 2), x], dim=1) if lags else x
