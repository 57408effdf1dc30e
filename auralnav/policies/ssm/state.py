"""What a state-space layer remembers between calls, and the checks of what a caller hands in."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from auralnav.errors import ShapeError

INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
"""What episode numbers may be; torch does not compare the larger unsigned ones."""


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
    state: tuple[Tensor, Tensor],
    conv: tuple[int, ...],
    ssm: tuple[int, ...],
    dtype: torch.dtype,
    device: torch.device,
) -> SSMState:
    """`state` as SSMState.

    Raises:
        ShapeError: not a pair of tensors of shapes `conv` and `ssm` in `dtype` on `device`.
    """
    if len(state) != 2:
        raise ShapeError(
            f"state has {len(state)} parts; give the pair (conv, ssm) that init_state or forward returned"
        )
    for name, tensor, shape in (("conv", state[0], conv), ("ssm", state[1], ssm)):
        if tuple(tensor.shape) != shape or tensor.dtype != dtype or tensor.device != device:
            raise ShapeError(
                f"state.{name} is {list(tensor.shape)} {tensor.dtype} on {tensor.device}; this call takes "
                f"{list(shape)} {dtype} on {device}, as init_state({shape[0]}) gives it"
            )
    return SSMState(*state)


def episodes(seq_idx: Tensor | None, batch: int, length: int, device: torch.device) -> Tensor | None:
    """Episode numbers as the kernels take them: int32, contiguous, 0, 1, 2, … along each row.

    Args:
        seq_idx: integers [batch, length] that never decrease along a row; a new value starts a new episode.
        batch: rows.
        length: steps.
        device: of the inputs.

    Returns:
        int32 [batch, length], or None when no row holds more than one episode.

    Raises:
        ShapeError: no tensor, another shape or device, not integers, or a row that decreases.
    """
    if seq_idx is None:
        return None
    if not isinstance(seq_idx, Tensor):
        raise ShapeError(f"seq_idx is a {type(seq_idx).__name__}; give a tensor, torch.as_tensor(seq_idx)")
    if tuple(seq_idx.shape) != (batch, length):
        raise ShapeError(
            f"seq_idx is {list(seq_idx.shape)}; give one episode number a step, [{batch}, {length}]"
        )
    if seq_idx.dtype not in INTEGERS:
        raise ShapeError(f"seq_idx is {seq_idx.dtype}; give integers, e.g. seq_idx.to(torch.int32)")
    if seq_idx.device != device:
        raise ShapeError(f"seq_idx is on {seq_idx.device} and the input on {device}; use seq_idx.to(u.device)")
    if length == 1:
        return None
    # Compared, not subtracted: differences of any numbers at all would overflow.
    earlier, later = seq_idx[:, :-1], seq_idx[:, 1:]
    changes = earlier != later
    decreases, several = torch.stack([(later < earlier).any(), changes.any()]).tolist()
    if decreases:
        raise ShapeError(
            "seq_idx decreases along a row; number a row's episodes in the order in which they come"
        )
    return F.pad(torch.cumsum(changes, dim=1, dtype=torch.int32), (1, 0)) if several else None
