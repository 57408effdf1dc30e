"""Mamba and Mamba-2 as memory cores."""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from auralnav.policies.ssm.layer import SSMLayer
from auralnav.policies.ssm.mamba import Mamba
from auralnav.policies.ssm.mamba2 import Mamba2
from auralnav.policies.ssm.memory_core import MemoryCore
from auralnav.policies.ssm.sizes import require_positive
from auralnav.policies.ssm.state import SSMState


class SSMCore(MemoryCore):
    """State-space layers in residual pre-norm blocks, between a linear input layer and a last norm.

    State: of each layer in turn its convolution's inputs, then its scan's hidden state. A step costs the same
    whatever the age of the episode.

    Args:
        d_input: width of an input.
        layers: of equal `d_model`, which is also the width of the output.
    """

    def __init__(self, d_input: int, layers: list[SSMLayer]) -> None:
        d_model = layers[0].d_model
        super().__init__(d_input, d_model)
        self.input = nn.Linear(d_input, d_model)
        self.norms = nn.ModuleList(nn.RMSNorm(d_model, eps=1e-5) for _ in layers)
        self.layers = nn.ModuleList(layers)
        self.norm = nn.RMSNorm(d_model, eps=1e-5)
        self._shapes = [part.shape[1:] for layer in layers for part in layer.init_state(1)]
        self._sizes = [prod(shape) for shape in self._shapes]
        self.state_size = sum(self._sizes)

    def _step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        # `state` is this core's own copy already; without gradients the layers write their new one over it.
        inplace = not torch.is_grad_enabled() and self.input.weight.dtype == torch.float32
        tokens = self.input(x)
        after: list[Tensor] = []
        for norm, layer, before in zip(self.norms, self.layers, self._unpack(state), strict=True):
            assert isinstance(layer, SSMLayer)
            mixed, new = layer.step(norm(tokens), before, inplace)
            tokens = tokens + mixed
            after += new
        return self.norm(tokens), state if inplace else _pack(after)

    def _forward(self, x: Tensor, state: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        seq_idx = _episode_numbers(start)
        tokens = self.input(x)
        after: list[Tensor] = []
        for norm, layer, before in zip(self.norms, self.layers, self._unpack(state), strict=True):
            mixed, new = layer(norm(tokens), seq_idx, before, return_state=True)
            tokens = tokens + mixed
            after += new
        return self.norm(tokens), _pack(after)

    def _outputs(self, x: Tensor, state: Tensor, start: Tensor) -> Tensor:
        seq_idx = _episode_numbers(start)
        tokens = self.input(x)
        for norm, layer, before in zip(self.norms, self.layers, self._unpack(state), strict=True):
            tokens = tokens + layer(norm(tokens), seq_idx, before)
        return self.norm(tokens)

    def _unpack(self, state: Tensor) -> list[SSMState]:
        """Each layer's state as views of the flat one (copies only where the layers are in double precision)."""
        state = state.to(torch.promote_types(self.input.weight.dtype, torch.float32))
        parts = [
            part.unflatten(1, shape)
            for part, shape in zip(state.split(self._sizes, dim=1), self._shapes, strict=True)
        ]
        return [SSMState(conv, ssm) for conv, ssm in list(pairwise(parts))[::2]]


def _episode_numbers(start: Tensor) -> Tensor:
    """Numbers [B, T] of the episodes of each row; the first is 0, new or not: where new, its state is empty."""
    return nn.functional.pad(torch.cumsum(start[:, 1:], dim=1, dtype=torch.int32), (1, 0))


def _pack(parts: list[Tensor]) -> Tensor:
    return torch.cat([part.flatten(1) for part in parts], dim=1).float()


def mamba_core(
    d_input: int, d_model: int = 64, n_layers: int = 1, d_state: int = 16, **layer_kwargs: Any
) -> SSMCore:
    """A core of `n_layers` Mamba layers; further arguments are theirs (`d_conv`, `expand`, `backend`, …)."""
    require_positive(n_layers=n_layers)
    return SSMCore(d_input, [Mamba(d_model, d_state, **layer_kwargs) for _ in range(n_layers)])


def mamba2_core(
    d_input: int,
    d_model: int = 64,
    n_layers: int = 1,
    d_state: int = 16,
    headdim: int = 16,
    chunk_size: int = 24,
    **layer_kwargs: Any,
) -> SSMCore:
    """A core of `n_layers` Mamba-2 layers; further arguments are theirs.

    States and heads are smaller than the layer's own defaults, which are those of language models: an agent
    carries one state for every environment and step kept. So are the chunks: what a step costs inside one grows
    with its length, and a small state is cheap to hand on.
    """
    require_positive(n_layers=n_layers)
    sizes = {"headdim": headdim, "chunk_size": chunk_size, **layer_kwargs}
    return SSMCore(d_input, [Mamba2(d_model, d_state, **sizes) for _ in range(n_layers)])
