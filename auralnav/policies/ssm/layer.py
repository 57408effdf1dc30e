"""What Mamba and Mamba-2 have in common: projections, convolution, state and backend around their scans."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, overload

import torch
from torch import Tensor, nn

from auralnav.errors import ConfigError, ShapeError
from auralnav.policies.ssm.backends import Kernels, check_name, kernels_for
from auralnav.policies.ssm.conv import conv_step, last_inputs
from auralnav.policies.ssm.state import SSMState, check_state, episodes


class SSMLayer(nn.Module, ABC):
    """A state-space layer: [B, L, d] in, [B, L, d] out, with a state of constant size between calls.

    Convolution, step sizes, exponentials and states are computed in float32 (float64 for a float64 layer) even
    under autocast.

    Args:
        d_model: width d of input and output.
        projected: width of the input projection.
        d_inner: D, width of the scan.
        conv_channels: channels of the convolution.
        d_conv: K, its taps.
        backend: "auto", "torch", "numba" or "cuda"; the environment variable AURALNAV_SSM_BACKEND goes before it.

    Raises:
        ConfigError: a size below 1, or an unknown backend.
        MissingDependencyError: a backend that was named and cannot be loaded.
    """

    out_proj: nn.Linear

    def __init__(
        self, d_model: int, projected: int, d_inner: int, conv_channels: int, d_conv: int, backend: str
    ) -> None:
        super().__init__()
        check_name(backend)
        self.d_model, self.d_inner, self.d_conv, self.backend = d_model, d_inner, d_conv, backend
        self.in_proj = nn.Linear(d_model, projected, bias=False)
        # Holds weight and bias under upstream's names; `causal_conv` does the work.
        self.conv1d = nn.Conv1d(
            conv_channels, conv_channels, d_conv, groups=conv_channels, padding=d_conv - 1
        )

    def _conv_parameters(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Weight [channels, K] and bias [channels]."""
        assert self.conv1d.bias is not None
        return self.conv1d.weight.squeeze(1).to(dtype), self.conv1d.bias.to(dtype)

    @abstractmethod
    def _ssm_shape(self) -> tuple[int, ...]:
        """Shape of one row of the scan's state."""

    @abstractmethod
    def _split(self, projected: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The convolution's part of the input projection [..., channels], and the other parts, unchanged."""

    @abstractmethod
    def _fused(self, kernels: Kernels, projected: Tensor, seq_idx: Tensor | None) -> Tensor | None:
        """The layer's output by one fused kernel without states; None where the backend has none for this call."""

    @abstractmethod
    def _scan(
        self,
        kernels: Kernels,
        x: Tensor,
        parts: tuple[Tensor, ...],
        seq_idx: Tensor | None,
        h0: Tensor | None,
        with_state: bool,
    ) -> tuple[Tensor, Tensor | None]:
        """Gated scan of the convolution's output x [B, L, channels]: [B, L, D] for `out_proj`, and the last state."""

    @abstractmethod
    def _scan_step(
        self, kernels: Kernels, x: Tensor, parts: tuple[Tensor, ...], h: Tensor, inplace: bool
    ) -> tuple[Tensor, Tensor]:
        """`_scan` of one step x [B, channels]."""

    @property
    def _state_dtype(self) -> torch.dtype:
        return torch.promote_types(self.in_proj.weight.dtype, torch.float32)

    @overload
    def forward(
        self,
        u: Tensor,
        seq_idx: Tensor | None = None,
        state: tuple[Tensor, Tensor] | None = None,
        return_state: Literal[False] = False,
    ) -> Tensor: ...

    @overload
    def forward(
        self,
        u: Tensor,
        seq_idx: Tensor | None = None,
        state: tuple[Tensor, Tensor] | None = None,
        *,
        return_state: Literal[True],
    ) -> tuple[Tensor, SSMState]: ...

    def forward(
        self,
        u: Tensor,
        seq_idx: Tensor | None = None,
        state: tuple[Tensor, Tensor] | None = None,
        return_state: bool = False,
    ) -> Tensor | tuple[Tensor, SSMState]:
        """L steps of B independent rows; the outputs are those of `step` in a loop.

        Args:
            u: inputs [B, L, d], L ≥ 1.
            seq_idx: integers [B, L] that never decrease along a row; where they change, a new episode starts,
                which no value and no gradient of the one before reaches. None: one episode a row.
            state: before the first step, from `init_state`, `step` or an earlier call. It continues the first
                episode of each row; reset its rows where that is a new one.
            return_state: whether to return the state after the last step too.

        Returns:
            [B, L, d], or the pair of it and the state.

        Raises:
            ShapeError: a shape or dtype other than these, or a seq_idx that decreases.
            ConfigError, MissingDependencyError: the backend cannot run this input.
        """
        self._check_input(u, "B, L", 3)
        batch, length, _ = u.shape
        seq_idx = episodes(seq_idx, batch, length, u.device)
        carried = None if state is None else self._checked(state, u)
        kernels = kernels_for(self.backend, u)
        projected = self.in_proj(u)
        if carried is None and not return_state:
            fused = self._fused(kernels, projected, seq_idx)
            if fused is not None:
                return fused
        raw, parts = self._split(projected.to(self._state_dtype))
        with without_autocast(u.device):
            taps = None if carried is None else carried.conv[:, :, 1:]
            x = kernels.causal_conv(raw, *self._conv_parameters(raw.dtype), seq_idx, taps)
        y, h = self._scan(kernels, x, parts, seq_idx, None if carried is None else carried.ssm, return_state)
        y = self.out_proj(y.to(self.out_proj.weight.dtype))
        if h is None:
            return y
        return y, SSMState(
            last_inputs(raw, self.d_conv, seq_idx, None if carried is None else carried.conv), h
        )

    def step(self, u: Tensor, state: tuple[Tensor, Tensor], inplace: bool = False) -> tuple[Tensor, SSMState]:
        """One step of B independent rows, at a cost that does not depend on what went before.

        Args:
            u: input [B, d].
            state: from `init_state`, `step` or `forward`.
            inplace: write the new state over `state`, which saves most of the time of a large one. Without
                gradients only.

        Returns:
            Output [B, d], and the new state.

        Raises:
            ShapeError: a shape or dtype other than these.
            ConfigError: `inplace` while gradients are recorded; or the backend cannot run this input.
            MissingDependencyError: the backend was named and cannot be loaded.
        """
        self._check_input(u, "B", 2)
        if inplace and torch.is_grad_enabled():
            raise ConfigError(
                "step(inplace=True) overwrites what a gradient needs; call it under torch.no_grad()"
            )
        checked = self._checked(state, u)
        kernels = kernels_for(self.backend, u)
        raw, parts = self._split(self.in_proj(u).to(self._state_dtype))
        with without_autocast(u.device):
            conv = _shift(checked.conv, raw, inplace)
            x = conv_step(*self._conv_parameters(raw.dtype), conv)
        y, h = self._scan_step(kernels, x, parts, checked.ssm, inplace)
        return self.out_proj(y.to(self.out_proj.weight.dtype)), SSMState(conv, h)

    def init_state(self, batch: int) -> SSMState:
        """The state of `batch` rows before their first step: zeros on the layer's device."""
        shapes = self._state_shapes(batch)
        return SSMState(
            *(torch.zeros(s, dtype=self._state_dtype, device=self.in_proj.weight.device) for s in shapes)
        )

    def _state_shapes(self, batch: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return (batch, self.conv1d.out_channels, self.d_conv), (batch, *self._ssm_shape())

    def _checked(self, state: tuple[Tensor, Tensor], u: Tensor) -> SSMState:
        return check_state(state, *self._state_shapes(len(u)), self._state_dtype, u.device)

    def _check_input(self, u: Tensor, axes: str, ndim: int) -> None:
        if u.ndim != ndim or u.shape[-1] != self.d_model or 0 in u.shape:
            raise ShapeError(
                f"input is {list(u.shape)}; this call takes [{axes}, {self.d_model}], no axis empty"
            )
        own = self.in_proj.weight.dtype
        if u.dtype != own and not torch.is_autocast_enabled(u.device.type):
            raise ShapeError(f"input is {u.dtype} and the layer {own}; use u.to({own})")


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Autocast switched off on this kind of device, where it has any."""
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def _shift(conv: Tensor, x: Tensor, inplace: bool) -> Tensor:
    """The convolution's state [B, C, K] with x [B, C] as its newest input."""
    after = torch.cat([conv[:, :, 1:], x[:, :, None]], dim=2)
    return conv.copy_(after) if inplace else after
