"""Observations from where another team or ship sits: the same numbers in another order."""

from __future__ import annotations

from typing import Any

import numpy as np

from auralnav.envs.dogfight.observe_rules import INTRINSIC, RELATION

Sizes = tuple[int, int]


def team_order(teams: Sizes, team: int) -> list[int]:
    """Slots as a team lists them: its own ships, then the others."""
    own, other = range(teams[0]), range(teams[0], sum(teams))
    return [*own, *other] if team == 0 else [*other, *own]


def ship_order(teams: Sizes, slot: int) -> list[int]:
    """Slots as a ship lists them: itself, its team mates, then the others."""
    order = team_order(teams, int(slot >= teams[0]))
    return [slot, *(other for other in order if other != slot)]


class Seats:
    """Observations as they are seen from some seats of each world.

    Args:
        orders: int [rows, N], how each seat lists the ships, or [W, rows, N] where worlds differ.
        flat: observations are flat; else dicts of `intrinsic` and `edges`.
    """

    def __init__(self, orders: np.ndarray, flat: bool) -> None:
        self._orders = orders
        columns = [flat_columns(list(order)) for order in orders.reshape(-1, orders.shape[-1])] if flat else []
        self._columns = np.array(columns).reshape(*orders.shape[:-1], -1) if flat else None

    def __call__(self, seen: Any) -> Any:
        """What `Observer` gives of W worlds, in slot order, as rows [W · rows, …] of the seats, world after world."""
        if self._columns is not None:
            worlds = np.arange(len(seen))[:, None, None]
            return seen[worlds, self._columns].reshape(-1, seen.shape[1])
        intrinsic, edges, orders = seen["intrinsic"], seen["edges"], self._orders
        worlds = np.arange(len(intrinsic))[:, None, None]
        own, pairs = intrinsic[worlds, orders], edges[worlds[..., None], orders[..., :, None], orders[..., None, :]]
        return {"intrinsic": own.reshape(-1, *own.shape[2:]), "edges": pairs.reshape(-1, *pairs.shape[2:])}


def flat_columns(order: list[int]) -> np.ndarray:
    """Columns of the flat observation in slot order that are the flat observation in another order of the ships.

    Returns:
        int64 [flat_size(n)].
    """
    n, own, pair = len(order), len(INTRINSIC), len(RELATION)
    columns = [slot * own + np.arange(own) for slot in order]
    for i in order:
        for j in order:
            if i != j:
                place = i * (n - 1) + j - (j > i)  # pairs of a ship with itself are left out
                columns.append(n * own + place * pair + np.arange(pair))
    return np.concatenate(columns)
