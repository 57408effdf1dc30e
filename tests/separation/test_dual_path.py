"""Parity of our dual-path masks with the forward pass of Asteroid's own module, values and gradients."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from auralnav.errors import ConfigError
from auralnav.separation.asteroid_models import dprnn_tasnet
from auralnav.separation.dual_path import chunks, decode, estimate_masks, normalise, overlap_add
from auralnav.separation.separator_config import SeparatorConfig

SMALL = SeparatorConfig(sources=3, filters=12, bottleneck=8, hidden=5, chunk=20, hop=10, repeats=2)
KINDS = {
    "half": SMALL,
    "whole": replace(SMALL, hop=20),
    "third": replace(SMALL, hop=7),
    "most": replace(SMALL, hop=13),
    "one": replace(SMALL, chunk=6, hop=1),
    "longer than the sound": replace(SMALL, chunk=90, hop=45),
    "cLN": replace(SMALL, norm="cLN"),
    "multiply": replace(SMALL, multiply=True),
    "gru": replace(SMALL, cell="GRU", layers=2, bidirectional=False),
    "softmax": replace(SMALL, mask="softmax"),
    "relu": replace(SMALL, mask="relu", encoding="relu", sources=1),
}


@pytest.mark.parametrize("frames", [1, 19, 20, 53])
@pytest.mark.parametrize("kind", KINDS)
def test_masks_and_gradients_are_asteroids(kind, frames):
    torch.manual_seed(0)
    config = KINDS[kind]
    masker = dprnn_tasnet()(**config.keywords()).masker.double()
    for parameter in masker.parameters():  # norms begin as the identity, which would hide their order
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    ours, theirs = (torch.randn(2, config.filters, frames, dtype=torch.double).requires_grad_() for _ in range(2))
    theirs.data.copy_(ours)
    weights = torch.randn(2, config.sources, config.filters, frames, dtype=torch.double)
    gradients = []
    masks = []
    for compute, mixture in ((lambda x: estimate_masks(masker, x), ours), (masker, theirs)):
        masker.zero_grad()
        masks.append(compute(mixture))
        (masks[-1] * weights).sum().backward()
        gradients.append([mixture.grad, *(p.grad.clone() for p in masker.parameters())])
    torch.testing.assert_close(*masks, rtol=1e-9, atol=1e-11)
    for mine, other in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(("kernel", "stride"), [(16, 8), (16, 16), (15, 4), (10, 7)])
@pytest.mark.parametrize("frames", [1, 2, 33])
def test_sound_and_gradients_of_the_decoder_are_asteroids(kernel, stride, frames):
    torch.manual_seed(0)
    network = dprnn_tasnet()(**replace(SMALL, kernel=kernel, stride=stride).keywords()).double()
    ours, theirs = (torch.randn(2, 3, 12, frames, dtype=torch.double).requires_grad_() for _ in range(2))
    theirs.data.copy_(ours)
    sounds, gradients = [], []
    for compute, spectra in ((lambda x: decode(network.decoder, x), ours), (network.forward_decoder, theirs)):
        network.zero_grad()
        sounds.append(compute(spectra))
        sounds[-1].square().sum().backward()
        gradients.append([spectra.grad, *(p.grad.clone() for p in network.decoder.parameters())])
    torch.testing.assert_close(*sounds, rtol=1e-9, atol=1e-11)
    for mine, other in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(("size", "hop"), [(4, 4), (4, 2), (5, 2), (6, 4), (3, 1)])
@pytest.mark.parametrize("frames", [1, 3, 4, 17])
def test_what_is_cut_is_added_where_it_was(size, hop, frames):
    x = torch.arange(1.0, frames + 1)[None, :, None]
    cut = chunks(x, size, hop)
    assert cut.shape == (1, (frames + size) // hop + 1, size, 1)
    times = overlap_add((cut > 0).float(), hop, size, frames)
    assert (times >= size // hop).all()  # every frame is covered
    assert torch.equal(overlap_add(cut, hop, size, frames), times * x)


def test_a_norm_that_is_not_known_is_refused():
    with pytest.raises(ConfigError, match="LayerNorm is not known here; use gLN or cLN"):
        normalise(torch.nn.LayerNorm(3), torch.zeros(1, 2, 3))
