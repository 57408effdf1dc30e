"""The device that a setting asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auralnav.errors import ConfigError

if TYPE_CHECKING:
    import torch


def torch_device(wanted: str, key: str) -> torch.device:
    """The device of "cpu", "cuda" or "auto", which takes a GPU where there is one.

    Args:
        wanted: which.
        key: the setting that says so, for the error.

    Raises:
        ConfigError: cuda is asked for and there is none.
    """
    import torch

    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"{key}: cuda: this torch sees no GPU; set it to cpu or auto")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")
