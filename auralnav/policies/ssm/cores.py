"""Memory cores by name, and cores of equal size."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from auralnav.errors import ConfigError, did_you_mean
from auralnav.policies.ssm.memory_core import MemoryCore
from auralnav.policies.ssm.memoryless import MemorylessCore
from auralnav.policies.ssm.recurrent import RecurrentCore
from auralnav.policies.ssm.ssm_core import mamba2_core, mamba_core
from auralnav.policies.ssm.transformer import TransformerCore

_BUILDERS: dict[str, Callable[..., MemoryCore]] = {
    "mamba": mamba_core,
    "mamba2": mamba2_core,
    "gru": partial(RecurrentCore, "gru"),
    "lstm": partial(RecurrentCore, "lstm"),
    "transformer": TransformerCore,
    "none": MemorylessCore,
}
CORES = tuple(_BUILDERS)
"""Names that `make_core` knows."""


def make_core(name: str, d_input: int, **kwargs: Any) -> MemoryCore:
    """The memory core called `name`.

    Args:
        name: one of `CORES`.
        d_input: width of its inputs.
        **kwargs: of the core's class; all take `d_model` (width of the output) and `n_layers`.

    Raises:
        ConfigError: an unknown name, an argument that this core does not take, or a bad value.
    """
    if name not in CORES:
        raise ConfigError(f"memory: {name!r} is none of {', '.join(CORES)}{did_you_mean(str(name), CORES)}")
    try:
        return _BUILDERS[name](d_input, **kwargs)
    except TypeError as error:
        raise ConfigError(f"memory {name}: {error}; see the arguments of its class") from error


def parameter_count(module: nn.Module) -> int:
    """Trainable numbers of a module."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def width_for_parameters(
    name: str, d_input: int, parameters: int, multiple_of: int = 8, **kwargs: Any
) -> int:
    """The `d_model` at which a core comes nearest to a number of parameters, for comparisons at equal size.

    Args:
        name: of the core.
        d_input: width of its inputs.
        parameters: wanted.
        multiple_of: of which the width is a multiple (attention heads and Mamba-2 heads need one).
        **kwargs: further arguments of the core.

    Raises:
        ConfigError: `kwargs` do not fit the core.
    """

    def gap(width: int) -> int:
        return parameter_count(make_core(name, d_input, d_model=width, **kwargs)) - parameters

    width = multiple_of
    while gap(2 * width) < 0:
        width *= 2
    low, high = width // multiple_of, 2 * width // multiple_of  # in multiples; grows with the width
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if gap(middle * multiple_of) < 0 else (low, middle)
    return min(low * multiple_of, high * multiple_of, key=lambda width: abs(gap(width)))
