"""Every memory core keeps the same contract."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor

from auralnav.errors import CheckpointError, ConfigError, ShapeError
from auralnav.policies.ssm.cores import CORES, make_core, parameter_count, width_for_parameters
from auralnav.policies.ssm.memory_core import MemoryCore

D = 5
VARIANTS: dict[str, tuple[str, dict]] = {
    "mamba": ("mamba", {"d_model": 12, "d_state": 4}),
    "mamba-2": ("mamba", {"d_model": 8, "d_state": 4, "n_layers": 2, "backend": "torch"}),
    "mamba2": ("mamba2", {"d_model": 12, "d_state": 8, "headdim": 8}),
    "mamba2-2": ("mamba2", {"d_model": 8, "d_state": 8, "headdim": 8, "n_layers": 2, "chunk_size": 8}),
    "gru": ("gru", {"d_model": 12}),
    "gru-2": ("gru", {"d_model": 8, "n_layers": 2}),
    "lstm": ("lstm", {"d_model": 12}),
    "lstm-2": ("lstm", {"d_model": 8, "n_layers": 2}),
    "transformer": ("transformer", {"d_model": 8, "n_heads": 2, "window": 6}),
    "transformer-2": ("transformer", {"d_model": 8, "n_heads": 2, "window": 4, "n_layers": 2}),
    "transformer-1": ("transformer", {"d_model": 8, "window": 1}),
    "none": ("none", {"d_model": 12, "n_layers": 2}),
}


@pytest.fixture(params=VARIANTS)
def core(request: pytest.FixtureRequest) -> MemoryCore:
    torch.manual_seed(0)
    name, kwargs = VARIANTS[request.param]
    core = make_core(name, D, **kwargs)
    # Biases away from their zeros and ones, so that a forgotten one shows.
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return core


def window(batch: int, steps: int, seed: int, p: float = 0.25) -> tuple[Tensor, Tensor]:
    """Inputs [B, T, D] and starts [B, T] with episodes of all lengths, one step among them."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.rand(batch, steps, generator=generator) < p
    return torch.randn(batch, steps, D, generator=generator), start


def used_state(core: MemoryCore, batch: int, steps: int = 9) -> Tensor:
    """A state after some steps."""
    x, start = window(batch, steps, 77, p=0.05)
    return core(x, core.initial_state(batch), start)[1].detach()


def loop(core: MemoryCore, x: Tensor, state: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    outputs = []
    for t in range(x.shape[1]):
        y, state = core.step(x[:, t], state, start[:, t])
        outputs.append(y)
    return torch.stack(outputs, dim=1), state


def test_the_variants_cover_every_core():
    assert {name for name, _ in VARIANTS.values()} == set(CORES)


@pytest.mark.parametrize("steps", [1, 2, 5, 17, 70])
@pytest.mark.parametrize("p", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("recorded", [True, False], ids=["grad", "no-grad"])
def test_forward_is_the_loop_of_step(core, steps, p, recorded):
    x, start = window(4, steps, steps, p)
    state = used_state(core, 4)
    with torch.set_grad_enabled(recorded):
        y, after = core(x, state, start)
        y_loop, after_loop = loop(core, x, state, start)
    assert y.shape == (4, steps, core.d_output)
    assert after.shape == (4, core.state_size)
    torch.testing.assert_close(y, y_loop, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(after, after_loop, rtol=1e-4, atol=1e-5)


def test_gradients_of_forward_are_those_of_the_loop(core):
    x, start = window(3, 11, 5)
    state = used_state(core, 3)

    def gradients(run) -> list[Tensor]:
        inputs, carried = x.clone().requires_grad_(), state.clone().requires_grad_()
        y, after = run(inputs, carried, start)
        weights = torch.linspace(-1, 1, y.numel()).reshape(y.shape)
        loss = (weights * y).sum() + after.square().sum()
        sources = [inputs, *core.parameters(), *([carried] if core.state_size else [])]
        found = torch.autograd.grad(loss, sources, allow_unused=True)
        return [torch.zeros_like(s) if g is None else g for s, g in zip(sources, found, strict=True)]

    for whole, stepped in zip(
        gradients(core), gradients(lambda *a: loop(core, *a)), strict=True
    ):
        torch.testing.assert_close(whole, stepped, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("steps", [1, 13, 70])
def test_outputs_alone_are_those_of_forward(core, steps):
    x, start = window(4, steps, steps)
    state = used_state(core, 4)
    gradients = []
    for run in (lambda: core(x, state, start)[0], lambda: core.outputs(x, state, start)):
        y = run()
        gradients.append((y, *torch.autograd.grad(y.square().sum(), list(core.parameters()), allow_unused=True)))
    for ours, theirs in zip(*gradients, strict=True):
        assert (ours is None and theirs is None) or torch.equal(ours, theirs)
    with pytest.raises(ShapeError, match="state of shape"):
        core.outputs(x, state[:2], start)


@pytest.mark.parametrize("cut", [1, 4, 12])
def test_a_window_split_anywhere_with_the_state_carried_is_the_whole(core, cut):
    x, start = window(4, 13, 3)
    state = used_state(core, 4)
    whole, end = core(x, state, start)
    left, carried = core(x[:, :cut], state, start[:, :cut])
    right, end_split = core(x[:, cut:], carried, start[:, cut:])
    torch.testing.assert_close(torch.cat([left, right], dim=1), whole, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(end_split, end, rtol=1e-4, atol=1e-5)


CUTS = [0, 1, 2, 6, 9]


def cut_window(core: MemoryCore, cut: int) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, a used state and starts of two rows; in the first an episode begins at step `cut`."""
    x, _ = window(2, 10, 9)
    start = torch.zeros(2, 10, dtype=torch.bool)
    start[0, cut] = True
    return x.requires_grad_(), used_state(core, 2).requires_grad_(), start


@pytest.mark.parametrize("cut", CUTS)
def test_nothing_before_a_start_reaches_after_it(core, cut):
    x, state, start = cut_window(core, cut)
    y, after = core(x, state, start)
    fresh, after_fresh = core(x[:1, cut:], core.initial_state(1), start[:1, cut:])
    torch.testing.assert_close(y[:1, cut:], fresh, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(after[:1], after_fresh, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cut", CUTS)
def test_no_gradient_crosses_a_start(core, cut):
    x, state, start = cut_window(core, cut)
    y, after = core(x, state, start)
    sources = [x, state] if core.state_size else [x]
    loss = y[0, cut:].square().sum() + after[0].square().sum()
    gradients = torch.autograd.grad(loss, sources)
    assert (gradients[0][0, :cut] == 0).all()
    assert (gradients[0][0, cut:].abs().amax(dim=-1) > 0).all()
    if core.state_size:
        assert (gradients[1] == 0).all()


def test_a_poisoned_state_ends_with_its_episode(core):
    """A state that has become infinite or NaN must not outlive the reset."""
    x, _ = window(2, 4, 1)
    bad = torch.full((2, core.state_size), torch.nan)
    start = torch.zeros(2, 4, dtype=torch.bool)
    start[:, 0] = True
    assert core(x, bad, start)[0].isfinite().all()
    assert core.step(x[:, 0], bad, start[:, 0])[0].isfinite().all()


def test_a_core_with_memory_remembers_and_one_without_does_not(core):
    x, start = window(1, 6, 2, p=0.0)
    other = x.clone()
    other[:, 4] += 1.0
    y, y_other = (core(inputs, core.initial_state(1), start)[0][:, 5] for inputs in (x, other))
    remembers = core.state_size > 1  # a transformer of window 1 only counts
    assert bool((y - y_other).abs().max() > 1e-6) == remembers


def test_rows_do_not_know_each_other(core):
    x, start = window(5, 12, 4)
    state = used_state(core, 5)
    y, after = core(x, state, start)
    for row in range(5):
        alone, after_alone = core(x[row : row + 1], state[row : row + 1], start[row : row + 1])
        torch.testing.assert_close(alone[0], y[row], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(after_alone[0], after[row], rtol=1e-4, atol=1e-5)


def test_arguments_stay_as_they_were(core):
    x, start = window(3, 7, 6)
    state = used_state(core, 3)
    kept = x.clone(), state.clone(), start.clone()
    for recorded in (True, False):
        with torch.set_grad_enabled(recorded):
            core.step(x[:, 0], state, start[:, 0])
            core(x, state, start)
    for now, before in zip((x, state, start), kept, strict=True):
        assert torch.equal(now, before)


def test_the_state_is_one_flat_tensor_that_survives_a_trip_through_numpy(core):
    x, start = window(3, 9, 8)
    first = core.initial_state(3)
    assert first.shape == (3, core.state_size)
    assert first.dtype == torch.float32
    _, state = core(x, first, start)
    assert state.dtype == torch.float32
    back = torch.from_numpy(np.array(state.detach().numpy()))
    here, _ = core(x, state, torch.zeros_like(start))
    there, _ = core(x, back, torch.zeros_like(start))
    assert torch.equal(here, there)


def test_rows_of_the_state_can_be_chosen(core):
    x, start = window(4, 6, 10)
    state = used_state(core, 4)
    rows = torch.tensor([3, 1])
    chosen, _ = core(x[rows], state[rows], start[rows])
    torch.testing.assert_close(chosen, core(x, state, start)[0][rows], rtol=1e-4, atol=1e-5)


def test_the_same_inputs_give_the_same_bits(core):
    x, start = window(4, 20, 11)
    state = used_state(core, 4)
    first, second = core(x, state, start), core(x, state, start)
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


def test_in_double_precision_only_the_state_is_single(core):
    x, start = window(2, 5, 12)
    core = core.double()
    y, state = core(x.double(), core.initial_state(2), start)
    assert y.dtype == torch.float64
    assert state.dtype == torch.float32


@pytest.mark.gpu
def test_on_a_gpu_the_outputs_are_those_of_the_cpu(core, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # products of ten bits are not what is compared
    x, start = window(3, 15, 13)
    expected, _ = core(x, core.initial_state(3), start)
    core = core.cuda()
    y, state = core(x.cuda(), core.initial_state(3), start.cuda())
    assert state.device.type == "cuda"
    torch.testing.assert_close(y.cpu(), expected, rtol=1e-3, atol=1e-4)


def test_wrong_shapes_and_types_are_refused_in_one_line(core):
    x, start = window(2, 3, 14)
    state = core.initial_state(2)
    cases = [
        (core.step, (x[:, 0, :4], state, start[:, 0])),
        (core.step, (x, state, start)),
        (core.step, (x[:, 0], core.initial_state(3), start[:, 0])),
        (core.step, (x[:, 0], state.double(), start[:, 0])),
        (core.step, (x[:, 0], state, start[:, 0].float())),
        (core, (x[:, :0], state, start[:, :0])),
        (core, (x, torch.zeros(2, core.state_size + 1), start)),
        (core, (x, state, start[:, 0])),
    ]
    for call, arguments in cases:
        with pytest.raises(ShapeError) as caught:
            call(*arguments)
        assert "\n" not in str(caught.value)


def test_weights_go_from_core_to_equal_core(core, tmp_path):
    torch.save(core.state_dict(), tmp_path / "core.pt")
    weights = torch.load(tmp_path / "core.pt", weights_only=True)
    other = copy.deepcopy(core)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    other.load_state_dict(weights)
    x, start = window(2, 5, 15)
    assert torch.equal(core(x, core.initial_state(2), start)[0], other(x, other.initial_state(2), start)[0])


def test_weights_of_another_core_are_refused_in_one_line():
    gru = torch.nn.ModuleDict({"core": make_core("gru", D, d_model=8)})
    for other in (make_core("lstm", D, d_model=8), make_core("gru", D, d_model=9), make_core("mamba", D)):
        with pytest.raises(CheckpointError, match=r"another memory core: core\.") as caught:
            gru.load_state_dict({f"core.{name}": value for name, value in other.state_dict().items()})
        assert "\n" not in str(caught.value)


def test_unknown_names_and_arguments_are_refused():
    with pytest.raises(ConfigError, match=r"did you mean gru\?"):
        make_core("gruu", 3)
    with pytest.raises(ConfigError, match=r"memory gru: .*heads"):
        make_core("gru", 3, heads=2)
    with pytest.raises(ConfigError, match="n_heads: 3 does not divide d_model 8"):
        make_core("transformer", 3, d_model=8, n_heads=3)
    with pytest.raises(ShapeError, match="d_input is 0"):
        make_core("none", 0)


@pytest.mark.parametrize("name", CORES)
def test_widths_of_equal_size(name):
    wanted = 40_000
    width = width_for_parameters(name, D, wanted)
    count = parameter_count(make_core(name, D, d_model=width))
    near = [parameter_count(make_core(name, D, d_model=width + change)) for change in (-8, 8)]
    assert all(abs(count - wanted) <= abs(other - wanted) for other in near)
    assert abs(count - wanted) < 0.15 * wanted
