"""Examples of separations to listen to and to look at: WAV files and spectrograms."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from auralnav.errors import MissingDependencyError
from auralnav.files import atomic_write
from auralnav.separation.scores import separation_score
from auralnav.separation.validation import ValidationSet

PEAK = 0.9
"""Largest sample of an example's files, which share one gain."""

_RANGE_DB = 80.0  # below the mixture's strongest bin


@dataclass(frozen=True, eq=False)
class Example:
    """One mixture and what was made of it.

    Attributes:
        name: of its files.
        rate: Hz.
        mixture: float32 [N].
        targets: float32 [J, N].
        estimates: float32 [K, N], those of the targets first and in their order.
        si_sdr: float64 [J] dB.
        improvement: float64 [J] dB of SI-SDR over the mixture's.
    """

    name: str
    rate: int
    mixture: np.ndarray
    targets: np.ndarray
    estimates: np.ndarray
    si_sdr: np.ndarray
    improvement: np.ndarray


@torch.no_grad()
def separated_example(
    name: str, mixtures: ValidationSet, index: int, separator: nn.Module, rate: int, device: torch.device
) -> Example:
    """Separate one mixture of a set."""
    mid, targets = mixtures.mid[index : index + 1], mixtures.targets[index : index + 1]
    estimates = separator(mixtures.audio[index : index + 1].to(device)).float().cpu()
    score = separation_score(estimates, targets, mid)
    chosen = score.order[0].tolist()
    order = chosen + [k for k in range(estimates.shape[1]) if k not in chosen]
    return Example(
        name=name,
        rate=rate,
        mixture=mid[0].numpy(),
        targets=targets[0].numpy(),
        estimates=estimates[0, order].numpy(),
        si_sdr=score.si_sdr[0].numpy(),
        improvement=score.improvement[0].numpy(),
    )


def write_example(folder: Path, example: Example) -> list[Path]:
    """Write an example's mixture, targets and estimates as 16-bit WAV, and its spectrograms as PNG; each atomically.

    The files are `<name>_mixture.wav`, `<name>_target_1.wav` …, `<name>_estimate_1.wav` … and `<name>.png`; estimates
    beyond the targets are what is heard where there is no source.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        OSError: writing fails.
    """
    import soundfile

    sounds = {
        "mixture": example.mixture,
        **{f"target_{j}": sound for j, sound in enumerate(example.targets, start=1)},
        **{f"estimate_{k}": sound for k, sound in enumerate(example.estimates, start=1)},
    }
    gain = PEAK / max(max(float(np.abs(sound).max()) for sound in sounds.values()), 1e-9)
    written = []
    for what, sound in sounds.items():
        path = folder / f"{example.name}_{what}.wav"
        with atomic_write(path) as temporary:
            soundfile.write(temporary, gain * sound, example.rate, subtype="PCM_16")
        written.append(path)
    return [*written, draw_example(folder / f"{example.name}.png", example)]


def draw_example(path: Path, example: Example) -> Path:
    """Spectrograms: the mixture on top, below it each target beside its estimate, at last what is no source.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("spectrograms need matplotlib: `pip install matplotlib`") from error
    count = len(example.targets)
    figure = Figure(figsize=(9.0, 1.9 * (1 + len(example.estimates))), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1 + len(example.estimates), 2, sharex=True, sharey=True, squeeze=False)
    top = float(_spectrogram(example.mixture, example.rate).max())
    seconds = len(example.mixture) / example.rate

    def draw(row: int, column: int, sound: np.ndarray, title: str) -> None:
        image = axes[row, column].imshow(
            np.maximum(_spectrogram(sound, example.rate), top - _RANGE_DB) - top,
            origin="lower",
            aspect="auto",
            extent=(0.0, seconds, 0.0, example.rate / 2000),
            vmin=-_RANGE_DB,
            vmax=0.0,
            cmap="magma",
            interpolation="nearest",
        )
        axes[row, column].set_title(title, fontsize=9)
        if row == column == 0:
            figure.colorbar(image, ax=axes, label="dB", shrink=0.4)

    draw(0, 0, example.mixture, f"{example.name}: mixture at mid")
    for j, target in enumerate(example.targets):
        draw(1 + j, 0, target, f"target {j + 1}")
    for k, estimate in enumerate(example.estimates):
        score = ": no source"
        if k < count:
            score = f": SI-SDR {example.si_sdr[k]:.1f} dB"
            score += f", {example.improvement[k]:+.1f} over the mixture" if count > 1 else ""
        draw(1 + k, 1, estimate, f"estimate {k + 1}{score}")
    for axis in axes.flat:
        axis.set_visible(bool(axis.images))
        axis.tick_params(labelsize=7)
    for axis in axes[-1]:
        axis.set_xlabel("s", fontsize=8)
    axes[0, 0].set_ylabel("kHz", fontsize=8)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=110)
    return path


def _spectrogram(sound: np.ndarray, rate: int) -> np.ndarray:
    """Power in dB, [F, T]: Hann windows of 32 ms every 8 ms."""
    size, hop = round(0.032 * rate), round(0.008 * rate)
    frames = np.lib.stride_tricks.sliding_window_view(sound, size)[::hop] * np.hanning(size)
    return 10.0 * np.log10(np.abs(np.fft.rfft(frames)).T ** 2 + 1e-20)
