"""What other people's code does with a layer: copies, records and differentiates it, runs it without data."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from auralnav.errors import ConfigError
from auralnav.policies.ssm import Mamba, Mamba2, SSMState
from auralnav.policies.ssm.layer import SSMLayer

WIDTH = 16


@pytest.fixture(params=["mamba", "mamba2"])
def layer(request: pytest.FixtureRequest) -> SSMLayer:
    torch.manual_seed(0)
    return Mamba(WIDTH) if request.param == "mamba" else Mamba2(WIDTH, d_state=8, headdim=8)


def twin(layer: SSMLayer, backend: str) -> SSMLayer:
    other = copy.deepcopy(layer)
    other.backend = backend
    return other


def input_gradient(run: Callable[[Tensor], Tensor], u: Tensor) -> Tensor:
    u = u.clone().requires_grad_()
    return torch.autograd.grad(run(u).square().sum(), u)[0]


def test_a_copied_or_pickled_layer_computes_the_same(layer: SSMLayer):
    u = torch.randn(2, 5, WIDTH)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(other(u), layer(u))


def test_a_compiled_layer_is_the_layer(layer: SSMLayer):
    u = torch.randn(2, 5, WIDTH)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(u), layer(u))
    torch.testing.assert_close(input_gradient(compiled, u), input_gradient(layer, u))


def test_an_exported_and_a_traced_layer_are_the_layer(layer: SSMLayer):
    u, other = torch.randn(2, 2, 5, WIDTH).unbind()
    exported = torch.export.export(layer, (u,)).module()
    torch.testing.assert_close(exported(other), layer(other))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls its own tracing deprecated, and the checks of shapes untraced
        traced = torch.jit.trace(layer, (u,))
    assert isinstance(traced, torch.nn.Module)
    torch.testing.assert_close(traced(other), layer(other))
    with pytest.raises(ConfigError, match=r"'numba' cannot be compiled, exported.*; use 'torch' or 'auto'"):
        torch.export.export(twin(layer, "numba"), (u,))


def test_a_transformed_layer_is_the_layer(layer: SSMLayer):
    u = torch.randn(3, 2, 5, WIDTH)
    expected = torch.stack([layer(part) for part in u])
    torch.testing.assert_close(torch.func.vmap(layer)(u), expected)

    def one(weights: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(layer, weights, (u[0],))

    # Layers of one shape beside each other: here the input itself is no transform's.
    stacked = {name: torch.stack([p, p + 0.1]) for name, p in layer.state_dict().items()}
    torch.testing.assert_close(torch.func.vmap(one)(stacked)[0], expected[0])
    gradient = torch.func.grad(lambda x: layer(x).square().sum())(u[0])
    torch.testing.assert_close(gradient, input_gradient(layer, u[0]))
    with pytest.raises(ConfigError, match=r"'numba' cannot be .*transformed; use 'torch' or 'auto'"):
        torch.func.vmap(twin(layer, "numba"))(u)


def test_inference_mode_changes_nothing(layer: SSMLayer):
    u = torch.randn(2, 5, WIDTH)
    seq_idx = torch.tensor([[0, 0, 1, 1, 2]] * 2)
    y, expected = layer(u, seq_idx=seq_idx, return_state=True)
    for inplace in (False, True):
        with torch.inference_mode():
            y_inference, state = layer(u, seq_idx=seq_idx, return_state=True)
            assert torch.equal(y_inference, y)
            out, _ = layer.step(u[:, 0], state, inplace)
        with torch.no_grad():
            torch.testing.assert_close(out, layer.step(u[:, 0], expected)[0])


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_a_step_in_place_over_what_a_gradient_needs_is_an_error_and_no_wrong_gradient(
    layer: SSMLayer, backend: str
):
    layer = twin(layer, backend)
    u = torch.randn(2, 5, WIDTH)
    _, state = layer(u, return_state=True)
    loss = state.ssm.square().sum()
    with torch.no_grad():
        layer.step(u[:, 0], SSMState(state.conv.clone(), state.ssm), inplace=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_gradients_of_gradients_come_from_plain_torch_and_are_refused_by_compiled_loops(layer: SSMLayer):
    u = torch.randn(1, 4, WIDTH, dtype=torch.float64, requires_grad=True)
    seq_idx = torch.tensor([[0, 0, 1, 1]])
    exact = copy.deepcopy(layer).double()
    assert torch.autograd.gradcheck(lambda u: exact(u, seq_idx=seq_idx), u)
    assert torch.autograd.gradgradcheck(lambda u: exact(u, seq_idx=seq_idx), u)
    u = torch.randn(1, 4, WIDTH, requires_grad=True)
    (gradient,) = torch.autograd.grad(twin(layer, "numba")(u).square().sum(), u, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.square().sum().backward()


def test_a_second_backward_pass_gives_the_same_gradients(layer: SSMLayer):
    u = torch.randn(2, 5, WIDTH, requires_grad=True)
    loss = layer(u, state=layer.init_state(2)).square().sum()
    first = torch.autograd.grad(loss, [u, *layer.parameters()], retain_graph=True)
    second = torch.autograd.grad(loss, [u, *layer.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_shapes_can_be_worked_out_without_data(layer: SSMLayer):
    layer = layer.to("meta")
    u = torch.empty(2, 5, WIDTH, device="meta")
    y, state = layer(u, return_state=True)
    assert y.shape == u.shape
    assert layer.step(u[:, 0], state)[0].shape == (2, WIDTH)
