"""Our layers on CUDA beside `mamba_ssm`'s own modules with the same weights, forward and backward."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import nn

from auralnav.benchmarks.timing import Peer
from auralnav.policies.ssm.cores import parameter_count
from auralnav.policies.ssm.layer import SSMLayer
from auralnav.policies.ssm.mamba import Mamba
from auralnav.policies.ssm.mamba2 import Mamba2

# Name, our layer, and B, L, d: what a vision policy learns from, and a batch of long sequences.
LAYERS = (("Mamba", Mamba, (1024, 17, 128)), ("Mamba2", Mamba2, (64, 1024, 256)))
CALLS = 10  # between two events: the queue never runs dry, and their own cost does not count

Contents = tuple[list[Peer], dict[str, str], list[tuple[str, str]], dict[str, dict[str, Any]]]


def cuda_peers() -> Contents:
    """Peers, words, comparisons and settings of each layer at one size, under bfloat16 autocast.

    Ours is measured once more with a state carried in and out, which upstream's modules cannot do and no fused
    kernel serves. Parameters are float32 and inputs bfloat16. Rates are by CUDA events. `first_call_s` in the settings
    of ours is the wall time of the first forward and backward pass in this process, in which Triton compiles its
    kernels, or reads them from the cache of an earlier process. Upstream's comes second and finds the same kernels,
    with the configurations that `triton_tuning` has left them, so its first call is not given.

    Raises:
        MissingDependencyError: no CUDA device, or no `mamba_ssm`.
    """
    peers: list[Peer] = []
    words: dict[str, str] = {}
    comparisons: list[tuple[str, str]] = []
    settings: dict[str, dict[str, Any]] = {}
    for name, kind, shape in LAYERS:
        ours = kind(shape[-1], backend="cuda").cuda()
        upstream = getattr(import_module("mamba_ssm"), name)(shape[-1]).cuda()
        upstream.load_state_dict(ours.state_dict(), strict=True)
        group = f"cuda/{name.lower()}/{'x'.join(map(str, shape))}/"
        for owner, layer, said, carried in (
            ("auralnav", ours, "ours", False),
            ("mamba_ssm", upstream, "mamba_ssm's own", False),
            ("auralnav-state", ours, "ours with a carried state", True),
        ):
            figure = group + owner
            work = _both_passes(layer, shape, carried)
            first_call = _wall_seconds(work)
            peers.append(Peer(figure, _timed_by_events(figure, work)))
            words[figure] = f"{name} at (B, L, d) = ({', '.join(map(str, shape))}), {said}, bf16, both passes"
            settings[figure] = {"device": torch.cuda.get_device_name(), "parameters": parameter_count(layer)}
            if layer is ours:
                settings[figure]["first_call_s"] = round(first_call, 3)
        comparisons += [(group + "auralnav", group + "mamba_ssm"), (group + "auralnav-state", group + "auralnav")]
    return peers, words, comparisons, settings


def _both_passes(layer: nn.Module, shape: tuple[int, ...], carried: bool) -> Callable[[], object]:
    device = next(layer.parameters()).device
    x = torch.randn(shape, device=device, dtype=torch.bfloat16, requires_grad=True)
    weights = torch.randn(shape, device=device, dtype=torch.bfloat16)
    wanted = [x, *layer.parameters()]
    state = layer.init_state(shape[0]) if carried and isinstance(layer, SSMLayer) else None

    def work() -> object:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            y = layer(x) if state is None else layer(x, state=state, return_state=True)[0]
        return torch.autograd.grad(y, wanted, weights)

    return work


def _wall_seconds(work: Callable[[], object]) -> float:
    torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - began


def _timed_by_events(figure: str, work: Callable[[], object]) -> Callable[[float], dict[str, float]]:
    def run(seconds: float) -> dict[str, float]:
        calls, took = 0, 0.0
        while calls == 0 or took < seconds:
            began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            began.record()
            for _ in range(CALLS):
                work()
            ended.record()
            ended.synchronize()
            calls, took = calls + CALLS, took + began.elapsed_time(ended) / 1e3
        return {figure: calls / took}

    return run
