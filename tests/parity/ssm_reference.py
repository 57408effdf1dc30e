"""What the parity tests of the state-space layers share: layers of odd sizes, a float64 loop, a distance."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

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


def gradients(layer: nn.Module, y: Tensor, inputs: dict[str, Tensor], weight: Tensor) -> dict[str, Tensor]:
    """Gradients of Σ weight · y for the named inputs and every parameter of the layer."""
    named = inputs | dict(layer.named_parameters())
    return dict(zip(named, torch.autograd.grad((weight * y).sum(), list(named.values())), strict=True))


def loop(kind: str, p: dict[str, Tensor], u: Tensor, seq_idx: Tensor | None = None) -> Tensor:
    """The layer as its definition, one row and one step after the other, in the dtype of `p` and `u`."""
    one_step = {"mamba": _mamba_step, "mamba2": _mamba2_step}[kind]
    rows = []
    for b in range(u.shape[0]):
        inputs: list[Tensor] = []
        h: Tensor | None = None
        for t in range(u.shape[1]):
            if seq_idx is not None and t > 0 and seq_idx[b, t] != seq_idx[b, t - 1]:
                inputs, h = [], None
            y, h = one_step(p, u[b, t], inputs, h)
            rows.append(y)
    return torch.stack(rows).reshape(*u.shape)


def _convolved(p: dict[str, Tensor], inputs: list[Tensor]) -> Tensor:
    taps = zip(reversed(inputs), reversed(p["conv1d.weight"].squeeze(1).unbind(1)), strict=False)
    return F.silu(p["conv1d.bias"] + sum(x * weight for x, weight in taps))


def _mamba_step(
    p: dict[str, Tensor], u: Tensor, inputs: list[Tensor], h: Tensor | None
) -> tuple[Tensor, Tensor]:
    rank, order = p["dt_proj.weight"].shape[1], p["A_log"].shape[1]
    x, z = (p["in_proj.weight"] @ u).chunk(2)
    inputs.append(x)
    x = _convolved(p, inputs)
    low_rank, b, c = (p["x_proj.weight"] @ x).split([rank, order, order])
    dt = F.softplus(p["dt_proj.weight"] @ low_rank + p["dt_proj.bias"])
    new = torch.outer(dt * x, b)
    h = new if h is None else torch.exp(dt[:, None] * -p["A_log"].exp()) * h + new
    return p["out_proj.weight"] @ ((h @ c + p["D"] * x) * F.silu(z)), h


def _mamba2_step(
    p: dict[str, Tensor], u: Tensor, inputs: list[Tensor], h: Tensor | None
) -> tuple[Tensor, Tensor]:
    heads, inner, channels = p["dt_bias"].numel(), p["norm.weight"].numel(), p["conv1d.bias"].numel()
    groups = SMALL["mamba2"][1]["ngroups"]
    z, x, dt = (p["in_proj.weight"] @ u).split([inner, channels, heads])
    inputs.append(x)
    x, b, c = _convolved(p, inputs).split([inner, (channels - inner) // 2, (channels - inner) // 2])
    x = x.reshape(heads, -1)
    b, c = (part.reshape(groups, -1).repeat_interleave(heads // groups, dim=0) for part in (b, c))
    dt = F.softplus(dt + p["dt_bias"])
    new = (dt[:, None] * x)[:, :, None] * b[:, None]
    h = new if h is None else torch.exp(dt * -p["A_log"].exp())[:, None, None] * h + new
    y = ((h * c[:, None]).sum(-1) + p["D"][:, None] * x).flatten() * F.silu(z)
    y = y.reshape(groups, -1)
    y = y / (y.square().mean(1, keepdim=True) + 1e-5).sqrt()
    return p["out_proj.weight"] @ (y.flatten() * p["norm.weight"]), h
