"""Worlds on a CUDA device as torch's tensors, and `scoring.score_games` in tensors.

The only module of the environments that knows torch; it is imported where a world is on CUDA.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from auralnav.envs.dogfight import layout as at
from auralnav.envs.dogfight.scoring import NEAREST, SIZE, SUMS, TERM_CLOSING, TERM_FACING


def as_tensor(array: Any) -> Tensor:
    """An array as a tensor on the device, sharing the memory of one that is there already."""
    return torch.as_tensor(array, device="cuda")


def side_by_side(own: Tensor, theirs: Tensor) -> Tensor:
    """Actions [W, n, 3] of all ships, of those of both teams."""
    return torch.cat([own, theirs.to(own)], dim=1)


def score_tensors(
    state: Tensor, clock: Tensor, teams: tuple[int, int], scales: tuple[float, ...], over: Tensor, restart: bool,
    sums: Tensor, terms: Tensor, terminated: Tensor, truncated: Tensor,
) -> None:  # fmt: skip
    """Arguments as of `score_games`."""
    own, other = slice(0, teams[0]), slice(teams[0], sum(teams))
    status, health = clock[:, at.CLOCK_STATUS], state[:, at.HEALTH]
    mine, theirs = (health[:, own] > 0).any(1), (health[:, other] > 0).any(1)
    step = state[:, list(SUMS), own].sum(2) * ~over[:, None]
    if restart:
        sums.masked_fill_(over[:, None], 0.0)
    sums += step
    ended = status != at.RUNNING
    terminated.copy_(ended & ~(mine & theirs))
    truncated.copy_(ended & mine & theirs)
    dealt, taken = step[:, 0], step[:, 1]
    columns = [
        (status == at.TEAM_0_WON).float() - (status == at.TEAM_1_WON).float(),
        (dealt - taken) / float(at.BULLET_DAMAGE),
        dealt / float(at.MAX_HEALTH),
        -taken / float(at.MAX_HEALTH),
    ]
    if scales[TERM_FACING] or scales[TERM_CLOSING]:
        columns += pointing(state, own, other)
    else:
        columns += [torch.zeros_like(dealt)] * 2
    terms.copy_(torch.stack(columns, dim=1) * terms.new_tensor(scales) * ~over[:, None])


def pointing(state: Tensor, own: slice, other: slice) -> list[Tensor]:
    """Facing and closing, [W] each."""
    dx, dy = (state[:, row, None, other] - state[:, row, own, None] for row in (at.X, at.Y))  # [W, own, other]
    dx, dy = (d - SIZE * torch.floor(d / SIZE + 0.5) for d in (dx, dy))
    living, targets = state[:, at.HEALTH, own] > 0, state[:, at.HEALTH, other] > 0
    distance = (dx.square() + dy.square()).sqrt()
    nearest = distance.masked_fill(~targets[:, None], torch.inf).argmin(dim=2, keepdim=True)
    distance = distance + NEAREST
    facing = (dx * state[:, at.COS, own, None] + dy * state[:, at.SIN, own, None]) / distance
    dvx, dvy = (state[:, row, own, None] - state[:, row, None, other] for row in (at.VX, at.VY))
    closing = (dvx * dx + dvy * dy) / distance / float(at.SPAWN_SPEED)
    weights = living & targets.any(1, keepdim=True)
    counts = weights.sum(1).clamp(min=1)
    return [(value.gather(2, nearest)[..., 0] * weights).sum(1) / counts for value in (facing, closing)]
