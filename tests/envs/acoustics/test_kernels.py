"""What holds for every compiled kernel of the environments."""

from __future__ import annotations

import importlib
import pkgutil

from numba.core.registry import CPUDispatcher

import auralnav.envs


def kernels() -> dict[str, CPUDispatcher]:
    """Every compiled function of the environments by its qualified name."""
    found = {}
    for module in pkgutil.walk_packages(auralnav.envs.__path__, "auralnav.envs."):
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, CPUDispatcher):
                found[f"{value.py_func.__module__}.{value.py_func.__name__}"] = value
    return found


def test_a_function_that_fast_kernels_call_has_a_fastmath_of_its_own() -> None:
    """Without one it takes that of the caller that is compiled first: the bits then hang on what ran before."""
    calls = 0
    for name, kernel in kernels().items():
        if not kernel.targetoptions.get("fastmath"):
            continue
        for called in kernel.py_func.__code__.co_names:
            callee = kernel.py_func.__globals__.get(called)
            if isinstance(callee, CPUDispatcher) and callee.targetoptions.get("inline") != "always":
                calls += 1
                assert "fastmath" in callee.targetoptions, f"{called}, called by {name}"
    assert calls > 3
