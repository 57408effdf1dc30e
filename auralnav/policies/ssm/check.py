"""Which backends of the state-space layers are here, and whether they compute what they should."""

from __future__ import annotations

import os
from typing import NamedTuple

import torch
from torch import Tensor

from auralnav.policies.ssm.backends import BACKENDS, VARIABLE, missing
from auralnav.policies.ssm.layer import SSMLayer
from auralnav.policies.ssm.mamba import Mamba
from auralnav.policies.ssm.mamba2 import Mamba2

TOLERANCE = 1e-4
"""Largest relative error at which a backend counts as right; float32 leaves about 1e-6."""


class BackendReport(NamedTuple):
    """One backend on this machine.

    Attributes:
        name: of the backend.
        available: whether it can run.
        reason: why not, in one line; empty when it can.
        error: largest relative error (L2 norm) of Mamba's and Mamba-2's outputs, states and gradients against plain
            torch in float64; None when it cannot run.
    """

    name: str
    available: bool
    reason: str
    error: float | None

    @property
    def right(self) -> bool:
        """Whether it runs and its results are within TOLERANCE."""
        return self.error is not None and self.error < TOLERANCE


def check_backends() -> list[BackendReport]:
    """Every backend by name, each that is here checked on both layers with packed episodes and a carried state.

    Takes seconds, and some more at the first call on CUDA, where kernels are compiled. The environment
    variable that forces a backend does not count here; torch's random state is left as it was.
    """
    reports = []
    for name in BACKENDS[1:]:
        reason = missing(name)
        reports.append(BackendReport(name, reason is None, reason or "", None if reason else _error(name)))
    return reports


def _error(backend: str) -> float:
    """Largest relative error of a backend; NaN if a result is NaN."""
    forced = os.environ.pop(VARIABLE, None)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            layers = [Mamba(32), Mamba2(32, d_state=16, headdim=16)]
            u = torch.randn(3, 70, 32)
        errors = []
        for layer in layers:
            found = _results(layer, backend, u.to("cuda" if backend == "cuda" else "cpu"))
            exact = _results(layer, "torch", u.double())
            errors += [(a.double().cpu() - b).norm() / b.norm() for a, b in zip(found, exact, strict=True)]
    finally:
        if forced is not None:
            os.environ[VARIABLE] = forced
    return torch.stack(errors).max().item()


def _results(layer: SSMLayer, backend: str, u: Tensor) -> list[Tensor]:
    """Outputs, state and gradients of a call without and one with episodes and the state of a first."""
    layer.backend = backend
    layer.to(u)
    u.requires_grad_()
    seq_idx = (torch.arange(u.shape[1], device=u.device) // 23).expand(len(u), -1)
    alone = layer(u)
    _, state = layer(u, return_state=True)
    packed, after = layer(u, seq_idx=seq_idx, state=state, return_state=True)
    loss = alone.square().sum() + packed.square().sum() + after.ssm.square().sum()
    gradients = torch.autograd.grad(loss, [u, *layer.parameters()])
    return [result.detach() for result in (alone, packed, *after, *gradients)]
