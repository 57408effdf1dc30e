"""Observations of a batch of dogfight worlds, on whichever device it is.

Two forms: factorised, a row of INTRINSIC a ship and a row of EDGE an ordered pair, for networks that attend over
ships; and flat, the same without the Fourier features and without the pairs of a ship with itself, for an MLP. Both
leave out where in the world a ship is, and both are zero for what is dead and for empty slots.
"""

from __future__ import annotations

from typing import Any

from auralnav.envs.dogfight import cpu_observe as kernels
from auralnav.envs.dogfight import layout as at
from auralnav.envs.dogfight.observe_rules import EDGE, INTRINSIC, RELATION
from auralnav.envs.dogfight.world import DogfightWorld
from auralnav.errors import ConfigError

FACTORS = ("intrinsic", "edges")
"""What the factorised observation is made of, as `Observer.observe` gives it."""


def flat_size(ships: int) -> int:
    """Numbers in the flat observation of that many ships."""
    return ships * len(INTRINSIC) + ships * (ships - 1) * len(RELATION)


class Observer:
    """The observations of a world's first n slots, written into arrays of its own on the world's device.

    Attributes:
        intrinsic: float32 [W, n, 11], the features INTRINSIC of each ship.
        edges: float32 [W, n, n, 45], the features EDGE of each ordered pair; zeros on the diagonal.
        flat: float32 [W, flat_size(n)].

    Args:
        world: what is observed.
        ships: n, [1, 8]; None = as many as the largest world has.

    Raises:
        ConfigError: another number of ships.
    """

    def __init__(self, world: DogfightWorld, ships: int | None = None) -> None:
        self.ships = int(world.sizes.sum(1).max()) if ships is None else ships
        if not 1 <= self.ships <= at.SLOTS:
            raise ConfigError(f"ships={ships!r} is not from 1 to {at.SLOTS}")
        self.world = world
        count, n = world.num_worlds, self.ships
        self.intrinsic = world.new_array((count, n, len(INTRINSIC)))
        self.edges = world.new_array((count, n, n, len(EDGE)))
        self.flat = world.new_array((count, flat_size(n)))

    def observe(self) -> tuple[Any, Any]:
        """Write and return `intrinsic` and `edges`; the next call overwrites them."""
        world = self.world
        if world.cuda is not None:
            world.cuda.observe(world.state, self.intrinsic, self.edges)
            return self.intrinsic, self.edges
        count = world.num_worlds
        arrays = world.state.reshape(count, -1), self.intrinsic.reshape(count, -1), self.edges.reshape(count, -1)
        world.share(kernels.observe_worlds, *arrays)
        return self.intrinsic, self.edges

    def flatten(self) -> Any:
        """Write and return `flat`; the next call overwrites it."""
        world = self.world
        if world.cuda is not None:
            world.cuda.flatten(world.state, self.flat, self.ships)
            return self.flat
        state = world.state.reshape(world.num_worlds, -1)
        world.share(kernels.flatten_worlds, state, self.flat)
        return self.flat
