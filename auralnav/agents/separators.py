"""The separator that an experiment names: found, loaded and checked against the experiment's worlds."""

from __future__ import annotations

from pathlib import Path

import auralnav.separation
from auralnav.configs.schema import SeparationConfig
from auralnav.errors import CheckpointError, ConfigError, did_you_mean
from auralnav.separation.separator import DPRNNSeparator

SHIPPED = Path(auralnav.separation.__path__[0]) / "weights"
SUFFIX = ".safetensors"


def shipped_separators() -> list[str]:
    """Names of the separators that come with the package."""
    return sorted(path.name.removesuffix(SUFFIX) for path in SHIPPED.glob(f"*{SUFFIX}"))


def is_path(weights: str) -> bool:
    """Whether `separation.weights` is a path, not the name of a separator that comes with the package."""
    return weights.endswith(SUFFIX) or len(Path(weights).parts) > 1


def find_separator(
    weights: str,
    key: str = "separation.weights: ",
    fix: str = "train one and give its path, or set separation.masks to oracle or mixture",
) -> Path:
    """The file of a separator, given as a path or as the name of one that comes with the package.

    Args:
        weights: the path or the name.
        key: the setting that says so, for the error.
        fix: what to do where the name is none, for the error.

    Raises:
        CheckpointError: there is none.
    """
    if is_path(weights):
        if Path(weights).is_file():
            return Path(weights)
        raise CheckpointError(f"{key}{weights}: no such file; give the path of a separator")
    known = shipped_separators()
    if weights in known:
        return SHIPPED / f"{weights}{SUFFIX}"
    hint = did_you_mean(weights, known) or ";"
    have = f"known: {', '.join(known)}" if known else "this version comes with none"
    raise CheckpointError(f"{key}{weights}: no such separator{hint} {have}; {fix}")


def load_separator(config: SeparationConfig, sample_rate: int) -> DPRNNSeparator:
    """The separator of a config, checked.

    Args:
        config: which one, and how many sources it should tell apart.
        sample_rate: of the sound that it will hear, Hz.

    Raises:
        CheckpointError: no such file, or a damaged one.
        ConfigError: a separator of another rate, or of another number of sources.
        MissingDependencyError: asteroid is not installed.
    """
    file = find_separator(config.weights)
    separator = DPRNNSeparator.load(file)
    made_for = separator.config
    if made_for.sample_rate != sample_rate:
        raise ConfigError(
            f"env.fs: {file} separates sound at {made_for.sample_rate} Hz, the worlds sound at {sample_rate} Hz; "
            f"set env.fs to {made_for.sample_rate}, or give another separator"
        )
    if made_for.sources != config.sources:
        raise ConfigError(
            f"separation.sources: {file} tells {made_for.sources} sources apart, not {config.sources}; "
            f"set it to {made_for.sources}"
        )
    return separator
