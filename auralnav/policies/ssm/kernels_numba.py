"""The backend `numba`: compiled loops for float32 on the CPU; Mamba-2's chunks are matrix products, left to torch."""

from __future__ import annotations

from auralnav.policies.ssm import numba_conv, numba_scan, numba_step, ssd_torch
from auralnav.policies.ssm.backends import Kernels

KERNELS = Kernels(
    name="numba",
    selective_scan=numba_scan.selective_scan,
    selective_step=numba_step.selective_step,
    chunk_scan=ssd_torch.chunk_scan,
    chunk_step=numba_step.chunk_step,
    causal_conv=numba_conv.causal_conv,
)
