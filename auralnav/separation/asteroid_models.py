"""Asteroid's DPRNNTasNet, imported past what breaks on the way.

Asteroid (Pariente et al., Interspeech 2020) looks for `torch_stoi`, for a loss that is not used here; that imports
torchaudio, whose binaries fit one release of torch only. Asteroid does without `torch_stoi` where it is not
installed, but stops at anything else that importing it raises. So it does not get to see it.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

from auralnav.errors import MissingDependencyError

_TROUBLE = "torch_stoi"


def dprnn_tasnet() -> Any:
    """Asteroid's class `DPRNNTasNet` (Luo et al., ICASSP 2020).

    Raises:
        MissingDependencyError: asteroid, or something that it needs, is not installed.
    """
    hide = _TROUBLE not in sys.modules
    if hide:
        sys.modules[_TROUBLE] = None  # type: ignore[assignment]  # how Python is told that there is no such module
    try:
        return importlib.import_module("asteroid.models").DPRNNTasNet
    except ImportError as error:
        raise MissingDependencyError(
            f"separation needs asteroid ({error}); install it: pip install 'auralnav[separation]'"
        ) from error
    finally:
        if hide:
            del sys.modules[_TROUBLE]
