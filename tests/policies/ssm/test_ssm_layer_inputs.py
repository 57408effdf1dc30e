"""What the state-space layers refuse, and what they leave alone."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from auralnav.errors import ConfigError, MissingDependencyError, ShapeError
from auralnav.policies.ssm import Mamba, Mamba2, backends
from auralnav.policies.ssm.layer import SSMLayer
from auralnav.policies.ssm.ssd_torch import chunk_scan

WIDTH = 16


@pytest.fixture(params=["mamba", "mamba2"])
def layer(request: pytest.FixtureRequest) -> SSMLayer:
    torch.manual_seed(0)
    return Mamba(WIDTH) if request.param == "mamba" else Mamba2(WIDTH, d_state=8, headdim=8)


def wrong(argument: str, value: Any) -> dict[str, Any]:
    """An argument whose type is wrong on purpose."""
    return {argument: value}


def one_line(error: pytest.ExceptionInfo[Exception], *words: str) -> None:
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, WIDTH + 1), (2, 0, WIDTH), (0, 3, WIDTH)])
def test_inputs_of_another_shape_are_refused(layer: SSMLayer, shape: tuple[int, ...]):
    with pytest.raises(ShapeError) as error:
        layer(torch.zeros(shape))
    one_line(error, str(list(shape)), str(WIDTH))


def test_a_step_of_another_shape_is_refused(layer: SSMLayer):
    with pytest.raises(ShapeError) as error:
        layer.step(torch.zeros(2, 1, WIDTH), layer.init_state(2))
    one_line(error, "[2, 1, 16]", "[B, 16]")


@pytest.mark.parametrize(
    ("seq_idx", "words"),
    [
        (torch.zeros(2, 4, dtype=torch.int32), ("[2, 4]", "[2, 5]")),
        (torch.zeros(2, 5, 1, dtype=torch.int32), ("[2, 5, 1]", "[2, 5]")),
        (torch.zeros(2, 5), ("torch.float32", "integers")),
        (torch.zeros(2, 5, dtype=torch.bool), ("torch.bool", "integers")),
        (torch.zeros(2, 5, dtype=torch.uint16), ("torch.uint16", "integers")),
        (torch.zeros(2, 5, dtype=torch.int32, device="meta"), ("meta", "cpu", "seq_idx.to")),
        ([[0, 0, 0, 1, 1]] * 2, ("list", "torch.as_tensor")),
        (torch.tensor([[0, 0, 1, 1, 2], [0, 1, 0, 1, 2]]), ("decreases",)),
        (torch.tensor([[0, 0, 1, 1, 0]] * 2, dtype=torch.uint8), ("decreases",)),
        (torch.tensor([[0, -(2**63), 1, 1, 1]] * 2), ("decreases",)),
    ],
)
def test_wrong_episode_numbers_are_refused(layer: SSMLayer, seq_idx: torch.Tensor, words: tuple[str, ...]):
    with pytest.raises(ShapeError) as error:
        layer(torch.zeros(2, 5, WIDTH), seq_idx=seq_idx)
    one_line(error, "seq_idx", *words)


@pytest.mark.parametrize(
    "numbers",
    [
        torch.tensor([0, 0, 1, 1, 255], dtype=torch.uint8),
        torch.tensor([-128, -128, 127, 127, 127], dtype=torch.int8),
        torch.tensor([-(2**31), 0, 0, 2**31 - 2, 2**31 - 1], dtype=torch.int32),
        torch.tensor([-(2**63), 0, 2**32, 2**33, 2**63 - 1]),
    ],
)
def test_episode_numbers_of_any_integer_type_may_lie_any_distance_apart(layer: SSMLayer, numbers: torch.Tensor):
    u = torch.randn(2, 5, WIDTH)
    counted = torch.unique_consecutive(numbers, return_inverse=True)[1]
    expected = layer(u, seq_idx=counted.expand(2, -1))
    assert torch.equal(layer(u, seq_idx=numbers.expand(2, -1)), expected)
    assert not torch.equal(layer(u), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int64])
def test_inputs_of_another_dtype_are_refused(layer: SSMLayer, dtype: torch.dtype):
    u = torch.zeros(2, 3, WIDTH, dtype=dtype)
    for call in (lambda: layer(u), lambda: layer.step(u[:, 0], layer.init_state(2))):
        with pytest.raises(ShapeError) as error:
            call()
        one_line(error, str(dtype), "use u.to(torch.float32)")


def test_states_of_another_shape_dtype_or_device_are_refused(layer: SSMLayer):
    conv, ssm = layer.init_state(2)
    u = torch.zeros(2, 5, WIDTH)
    states: list[tuple[Any, str]] = [  # wrong on purpose
        (layer.init_state(3), "state.conv"),
        ((conv[:, :, 1:], ssm), "state.conv"),
        ((conv, ssm[:, :-1]), "state.ssm"),
        ((conv, ssm.double()), "state.ssm"),
        ((conv, ssm.to("meta")), "state.ssm"),
        ((conv, ssm, ssm), "3 parts"),
    ]
    for state, name in states:
        for call in (partial(layer, u), partial(layer.step, u[:, 0])):
            with pytest.raises(ShapeError) as error:
                call(state=state)
            one_line(error, name, "init_state")


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: Mamba2(16, headdim=12), ("headdim: 12", "32")),
        (lambda: Mamba2(16, headdim=8, ngroups=3), ("ngroups: 3", "4 heads")),
        (lambda: Mamba(0), ("d_model: 0",)),
        (lambda: Mamba(16, d_conv=0), ("d_conv: 0",)),
        (lambda: Mamba(16, **wrong("dt_rank", "all")), ("dt_rank: 'all'", "'auto'")),
        (lambda: Mamba2(16, headdim=8, chunk_size=0), ("chunk_size: 0",)),
        (lambda: Mamba(16, **wrong("d_state", 16.0)), ("d_state: 16.0", "whole number")),
        (lambda: Mamba(**wrong("d_model", "16")), ("d_model: '16'", "whole number")),
        (lambda: Mamba(16, dt_rank=0), ("dt_rank: 0",)),
        (lambda: Mamba(16, backend="jax"), ("'jax'", "auto, torch, numba, cuda")),
        (lambda: Mamba(16, backend="nunba"), ("did you mean numba?",)),
    ],
)
def test_sizes_that_do_not_fit_are_refused(build, words: tuple[str, ...]):
    with pytest.raises(ConfigError) as error:
        build()
    one_line(error, *words)


def test_a_named_backend_that_is_missing_is_refused_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch):
    def broken(name: str) -> backends.Kernels:
        raise OSError("libcuda.so.1: cannot open shared object file\nand more")

    monkeypatch.setattr(backends, "load", broken)
    backends.missing.cache_clear()
    try:
        for name in ("cuda", "numba"):
            with pytest.raises(MissingDependencyError) as error:
                Mamba(WIDTH, backend=name)
            one_line(error, name, "libcuda.so.1", "pip install")
    finally:
        backends.missing.cache_clear()


def test_auto_goes_on_without_a_backend_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch):
    load = backends.load

    def without_numba(name: str) -> backends.Kernels:
        if name == "numba":
            raise ImportError("no numba here")
        return load(name)

    monkeypatch.setattr(backends, "load", without_numba)
    backends.missing.cache_clear()
    try:
        assert backends.kernels_for("auto", torch.zeros(1)).name == "torch"
    finally:
        backends.missing.cache_clear()


def test_auto_takes_compiled_loops_on_the_cpu_and_plain_torch_for_float64():
    assert backends.kernels_for("auto", torch.zeros(1)).name == "numba"
    assert backends.kernels_for("auto", torch.zeros(1, dtype=torch.float64)).name == "torch"


def test_a_named_backend_refuses_what_it_cannot_compute():
    with pytest.raises(ConfigError) as error:
        Mamba(WIDTH, backend="numba").double()(torch.zeros(1, 2, WIDTH, dtype=torch.float64))
    one_line(error, "'numba'", "torch.float64", "'auto'")


def test_mamba2_says_why_it_does_not_run_on_mps():
    with FakeTensorMode(), pytest.raises(ConfigError) as error:  # tensors of a device that is not here
        x, dt, b = (torch.empty(1, 4, *shape, device="mps") for shape in ((2, 3), (2,), (1, 5)))
        rates = torch.empty(2, device="mps")
        chunk_scan(x, dt, rates, b, b, rates, 4)
    one_line(error, "float64", "mps", "'cpu'")


def test_the_environment_variable_goes_before_the_constructor(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(backends.VARIABLE, "torch")
    assert backends.kernels_for("numba", torch.zeros(1)).name == "torch"
    monkeypatch.setenv(backends.VARIABLE, "fast")
    with pytest.raises(ConfigError) as error:
        Mamba(WIDTH)(torch.zeros(1, 2, WIDTH))
    one_line(error, backends.VARIABLE, "'fast'")


def test_nan_is_not_swallowed_and_stays_in_its_row(layer: SSMLayer):
    u = torch.zeros(2, 5, WIDTH)
    u[0, 2, 3] = torch.nan
    y, state = layer(u, return_state=True)
    assert y[0, 2:].isnan().all()
    assert state.conv[0].isnan().any() and state.ssm[0].isnan().any()
    assert y[1].isfinite().all() and state.ssm[1].isfinite().all()
    assert layer.step(u[:, 2], layer.init_state(2))[0].isnan().any(1).tolist() == [True, False]


def test_a_reset_row_is_as_new_even_after_nan(layer: SSMLayer):
    u = torch.randn(3, 5, WIDTH)
    u[1] = torch.nan
    _, state = layer(u, return_state=True)
    after = state.reset(torch.tensor([False, True, True]))
    fresh = layer.init_state(3)
    for part, old, new in zip(after, state, fresh, strict=True):
        assert torch.equal(part[1:], new[1:])
        assert torch.equal(part[0], old[0])


def test_step_and_forward_leave_the_state_they_are_given(layer: SSMLayer):
    u = torch.randn(2, 5, WIDTH)
    _, state = layer(u, return_state=True)
    before = [part.clone() for part in state]
    layer.step(u[:, 0], state)
    layer(u, state=state, return_state=True)
    assert all(torch.equal(part, old) for part, old in zip(state, before, strict=True))


def test_a_step_in_place_writes_the_new_state_over_the_old(layer: SSMLayer):
    u = torch.randn(2, WIDTH)
    with torch.no_grad():
        _, state = layer(torch.randn(2, 5, WIDTH), return_state=True)
        y, expected = layer.step(u, state)
        y_inplace, after = layer.step(u, state, inplace=True)
    assert torch.equal(y_inplace, y)
    for part, old, new in zip(after, state, expected, strict=True):
        assert part.data_ptr() == old.data_ptr()
        assert torch.equal(old, new)


def test_a_step_in_place_refuses_to_record_gradients(layer: SSMLayer):
    with pytest.raises(ConfigError) as error:
        layer.step(torch.zeros(1, WIDTH), layer.init_state(1), inplace=True)
    one_line(error, "torch.no_grad")


def test_stable_baselines3_does_not_initialise_the_scan_anew(layer: SSMLayer):
    before = {name: p.detach().clone() for name, p in layer.named_parameters()}
    layer.apply(partial(ActorCriticPolicy.init_weights, gain=2.0))
    assert not torch.equal(layer.in_proj.weight, before["in_proj.weight"])
    own = {"A_log", "D", "dt_bias", "dt_proj.weight", "dt_proj.bias"} & set(before)
    assert len(own) >= 3
    for name, parameter in layer.named_parameters():
        marks = [getattr(parameter, mark, False) for mark in ("_no_reinit", "_no_weight_decay")]
        assert marks == ([True, True] if name in own else [False, False]), name
        assert name not in own or torch.equal(parameter, before[name])


def test_initial_values():
    torch.manual_seed(0)
    mamba, mamba2 = Mamba(64), Mamba2(256, headdim=4)
    rates = torch.arange(1.0, 17.0).expand(128, 16)
    torch.testing.assert_close(mamba.A_log.exp(), rates)
    assert mamba.dt_proj.weight.abs().max() <= 4**-0.5
    assert mamba2.A_log.exp().min() >= 1 and mamba2.A_log.exp().max() <= 16
    for bias in (mamba.dt_proj.bias, mamba2.dt_bias):
        steps = F.softplus(bias)
        assert 0.99e-3 < steps.min() and steps.max() < 0.101
        # log-uniform: the logarithm's mean lies in the middle
        assert steps.log().mean().item() == pytest.approx(-4.6, abs=0.4)
    assert bool((mamba.D == 1).all() and (mamba2.D == 1).all() and (mamba2.norm.weight == 1).all())


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_torchs_defaults_are_for_new_tensors_and_not_for_a_layers_results(layer: SSMLayer, backend: str):
    layer.backend = backend
    u = torch.randn(2, 5, WIDTH)

    def run() -> list[torch.Tensor]:
        y, state = layer(u, state=layer.init_state(2), return_state=True)
        gradients = torch.autograd.grad(y.sum(), [*layer.parameters()])
        with torch.no_grad():
            return [y, *state, *gradients, layer.step(u[:, 0], state)[0]]

    expected = run()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            found = run()
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_autocast_leaves_states_and_scan_in_float32(layer: SSMLayer, backend: str):
    layer.backend = backend
    u = torch.randn(2, 9, WIDTH)
    y = layer(u)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y_half, state_half = layer(u, return_state=True)
        y_step, state_step = layer.step(u[:, 0], state_half)
    assert y_half.dtype == y_step.dtype == torch.bfloat16
    assert {part.dtype for part in (*state_half, *state_step)} == {torch.float32}
    torch.testing.assert_close(y_half.float(), y, rtol=0.05, atol=0.02)


def test_a_layer_in_bfloat16_keeps_its_state_in_float32(layer: SSMLayer):
    u = torch.randn(2, 9, WIDTH)
    y = layer(u)
    half = layer.to(torch.bfloat16)
    y_half, state = half(u.bfloat16(), state=half.init_state(2), return_state=True)
    assert y_half.dtype == torch.bfloat16
    assert {part.dtype for part in state} == {torch.float32}
    torch.testing.assert_close(y_half.float(), y, rtol=0.1, atol=0.03)
