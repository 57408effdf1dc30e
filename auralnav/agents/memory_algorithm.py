"""What PPO and DQN with a memory have in common: the core's name, foreign checkpoints, states that users hand in."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import Tensor

from auralnav.errors import CheckpointError, ShapeError, last_line
from auralnav.policies.ssm.memory_core import MemoryCore

PredictState = tuple[np.ndarray, ...]
"""What `predict` returns and takes: one float32 array [n, S] in a tuple, as SB3 wants it."""


class MemoryAlgorithm(BaseAlgorithm):
    """A learner of SB3 whose policy's arguments name a memory core; goes before SB3's class.

    Attributes:
        memory: name of the core (`auralnav.policies.ssm.cores.CORES`).
    """

    memory: str

    def _check_memory(self) -> None:
        """Refuse what `load(path, memory=…)` cannot do: SB3 puts such arguments over the attributes and goes on.

        Raises:
            CheckpointError: another core, or other arguments of it, than those of the policy.
        """
        for name in ("memory", "memory_kwargs"):
            saved = self.policy_kwargs[name]
            wanted = vars(self).get(name, saved)
            if wanted != saved:
                raise CheckpointError(
                    f"the checkpoint has {name} {saved}, not {wanted}; load it with {name}={saved!r} or without"
                )

    def set_parameters(
        self, load_path_or_dict: Any, exact_match: bool = True, device: torch.device | str = "auto"
    ) -> None:
        """Put saved weights in place (SB3's interface).

        Raises:
            CheckpointError: weights of another network, for example of another memory core.
        """
        try:
            super().set_parameters(load_path_or_dict, exact_match, device)
        except RuntimeError as error:
            raise CheckpointError(
                f"the checkpoint does not fit a network with memory {self.memory} ({last_line(error)}); "
                f"build the model with the checkpoint's own memory and sizes"
            ) from error


def memory_inputs(
    core: MemoryCore,
    batch: int,
    state: PredictState | None,
    episode_start: np.ndarray | None,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """What a `predict` was given, as a core takes it: the states [n, S] float32 and the starts bool [n].

    Args:
        core: whose states they are; it checks their sizes.
        batch: n, worlds.
        state: one array [n, S] in a tuple; None for no memory.
        episode_start: [n], true where an episode begins with the observation; None for nowhere.
        device: of the core.

    Raises:
        ShapeError: not a tuple of one array.
    """
    if state is None:
        memory = core.initial_state(batch)
    elif isinstance(state, tuple) and len(state) == 1:
        memory = torch.as_tensor(np.asarray(state[0], np.float32), device=device)
    else:
        raise ShapeError(
            f"state: give a tuple of one array [{batch}, {core.state_size}], as the last predict returned it, "
            f"or None at the start"
        )
    starts = np.zeros(batch, bool) if episode_start is None else np.reshape(episode_start, -1).astype(bool)
    return memory, torch.as_tensor(starts, device=device)
