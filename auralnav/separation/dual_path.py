"""Asteroid's dual-path network from its own layers and weights, in fewer operations: its masks and its decoder.

The same functions as `asteroid.masknn.recurrent.DPRNN.forward` (Luo et al., ICASSP 2020) and its `Decoder`'s, up to
rounding:

- channels stay last, as recurrent and linear layers want them, instead of being moved before and after each;
- chunks are cut and added by whole hops; torch's `unfold` and `fold`, which know any window, took a third of an update
  on a GPU;
- on CUDA a bidirectional LSTM layer is one program a direction (:mod:`auralnav.separation.triton_lstm`);
- the layer that gives each source its channels is linear, so it follows the overlap-add: on a quarter of the
  channels' volume, and on frames instead of overlapping chunks;
- the decoder's transposed convolution is a product and an overlap-add.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from auralnav.errors import ConfigError
from auralnav.separation.triton_lstm import bidirectional_lstm, fits

_EPS = 1e-8  # of Asteroid's norms


def estimate_masks(masker: Any, mixture: Tensor) -> Tensor:
    """What `masker(mixture)` gives.

    Args:
        masker: Asteroid's `DPRNN`.
        mixture: [B, F, T] the filterbank's output, F as the masker takes.

    Returns:
        [B, K, F', T], F' as the masker gives.
    """
    frames = mixture.shape[-1]
    size, hop = masker.chunk_size, masker.hop_size
    norm, bottleneck = masker.bottleneck
    x = _pointwise(bottleneck, normalise(norm, mixture.transpose(1, 2)))  # [B, T, C]
    x = chunks(x, size, hop)  # [B, S, Q, C]
    for block in masker.net:
        x = x + normalise(block.intra_norm, block.intra_linear(_run(block.intra_RNN, x, 2)))
        x = x + normalise(block.inter_norm, block.inter_linear(_run(block.inter_RNN, x, 1)))
    activation, to_sources = masker.first_out
    x = overlap_add(activation(x), hop, size, frames)  # [B, T, C]
    covered = overlap_add(x.new_ones(1, -(-(frames + size) // hop), size, 1), hop, size, frames)  # [1, T, 1]
    x = F.linear(x, to_sources.weight.flatten(1)) + covered * to_sources.bias
    x = x.unflatten(-1, (masker.n_src, -1)).transpose(1, 2)  # [B, K, T, C]
    gated = torch.tanh(_pointwise(masker.net_out[0], x)) * torch.sigmoid(_pointwise(masker.net_gate[0], x))
    score = _pointwise(masker.mask_net, gated).transpose(2, 3)
    return masker.output_act(score.flatten(0, 1)).unflatten(0, score.shape[:2])


def decode(decoder: Any, frames: Tensor) -> Tensor:
    """What `decoder(frames)` gives: the sound of the filterbank's outputs.

    Args:
        decoder: Asteroid's `Decoder` of a free filterbank.
        frames: [B, K, F, T].

    Returns:
        [B, K, (T − 1) · stride + kernel].
    """
    filters = decoder.filterbank.filters().squeeze(1)  # [F, kernel]
    hop, size = decoder.filterbank.stride, filters.shape[1]
    sound = _added((frames.flatten(0, 1).transpose(1, 2) @ filters).unsqueeze(-1), hop)
    return sound[:, : (frames.shape[-1] - 1) * hop + size, 0].unflatten(0, frames.shape[:2])


def chunks(x: Tensor, size: int, hop: int) -> Tensor:
    """Overlapping chunks of frames, with `size` zeros before the first and zeros after the last.

    Args:
        x: [B, T, C].
        size: Q, frames a chunk.
        hop: frames from chunk to chunk, at most `size`.

    Returns:
        [B, S, Q, C], S = ⌊(T + Q) / hop⌋ + 1.
    """
    frames = x.shape[1]
    count = (frames + size) // hop + 1
    blocks = -(-size // hop)  # of `hop` frames that a chunk reaches into
    x = F.pad(x, (0, 0, size, max((count + blocks - 1) * hop - size - frames, 0)))
    x = x[:, : (count + blocks - 1) * hop].unflatten(1, (-1, hop))  # [B, S + blocks − 1, hop, C]
    if blocks == 1:
        return x
    return torch.cat([x[:, first : first + count] for first in range(blocks)], dim=2)[:, :, :size]


def overlap_add(x: Tensor, hop: int, size: int, frames: int) -> Tensor:
    """The sum of what `chunks` cut: [B, S, Q, C] → [B, T, C]."""
    return _added(x, hop)[:, size : size + frames]


def _added(x: Tensor, hop: int) -> Tensor:
    """Chunks [B, S, Q, C] added, each `hop` after the one before: [B, (S − 1) · hop + Q and up to `hop` zeros, C]."""
    size = x.shape[2]
    blocks = -(-size // hop)
    x = F.pad(x, (0, 0, 0, blocks * hop - size))
    parts = [
        F.pad(x[:, :, first * hop : (first + 1) * hop], (0, 0, 0, 0, first, blocks - 1 - first))
        for first in range(blocks)
    ]
    return sum(parts[1:], parts[0]).flatten(1, 2)


def normalise(norm: Any, x: Tensor) -> Tensor:
    """Asteroid's gLN (all of an item) or cLN (the channels) of [B, …, C], channels last.

    Raises:
        ConfigError: another norm.
    """
    kind = type(norm).__name__
    if kind not in ("GlobLN", "ChanLN"):
        raise ConfigError(f"a dual-path network with {kind} is not known here; use gLN or cLN")
    over = x.shape[1:] if kind == "GlobLN" else x.shape[-1:]
    return torch.addcmul(norm.beta, F.layer_norm(x, over, eps=_EPS), norm.gamma)


def _run(layer: Any, x: Tensor, axis: int) -> Tensor:
    """A recurrent layer along axis 1 or 2 of [B, S, Q, C], sequences on their own: [B, S, Q, H]."""
    lstm = getattr(layer, "rnn", None)
    if fits(lstm, x):
        return bidirectional_lstm(lstm, x, axis)
    if axis == 1:
        return _run(layer, x.transpose(1, 2), 2).transpose(1, 2)
    return layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def _pointwise(layer: nn.Conv1d, x: Tensor) -> Tensor:
    """A convolution of one tap on [..., C], channels last."""
    return F.linear(x, layer.weight.flatten(1), layer.bias)
