"""Mamba-2's scan as matrix products over chunks, in plain torch on any device."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from auralnav.errors import ConfigError


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
    """h_t = exp(dt_t A) h_{t−1} + dt_t x_t B_tᵀ and y_t = h_t C_t + D x_t for each head.

    Inside a chunk of Q steps as one masked product (Dao & Gu 2024, arXiv:2405.21060, section 6), from chunk to
    chunk by the recurrence.
    Exponents are masked before the exponential: what is masked afterwards overflows, and its gradient is NaN.
    Time and memory are linear in L.

    Args:
        x: inputs [B, L, H, P].
        dt: step sizes, positive, [B, L, H].
        A: rates, negative, [H].
        B: input weights [B, L, G, N]; G divides H, and heads of a group are neighbours.
        C: output weights [B, L, G, N].
        D: skip [H].
        chunk_size: Q; the result does not depend on it.
        seq_idx: int32 [B, L] from `episodes`: where it changes, h starts from zero. None for one episode a row.
        h0: state before the first step [B, H, P, N]; zeros when None. It enters the first episode only.
        with_state: whether the last state is wanted.

    Returns:
        y [B, L, H, P], and the state after the last step [B, H, P, N] or None.

    Raises:
        ConfigError: on Apple's `mps`, which has no float64, in which the log decays are summed.
    """
    if x.device.type == "mps":
        raise ConfigError("Mamba-2 sums its decays in float64, which mps lacks; use device 'cpu'")
    batch, length, heads, headdim = x.shape
    groups = B.shape[2]
    count = -(-length // chunk_size)
    size = -(-length // count)  # chunks of equal length need the least padding
    pad = count * size - length  # steps of dt = 0 change no state
    xdt = _chunks(x * dt[..., None], count, pad).unflatten(3, (groups, -1))  # [B, c, Q, G, H/G, P]
    B, C = (_chunks(part, count, pad).transpose(2, 3) for part in (B, C))  # [B, c, G, Q, N]
    seen = torch.ones(size, size, dtype=torch.bool, device=x.device).tril()
    steps = _chunks(dt * A, count, pad).double()  # log decays [B, c, Q, H]
    numbers = None
    if seq_idx is None:
        total = torch.cumsum(steps, dim=2)
    else:
        numbers = torch.cat([seq_idx, seq_idx[:, -1:].expand(-1, pad)], dim=1).unflatten(1, (count, size))
        seen = seen & (numbers[..., :, None] == numbers[..., None, :])  # [B, c, Q, Q]
        # Summed anew in each episode: a sum across the cut would cancel in the values, but not bit for bit in
        # the gradients.
        total = seen.double() @ steps
        seen = seen[:, :, None, None]
    total = total.transpose(2, 3).unflatten(2, (groups, -1))  # [B, c, G, H/G, Q]
    between = (total[..., :, None] - total[..., None, :]).to(x.dtype).masked_fill_(~seen, -math.inf).exp_()
    weights = (C @ B.transpose(-1, -2)).unsqueeze(3) * between  # [B, c, G, H/G, Q, Q]
    y = (weights @ xdt.permute(0, 1, 3, 4, 2, 5)).permute(0, 1, 4, 2, 3, 5)  # [B, c, Q, G, H/G, P]

    h = None if h0 is None else h0.unflatten(1, (groups, -1))  # [B, G, H/G, P, N]
    ends = count if with_state else count - 1  # chunks whose last state is wanted
    if h is not None or ends:
        to_end = (total[:, :ends, ..., -1:] - total[:, :ends]).to(x.dtype)
        from_start = total.to(x.dtype)
        over_chunk = from_start[:, :ends, ..., -1]  # [B, ends, G, H/G]
        if numbers is not None:
            last = numbers[..., -1:]  # [B, c, 1]
            before = torch.cat([numbers[:, :1, :1], last[:, :-1]], dim=1)
            to_end = _masked(to_end, (numbers == last)[:, :ends])
            over_chunk = _masked(over_chunk[..., None], (before == last)[:, :ends])[..., 0]
            from_start = _masked(from_start, numbers == before)
        weighted = (xdt[:, :ends] * _steps_first(torch.exp(to_end))).flatten(4).transpose(2, 3)
        # [B, ends, G, (H/G)P, Q] · [B, ends, G, Q, N]
        states = (weighted.transpose(-1, -2) @ B[:, :ends]).unflatten(3, (-1, headdim))
        h = x.new_zeros(batch, groups, heads // groups, headdim, B.shape[-1]) if h is None else h
        befores = [h]
        for decay, state in zip(
            torch.exp(over_chunk)[..., None, None].unbind(1), states.unbind(1), strict=True
        ):
            h = torch.addcmul(state, decay, h)
            befores.append(h)
        if h0 is not None or count > 1:
            carried = C @ torch.stack(befores[:count], dim=1).flatten(3, 4).transpose(-1, -2)
            carried = carried.unflatten(4, (-1, headdim)).transpose(2, 3)  # [B, c, Q, G, H/G, P]
            y = torch.addcmul(y, carried, _steps_first(torch.exp(from_start)))
        h = h.flatten(1, 2)
    y = y.reshape(batch, count * size, heads, headdim)[:, :length]
    return torch.addcmul(y, x, D[:, None]), h if with_state else None


def chunk_step(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, h: Tensor, inplace: bool = False
) -> tuple[Tensor, Tensor]:
    """One step of `chunk_scan`.

    Args:
        x: input [B, H, P].
        dt: step sizes [B, H].
        A: rates [H].
        B: input weights [B, G, N].
        C: output weights [B, G, N].
        D: skip [H].
        h: state [B, H, P, N].
        inplace: whether to write the new state over `h`.

    Returns:
        y [B, H, P], and the new state.
    """
    groups = B.shape[1]
    decay = torch.exp(dt * A)[..., None, None]
    after = h.mul_(decay) if inplace else h * decay
    after = after.unflatten(1, (groups, -1))  # [B, G, H/G, P, N], a view
    new = (x * dt[..., None]).unflatten(1, (groups, -1))[..., None], B[:, :, None, None]
    after = after.addcmul_(*new) if inplace else torch.addcmul(after, *new)
    y = (after.flatten(2, 3) @ C[..., None]).reshape(x.shape)  # [B, G, (H/G)P, N] · [B, G, N, 1]
    return torch.addcmul(y, x, D[:, None]), after.flatten(1, 2)


def _chunks(tensor: Tensor, count: int, pad: int) -> Tensor:
    """Steps [B, L, …] as `count` chunks [B, c, Q, …], with zeros at the end."""
    if pad:
        tensor = F.pad(tensor, (0, 0) * (tensor.ndim - 2) + (0, pad))
    return tensor.unflatten(1, (count, -1))


def _masked(exponents: Tensor, seen: Tensor) -> Tensor:
    """Exponents [B, c, G, H/G, Q], −∞ where `seen` [B, c, Q] is false."""
    return exponents.masked_fill(~seen[:, :, None, None], -math.inf)


def _steps_first(factors: Tensor) -> Tensor:
    """Factors [B, c, G, H/G, Q] for [B, c, Q, G, H/G, P]."""
    return factors.permute(0, 1, 4, 2, 3)[..., None]
