"""Makes `ssm_reference` importable, and gives every state-space test the backends of its machine."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from auralnav.policies.ssm.backends import missing

sys.path.insert(0, str(Path(__file__).parent))

from ssm_reference import backend_parameters


@pytest.fixture(params=backend_parameters())
def backend(request: pytest.FixtureRequest) -> str:
    """Every backend in turn; without CUDA its own is skipped with the reason."""
    if request.param == "cuda" and (reason := missing("cuda")):
        pytest.skip(f"backend cuda: {reason}")
    return request.param
