from __future__ import annotations

import json
import statistics
import subprocess
import sys

PROBE = """
import json, sys, time
began = time.perf_counter()
import auralnav
seconds = time.perf_counter() - began
import gymnasium
heavy = ["torch", "pybullet", "pyroomacoustics", "numba", "stable_baselines3", "matplotlib", "wandb", "ray"]
ids = [name for name in gymnasium.registry if name.startswith("AuralNav")]
print(json.dumps({"seconds": seconds, "heavy": [m for m in heavy if m in sys.modules], "ids": ids}))
"""


def probe() -> dict:
    done = subprocess.run(
        [sys.executable, "-c", PROBE], capture_output=True, text=True, check=True, timeout=60
    )
    return json.loads(done.stdout)


def test_import_is_light_and_registers_the_ids():
    runs = [probe() for _ in range(3)]
    assert statistics.median(run["seconds"] for run in runs) < 1.0
    assert runs[0]["heavy"] == []
    assert set(runs[0]["ids"]) == {
        "AuralNav-v0",
        "AuralNav-Easy-v0",
        "AuralNav-Anechoic-v0",
        "AuralNav-Hard-v0",
        "AuralNav-Moving-v0",
        "AuralNav-Maze-v0",
    }
