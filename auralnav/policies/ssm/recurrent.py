"""GRU and LSTM as memory cores, without a Python loop over the steps."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from auralnav.policies.ssm.memory_core import MemoryCore
from auralnav.policies.ssm.sizes import require_positive


class RecurrentCore(MemoryCore):
    """torch's `nn.GRU` or `nn.LSTM`. State: the layers' hidden vectors, for the LSTM followed by their cells.

    Episodes that begin inside a window become sequences of their own, all run by one call on packed sequences.

    Args:
        cell: which one.
        d_input: width of an input.
        d_model: hidden units a layer, also the width of the output.
        n_layers: stacked layers.

    Raises:
        ConfigError: a size below 1.
    """

    def __init__(
        self, cell: Literal["gru", "lstm"], d_input: int, d_model: int = 64, n_layers: int = 1
    ) -> None:
        require_positive(d_model=d_model, n_layers=n_layers)
        super().__init__(d_input, d_model)
        self.rnn = (nn.GRU if cell == "gru" else nn.LSTM)(d_input, d_model, n_layers, batch_first=True)
        self.state_size = (1 if cell == "gru" else 2) * n_layers * d_model

    def _step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        y, hidden = self.rnn(x[:, None], self._unpack(state))
        return y[:, 0], self._pack(hidden)

    def _forward(self, x: Tensor, state: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        if not bool(start[:, 1:].any()):
            y, hidden = self.rnn(x, self._unpack(state))
            return y, self._pack(hidden)
        batch, steps, _ = x.shape
        order, batch_sizes, first, ranks = _pack_order(start)
        rows = first // steps
        carried = torch.where((first % steps == 0)[:, None], state[rows], 0.0)
        packed = PackedSequence(x.reshape(batch * steps, -1)[order], batch_sizes.cpu())
        out, hidden = self.rnn(packed, self._unpack(carried))
        y = torch.empty_like(out.data).index_copy(0, order, out.data).reshape(batch, steps, -1)
        last = torch.zeros(batch, dtype=torch.long, device=x.device)
        last.scatter_reduce_(0, rows, first, "amax")  # where each row's last episode begins
        return y, self._pack(hidden)[ranks[last]]

    def _unpack(self, state: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """State [B, S] as torch wants it: [layers, B, d] or a pair of it."""
        parts = state.to(next(self.rnn.parameters()).dtype).reshape(len(state), -1, self.d_output)
        stacked = parts.transpose(0, 1).contiguous()
        if isinstance(self.rnn, nn.GRU):
            return stacked
        hidden, cell = stacked.chunk(2)
        return hidden, cell

    def _pack(self, hidden: Tensor | tuple[Tensor, Tensor]) -> Tensor:
        stacked = hidden if isinstance(hidden, Tensor) else torch.cat(hidden)
        return stacked.transpose(0, 1).flatten(1).float()


def _pack_order(start: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """How a window of rows falls into episodes, longest first, as packed sequences want them.

    Args:
        start: bool [B, T].

    Returns:
        order: int64 [B·T], flat positions b·T + t: the first step of every episode, then every second, ….
        batch_sizes: int64 [longest], episodes that have a first, second, … step.
        first: int64 [N], flat position of each episode's first step here, longest episode first.
        ranks: int64 [B·T], at the positions of `first` the index of the episode.
    """
    cuts = start.clone()
    cuts[:, 0] = True
    first = cuts.flatten().nonzero().squeeze(1)
    lengths = torch.diff(first, append=first.new_full((1,), cuts.numel()))
    lengths, by_length = torch.sort(lengths, descending=True, stable=True)
    first = first[by_length]
    ranks = first.new_zeros(cuts.numel())
    ranks[first] = torch.arange(len(first), device=start.device)
    times = torch.arange(int(lengths[0]), device=start.device)[:, None]  # [longest, 1]
    present = times < lengths
    return (first + times)[present], present.sum(dim=1), first, ranks
