"""The backend `torch`: no library but torch, every device and float type."""

from __future__ import annotations

from auralnav.policies.ssm import conv, norm, scan_torch, ssd_torch
from auralnav.policies.ssm.backends import Kernels

KERNELS = Kernels(
    name="torch",
    selective_scan=scan_torch.selective_scan,
    selective_step=scan_torch.selective_step,
    chunk_scan=ssd_torch.chunk_scan,
    chunk_step=ssd_torch.chunk_step,
    causal_conv=conv.causal_conv,
    gated_norm=norm.gated_norm,
)
