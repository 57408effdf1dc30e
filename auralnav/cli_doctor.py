"""The checks of `auralnav doctor`."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from auralnav.provenance import PACKAGES, hardware, package_versions


@dataclass(frozen=True)
class Check:
    """One line of the report; `ok` is None for something optional that is not there."""

    name: str
    found: str
    ok: bool | None


def checks() -> Iterator[Check]:
    """All checks, in the order they are shown."""
    yield _packages()
    yield Check("machine", ", ".join(f"{name} {value}" for name, value in hardware().items()), True)
    if find_spec("torch") is not None:
        yield _threads()
        yield _gpu()
        yield from _ssm_backends()
        yield _separation()
    yield _numba_cache()
    yield _sound()
    yield _video()
    yield _tracking()


def _packages() -> Check:
    versions = package_versions()
    missing = [name for name in PACKAGES if name not in versions]
    if missing:
        return Check("packages", f"missing: pip install {' '.join(missing)}", False)
    return Check("packages", ", ".join(f"{name} {number}" for name, number in versions.items()), True)


def _threads() -> Check:
    import torch

    limits = {
        name: os.environ[name] for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS") if name in os.environ
    }
    stated = ", ".join(f"{name}={value}" for name, value in limits.items())
    return Check(
        "threads",
        f"torch {torch.get_num_threads()} (a training uses train.torch_threads) {stated}".strip(),
        True,
    )


def _numba_cache() -> Check:
    folder = Path(os.environ.get("NUMBA_CACHE_DIR") or Path(__file__).parent)
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    if os.access(existing, os.W_OK):
        return Check("numba cache", f"{folder} can be written", True)
    return Check(
        "numba cache", f"{folder} cannot be written: set NUMBA_CACHE_DIR, else each start compiles anew", None
    )


def _ssm_backends() -> Iterator[Check]:
    """Each backend of the state-space layers: whether it is there, and how far it is from plain torch in float64."""
    from auralnav.policies.ssm.backends import BACKENDS, VARIABLE
    from auralnav.policies.ssm.check import TOLERANCE, check_backends

    forced = os.environ.get(VARIABLE)
    if forced and forced not in BACKENDS:
        yield Check("ssm", f"{VARIABLE}={forced} names none of {', '.join(BACKENDS)}: unset or correct it", False)
    compiled = _compilations()
    began = time.perf_counter()
    reports = check_backends()
    seconds = time.perf_counter() - began
    for report in reports:
        name = f"ssm {report.name}"
        if report.error is None:
            used = report.name == forced
            fix = f": unset {VARIABLE}" if used else "; docs/memory.md says what it needs"
            yield Check(name, f"{report.reason}{fix}", False if used else None)
            continue
        found = f"relative error {report.error:.1e} against float64"
        if not report.right:
            found += f", more than {TOLERANCE:g}: set {VARIABLE} to another backend and report it"
        elif report.name == "numba" and _compilations() > compiled:
            found += f" (kernels compiled now, {seconds:.0f} s; kept for the next time)"
        yield Check(name, found, report.right)


def _compilations() -> int:
    """How many of the state-space kernels were compiled in this process, for want of one in Numba's cache."""
    from auralnav.policies.ssm import (
        numba_conv_kernels,
        numba_scan_kernels,
        numba_ssd_backward,
        numba_ssd_kernels,
    )

    kernels = (
        numba_conv_kernels.conv_forward,
        numba_conv_kernels.conv_backward,
        numba_scan_kernels.scan_forward,
        numba_scan_kernels.scan_backward,
        numba_ssd_kernels.ssd_forward,
        numba_ssd_backward.ssd_backward,
    )
    return sum(sum(kernel.stats.cache_misses.values()) for kernel in kernels)


def _separation() -> Check:
    from auralnav.agents.separators import shipped_separators
    from auralnav.errors import MissingDependencyError
    from auralnav.separation.asteroid_models import dprnn_tasnet

    try:
        dprnn_tasnet()
    except MissingDependencyError as error:
        return Check("separation", f"none: {error}", None)
    return Check("separation", f"Asteroid's DPRNN; shipped: {', '.join(shipped_separators()) or 'none'}", True)


def _sound() -> Check:
    try:
        import soundfile
    except (ImportError, OSError) as error:
        return Check("sound files", f"{error}: pip install soundfile", False)
    return Check(
        "sound files",
        f"{soundfile.__libsndfile_version__}: {', '.join(sorted(soundfile.available_formats()))}",
        True,
    )


def _video() -> Check:
    try:
        import av
    except ImportError as error:
        return Check("video", f"{error}: pip install av", False)
    missing = [codec for codec in ("libx264", "aac") if codec not in av.codecs_available]
    if missing:
        return Check("video", f"PyAV {av.__version__} lacks {', '.join(missing)}: pip install -U av", False)
    return Check("video", f"PyAV {av.__version__}: H.264 and AAC", True)


def _gpu() -> Check:
    import torch

    if torch.cuda.is_available():
        return Check("GPU", torch.cuda.get_device_name(0), True)
    return Check("GPU", "none: everything works on the CPU", None)


def _tracking() -> Check:
    if find_spec("wandb") is None:
        return Check("wandb", "not installed: pip install 'auralnav[track]' for --track", None)
    from auralnav.agents.tracking import has_key

    return Check(
        "wandb", "key found" if has_key() else "no key: --track works offline", True if has_key() else None
    )
