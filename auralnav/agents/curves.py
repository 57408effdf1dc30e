"""Learning curves as a picture, from the metrics.csv of one or several runs."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from auralnav.errors import AuralNavError, MissingDependencyError
from auralnav.files import atomic_write

Curve = tuple[np.ndarray, np.ndarray]

PANELS = (
    ("success", ("eval/success", "task/success", "rollout/success_rate"), "share of episodes solved"),
    ("SPL", ("eval/spl", "task/spl"), "success weighted by path length"),
    ("return", ("eval/return", "rollout/ep_rew_mean"), "return of an episode"),
)
"""Title, columns (evaluation first, then training) and axis label of each panel."""

COLOURS = ("#2563be", "#d94841", "#168c54", "#7c3aed", "#ca7609", "#0e8ab3")


def read_metrics(path: str | os.PathLike[str]) -> dict[str, Curve]:
    """Columns of a metrics.csv as (steps, values), rows without a number left out.

    Args:
        path: the file, or the run folder that holds it.

    Raises:
        AuralNavError: no such file, no `step` column, or no number in it.
    """
    file = Path(path)
    file = file / "metrics.csv" if file.is_dir() else file
    try:
        with open(file, newline="", encoding="utf-8") as handle:
            rows = list(csv.DictReader(handle))
    except OSError as error:
        raise AuralNavError(f"{file}: cannot be read ({error.strerror}); give a run folder") from error
    curves: dict[str, tuple[list[float], list[float]]] = {}
    for row in rows:
        step = _number(row.get("step"))
        if step is None:
            continue
        for key, text in row.items():
            value = _number(text)
            if key != "step" and value is not None:
                points = curves.setdefault(key, ([], []))
                points[0].append(step)
                points[1].append(value)
    if not curves:
        raise AuralNavError(f"{file}: holds no figures yet; let the run log at least once")
    return {key: (np.array(steps), np.array(values)) for key, (steps, values) in curves.items()}


RunPath = str | os.PathLike[str]


def plot_curves(
    runs: Mapping[str, RunPath | Sequence[RunPath]] | Sequence[RunPath],
    path: str | os.PathLike[str],
    baselines: Mapping[str, Mapping[str, float]] | None = None,
    title: str = "",
) -> Path:
    """Draw success, SPL and return over training steps; one colour a label, evaluations with dots.

    Several runs under one label, seeds of an experiment, become the mean of their evaluations (of their training
    where they have none) in a band from the least to the greatest.

    Args:
        runs: label → run folder (or metrics.csv) or several, or run folders named by their last part.
        path: the picture; its suffix says the format (.png, .svg, .pdf).
        baselines: label → {"success": …, "spl": …, "return": …}, drawn as dashed levels.
        title: over the picture.

    Raises:
        AuralNavError: no runs, or one without figures.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("learning curves need matplotlib: `pip install matplotlib`") from error
    named = dict(runs) if isinstance(runs, Mapping) else {Path(run).name: run for run in runs}
    if not named:
        raise AuralNavError("learning curves need at least one run folder")
    seeds = {
        label: [read_metrics(run) for run in ([runs] if isinstance(runs, (str, os.PathLike)) else runs)]
        for label, runs in named.items()
    }
    # Figure without pyplot: no global state, no display.
    figure = Figure(figsize=(4.2 * len(PANELS), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    for axis, (name, columns, label) in zip(figure.subplots(1, len(PANELS)), PANELS, strict=True):
        for colour, (run, several) in zip(_cycle(len(seeds)), seeds.items(), strict=True):
            if len(several) != 1:
                steps, values = seed_curves(several, columns, run)
                axis.plot(steps, values.mean(axis=0), color=colour, lw=1.8, marker="o", ms=3.5, label=run)
                axis.fill_between(steps, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.18, lw=0)
                continue
            curves = several[0]
            evaluation = curves.get(columns[0])
            training = next((curves[key] for key in columns[1:] if key in curves), None)
            if training is not None:
                own = evaluation is None
                axis.plot(
                    *training, color=colour, alpha=0.9 if own else 0.35, lw=1.2, label=run if own else None
                )
            if evaluation is not None:
                axis.plot(*evaluation, color=colour, lw=1.8, marker="o", ms=3.5, label=run)
        for style, (agent, levels) in zip((":", "--", "-."), (baselines or {}).items(), strict=False):
            if name.lower() in levels:
                axis.axhline(levels[name.lower()], color="#6b7280", lw=1.1, ls=style, label=agent)
        axis.set_title(name, fontsize=11)
        axis.set_xlabel("environment steps", fontsize=9)
        axis.set_ylabel(label, fontsize=9)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
        if name != "return":
            axis.set_ylim(-0.02, 1.02)
        axis.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:g}k" if value else "0")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    if title:
        figure.suptitle(title, fontsize=12)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=130)
    return Path(path)


def seed_curves(several: Sequence[dict[str, Curve]], columns: Sequence[str], label: str) -> Curve:
    """Steps [n] and values [runs, n] of several runs, each read off at the first one's steps between its points.

    Args:
        several: what `read_metrics` gives of each run.
        columns: the first of these that every run has is taken.
        label: of the runs, for errors.

    Raises:
        AuralNavError: no column in common.
    """
    column = next((key for key in columns if several and all(key in curves for curves in several)), None)
    if column is None:
        raise AuralNavError(f"{label}: its runs share no figures ({', '.join(columns)}); let each log them")
    curves = [run[column] for run in several]
    steps = curves[0][0]
    first, last = max(own[0] for own, _ in curves), min(own[-1] for own, _ in curves)
    steps = steps[(steps >= first) & (steps <= last)]
    return steps, np.stack([np.interp(steps, *curve) for curve in curves])


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text else None
    except ValueError:
        return None
    return value if value is not None and np.isfinite(value) else None


def _cycle(count: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(count)]
