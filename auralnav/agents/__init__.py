"""What learns: training, run folders, checkpoints, baselines and evaluation."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from auralnav.agents.memory_dqn import MemoryDQN
    from auralnav.agents.memory_ppo import MemoryPPO

__all__ = ["MemoryDQN", "MemoryPPO"]

_MODULES = {"MemoryDQN": "auralnav.agents.memory_dqn", "MemoryPPO": "auralnav.agents.memory_ppo"}


def __getattr__(name: str) -> Any:
    """`MemoryDQN` and `MemoryPPO` on first use, for torch and SB3 come with them."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
