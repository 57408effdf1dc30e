"""Mamba's selective scan in plain torch: the reference of every other backend, on any device."""

from __future__ import annotations

import torch
from torch import Tensor


def selective_scan(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    seq_idx: Tensor | None = None,
    h0: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """h_t = exp(dt_t A) h_{t−1} + dt_t B_t u_t and y_t = C_t h_t + D u_t (Gu & Dao 2023, arXiv:2312.00752).

    A loop over the steps, with the channel axis innermost. Nothing is divided by a decay, so that no size of dt
    or A overflows; the memory for the gradients is O(B · L · D · N).

    Args:
        u: inputs [B, L, D].
        dt: step sizes, positive, [B, L, D].
        A: rates, negative, [D, N].
        B: input weights [B, L, N].
        C: output weights [B, L, N].
        D: skip [D].
        seq_idx: int32 [B, L] from `episodes`: where it changes, h starts from zero. None for one episode a row.
        h0: state before the first step [B, D, N]; zeros when None. It enters the first episode only.

    Returns:
        y [B, L, D], and the state after the last step [B, D, N].
    """
    decays = torch.exp(dt[:, :, None] * A.t()).unbind(1)  # L × [B, N, D]
    inputs = ((dt * u)[:, :, None] * B[..., None]).unbind(1)
    h = torch.zeros_like(inputs[0]) if h0 is None else h0.transpose(1, 2)
    starts = [None] * len(decays) if seq_idx is None else _starts(seq_idx)
    states = []
    for decay, new, start in zip(decays, inputs, starts, strict=True):
        if start is not None:
            h = torch.where(start, 0.0, h)
        h = torch.addcmul(new, decay, h)
        states.append(h)
    y = (C[:, :, None] @ torch.stack(states, dim=1)).squeeze(2)
    return torch.addcmul(y, u, D), h.transpose(1, 2)


def selective_step(
    u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, h: Tensor, inplace: bool = False
) -> tuple[Tensor, Tensor]:
    """One step of `selective_scan`.

    Args:
        u: input [B, D].
        dt: step sizes [B, D].
        A: rates [D, N].
        B: input weights [B, N].
        C: output weights [B, N].
        D: skip [D].
        h: state [B, D, N].
        inplace: whether to write the new state over `h`.

    Returns:
        y [B, D], and the new state.
    """
    decay = torch.exp(dt[:, :, None] * A)
    h = h.mul_(decay) if inplace else h * decay
    new = (dt * u)[:, :, None], B[:, None]
    h = h.addcmul_(*new) if inplace else torch.addcmul(h, *new)
    y = (h @ C[:, :, None]).squeeze(2)
    return torch.addcmul(y, u, D), h


def _starts(seq_idx: Tensor) -> list[Tensor | None]:
    """For each step the rows in which an episode starts, bool [B, 1, 1], or None where there is no such row."""
    changes = torch.zeros_like(seq_idx, dtype=torch.bool)
    changes[:, 1:] = seq_idx[:, 1:] != seq_idx[:, :-1]
    anywhere = changes.any(0).tolist()
    return [
        rows[:, None, None] if there else None
        for rows, there in zip(changes.unbind(1), anywhere, strict=True)
    ]
