"""The backend `numba`: compiled loops for float32 on the CPU."""

from __future__ import annotations

from auralnav.policies.ssm import numba_conv, numba_norm, numba_scan, numba_ssd, numba_step
from auralnav.policies.ssm.backends import Kernels

KERNELS = Kernels(
    name="numba",
    selective_scan=numba_scan.selective_scan,
    selective_step=numba_step.selective_step,
    chunk_scan=numba_ssd.chunk_scan,
    chunk_step=numba_step.chunk_step,
    causal_conv=numba_conv.causal_conv,
    gated_norm=numba_norm.gated_norm,
)
