"""Speed of the state-space scans, layers and steps on one CPU thread, beside what they are compared with.

On CUDA, where `mamba_ssm` is there, its own modules are measured too: `ssm_cuda`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from auralnav.benchmarks.measure import Report, measure
from auralnav.benchmarks.records import SpeedRecord
from auralnav.benchmarks.ssm_cuda import Contents, cuda_peers
from auralnav.benchmarks.timing import Peer, check_effort, count_for
from auralnav.policies.ssm.backends import missing
from auralnav.policies.ssm.cores import parameter_count
from auralnav.policies.ssm.layer import SSMLayer
from auralnav.policies.ssm.mamba import Mamba
from auralnav.policies.ssm.mamba2 import Mamba2

SCANS = ((64, 17, 256), (2, 1024, 256))  # B, L, D, as a vision policy and a long sequence have them
D_STATE = 16
D_MODEL = 256
LENGTHS = (64, 256, 1024)  # of a layer's sequence, B = 1
HISTORIES = (1, 64, 1024, 4096)  # steps before the one that is timed
TRANSFORMER_HISTORIES = (1, 64, 1024)
HEADS = 8

Scan = Callable[..., Tensor]


def ssm_speed(seconds: float = 0.5, rounds: int = 5, report: Report | None = None) -> SpeedRecord:
    """Calls a second of scans, whole layers and single steps, with torch on one thread.

    Args:
        seconds: how long each peer works in each round.
        rounds: how often all peers take their turn; medians over the rounds are recorded.
        report: called as (peer just measured, turns done, turns in all).

    Raises:
        ValueError: for a time that is not positive or no rounds.
    """
    check_effort(seconds, rounds)  # before the peers are warmed up, which takes a while
    torch.set_num_threads(1)
    torch.manual_seed(0)
    peers: list[Peer] = []
    words: dict[str, str] = {}
    comparisons: list[tuple[str, str]] = []
    settings: dict[str, dict[str, Any]] = {}
    parts = [scan_peers(), layer_peers(), step_peers()]
    left_out = {}
    if not find_spec("mambapy"):
        left_out["mambapy"] = "it is not installed; pip install mambapy"
    if reason := missing("cuda"):
        left_out["cuda, beside mamba_ssm's own modules"] = reason
    else:
        parts.append(cuda_peers())
    for part in parts:
        peers += part[0]
        words |= part[1]
        comparisons += part[2]
        settings |= part[3]
    for peer in peers:
        peer.run(0.0)
    whole = {"torch_threads": 1, "d_state": D_STATE, "d_model": D_MODEL}
    return measure("ssm", peers, words, comparisons, seconds, rounds, whole, settings, report, left_out)


def scan_peers() -> Contents:
    """Mamba's scan alone: ours, a torch loop over unbound steps and, where it is installed, mambapy's.

    The words and settings of each hold `saved_mb`, what it keeps for the backward pass, in 10^6 bytes.
    """
    peers, words, comparisons, settings = _nothing()
    for rows, length, channels in SCANS:
        inputs = [
            torch.randn(rows, length, channels),
            torch.rand(rows, length, channels) * 0.1,
            -torch.arange(1.0, D_STATE + 1).repeat(channels, 1),
            torch.randn(rows, length, D_STATE),
            torch.randn(rows, length, D_STATE),
            torch.ones(channels),
        ]
        inputs = [x.requires_grad_() for x in inputs]
        size = f"{rows}x{length}x{channels}"
        ours = f"scan/{size}/numba"
        for name, scan in _scans().items():
            figure = f"scan/{size}/{name}"
            peers.append(Peer(figure, _both_passes(figure, lambda scan=scan, x=inputs: scan(*x), inputs)))
            saved_mb = saved_bytes(lambda scan=scan, x=inputs: scan(*x)) / 1e6
            both = f"both passes, {saved_mb:.3g} MB kept between"
            for suffix, said in (("+forward", "forward"), ("", both)):
                words[figure + suffix] = f"{name} at (B, L, D) = ({rows}, {length}, {channels}), {said}"
                if figure != ours:
                    comparisons.append((ours + suffix, figure + suffix))
            settings[figure] = {"saved_mb": saved_mb}
    return peers, words, comparisons, settings


def layer_peers() -> Contents:
    """Whole layers, forward and backward, at one sequence of several lengths.

    The transformer layer has 8 heads and a feed-forward net of 4 · d_model, and once as many parameters as our
    Mamba-2 layer; so have LSTM and GRU. Torch's LSTM runs in one kernel of oneDNN here, its GRU
    step by step: that is most of the difference between the two.
    """
    peers, words, comparisons, settings = _nothing()
    layers = _layers()
    for length in LENGTHS:
        x = torch.randn(1, length, D_MODEL).requires_grad_()
        for name, (layer, said) in layers.items():
            figure = f"layer/{length}/{name}"
            wanted = [x, *layer.parameters()]

            def forward(layer: nn.Module = layer, x: Tensor = x) -> Tensor:
                y = layer(x)
                return y[0] if isinstance(y, tuple) else y

            peers.append(Peer(figure, _both_passes(figure, forward, wanted)))
            words[figure + "+forward"] = f"{said}, {length} steps, forward"
            words[figure] = f"{said}, {length} steps, forward and backward"
            settings[figure] = {"parameters": parameter_count(layer)}
        peers_of_ours = [name for name, (layer, _) in layers.items() if not isinstance(layer, SSMLayer)]
        comparisons += [
            (f"layer/{length}/{ours}", f"layer/{length}/{name}")
            for ours in ("mamba", "mamba2")
            for name in peers_of_ours
        ]
    return peers, words, comparisons, settings


def step_peers() -> Contents:
    """One step of one row after a history; a transformer layer without a cache computes the history again."""
    peers, words, comparisons, settings = _nothing()
    layers = {name: layer for name, (layer, _) in _layers().items() if isinstance(layer, SSMLayer)}
    for name, layer in layers.items():
        for history in HISTORIES:
            figure = f"step/{history}/{name}"
            peers.append(Peer(figure, _stepping(figure, layer, history)))
            words[figure] = f"{name}: one step in place, {history} before it"
        comparisons.append((f"step/{HISTORIES[-1]}/{name}", f"step/{HISTORIES[0]}/{name}"))
    transformer = _layers()["transformer"][0]
    for history in TRANSFORMER_HISTORIES:
        figure = f"step/{history}/transformer"
        peers.append(Peer(figure, _attending(figure, transformer, history)))
        words[figure] = f"transformer layer without a cache, {history} in all"
        comparisons += [(f"step/{history}/{name}", figure) for name in layers]
    return peers, words, comparisons, settings


def saved_bytes(forward: Callable[[], Tensor]) -> int:
    """Bytes that a forward pass keeps for the backward pass, its inputs included and each storage counted once."""
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        forward()
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def _nothing() -> Contents:
    return [], {}, [], {}


def _scans() -> dict[str, Scan]:
    from auralnav.policies.ssm import numba_scan, scan_torch

    scans: dict[str, Scan] = {
        "numba": lambda *inputs: numba_scan.selective_scan(*inputs)[0],
        "torch-loop": lambda *inputs: scan_torch.selective_scan(*inputs)[0],
    }
    if find_spec("mambapy"):
        block = import_module("mambapy.mamba").MambaBlock  # its scan uses nothing of the block
        scans["mambapy"] = lambda *inputs: block.selective_scan(None, *inputs)
    return scans


def _layers() -> dict[str, tuple[nn.Module, str]]:
    """Layers of width `D_MODEL` with a line of words."""
    mamba2 = Mamba2(D_MODEL)
    parameters = parameter_count(mamba2)
    small = (parameters - 4 * D_MODEL**2) // (2 * D_MODEL)  # attention has 4 d² weights, a net of f has 2 d f
    layers: dict[str, tuple[nn.Module, str]] = {
        "mamba": (Mamba(D_MODEL), "Mamba layer"),
        "mamba2": (mamba2, "Mamba-2 layer"),
        "transformer": (_transformer(4 * D_MODEL), "transformer layer, feed-forward 4 d"),
        "transformer-equal": (_transformer(small), f"transformer layer, feed-forward {small}"),
    }
    for name, kind, gates in (("lstm", nn.LSTM, 4), ("gru", nn.GRU, 3)):
        hidden = max(range(8, 1025), key=lambda h: -abs(gates * h * (D_MODEL + h + 2) - parameters))
        layers[name] = (kind(D_MODEL, hidden, batch_first=True), f"{name.upper()} of width {hidden}")
    return layers


def _transformer(feed_forward: int) -> nn.Module:
    return nn.TransformerEncoderLayer(D_MODEL, HEADS, feed_forward, dropout=0.0, batch_first=True)


def _both_passes(
    figure: str, forward: Callable[[], Tensor], wanted: list[Tensor]
) -> Callable[[float], dict[str, float]]:
    with torch.no_grad():
        weights = torch.randn_like(forward())

    def run(seconds: float) -> dict[str, float]:
        with torch.no_grad():
            alone, alone_took = count_for(forward, seconds / 3)
        calls, took = count_for(lambda: torch.autograd.grad(forward(), wanted, weights), seconds * 2 / 3)
        return {figure + "+forward": alone / alone_took, figure: calls / took}

    return run


def _stepping(figure: str, layer: SSMLayer, history: int) -> Callable[[float], dict[str, float]]:
    x = torch.randn(1, D_MODEL)
    with torch.no_grad():
        _, state = layer(torch.randn(1, history, D_MODEL), return_state=True)

    def run(seconds: float) -> dict[str, float]:
        with torch.no_grad():
            calls, took = count_for(lambda: layer.step(x, state, inplace=True), seconds)
        return {figure: calls / took}

    return run


def _attending(figure: str, layer: nn.Module, history: int) -> Callable[[float], dict[str, float]]:
    x = torch.randn(1, history, D_MODEL)
    layer = layer.eval()

    def run(seconds: float) -> dict[str, float]:
        with torch.no_grad():
            calls, took = count_for(lambda: layer(x), seconds)
        return {figure: calls / took}

    return run
