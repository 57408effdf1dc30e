"""What goes into a sequence replay and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

Observations = np.ndarray | dict[str, np.ndarray]


def part_of(observations: Any, index: Any) -> Any:
    """`observations[index]`, of a Dict observation in each of its parts."""
    if isinstance(observations, dict):
        return {key: part[index] for key, part in observations.items()}
    return observations[index]


def cut_off_ends(infos: list[dict[str, Any]], done: np.ndarray) -> np.ndarray:
    """Bool [n]: worlds whose episode ended by a time limit, not by the task, from SB3's `infos` and dones."""
    return np.array([bool(info.get("TimeLimit.truncated")) for info in infos]) & done


@dataclass(frozen=True)
class SequenceBatch:
    """M sequences of T = burn_in + seq_len + n_steps rows; targets are for the L = seq_len rows in between.

    Attributes:
        observations: [M, T, *shape] in their storage type, or a dict of such.
        starts: bool [M, T], the first row of an episode.
        states: float32 [M, S], the memory before the first row.
        actions: int64 [M, L].
        returns: float32 [M, L], Σ γ^j r over the k ≤ n_steps rewards up to the episode's end.
        discounts: float32 [M, L], γ^k; 0 where the episode terminated.
        bootstraps: int64 [M, L], which row's value is added, counted from the first row after the burn-in.
        mask: bool [M, L], rows with an action whose target is known.
    """

    observations: torch.Tensor | dict[str, torch.Tensor]
    starts: torch.Tensor
    states: torch.Tensor
    actions: torch.Tensor
    returns: torch.Tensor
    discounts: torch.Tensor
    bootstraps: torch.Tensor
    mask: torch.Tensor
