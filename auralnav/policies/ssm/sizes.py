"""The check of sizes that layers and memory cores share."""

from __future__ import annotations

from numbers import Integral

from auralnav.errors import ConfigError


def require_positive(**sizes: int) -> None:
    """Raise ConfigError for the first size that is no whole number of at least 1."""
    for name, size in sizes.items():
        if not isinstance(size, Integral) or isinstance(size, bool) or size < 1:
            raise ConfigError(f"{name}: {size!r} is not a whole number of at least 1")
