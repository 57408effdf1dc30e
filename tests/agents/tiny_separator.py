"""A separator of a few hundred weights, never trained: what is around it is tested, not what it says."""

from __future__ import annotations

from pathlib import Path

import torch

from auralnav.separation.separator import DPRNNSeparator
from auralnav.separation.separator_config import SeparatorConfig


def tiny_separator(sources: int = 2, sample_rate: int = 16_000, ears: int = 1) -> DPRNNSeparator:
    torch.manual_seed(3)
    sizes = {"filters": 8, "bottleneck": 8, "hidden": 4, "chunk": 20, "hop": 10, "repeats": 1}
    return DPRNNSeparator(SeparatorConfig(sources=sources, sample_rate=sample_rate, ears=ears, **sizes))


def save_tiny(path: Path, sources: int = 2, sample_rate: int = 16_000) -> Path:
    tiny_separator(sources, sample_rate).save(path)
    return path
