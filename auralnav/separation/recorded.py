"""Work on a GPU that is the same again and again: recorded once as a CUDA graph, in one precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor

Precision = Literal["bf16", "tf32", "fp32"]

_REHEARSALS = 3  # that compile, choose algorithms and allocate, which must not be recorded


class Recorded:
    """A function of tensors on a GPU as a CUDA graph: a thousand small kernels are started by one call.

    Python takes twice as long to start the kernels of a small network's update as they run. What the function
    leaves elsewhere (gradients) it must leave at the same place in every call, and it may read nothing back.

    Args:
        function: of tensors, which returns a tensor.
        device: the GPU; tensors on the host are copied to it.
    """

    def __init__(self, function: Callable[..., Tensor], device: torch.device) -> None:
        self._function, self._device = function, device
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The function's result, which the next call overwrites; the first call's shapes are those of all."""
        if self._graph is None:
            self._record(inputs)
        else:
            for place, new in zip(self._inputs, inputs, strict=True):
                place.copy_(new, non_blocking=True)
        assert self._graph is not None
        self._graph.replay()
        return self._output

    def _record(self, inputs: tuple[Tensor, ...]) -> None:
        self._inputs = [tensor.to(self._device, copy=True) for tensor in inputs]
        now, aside = torch.cuda.current_stream(self._device), torch.cuda.Stream(self._device)
        aside.wait_stream(now)
        with torch.cuda.stream(aside):
            for _ in range(_REHEARSALS):
                self._function(*self._inputs)
        now.wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._output = self._function(*self._inputs)
        self._graph = graph


@contextmanager
def working_precision(precision: Precision, device: torch.device) -> Iterator[None]:
    """Let products on a GPU be of bfloat16 (autocast), of TF32 or of float32; a CPU computes in float32.

    Recurrent layers take TF32 with "bf16" and "tf32".
    """
    exact = precision == "fp32"
    matmul, cudnn = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = not exact
    half = precision == "bf16" and device.type == "cuda"
    try:
        with torch.autocast(device.type, torch.bfloat16, enabled=half, cache_enabled=False):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn
