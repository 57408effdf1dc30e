"""Between torch tensors and compiled loops: checks, flat views, padding to whole blocks, and threads."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from auralnav.errors import ShapeError
from auralnav.policies.ssm.numba_lanes import WIDTH

NO_FLOATS = np.empty(0, np.float32)
NO_INTS = np.empty(0, np.int32)
# Below this many inner loop passes (about half a millisecond) a thread costs more than it saves.
PASSES_PER_THREAD = 2**21

Span = tuple[int, int]


def check(name: str, tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> None:
    """Raise ShapeError unless `tensor` has `shape` and `dtype`, lies on the CPU and is not empty."""
    if tensor.shape != shape or tensor.dtype != dtype or not tensor.is_cpu or 0 in shape:
        raise ShapeError(
            f"{name} is {list(tensor.shape)} {tensor.dtype} on {tensor.device}; "
            f"the compiled kernel takes {list(shape)} {dtype} on the CPU, no axis empty"
        )


def flat(tensor: Tensor | None) -> np.ndarray:
    """The tensor's memory as one axis, copied only when it is not contiguous; an empty array for None."""
    if tensor is None:
        return NO_FLOATS
    if tensor.requires_grad:
        tensor = tensor.detach()
    return tensor.contiguous().numpy().reshape(-1)


def flat_episodes(seq_idx: Tensor | None) -> np.ndarray:
    """`flat` of an int32 tensor."""
    return NO_INTS if seq_idx is None else seq_idx.contiguous().numpy().reshape(-1)


def steps_apart(x: Tensor) -> tuple[np.ndarray, int]:
    """The memory of x [B, L, C] from its first float on, and the floats between two steps; a copy if they vary."""
    rows, length, channels = x.shape
    stride = x.stride(1) if length > 1 else x.stride(0)
    if x.stride(2) != 1 or stride < channels or (rows > 1 and x.stride(0) != length * stride):
        x, stride = x.contiguous(), channels
    span = (rows * length - 1) * stride + channels
    return x.detach().as_strided((span,), (1,)).numpy(), stride


def pad_channels(tensor: Tensor, axis: int = -1) -> Tensor:
    """Zeros at the end of `axis` up to whole blocks of 16; the tensor itself when there is nothing to add."""
    missing = -tensor.shape[axis] % WIDTH
    if not missing:
        return tensor
    shape = list(tensor.shape)
    shape[axis] = missing
    return torch.cat((tensor, tensor.new_zeros(shape)), dim=axis)


def split(count: int, parts: int) -> list[Span]:
    """`count` things in `parts` consecutive spans (from, to) whose lengths differ by one at most."""
    edges = [count * part // parts for part in range(parts + 1)]
    return list(itertools.pairwise(edges))


def shares(rows: int, blocks: int, passes: int) -> tuple[list[Span], list[Span]]:
    """How torch's threads share a call: spans of rows and spans of blocks, one task for each pair.

    One span of each when `passes`, the length of the inner loop in all, is small.
    """
    threads = min(torch.get_num_threads(), passes // PASSES_PER_THREAD)
    if threads <= 1:
        return [(0, rows)], [(0, blocks)]
    by_rows = min(rows, threads)
    by_blocks = min(blocks, threads // by_rows)
    return split(rows, by_rows), split(blocks, by_blocks)


def in_threads(work: Callable[[int, int], None], rows: int, blocks: int) -> None:
    """`work(i, j)` for all i < rows and j < blocks, at the same time; in this thread when there is one pair.

    The threads live as long as the call: a pool that outlived it would not survive a fork.
    """
    if rows * blocks == 1:
        work(0, 0)
        return
    own, *pairs = itertools.product(range(rows), range(blocks))
    with ThreadPoolExecutor(rows * blocks - 1) as pool:
        others = [pool.submit(work, *pair) for pair in pairs]
        work(*own)
        for other in others:
            other.result()


def sum_parts(parts: Tensor) -> Tensor:
    """Sum over the first axis; a view when there is one part."""
    return parts[0] if len(parts) == 1 else parts.sum(0)
