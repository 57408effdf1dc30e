"""Observations from where another team or ship sits: the same numbers in another order."""

from __future__ import annotations

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
