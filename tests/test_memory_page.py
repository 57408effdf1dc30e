"""The code on docs/memory.md runs as it stands there, from top to bottom, and does what its words say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "memory.md"
LONG = "total_timesteps=100_000"
FENCE = "```"


def test_the_page_works_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    blocks = re.findall(rf"^{FENCE}python\n(.*?)^{FENCE}", PAGE.read_text(encoding="utf-8"), re.S | re.M)
    assert len(blocks) == 5
    first = [line for line in blocks[0].splitlines() if line]
    assert len(first) <= 5 and LONG in blocks[0]
    blocks[0] = blocks[0].replace(LONG, "total_timesteps=1_024")
    recorded = np.load(ROOT / "tests" / "parity" / "fixtures" / "mamba1_d64.npz")
    weights = {
        name.removeprefix("p/"): torch.from_numpy(recorded[name])
        for name in recorded.files
        if name.startswith("p/")
    }
    torch.save(weights, tmp_path / "mamba.pt")
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)

    names: dict[str, Any] = {}
    run = [compile(block, f"{PAGE.name}, block {number}", "exec") for number, block in enumerate(blocks, 1)]
    exec(run[0], names)
    assert names["model"].num_timesteps == 1_024
    exec(run[1], names)
    [state] = names["state"]
    assert state.dtype == np.float32 and state.shape == (8, names["model"].policy.core.state_size)
    exec(run[2], names)
    assert len(names["model"].policy.core.layers) == 2
    exec(run[3], names)
    y, core = names["y"], names["core"]
    alone, _ = core(names["x"][1:2, 50:], core.initial_state(1), names["start"][1:2, 50:])
    torch.testing.assert_close(y[1:2, 50:], alone)
    exec(run[4], names)
    layer, u, y = names["layer"], names["u"], names["y"]
    assert torch.equal(layer.in_proj.weight, weights["in_proj.weight"])
    torch.testing.assert_close(torch.cat([names["first"], names["rest"]], dim=1), y, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(names["packed"][:, 40:80], layer(u[:, 40:80]), rtol=1e-4, atol=1e-5)


def test_the_page_gives_the_state_sizes_that_the_cores_have():
    from auralnav.policies.ssm.cores import CORES, make_core

    said = {
        name: int(number.replace(" ", ""))
        for names, numbers in re.findall(r"^\| (`[^|]+) \|[^|]+\| ([^|]+) \|$", PAGE.read_text("utf-8"), re.M)
        for name, number in zip(
            re.findall(r"`(\w+)`", names), re.findall(r"\d[\d ]*\d|\d", numbers), strict=False
        )
        if name in CORES
    }
    assert said == {name: make_core(name, 8).state_size for name in CORES}
