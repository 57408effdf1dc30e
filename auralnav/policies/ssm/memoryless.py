"""The core without memory: what the others are compared with."""

from __future__ import annotations

from torch import Tensor, nn

from auralnav.policies.ssm.memory_core import MemoryCore
from auralnav.policies.ssm.sizes import require_positive


class MemorylessCore(MemoryCore):
    """A residual pre-norm feed-forward net of each step alone; its state has no elements.

    Args:
        d_input: width of an input.
        d_model: width of the output.
        n_layers: residual blocks.
        expand: hidden units of a block in multiples of d_model.

    Raises:
        ConfigError: a size below 1.
    """

    def __init__(self, d_input: int, d_model: int = 64, n_layers: int = 1, expand: int = 2) -> None:
        require_positive(d_model=d_model, n_layers=n_layers, expand=expand)
        super().__init__(d_input, d_model)
        self.input = nn.Linear(d_input, d_model)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(d_model),
                nn.Linear(d_model, expand * d_model),
                nn.SiLU(),
                nn.Linear(expand * d_model, d_model),
            )
            for _ in range(n_layers)
        )
        self.norm = nn.LayerNorm(d_model)

    def _step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        x = self.input(x)
        for block in self.blocks:
            x = x + block(x)
        return self.norm(x), state

    def _forward(self, x: Tensor, state: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        return self._step(x, state)
