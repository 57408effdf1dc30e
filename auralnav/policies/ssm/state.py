"""What a state-space layer remembers between calls, and the checks of what a caller hands in."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from auralnav.errors import ShapeError


class SSMState(NamedTuple):
    """The past of B independent sequences.

    Attributes:
        conv: the last K inputs of the convolution, newest last, [B, channels, K]. The oldest is there as
            `mamba_ssm` keeps it; no later step uses it.
        ssm: the scan's hidden state, Mamba [B, D, N], Mamba-2 [B, heads, headdim, N].
    """

    conv: Tensor
    ssm: Tensor

    def reset(self, rows: Tensor) -> SSMState:
        """The state with the rows that are true in `rows` (bool [B]) as before the first step; others unchanged.

        No gradient and no NaN passes through a reset row.
        """
        return SSMState(
            torch.where(rows[:, None, None], 0.0, self.conv),
            torch.where(rows.reshape(-1, *[1] * (self.ssm.ndim - 1)), 0.0, self.ssm),
        )


def check_state(
    state: tuple[Tensor, Tensor], conv: tuple[int, ...], ssm: tuple[int, ...], dtype: torch.dtype
) -> SSMState:
    """`state` as SSMState.

    Raises:
        ShapeError: not a pair of tensors of shapes `conv` and `ssm` in `dtype`.
    """
    if len(state) != 2:
        raise ShapeError(
            f"state has {len(state)} parts; give the pair (conv, ssm) that init_state or forward returned"
        )
    for name, tensor, shape in (("conv", state[0], conv), ("ssm", state[1], ssm)):
        if tuple(tensor.shape) != shape or tensor.dtype != dtype:
            raise ShapeError(
                f"state.{name} is {list(tensor.shape)} {tensor.dtype}; this call takes {list(shape)} {dtype}, "
                f"as init_state({shape[0]}) gives it"
            )
    return SSMState(*state)


def episodes(seq_idx: Tensor | None, batch: int, length: int) -> Tensor | None:
    """Episode numbers as the kernels take them: int32, contiguous, 0 at the first step of each row.

    Args:
        seq_idx: integers [batch, length] that never decrease along a row; a new value starts a new episode.
        batch: rows.
        length: steps.

    Returns:
        int32 [batch, length], or None when no row holds more than one episode.

    Raises:
        ShapeError: another shape, not integers, or a row that decreases.
    """
    if seq_idx is None:
        return None
    if tuple(seq_idx.shape) != (batch, length):
        raise ShapeError(
            f"seq_idx is {list(seq_idx.shape)}; give one episode number a step, [{batch}, {length}]"
        )
    if seq_idx.is_floating_point() or seq_idx.is_complex() or seq_idx.dtype == torch.bool:
        raise ShapeError(f"seq_idx is {seq_idx.dtype}; give integers, e.g. seq_idx.to(torch.int32)")
    if length == 1:
        return None
    lowest, highest = torch.aminmax(seq_idx[:, 1:] - seq_idx[:, :-1])
    if lowest < 0:
        raise ShapeError(
            "seq_idx decreases along a row; number a row's episodes in the order in which they come"
        )
    return (seq_idx - seq_idx[:, :1]).to(torch.int32).contiguous() if highest > 0 else None
