"""The report of the backends, from which `auralnav doctor` prints."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from auralnav.policies.ssm import backends, check_backends


def test_every_backend_is_reported_and_those_of_the_cpu_are_right():
    state = torch.get_rng_state()
    reports = {report.name: report for report in check_backends()}
    assert list(reports) == ["torch", "numba", "cuda"]
    for name in ("torch", "numba"):
        assert reports[name].right and reports[name].reason == ""
    cuda = reports["cuda"]
    assert cuda.available == (cuda.reason == "") == (cuda.error is not None)
    assert "\n" not in cuda.reason
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("wrong", [lambda y: y * 1.001, lambda y: y * math.nan])
def test_a_kernel_that_is_wrong_is_found_even_where_another_is_forced(
    monkeypatch: pytest.MonkeyPatch, wrong: Callable[[torch.Tensor], torch.Tensor]
):
    load = backends.load

    def spoilt(name: str) -> backends.Kernels:
        kernels = load(name)
        if name != "numba":
            return kernels
        return replace(kernels, causal_conv=lambda *args: wrong(kernels.causal_conv(*args)))

    monkeypatch.setattr(backends, "load", spoilt)
    monkeypatch.setenv(backends.VARIABLE, "torch")
    assert [report.right for report in check_backends()[:2]] == [True, False]
    assert backends.kernels_for("auto", torch.zeros(1)).name == "torch"
