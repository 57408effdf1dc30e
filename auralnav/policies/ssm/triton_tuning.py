"""One configuration for each Triton kernel of `mamba_ssm`'s Mamba-2; upstream tries them all at the first call."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from auralnav.errors import ConfigError

VARIABLE = "AURALNAV_SSM_TUNE"
"""Environment variable: at 1, every configuration is tried at the first call of each size, as upstream has it."""

MODULES = tuple(
    f"mamba_ssm.ops.triton.ssd_{part}"
    for part in ("bmm", "chunk_scan", "chunk_state", "combined", "state_passing")
)
"""Where the kernels are."""

CONFIGURATIONS: dict[str, dict[str, int]] = {
    "_bmm_chunk_fwd_kernel": {"BLOCK_SIZE_M": 64, "BLOCK_SIZE_N": 128, "BLOCK_SIZE_K": 32},
    "_bmm_chunk_bwd_kernel": {"BLOCK_SIZE_M": 64, "BLOCK_SIZE_N": 64, "BLOCK_SIZE_CS": 32},
    "_chunk_scan_fwd_kernel": {"BLOCK_SIZE_M": 32, "BLOCK_SIZE_N": 64, "BLOCK_SIZE_K": 32},
    "_chunk_scan_bwd_dstates_kernel": {"BLOCK_SIZE_M": 64, "BLOCK_SIZE_N": 128, "BLOCK_SIZE_K": 32},
    "_chunk_scan_bwd_dc_kernel": {"BLOCK_SIZE_M": 64, "BLOCK_SIZE_N": 64},
    "_chunk_scan_bwd_dcb_kernel": {"BLOCK_SIZE_M": 64, "BLOCK_SIZE_N": 32},
    "_chunk_scan_bwd_ddAcs_stable_kernel": {"BLOCK_SIZE_M": 64, "BLOCK_SIZE_N": 32},
    "_chunk_cumsum_fwd_kernel": {"BLOCK_SIZE_H": 4},
    "_chunk_cumsum_bwd_kernel": {"BLOCK_SIZE_H": 8},
    "_chunk_state_fwd_kernel": {"BLOCK_SIZE_M": 64, "BLOCK_SIZE_N": 128, "BLOCK_SIZE_K": 32},
    "_chunk_state_bwd_db_kernel": {"BLOCK_SIZE_M": 64, "BLOCK_SIZE_N": 64},
    "_chunk_scan_chunk_state_bwd_dx_kernel": {"BLOCK_SIZE_M": 32, "BLOCK_SIZE_N": 64, "BLOCK_SIZE_K": 32},
    "_state_passing_fwd_kernel": {"BLOCK_SIZE": 1024},
    "_state_passing_bwd_kernel": {"BLOCK_SIZE": 512},
}
"""Of upstream's own, the fastest on an H200 at (B, L, d) = (64, 1024, 256), d_state 128 and headdim 64, in bfloat16,
among those that take at most 49.5 KiB of shared memory: float32 takes twice as much, and smaller GPUs have 99 KiB.
"""


def pin(modules: Iterable[Any]) -> list[str]:
    """Leave each tuned kernel of these modules only its entry of `CONFIGURATIONS`, unless `VARIABLE` says otherwise.

    The kernels are upstream's own objects: `mamba_ssm.Mamba2` in the same process runs with these configurations too.
    A kernel without an entry, or whose entry upstream does not offer, is tuned as before.

    Args:
        modules: those named in `MODULES`; `triton.autotune` has wrapped their kernels.

    Returns:
        The names of the kernels left with one configuration.

    Raises:
        ConfigError: `VARIABLE` is neither 0 nor 1.
    """
    tune = os.environ.get(VARIABLE) or "0"
    if tune not in ("0", "1"):
        raise ConfigError(f"{VARIABLE}: {tune!r} is neither 0 nor 1")
    pinned = []
    for module in modules if tune == "0" else ():
        for name, wanted in CONFIGURATIONS.items():
            tuner = getattr(module, name, None)
            fitting = [c for c in tuner.configs if wanted.items() <= c.all_kwargs().items()] if tuner else []
            if tuner and fitting:
                tuner.configs = fitting[:1]
                pinned.append(name)
    return pinned
