"""What every test needs before any heavy library is imported: one thread, no screen, no account."""

from __future__ import annotations

import os

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
