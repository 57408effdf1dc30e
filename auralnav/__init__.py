"""AuralNav: Gymnasium environments for agents that act on what they can only partly sense.

Importing the package registers its environment ids and nothing more: torch, Numba and the room acoustics are
loaded when an environment or an agent is made.
"""

from __future__ import annotations

__version__ = "0.1.0"

__all__ = ["__version__", "register_envs"]


def register_envs() -> None:
    """Register the ids of this package with Gymnasium (idempotent; done once on import)."""
    from auralnav.envs.registration import register_envs as register

    register()


register_envs()
