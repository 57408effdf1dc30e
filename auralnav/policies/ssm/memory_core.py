"""The contract of a memory core: one flat state, a step, and a forward that equals the loop of steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from auralnav.errors import CheckpointError, ShapeError


class MemoryCore(nn.Module, ABC):
    """What carries an agent's past: inputs [B, D] or [B, T, D] and a flat state in, outputs and state out.

    `start` marks the first step of an episode; nothing before it reaches it or what follows, neither values nor
    gradients. A state of zeros is the state before the first step, so a marked start and a fresh state are the
    same. Neither `step` nor `forward` changes its arguments.

    Attributes:
        d_input: D, width of an input.
        d_output: width of an output.
        state_size: S, length of one row of the state; 0 for a core without memory.
    """

    d_input: int
    d_output: int
    state_size: int

    def __init__(self, d_input: int, d_output: int) -> None:
        super().__init__()
        for name, value in (("d_input", d_input), ("d_output", d_output)):
            if value < 1:
                raise ShapeError(f"{name} is {value}; a memory core needs at least 1")
        self.d_input, self.d_output, self.state_size = d_input, d_output, 0
        self.register_load_state_dict_pre_hook(_refuse_other_core)

    def initial_state(self, batch: int) -> Tensor:
        """State [batch, S] before the first step: float32 zeros on the core's device."""
        device = next(self.parameters()).device
        return torch.zeros(batch, self.state_size, dtype=torch.float32, device=device)

    def step(self, x: Tensor, state: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        """One step of B independent rows.

        Args:
            x: inputs [B, D].
            state: [B, S] float32.
            start: bool [B], true where `x` is the first of an episode.

        Returns:
            Outputs [B, d_output] and the new state [B, S].

        Raises:
            ShapeError: a shape or dtype other than these.
        """
        self._check(x, state, start, ("B", "D"))
        return self._step(x, torch.where(start[:, None], 0.0, state))

    def forward(self, x: Tensor, state: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        """T steps of B independent rows at once; the outputs are those of `step` in a loop.

        Args:
            x: inputs [B, T, D], T ≥ 1.
            state: [B, S] float32, before the first of the T steps.
            start: bool [B, T], true where an episode begins.

        Returns:
            Outputs [B, T, d_output] and the state [B, S] after the last step.

        Raises:
            ShapeError: a shape or dtype other than these.
        """
        self._check(x, state, start, ("B", "T", "D"))
        return self._forward(x, torch.where(start[:, :1], 0.0, state), start)

    def outputs(self, x: Tensor, state: Tensor, start: Tensor) -> Tensor:
        """What `forward` puts out, for callers who do not go on from the last state: it need not be computed.

        Args:
            x: inputs [B, T, D], T ≥ 1.
            state: [B, S] float32, before the first of the T steps.
            start: bool [B, T], true where an episode begins.

        Returns:
            Outputs [B, T, d_output].

        Raises:
            ShapeError: a shape or dtype other than these.
        """
        self._check(x, state, start, ("B", "T", "D"))
        return self._outputs(x, torch.where(start[:, :1], 0.0, state), start)

    @abstractmethod
    def _step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """`step` with a state that is cleared where an episode starts."""

    @abstractmethod
    def _forward(self, x: Tensor, state: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        """`forward` with a state that is cleared where an episode starts at the first of the T steps."""

    def _outputs(self, x: Tensor, state: Tensor, start: Tensor) -> Tensor:
        """`outputs` with a state cleared as for `_forward`."""
        return self._forward(x, state, start)[0]

    def _check(self, x: Tensor, state: Tensor, start: Tensor, axes: tuple[str, ...]) -> None:
        if x.ndim != len(axes) or x.shape[-1] != self.d_input or 0 in x.shape:
            raise ShapeError(
                f"input of shape {list(x.shape)}; this core takes [{', '.join(axes)}] with D = {self.d_input}"
            )
        if state.shape != (x.shape[0], self.state_size) or state.dtype != torch.float32:
            raise ShapeError(
                f"state of shape {list(state.shape)} and {state.dtype}; this core takes "
                f"[{x.shape[0]}, {self.state_size}] in float32, as initial_state({x.shape[0]}) gives it"
            )
        if start.shape != x.shape[:-1] or start.dtype != torch.bool:
            raise ShapeError(
                f"start of shape {list(start.shape)} and {start.dtype}; give a bool tensor of {list(x.shape[:-1])}"
            )


def _refuse_other_core(
    core: nn.Module, state_dict: dict[str, Any], prefix: str, metadata: dict[str, Any], strict: bool, *_: Any
) -> None:
    """Raise CheckpointError in the place of torch's list of names where weights are those of another core."""
    own = {name: value.shape for name, value in core.state_dict().items()}
    given = {
        name.removeprefix(prefix): getattr(value, "shape", ())  # a whole checkpoint holds more than tensors
        for name, value in state_dict.items()
        if name.startswith(prefix)
    }
    if strict and own != given:
        name = min(name for name in own.keys() | given.keys() if own.get(name) != given.get(name))
        shapes = [list(sizes[name]) if name in sizes else "absent" for sizes in (given, own)]
        raise CheckpointError(
            f"weights of another memory core: {prefix}{name} is {shapes[0]} there and {shapes[1]} here; "
            f"use the memory and the sizes it was trained with"
        )
