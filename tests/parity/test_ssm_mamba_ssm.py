"""The layers beside mamba_ssm's own modules, on a CUDA machine that has them."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
import torch
from ssm_reference import distance, gradients
from torch import Tensor

from auralnav.policies.ssm import Mamba, Mamba2, triton_tuning
from auralnav.policies.ssm.backends import missing
from auralnav.policies.ssm.layer import SSMLayer

pytestmark = pytest.mark.gpu

# (name, sizes, batch, steps); few shapes, since many a new one is compiled anew.
CASES = [
    ("Mamba", {"d_model": 64}, 4, 65),
    ("Mamba2", {"d_model": 128, "d_state": 64, "headdim": 32}, 2, 300),
]


@pytest.fixture(autouse=True)
def exact_products(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if reason := missing("cuda"):
        pytest.skip(f"backend cuda: {reason}")
    monkeypatch.setenv("TRITON_F32_DEFAULT", "ieee")
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    matmul = torch.backends.cuda.matmul  # its attribute lives in C++: monkeypatch would delete it afterwards
    before, matmul.allow_tf32 = matmul.allow_tf32, False
    yield
    matmul.allow_tf32 = before


def pair(name: str, sizes: dict[str, int]) -> tuple[SSMLayer, Any]:
    """Our layer and upstream's with the same parameters, each having loaded the other's state dict."""
    torch.manual_seed(0)
    upstream = getattr(import_module("mamba_ssm"), name)(**sizes).cuda()
    ours = {"Mamba": Mamba, "Mamba2": Mamba2}[name](**sizes, backend="cuda").cuda()
    upstream.load_state_dict(ours.state_dict(), strict=True)
    ours.load_state_dict(upstream.state_dict(), strict=True)
    return ours, upstream


def inputs(sizes: dict[str, int], batch: int, steps: int) -> tuple[Tensor, Tensor]:
    u, weight = (torch.randn(batch, steps, sizes["d_model"], device="cuda") for _ in range(2))
    return u.requires_grad_(), weight


@pytest.mark.parametrize(("name", "sizes", "batch", "steps"), CASES)
@pytest.mark.parametrize("fused", [True, False])
def test_outputs_and_gradients_are_upstreams(
    name: str, sizes: dict[str, int], batch: int, steps: int, fused: bool
):
    ours, upstream = pair(name, sizes)
    u, weight = inputs(sizes, batch, steps)
    y = ours(u) if fused else ours(u, return_state=True)[0]
    expected = upstream(u)
    assert distance(y, expected) < 1e-5
    found = gradients(ours, y, {"u": u}, weight)
    for key, gradient in gradients(upstream, expected, {"u": u}, weight).items():
        assert distance(found[key], gradient) < 5e-5, key


def test_packed_episodes_are_upstreams():
    _, sizes, batch, steps = CASES[1]
    ours, upstream = pair("Mamba2", sizes)
    u, weight = inputs(sizes, batch, steps)
    seq_idx = (torch.arange(steps, device="cuda") // 47).to(torch.int32).expand(batch, -1).contiguous()
    y, expected = ours(u, seq_idx=seq_idx), upstream(u, seq_idx=seq_idx)
    assert distance(y, expected) < 1e-5
    found = gradients(ours, y, {"u": u}, weight)
    for key, gradient in gradients(upstream, expected, {"u": u}, weight).items():
        assert distance(found[key], gradient) < 5e-5, key


@pytest.mark.parametrize(("name", "sizes", "batch", "steps"), CASES)
def test_steps_are_upstreams(name: str, sizes: dict[str, int], batch: int, steps: int):
    ours, upstream = pair(name, sizes)
    u = inputs(sizes, batch, 9)[0].detach()
    state = ours.init_state(batch)
    conv, ssm = upstream.allocate_inference_cache(batch, 9)
    with torch.no_grad():
        for t in range(u.shape[1]):
            y, state = ours.step(u[:, t], state)
            expected, conv, ssm = upstream.step(u[:, t : t + 1], conv, ssm)
            assert distance(y, expected[:, 0]) < 1e-5
    assert distance(state.conv, conv) < 1e-5
    assert distance(state.ssm, ssm) < 1e-5


@pytest.mark.filterwarnings("ignore:torch.get_autocast_gpu_dtype:DeprecationWarning")  # by upstream
@pytest.mark.parametrize(("name", "sizes", "batch", "steps"), CASES)
def test_autocast_follows_upstream(name: str, sizes: dict[str, int], batch: int, steps: int):
    ours, upstream = pair(name, sizes)
    u, _ = inputs(sizes, batch, steps)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        y, expected = ours(u), upstream(u)
        carried, state = ours(u, return_state=True)
    assert y.dtype == carried.dtype == expected.dtype == torch.bfloat16
    assert {part.dtype for part in state} == {torch.float32}
    exact = upstream(u)
    error = distance(expected, exact)
    assert distance(y, exact) < 1.1 * error + 1e-4
    assert distance(carried, exact) < 1.1 * error + 1e-4


def test_no_kernel_of_mamba2_is_tuned(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(triton_tuning.VARIABLE, raising=False)
    modules = [import_module(name) for name in triton_tuning.MODULES]
    assert sorted(triton_tuning.pin(modules)) == sorted(triton_tuning.CONFIGURATIONS)
    _, sizes, batch, steps = CASES[1]
    ours, _ = pair("Mamba2", sizes)
    u, weight = inputs(sizes, batch, steps)
    gradients(ours, ours(u), {"u": u}, weight)
    functions = [item for module in modules for item in vars(module).items()]
    ran = {name: function for name, function in functions if hasattr(function, "best_config")}
    assert ran.keys() == triton_tuning.CONFIGURATIONS.keys()
    assert {len(tuner.configs) for tuner in ran.values()} == {1}
