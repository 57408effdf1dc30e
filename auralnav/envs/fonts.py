"""The letters of every picture."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from PIL import ImageFont


@lru_cache(maxsize=64)
def font(size: int) -> Any:
    """Pillow's built-in scalable font at `size` pixels (no font file is needed on the machine)."""
    return ImageFont.load_default(size)
