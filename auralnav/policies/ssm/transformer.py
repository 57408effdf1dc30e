"""A transformer over the last W steps as a memory core: its keys and values are the state."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from auralnav.errors import ConfigError
from auralnav.policies.ssm.memory_core import MemoryCore
from auralnav.policies.ssm.sizes import require_positive


class TransformerCore(MemoryCore):
    """Causal pre-norm transformer in which each layer sees the last `window` steps of the episode.

    Positions enter as a learned bias for each head and distance (Raffel et al., 2020, without buckets). State:
    the number of steps remembered, then each layer's keys and values of the last W − 1 steps, oldest first.
    A step costs O(W), whatever the age of the episode.

    Args:
        d_input: width of an input.
        d_model: width of the tokens and of the output.
        n_layers: blocks of attention and feed-forward net (4 · d_model, GELU).
        n_heads: attention heads; divides d_model.
        window: W, steps seen by a layer, the current one among them.

    Raises:
        ConfigError: a size below 1, or n_heads that does not divide d_model.
    """

    def __init__(
        self, d_input: int, d_model: int = 64, n_layers: int = 1, n_heads: int = 4, window: int = 64
    ) -> None:
        require_positive(d_model=d_model, n_layers=n_layers, n_heads=n_heads, window=window)
        super().__init__(d_input, d_model)
        if d_model % n_heads:
            raise ConfigError(f"n_heads: {n_heads} does not divide d_model {d_model}; choose a divisor")
        self.window = window
        self.input = nn.Linear(d_input, d_model)
        self.blocks = nn.ModuleList(_Block(d_model, n_heads, window) for _ in range(n_layers))
        self.norm = nn.LayerNorm(d_model)
        self.state_size = 1 + n_layers * (window - 1) * 2 * d_model

    def _step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        y, state = self._forward(x[:, None], state, torch.zeros(len(x), 1, dtype=torch.bool, device=x.device))
        return y[:, 0], state

    def _forward(self, x: Tensor, state: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        batch, steps, _ = x.shape
        kept = self.window - 1
        count = state[:, :1]  # [B, 1]
        cache = state[:, 1:].reshape(batch, len(self.blocks), kept, 2 * self.d_output)
        # What begins at the first step has an empty cache, so episodes are counted from the next one on.
        episode = F.pad(torch.cumsum(start[:, 1:], dim=1), (1, 0))  # [B, T]
        places = torch.arange(kept, 0, -1, device=x.device)
        # −1 = an empty place of the cache, which belongs to no episode.
        owners = torch.cat([torch.where(places <= count, 0, -1), episode], dim=1)  # [B, W − 1 + T]
        distance = torch.arange(steps, device=x.device)[:, None] + kept - torch.arange(kept + steps, device=x.device)
        seen = (owners[:, None] == episode[:, :, None]) & (distance >= 0) & (distance < self.window)
        tokens = self.input(x)
        keys_values = []
        for layer, block in enumerate(self.blocks):
            tokens, both = block(tokens, cache[:, layer].to(tokens.dtype), seen, distance)
            keys_values.append(both[:, steps:])
        # In the last episode: its own steps, and what was remembered where it is still the first.
        ended = episode[:, -1:]
        count = (episode == ended).sum(dim=1, keepdim=True) + torch.where(ended == 0, count, 0.0)
        count = count.clamp(max=kept)
        unused = (places > count)[:, :, None]
        parts = [count, *(part.masked_fill(unused, 0.0).flatten(1) for part in keys_values)]
        return self.norm(tokens), torch.cat(parts, dim=1).float()


class _Block(nn.Module):
    def __init__(self, d_model: int, n_heads: int, window: int) -> None:
        super().__init__()
        self.n_heads, self.window = n_heads, window
        self.attention_norm = nn.LayerNorm(d_model)
        self.query = nn.Linear(d_model, d_model)
        self.key_value = nn.Linear(d_model, 2 * d_model)
        self.bias = nn.Parameter(torch.zeros(n_heads, window))
        self.output = nn.Linear(d_model, d_model)
        self.feed_forward_norm = nn.LayerNorm(d_model)
        self.feed_forward = nn.Sequential(
            nn.Linear(d_model, 4 * d_model), nn.GELU(), nn.Linear(4 * d_model, d_model)
        )

    def forward(self, x: Tensor, cache: Tensor, seen: Tensor, distance: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens [B, T, d], and keys beside values [B, W − 1 + T, 2 d].

        Args:
            x: tokens [B, T, d].
            cache: keys beside values of the steps before [B, W − 1, 2 d].
            seen: bool [B, T, W − 1 + T], which step attends to which.
            distance: int [T, W − 1 + T], steps back.
        """
        normed = self.attention_norm(x)
        both = torch.cat([cache, self.key_value(normed)], dim=1)
        keys, values = both.chunk(2, dim=-1)
        queries = self._heads(self.query(normed))  # [B, h, T, d/h]
        scores = queries @ self._heads(keys).transpose(-1, -2) / math.sqrt(queries.shape[-1])
        scores = scores + self.bias[:, distance.clamp(0, self.window - 1)]
        weights = scores.masked_fill(~seen[:, None], -math.inf).softmax(dim=-1)
        mixed = (weights @ self._heads(values)).transpose(1, 2).flatten(2)
        x = x + self.output(mixed)
        return x + self.feed_forward(self.feed_forward_norm(x)), both

    def _heads(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
