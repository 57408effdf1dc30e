from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from auralnav.agents.curves import plot_curves, read_metrics, seed_curves
from auralnav.errors import AuralNavError


def write_run(folder, slope):
    folder.mkdir()
    lines = ["step,rollout/success_rate,eval/success,eval/spl,eval/return,note"]
    for i in range(20):
        evaluation = f"{min(1, slope * i)},{min(1, slope * i) * 0.8},{slope * 30 * i}" if i % 5 == 0 else ",,"
        lines.append(f"{1000 * i},{min(1, 0.9 * slope * i)},{evaluation},text")
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_metrics_keep_only_numbers_with_their_steps(tmp_path):
    curves = read_metrics(write_run(tmp_path / "a", 0.05))
    steps, values = curves["eval/success"]
    np.testing.assert_array_equal(steps, [0, 5000, 10000, 15000])
    np.testing.assert_allclose(values, [0, 0.25, 0.5, 0.75])
    assert "note" not in curves


def test_curves_of_two_runs_are_drawn(tmp_path):
    runs = [write_run(tmp_path / "seed0", 0.05), write_run(tmp_path / "seed1", 0.03)]
    path = plot_curves(runs, tmp_path / "curves.png", {"gcc-phat": {"success": 0.95, "spl": 0.8}})
    picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
    for colour in ((37, 99, 190), (217, 72, 65)):  # one line a run
        assert (np.abs(picture - colour).sum(axis=-1) < 40).sum() > 200


def test_seeds_under_one_label_are_their_mean_in_a_band(tmp_path):
    seeds = [write_run(tmp_path / f"seed{i}", slope) for i, slope in enumerate((0.02, 0.04))]
    steps, values = seed_curves([read_metrics(run) for run in seeds], ("eval/spl",), "a")
    np.testing.assert_array_equal(steps, [0, 5000, 10000, 15000])
    np.testing.assert_allclose(values, np.outer([0.02, 0.04], [0, 5, 10, 15]) * 0.8)
    tints = []
    for runs, name in ((seeds, "band.png"), (seeds[:1], "line.png")):
        picture = np.asarray(Image.open(plot_curves({"a": runs}, tmp_path / name)).convert("RGB")).astype(int)
        tints.append((np.abs(picture - (216, 227, 243)).sum(axis=-1) < 12).sum())  # 18 % of blue over white
    assert tints[0] > 2_000 > 4 * tints[1]  # beside edges of lines, in the band alone


def test_seeds_that_log_different_things_cannot_be_averaged(tmp_path):
    seeds = [write_run(tmp_path / "a", 0.02), tmp_path / "b"]
    seeds[1].mkdir()
    (seeds[1] / "metrics.csv").write_text("step,other\n1,2\n")
    with pytest.raises(AuralNavError, match="a: its runs share no figures"):
        plot_curves({"a": seeds}, tmp_path / "x.png")


def test_a_run_without_figures_says_so(tmp_path):
    with pytest.raises(AuralNavError, match="cannot be read"):
        read_metrics(tmp_path)
    (tmp_path / "metrics.csv").write_text("step\n")
    with pytest.raises(AuralNavError, match="no figures yet"):
        read_metrics(tmp_path)
    with pytest.raises(AuralNavError, match="at least one"):
        plot_curves([], tmp_path / "x.png")
