"""Numba's cache on disk must not outlive the modules that a kernel was compiled from."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from auralnav.envs.dogfight import cpu, cpu_observe, scoring

BELOW = {
    cpu: ("layout", "lanes", "rules", "rng", "draws", "scripts", "buffer", "cpu_tick", "cpu_scripts"),
    cpu_observe: ("layout", "lanes", "rules", "rng", "draws", "buffer", "cpu_tick", "observe_rules"),
    scoring: ("layout",),
}


@pytest.mark.parametrize("module", BELOW, ids=lambda module: module.__name__.rsplit(".", 1)[-1])
def test_a_kernel_states_the_digest_of_what_it_is_compiled_from(module) -> None:
    digest = hashlib.sha256()
    for name in BELOW[module]:
        digest.update((Path(module.__file__).parent / f"{name}.py").read_bytes())
    wanted = digest.hexdigest()[:12]
    assert module.SOURCES == wanted, f'set SOURCES = "{wanted}" in {module.__name__}: a module below it has changed'
