"""Directions of two sources from their masked cues: with a separator's masks, with true ones and with none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from auralnav.agents.statistics import Interval
from auralnav.benchmarks.separation_record import DirectionRow
from auralnav.envs.audio.env import AudioEnv
from auralnav.separation.cues import SpatialCues, azimuth
from auralnav.separation.mixtures import STEP_SECONDS
from auralnav.separation.scores import separation_score
from auralnav.separation.streaming import StreamingSeparator

RT60S = (0.0, 0.3, 0.6)
GOAL = 10.0
"""Degrees: the median error with learned masks, without reflections."""

APART = 30.0
"""Degrees between the two sources, or more."""

STEPS = 4
"""Of sound heard on one spot; the last one's directions count, so that the separator's window is full."""

_SIDE = 8.0  # m, of the square room
_DISTANCES = (1.0, 3.0)  # m


@dataclass(frozen=True, eq=False)
class Scenes:
    """What a listener at rest hears of two sources in the front half-plane of AuralNav's world.

    Attributes:
        audio: float32 [STEPS, M, 2, n].
        images: float32 [M, 2, 2, n]: what each source alone put into the ears in the last step.
        degrees: float64 [M, 2], azimuths left of the heading.
        classes: of the M · 2 sources.
    """

    audio: Tensor
    images: Tensor
    degrees: np.ndarray
    classes: list[tuple[str, ...]]


def front_scenes(
    rt60: float,
    count: int,
    seed: int,
    sample_rate: int = 16_000,
    done: Callable[[int], None] = lambda scenes: None,
) -> Scenes:
    """`count` scenes with sounds of the test split; two sources at least APART, 1 to 3 m away, at drawn heights."""
    env = AudioEnv(
        num_sources=2,
        room_size=(_SIDE, _SIDE, 3.0),
        rt60=rt60,
        found_radius=0.3,
        fs=sample_rate,
        step_duration=STEP_SECONDS,
        continuous=True,
        split="test",
    )
    rng = np.random.default_rng([seed, round(1000 * rt60)])
    audio, images, places, classes = [], [], [], []
    for number in range(count):
        degrees = rng.uniform(-90, 90, 2)
        while abs(degrees[0] - degrees[1]) < APART:
            degrees = rng.uniform(-90, 90, 2)
        heading = rng.uniform(-np.pi, np.pi)
        angles, distances = heading + np.radians(degrees), rng.uniform(*_DISTANCES, 2)
        around = np.stack([np.cos(angles), np.sin(angles)], axis=1) * distances[:, None]
        options = {"pose": (_SIDE / 2, _SIDE / 2, heading), "sources": _SIDE / 2 + around}
        heard = [env.reset(seed=(seed << 20) + number, options=options)[0]["audio"]]
        heard += [env.step(np.zeros(2, np.float32))[0]["audio"] for _ in range(STEPS - 1)]
        audio.append(np.stack(heard))
        images.append(env.source_images())
        places.append(degrees)
        classes.append(tuple(env.scene()["classes"]))
        done(1)
    heard = torch.from_numpy(np.stack(audio, axis=1))
    return Scenes(heard, torch.from_numpy(np.stack(images)), np.stack(places), classes)


def oracle_errors(scenes: Scenes, sample_rate: int) -> np.ndarray:
    """|error| float64 [M, 2], degrees, of directions through the masks that the sources themselves give."""
    cues = SpatialCues(sample_rate, scenes.audio.shape[-1])
    return _errors(cues(scenes.audio[-1], scenes.images.mean(dim=2)), scenes)


def mixture_errors(scenes: Scenes, sample_rate: int) -> np.ndarray:
    """The same of the mixture's one direction, taken for either source's."""
    cues = SpatialCues(sample_rate, scenes.audio.shape[-1])
    last = scenes.audio[-1]
    return _errors(cues(last, last.mean(dim=1, keepdim=True)).expand(-1, 2, -1), scenes)


@torch.no_grad()
def learned_errors(
    scenes: Scenes, separator: nn.Module, sample_rate: int, device: torch.device
) -> np.ndarray:
    """The same with a separator's masks; each source is the estimate that is most like it."""
    n = scenes.audio.shape[-1]
    stream = StreamingSeparator(cast(Any, separator), n, batch=scenes.audio.shape[1])
    heard = [stream.push(audio) for audio in scenes.audio.to(device)][-1]
    features = SpatialCues(sample_rate, n).to(device)(heard.audio, heard.sources).cpu()
    last = scenes.audio[-1]
    order = separation_score(heard.sources.cpu(), scenes.images.mean(dim=2), last.mean(dim=1)).order
    return _errors(features.gather(1, order.unsqueeze(2).expand(-1, -1, features.shape[2])), scenes)


def direction_rows(
    rt60: float, scenes: Scenes, separator: nn.Module, sample_rate: int, device: torch.device
) -> list[DirectionRow]:
    """Median and 90th percentile of the errors, with learned masks, with true ones and with none."""
    errors: dict[Literal["learned", "oracle", "mixture"], np.ndarray] = {
        "learned": learned_errors(scenes, separator, sample_rate, device),
        "oracle": oracle_errors(scenes, sample_rate),
        "mixture": mixture_errors(scenes, sample_rate),
    }
    return [
        DirectionRow(
            rt60=rt60,
            masks=masks,
            median=bootstrap_median(values),
            p90=float(np.quantile(values, 0.9)),
            goal=GOAL if masks == "learned" and rt60 == 0.0 else None,
        )
        for masks, values in errors.items()
    ]


def bootstrap_median(values: np.ndarray, draws: int = 2_000, seed: int = 0) -> Interval:
    """Median of values [M, n], and its 95 % percentile bootstrap interval over the M rows."""
    rng = np.random.default_rng(seed)
    medians = [np.median(values[rng.integers(len(values), size=len(values))]) for _ in range(draws)]
    low, high = np.quantile(medians, [0.025, 0.975])
    return Interval(float(np.median(values)), float(low), float(high), len(values))


def _errors(features: Tensor, scenes: Scenes) -> np.ndarray:
    return np.abs(np.degrees(azimuth(features).double().numpy()) - scenes.degrees)
