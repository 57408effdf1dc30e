"""The LSTM layer's Triton programs beside cuDNN's, on a GPU."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from auralnav.separation.separator import DPRNNSeparator
from auralnav.separation.separator_config import SeparatorConfig
from auralnav.separation.triton_lstm import bidirectional_lstm, fits

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this torch sees no GPU"),
]


@pytest.fixture(autouse=True)
def exact_products():
    allowed = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = allowed


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize(
    ("units", "channels", "shape"),
    [(16, 5, (2, 3, 7)), (32, 64, (3, 11, 4)), (64, 64, (5, 12, 50)), (16, 8, (1, 1, 1)), (64, 3, (33, 2, 1))],
)
def test_outputs_and_gradients_are_cudnns(units, channels, shape, axis):
    torch.manual_seed(0)
    layer = nn.LSTM(channels, units, batch_first=True, bidirectional=True).cuda()
    for parameter in layer.parameters():
        parameter.data.mul_(2)  # gates that open and close
    x = torch.randn(*shape, channels, device="cuda", requires_grad=True)
    weights = torch.randn(*shape, 2 * units, device="cuda")
    assert fits(layer, x)

    def by_cudnn(layer: nn.LSTM, x: torch.Tensor) -> torch.Tensor:
        turned = x.transpose(1, 2) if axis == 1 else x
        out = layer(turned.flatten(0, 1))[0].unflatten(0, turned.shape[:2])
        return out.transpose(1, 2) if axis == 1 else out

    found = []
    for compute in (lambda layer, x: bidirectional_lstm(layer, x, axis), by_cudnn):
        out = compute(layer, x)
        found.append([out.detach(), *torch.autograd.grad((out * weights).sum(), [x, *layer.parameters()])])
    for mine, other in zip(*found, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=2e-5 * max(1.0, float(other.abs().max())))
    with torch.no_grad():
        assert torch.equal(bidirectional_lstm(layer, x, axis), found[0][0])


def test_only_what_the_programs_know_is_given_to_them():
    x = torch.randn(2, 3, 4, 8, device="cuda")
    known = {"input_size": 8, "hidden_size": 16, "batch_first": True, "bidirectional": True}
    for other in ({"hidden_size": 24}, {"hidden_size": 128}, {"num_layers": 2}, {"bias": False}, {"proj_size": 4}):
        assert not fits(nn.LSTM(**{**known, **other}).cuda(), x)
    assert not fits(nn.LSTM(**{**known, "bidirectional": False}).cuda(), x)
    assert not fits(nn.GRU(**known).cuda(), x) and not fits(nn.LSTM(**known).cuda().double(), x)
    assert fits(nn.LSTM(**known).cuda(), x) and not fits(nn.LSTM(**known), x.cpu())


def test_a_separator_on_a_gpu_is_the_one_on_the_cpu():
    torch.manual_seed(0)
    separator = DPRNNSeparator(SeparatorConfig(hop=50, ears=2)).eval()
    audio = torch.randn(3, 2, 8_000)
    with torch.no_grad():
        here = separator(audio)
        there = separator.cuda()(audio.cuda()).cpu()
    torch.testing.assert_close(there, here, rtol=1e-3, atol=1e-4 * float(here.abs().max()))


def test_the_gradients_are_the_same_in_every_run():
    torch.manual_seed(0)
    layer = nn.LSTM(64, 64, batch_first=True, bidirectional=True).cuda()
    x = torch.randn(8, 12, 50, 64, device="cuda", requires_grad=True)
    runs = [
        torch.autograd.grad(bidirectional_lstm(layer, x, 1).square().sum(), [x, *layer.parameters()]) for _ in range(2)
    ]
    assert all(torch.equal(*pair) for pair in zip(*runs, strict=True))
