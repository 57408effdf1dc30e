"""What every test needs before any heavy library is imported: one thread, no screen, no account."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# Two test workers share two cores; torch and BLAS read these once, when they are first imported.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"
os.environ["MPLBACKEND"] = "Agg"
os.environ["SDL_VIDEODRIVER"] = "dummy"
os.environ["SDL_AUDIODRIVER"] = "dummy"
os.environ["WANDB_MODE"] = "disabled"
os.environ["WANDB_SILENT"] = "true"
os.environ.pop("WANDB_API_KEY", None)

# No deadlines: a shared machine has no fixed pace. The same examples always: what passed once passes again.
settings.register_profile("auralnav", deadline=None, derandomize=True)
settings.load_profile("auralnav")


@pytest.fixture(autouse=True, scope="session")
def sb3_logs(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A model of SB3 that learns without a logger of its own makes a folder, left behind in /tmp otherwise."""
    os.environ["SB3_LOGDIR"] = str(tmp_path_factory.mktemp("sb3"))
