"""`from auralnav.agents import MemoryPPO, MemoryDQN`, and no torch before."""

from __future__ import annotations

import subprocess
import sys

import pytest

import auralnav.agents
from auralnav.agents.memory_dqn import MemoryDQN
from auralnav.agents.memory_ppo import MemoryPPO


def test_the_package_exports_the_learners_with_a_memory():
    assert auralnav.agents.MemoryPPO is MemoryPPO
    assert auralnav.agents.MemoryDQN is MemoryDQN
    missing = "MemorySAC"
    with pytest.raises(AttributeError, match=r"module 'auralnav\.agents' has no attribute 'MemorySAC'"):
        getattr(auralnav.agents, missing)


def test_nothing_heavy_is_loaded_before_one_is_asked_for():
    code = "import sys, auralnav.agents; print([m for m in ('torch', 'stable_baselines3') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
