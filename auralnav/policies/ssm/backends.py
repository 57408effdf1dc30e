"""Which code computes a state-space layer: plain torch, compiled loops on the CPU, or `mamba_ssm` on CUDA."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from auralnav.errors import ConfigError, MissingDependencyError, did_you_mean

BACKENDS = ("auto", "torch", "numba", "cuda")
VARIABLE = "AURALNAV_SSM_BACKEND"
"""Environment variable that names a backend for every layer, whatever its constructor was given."""

_INSTALL = {
    "numba": "pip install numba",
    "cuda": "pip install --no-build-isolation causal-conv1d mamba-ssm",
}
_FITS = {
    "torch": "any tensor",
    "numba": "CPU tensors of at most 32 bits",
    "cuda": "CUDA tensors of at most 32 bits",
}


@dataclass(frozen=True)
class Kernels:
    """The functions of one backend; arguments and results are those of the torch versions.

    Attributes:
        name: of the backend.
        selective_scan: as `scan_torch.selective_scan`.
        selective_step: as `scan_torch.selective_step`.
        chunk_scan: as `ssd_torch.chunk_scan`.
        chunk_step: as `ssd_torch.chunk_step`.
        causal_conv: as `conv.causal_conv`.
        gated_norm: as `norm.gated_norm`, of x [B, L, D].
        fused_mamba: the layer behind its input projection in one call, `(layer, projected) -> output`, for one
            episode a row without states. None, or a result of None: there is no such kernel.
        fused_mamba2: likewise `(layer, projected, seq_idx) -> output`, with episodes, without states.
    """

    name: str
    selective_scan: Callable[..., tuple[Tensor, Tensor]]
    selective_step: Callable[..., tuple[Tensor, Tensor]]
    chunk_scan: Callable[..., tuple[Tensor, Tensor | None]]
    chunk_step: Callable[..., tuple[Tensor, Tensor]]
    causal_conv: Callable[..., Tensor]
    gated_norm: Callable[[Tensor, Tensor, Tensor, int], Tensor]
    fused_mamba: Callable[[Any, Tensor], Tensor | None] | None = None
    fused_mamba2: Callable[[Any, Tensor, Tensor | None], Tensor | None] | None = None


def check_name(backend: str, where: str = "backend") -> None:
    """Raise unless `backend` is a name that can run here.

    Raises:
        ConfigError: not one of `BACKENDS`.
        MissingDependencyError: asked for by name and not there.
    """
    if backend not in BACKENDS:
        near = did_you_mean(str(backend), BACKENDS)
        raise ConfigError(f"{where}: {backend!r} is none of {', '.join(BACKENDS)}{near}")
    if backend != "auto" and (reason := missing(backend)) is not None:
        raise MissingDependencyError(
            f"{where} {backend!r} is not available ({reason}); `{_INSTALL[backend]}`, or use 'auto'"
        )


def kernels_for(backend: str, u: Tensor) -> Kernels:
    """The kernels for an input: those of `VARIABLE` if it is set, else of `backend`.

    "auto" takes the first of cuda, numba and torch that is there and fits the tensor. What records a program
    (`torch.compile`, `torch.export`, `torch.jit.trace`) or transforms one (`torch.func`: `vmap`, `grad`) cannot see
    into compiled loops: it gets torch on the CPU.

    Raises:
        ConfigError: an unknown name, or a named backend that cannot take this device or dtype, or be recorded or
            transformed.
        MissingDependencyError: a named backend that is not there.
    """
    forced = os.environ.get(VARIABLE)
    where = VARIABLE if forced else "backend"
    backend = forced or backend
    if u.device.type == "cpu" and _is_seen_into():
        if backend == "numba":
            raise ConfigError(
                f"{where} 'numba' cannot be compiled, exported, traced or transformed; use 'torch' or 'auto'"
            )
        if backend in ("auto", "torch"):
            from auralnav.policies.ssm.kernels_torch import KERNELS

            return KERNELS  # not by the functions below: torch.compile warns of their caches
    if backend == "auto":
        return load(
            next(name for name in ("cuda", "numba", "torch") if _fits(name, u) and missing(name) is None)
        )
    check_name(backend, where)
    if not _fits(backend, u):
        raise ConfigError(
            f"{where} {backend!r} takes {_FITS[backend]}, not {u.dtype} on {u.device}; use 'auto'"
        )
    return load(backend)


@cache
def missing(name: str) -> str | None:
    """Why the backend `name` cannot run in this process, in one line; None if it can."""
    try:
        load(name)
    except (ImportError, OSError, RuntimeError) as error:  # mamba_ssm without a driver raises any of these
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"
    return None


@cache
def load(name: str) -> Kernels:
    """The kernels called `name`: their libraries are imported here, at first use.

    Raises:
        ImportError, OSError, RuntimeError: a library of the backend cannot be imported.
    """
    return import_module(f"auralnav.policies.ssm.kernels_{name}").KERNELS


def _is_seen_into() -> bool:
    """Whether a call is run to be compiled, exported or traced, or inside a transform of `torch.func`."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():  # pyright: ignore[reportPrivateImportUsage] (documented)
        return True
    return torch._C._are_functorch_transforms_active()  # what autograd.Function itself asks; no public name says it


def _fits(name: str, u: Tensor) -> bool:
    device = {"torch": u.device.type, "numba": "cpu", "cuda": "cuda"}[name]
    return u.device.type == device and (name == "torch" or u.dtype != torch.float64)
