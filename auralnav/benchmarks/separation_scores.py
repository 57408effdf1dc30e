"""Scores of a separator on held-out mixtures: whole, of every pair of classes, and step by step as the agent hears."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from auralnav.agents.statistics import bootstrap_mean
from auralnav.benchmarks.separation_mixtures import RECORDED, Row
from auralnav.benchmarks.separation_record import PairRow, StreamingRow, TableRow
from auralnav.envs.acoustics.sounds import CLASSES
from auralnav.separation.mixtures import STEP_SECONDS
from auralnav.separation.scores import (
    ideal_ratio_mask_ceiling,
    ideal_ratio_mask_estimates,
    separation_score,
)
from auralnav.separation.streaming import StreamingSeparator
from auralnav.separation.validation import SECONDS, Judgement, ValidationSet, judge

WINDOWS = (0.75, 0.5)
"""s that a separator hears in the loop of the agent: the default, and the shortest that is wanted."""

_BATCH = 4  # mixtures separated whole in one call

Done = Callable[[int], None]
"""Told how many more mixtures are done."""


def table_row(
    row: Row,
    sets: Iterable[ValidationSet],
    separator: nn.Module,
    sample_rate: int,
    device: torch.device,
    done: Done = lambda mixtures: None,
) -> TableRow:
    """Score a separator (audio [B, 2, N] → sources [B, K, N], on `device`) on mixtures of a kind."""
    alone = row.kind.active == 1
    judged: list[Judgement] = []
    ceilings: list[np.ndarray] = []
    for part in sets:
        judged.append(judge(separator, part, device))
        if not alone:
            ceilings.append(_ceiling(part, sample_rate))
        done(len(part.audio))
    scores = [one.si_sdr if alone else one.improvement for one in judged]
    values = np.concatenate(scores).mean(axis=1)
    return TableRow(
        name=row.kind.name,
        sources=row.kind.active,
        rt60=row.kind.rt60,
        noise=row.kind.noise,
        recorded=row in RECORDED,
        measure="SI-SDR" if alone else "SI-SDRi",
        value=bootstrap_mean(values),
        ceiling=None if alone else bootstrap_mean(np.concatenate(ceilings).mean(axis=1)),
        goal=row.goal,
        level_error=float(np.mean(np.abs(np.concatenate([one.level_error for one in judged])))),
        leak=float(np.mean(np.concatenate([one.leak for one in judged]))),
        values=values.tolist(),
    )


def pair_rows(
    sets: Iterable[ValidationSet],
    separator: nn.Module,
    sample_rate: int,
    device: torch.device,
    done: Done = lambda mixtures: None,
) -> list[PairRow]:
    """Mean SI-SDRi and ceiling of each pair of classes in mixtures of two sources, in the order of CLASSES."""
    found: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for part in sets:
        gains = judge(separator, part, device).improvement.mean(axis=1)
        ceilings = _ceiling(part, sample_rate).mean(axis=1)
        for pair, *values in zip(np.sort(part.sounds, axis=1).tolist(), gains, ceilings, strict=True):
            found.setdefault(tuple(pair), []).append(tuple(values))
        done(len(part.audio))
    rows = []
    for (a, b), values in sorted(found.items()):
        value, ceiling = np.mean(values, axis=0).tolist()
        rows.append(
            PairRow(a=CLASSES[a], b=CLASSES[b], value=value, ceiling=ceiling, mixtures=len(values))
        )
    return rows


@torch.no_grad()
def streaming_rows(
    name: str,
    sets: Iterable[ValidationSet],
    separator: nn.Module,
    sample_rate: int,
    device: torch.device,
    done: Done = lambda mixtures: None,
) -> list[StreamingRow]:
    """Scores of single steps: of whole mixtures separated at once, and through windows that end with the step.

    All are scored on the same steps, those whose longest window is full.
    """
    n = round(STEP_SECONDS * sample_rate)
    first = round(max(WINDOWS) / STEP_SECONDS) - 1
    gains: dict[float, list[np.ndarray]] = {window: [] for window in (SECONDS, *WINDOWS)}
    ceilings: list[np.ndarray] = []
    kept: dict[float, list[np.ndarray]] = {window: [] for window in WINDOWS}
    for part in sets:
        audio = part.audio.to(device)
        whole = [separator(audio[i : i + _BATCH]).float() for i in range(0, len(audio), _BATCH)]
        gains[SECONDS].append(_by_step(torch.cat(whole).cpu(), part, n, first)[0])
        ideal = ideal_ratio_mask_estimates(part.targets, part.mid, sample_rate)
        ceilings.append(_by_step(ideal, part, n, first)[0])
        for window in WINDOWS:
            heard = _streamed(separator, audio, n, window)
            improvement, orders = _by_step(heard, part, n, first)
            gains[window].append(improvement)
            sounding = (orders[1:] >= 0) & (orders[:-1] >= 0)
            kept[window].append((orders[1:] == orders[:-1])[sounding])
        done(len(part.audio))
    ceiling = bootstrap_mean(np.concatenate(ceilings))
    return [
        StreamingRow(
            name=name,
            window=window,
            later=window == SECONDS,
            value=bootstrap_mean(np.concatenate(values)),
            ceiling=ceiling,
            kept=None if window == SECONDS else float(np.concatenate(kept[window]).mean()),
        )
        for window, values in gains.items()
    ]


def largest_of_silence(separator: nn.Module, sample_rate: int, device: torch.device) -> float:
    """Largest |sample| of what a separator makes of SECONDS of silence."""
    with torch.no_grad():
        return float(separator(torch.zeros(1, 2, round(SECONDS * sample_rate), device=device)).abs().max())


def _ceiling(part: ValidationSet, sample_rate: int) -> np.ndarray:
    """SI-SDRi [M, active] of the ideal ratio mask."""
    return ideal_ratio_mask_ceiling(part.targets, part.mid, sample_rate).improvement.numpy()


def _streamed(separator: nn.Module, audio: Tensor, n: int, window: float) -> Tensor:
    """What windows that end with each step give of it, [M, K, N], on the CPU."""
    stream = StreamingSeparator(cast(Any, separator), n, window, len(audio))
    steps = [stream.push(step).sources.cpu() for step in audio.split(n, dim=2)]
    return torch.cat(steps, dim=2)


def _by_step(estimates: Tensor, part: ValidationSet, n: int, first: int) -> tuple[np.ndarray, np.ndarray]:
    """SI-SDRi [M], mean over sources and steps of n samples from `first` on; outputs [steps, M, J] of the sources.

    A source that says nothing in a step has no score there, and −1 in the place of an output.
    """
    scores = [
        separation_score(*(signals[..., k : k + n] for signals in (estimates, part.targets, part.mid)))
        for k in range(first * n, part.mid.shape[1] - n + 1, n)
    ]
    gains = torch.stack([score.improvement for score in scores]).nanmean(dim=(0, 2))
    orders = [score.order.masked_fill(score.si_sdr.isnan(), -1) for score in scores]
    return gains.numpy(), torch.stack(orders).numpy()
