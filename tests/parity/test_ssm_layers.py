"""The state-space layers against a float64 loop, and their two forms, packed episodes and states against each other."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
from ssm_reference import backend_parameters, device_of, distance, gradients, loop, small, tensor
from torch import Tensor

from auralnav.policies.ssm import SSMState, numba_ssd, ssd_torch
from auralnav.policies.ssm.layer import SSMLayer

LENGTHS = [1, 2, 3, 5, 17, 64, 65, 130]
# Episode lengths of a row: cuts at the edge of a chunk (16 steps), inside the convolution's window (4 taps),
# episodes of one step, at the beginning and at the end too.
PACKS = [[16, 17], [16, 1, 16], [1, 1, 1, 30], [2, 29, 2], [3, 13, 16, 1], [33]]


@pytest.fixture(params=["mamba", "mamba2"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def numbers(pack: list[int]) -> Tensor:
    return torch.repeat_interleave(torch.arange(len(pack), dtype=torch.int32), torch.tensor(pack))


def used_state(layer: SSMLayer, batch: int, backend: str) -> SSMState:
    with torch.no_grad():
        return layer(tensor((batch, 7, layer.d_model), 99, backend), return_state=True)[1]


def step_loop(layer: SSMLayer, u: Tensor, state: SSMState) -> tuple[Tensor, SSMState]:
    outputs = []
    for t in range(u.shape[1]):
        y, state = layer.step(u[:, t], state)
        outputs.append(y)
    return torch.stack(outputs, dim=1), state


def assert_close(a: dict[str, Tensor], b: dict[str, Tensor], bound: float) -> None:
    for name in b:
        assert distance(a[name], b[name]) < bound, name


@pytest.mark.parametrize("length", LENGTHS)
def test_a_float64_loop_agrees(kind: str, length: int, backend: str):
    layer = small(kind, backend)
    u = tensor((2, length, layer.d_model), length, backend).requires_grad_()
    weight = tensor((2, length, layer.d_model), length + 1, backend)
    y = layer(u)
    exact = {name: p.detach().double().requires_grad_() for name, p in layer.named_parameters()}
    u64 = u.detach().double().requires_grad_()
    y64 = loop(kind, exact, u64)
    assert distance(y, y64) < 1e-5
    g64 = torch.autograd.grad((weight.double() * y64).sum(), [u64, *exact.values()], allow_unused=True)
    for (name, g), expected in zip(gradients(layer, y, {"u": u}, weight).items(), g64, strict=True):
        # A_log has no part in the first step, where the loop has no state to let decay.
        expected = torch.zeros_like(g) if expected is None else expected
        assert distance(g, expected) < 1e-4 if expected.any() else not g.any(), name


@pytest.mark.parametrize("length", LENGTHS)
def test_forward_is_the_loop_of_step(kind: str, length: int, backend: str):
    layer = small(kind, backend)
    u = tensor((3, length, layer.d_model), length, backend)
    for state in (layer.init_state(3), used_state(layer, 3, backend)):
        y, after = layer(u, state=state, return_state=True)
        y_loop, after_loop = step_loop(layer, u, state)
        assert distance(y, y_loop) < 1e-5
        assert distance(after.ssm, after_loop.ssm) < 1e-5
        assert distance(after.conv[:, :, 1:], after_loop.conv[:, :, 1:]) < 1e-6


def test_a_single_step_of_a_single_row(kind: str, backend: str):
    layer = small(kind, backend)
    u = tensor((1, 1, layer.d_model), 19, backend)
    exact = {name: p.detach().double() for name, p in layer.named_parameters()}
    y, after = layer(u, return_state=True)
    assert distance(layer(u), loop(kind, exact, u.double())) < 1e-5
    assert distance(y, loop(kind, exact, u.double())) < 1e-5
    y, end = layer(u, state=after, return_state=True)
    y_step, end_step = layer.step(u[:, 0], after)
    assert distance(y[:, 0], y_step) < 1e-5
    assert distance(end.ssm, end_step.ssm) < 1e-5


def test_forward_without_a_state_is_forward_from_the_initial_state(kind: str, backend: str):
    layer = small(kind, backend)
    u = tensor((3, 20, layer.d_model), 1, backend)
    y, after = layer(u, state=layer.init_state(3), return_state=True)
    assert distance(layer(u), y) < 1e-6
    assert distance(layer(u, return_state=True)[1].ssm, after.ssm) < 1e-6


def test_packed_episodes_are_separate_episodes(kind: str, backend: str):
    layer = small(kind, backend)
    total = 33
    u = tensor((len(PACKS), total, layer.d_model), 2, backend).requires_grad_()
    weight = tensor((len(PACKS), total, layer.d_model), 3, backend)
    seq_idx = torch.stack([numbers(pack) for pack in PACKS]).to(device_of(backend))
    state = used_state(layer, len(PACKS), backend)
    for carried in (None, state):
        y, after = layer(u, seq_idx=seq_idx, state=carried, return_state=True)
        separate, convs, ssms = [], [], []
        for row, pack in enumerate(PACKS):
            rows = (
                None if carried is None else SSMState(carried.conv[row : row + 1], carried.ssm[row : row + 1])
            )
            parts = []
            for episode in u[row : row + 1].split(pack, dim=1):
                part, last = layer(episode, state=rows, return_state=True)
                parts.append(part)
                rows = None
            separate.append(torch.cat(parts, dim=1))
            convs.append(last.conv)
            ssms.append(last.ssm)
        y_separate = torch.cat(separate)
        assert distance(y, y_separate) < 1e-5
        assert distance(after.conv[:, :, 1:], torch.cat(convs)[:, :, 1:]) < 1e-6
        assert distance(after.ssm, torch.cat(ssms)) < 1e-5
        assert_close(
            gradients(layer, y, {"u": u}, weight), gradients(layer, y_separate, {"u": u}, weight), 1e-5
        )


def test_packed_episodes_agree_with_the_float64_loop(kind: str, backend: str):
    layer = small(kind, backend)
    seq_idx = torch.stack([numbers(pack) for pack in PACKS[:3]])
    u = tensor((3, 33, layer.d_model), 4, backend)
    exact = {name: p.detach().double() for name, p in layer.named_parameters()}
    assert distance(layer(u, seq_idx=seq_idx.to(u.device)), loop(kind, exact, u.double(), seq_idx)) < 1e-5


def test_no_gradient_crosses_a_cut(kind: str, backend: str):
    layer = small(kind, backend)
    seq_idx = torch.stack([numbers(pack) for pack in PACKS]).to(device_of(backend))
    u = tensor((len(PACKS), 33, layer.d_model), 5, backend).requires_grad_()
    state = SSMState(*(part.requires_grad_() for part in used_state(layer, len(PACKS), backend)))
    y, after = layer(u, seq_idx=seq_idx, state=state, return_state=True)
    for episode in range(4):
        inside = (seq_idx == episode)[:, :, None]
        (gradient,) = torch.autograd.grad((y * inside).sum(), [u], retain_graph=True)
        assert not gradient[~inside.expand_as(gradient)].any()
        assert gradient[inside.expand_as(gradient)].any()
    several = [row for row, pack in enumerate(PACKS) if len(pack) > 1]
    first = (seq_idx == 0)[:, :, None]
    into_state = torch.autograd.grad((y * ~first).sum(), list(state), retain_graph=True)
    assert not any(g.any() for g in into_state)
    ends = after.conv[several].sum() + after.ssm[several].sum()
    assert not any(g.any() for g in torch.autograd.grad(ends, list(state)))


def test_episodes_may_have_any_growing_numbers(kind: str, backend: str):
    layer = small(kind, backend)
    u = tensor((2, 6, layer.d_model), 6, backend)
    seq_idx = torch.tensor([[0, 0, 1, 1, 1, 2], [0, 1, 1, 1, 1, 1]], device=u.device)
    y = layer(u, seq_idx=seq_idx.to(torch.int32))
    assert torch.equal(y, layer(u, seq_idx=1_000_000_000_000 + 3 * seq_idx))


@pytest.mark.parametrize("cut", [1, 2, 15, 16, 17, 32, 39])
def test_a_sequence_cut_anywhere_with_a_carried_state_is_the_whole(kind: str, cut: int, backend: str):
    layer = small(kind, backend)
    u = tensor((2, 40, layer.d_model), 7, backend).requires_grad_()
    weight = tensor((2, 40, layer.d_model), 8, backend)
    state = SSMState(*(part.requires_grad_() for part in used_state(layer, 2, backend)))
    inputs = {"u": u, "conv": state.conv, "ssm": state.ssm}
    y, end = layer(u, state=state, return_state=True)
    y_a, between = layer(u[:, :cut], state=state, return_state=True)
    y_b, end_b = layer(u[:, cut:], state=between, return_state=True)
    y_cut = torch.cat([y_a, y_b], dim=1)
    assert distance(y_cut, y) < 1e-5
    assert distance(end_b.ssm, end.ssm) < 1e-5
    assert torch.allclose(end_b.conv, end.conv, atol=1e-6)
    assert_close(gradients(layer, y_cut, inputs, weight), gradients(layer, y, inputs, weight), 1e-5)


def test_gradients_flow_through_the_last_state(kind: str, backend: str):
    layer = small(kind, backend)
    u = tensor((2, 20, layer.d_model), 9, backend).requires_grad_()
    state = SSMState(*(part.requires_grad_() for part in used_state(layer, 2, backend)))
    results = []
    for _, after in (layer(u, state=state, return_state=True), step_loop(layer, u, state)):
        loss = (after.ssm * tensor(after.ssm.shape, 10, backend)).sum() + after.conv.square().sum()
        results.append(torch.autograd.grad(loss, [u, state.ssm]))
    for found, expected in zip(*results, strict=True):
        assert expected.any()
        assert distance(found, expected) < 1e-5


def test_no_output_depends_on_later_inputs(kind: str, backend: str):
    layer = small(kind, backend)
    u = tensor((1, 40, layer.d_model), 11, backend).requires_grad_()
    y = layer(u)
    for t in (0, 3, 15, 16, 31, 38):
        (gradient,) = torch.autograd.grad(y[:, : t + 1].sum(), [u], retain_graph=True)
        assert not gradient[:, t + 1 :].any()
        assert gradient[:, t].any()


@pytest.mark.parametrize("packed", [False, True])
def test_extreme_rates_and_step_sizes_stay_finite(kind: str, packed: bool, backend: str):
    layer = small(kind, backend)
    parameters = dict(layer.named_parameters())
    with torch.no_grad():
        parameters["A_log"].add_(5.0)
        parameters["dt_proj.bias" if kind == "mamba" else "dt_bias"].add_(20.0)
    u = tensor((len(PACKS), 33, layer.d_model), 12, backend).requires_grad_()
    seq_idx = torch.stack([numbers(pack) for pack in PACKS]).to(u.device) if packed else None
    y, after = layer(u, seq_idx=seq_idx, state=used_state(layer, len(PACKS), backend), return_state=True)
    assert y.isfinite().all() and after.ssm.isfinite().all()
    for name, gradient in gradients(layer, y, {"u": u}, torch.ones_like(y)).items():
        assert gradient.isfinite().all(), name
    exact = {name: p.detach().double() for name, p in layer.named_parameters()}
    fresh = layer(u, seq_idx=seq_idx)
    assert distance(fresh, loop(kind, exact, u.detach().double(), seq_idx)) < 1e-5


@pytest.mark.parametrize("backend", backend_parameters()[1:], indirect=True)
def test_every_backend_agrees_with_plain_torch(kind: str, backend: str):
    plain, other = small(kind, "torch"), small(kind, backend)
    seq_idx = torch.stack([numbers(pack) for pack in PACKS])
    results = []
    for layer, device in ((plain, "cpu"), (other, device_of(backend))):
        u = tensor((len(PACKS), 33, layer.d_model), 13).to(device).requires_grad_()
        state = SSMState(*(part.to(device) for part in used_state(plain, len(PACKS), "torch")))
        y, after = layer(u, seq_idx=seq_idx.to(device), state=state, return_state=True)
        found = {"y": y, "conv": after.conv, "ssm": after.ssm}
        results.append(found | gradients(layer, y, {"u": u}, tensor(y.shape, 14).to(device)))
    for name in ("y", "conv", "ssm"):
        assert distance(results[1].pop(name), results[0].pop(name)) < 1e-5, name
    assert_close(results[1], results[0], 1e-4)


def test_memory_for_the_gradients_is_linear_in_the_length(kind: str, backend: str):
    layer = small(kind, backend)

    def saved(length: int) -> int:
        storages: dict[int, int] = {}

        def keep(x: Tensor) -> Tensor:
            storages[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
            return x

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            y = layer(tensor((1, length, layer.d_model), 15, backend))
        del y
        return sum(storages.values())

    assert 3.5 < saved(2048) / saved(512) < 4.2


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("form", [ssd_torch, numba_ssd])
def test_one_huge_step_does_not_blur_the_small_ones_after_it(packed: bool, form: ModuleType):
    u = tensor((1, 64, 2, 4), 16)
    dt = 0.01 * tensor((1, 64, 2), 17).abs()
    dt[:, 5] = 50.0
    b, c = tensor((2, 1, 64, 1, 6), 18)
    operands = u, dt, torch.tensor([-1.0, -16.0]), b, c, torch.ones(2)
    seq_idx = numbers([30, 34])[None] if packed else None
    y, _ = form.chunk_scan(*operands, chunk_size=64, seq_idx=seq_idx)
    exact, _ = ssd_torch.chunk_scan(*(x.double() for x in operands), chunk_size=64, seq_idx=seq_idx)
    assert distance(y, exact) < 1e-6
