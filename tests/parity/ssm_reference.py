"""What the parity tests of the state-space layers share: layers of odd sizes, a float64 loop, a distance."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from auralnav.policies.ssm import Mamba, Mamba2
from auralnav.policies.ssm.layer import SSMLayer

SMALL = {
    "mamba": (Mamba, {"d_model": 20, "d_state": 5}),
    "mamba2": (Mamba2, {"d_model": 24, "d_state": 10, "headdim": 8, "ngroups": 2, "chunk_size": 16}),
}


def backend_parameters() -> list[Any]:
    return ["torch", "numba", pytest.param("cuda", marks=pytest.mark.gpu)]


def device_of(backend: str) -> str:
    return "cuda" if backend == "cuda" else "cpu"


def small(kind: str, backend: str, **kwargs: Any) -> SSMLayer:
    """A layer whose parameters are all away from their round initial values, so that a forgotten one shows."""
    torch.manual_seed(0)
    cls, sizes = SMALL[kind]
    layer = cls(**(sizes | kwargs), backend=backend)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return layer.to(device_of(backend))


def tensor(shape: tuple[int, ...], seed: int, backend: str = "torch") -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(device_of(backend))


def distance(a: Tensor, b: Tensor) -> float:
    """Norm of the difference, relative to that of `b`."""
    a, b = a.detach().double().cpu(), b.detach().double().cpu()
    return float((a - b).norm() / b.norm().clamp(min=1e-30))


def gradients(layer: SSMLayer, y: Tensor, inputs: dict[str, Tensor], weight: Tensor) -> dict[str, Tensor]:
    """Gradients of Σ weight · y for the named inputs and every parameter of the layer."""
    named = inputs | dict(layer.named_parameters())
    return dict(zip(named, torch.autograd.grad((weight * y).sum(), list(named.values())), strict=True))
