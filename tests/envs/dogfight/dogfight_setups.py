"""Worlds put together by hand for the tests."""

from __future__ import annotations

import numpy as np

from auralnav.envs.dogfight import layout as at
from auralnav.envs.dogfight.world import DogfightWorld


def quiet_world(teams=(1, 1), **kwargs) -> DogfightWorld:
    """One world without spread and practically without end, whose ships stand still, far apart."""
    world = DogfightWorld(1, teams, spread=0.0, **({"horizon": 10**6, "action_repeat": 1} | kwargs))
    count = sum(teams)
    for slot in range(count):
        place(world, slot, 64 + 128 * slot, 64 + 96 * slot)
    return world


def place(world: DogfightWorld, slot: int, x: float, y: float, vx: float = 0.0, vy: float = 0.0, **rows) -> None:
    """Put a ship of world 0 somewhere; its nose points along its velocity, or right when it stands still."""
    speed = np.hypot(vx, vy)
    column = world.state[0, :, slot]
    column[at.X], column[at.Y], column[at.VX], column[at.VY] = x, y, vx, vy
    column[at.COS], column[at.SIN] = (vx / speed, vy / speed) if speed else (1.0, 0.0)
    for row, value in rows.items():
        column[getattr(at, row)] = value


def put_bullet(
    world: DogfightWorld, owner: int, x: float, y: float, vx: float, vy: float, life: int = 30, barrel: int = 0
) -> None:
    """Put a bullet of `owner` into world 0."""
    world.bullets[0, :, barrel, owner] = x, y, vx, vy, life


def hold(world: DogfightWorld, steps: int, **of_slots: tuple[int, int, int]) -> list[np.ndarray]:
    """Step with `s0=(power, turn, shoot)` and so on, (0, 0, 0) for others; return the state after each step."""
    actions = np.zeros((1, at.SLOTS, 3), np.int32)
    for name, classes in of_slots.items():
        actions[0, int(name[1:])] = classes
    states = []
    for _ in range(steps):
        world.step(actions)
        states.append(world.state[0].copy())
    return states


def brawl(worlds: int, teams=(4, 4), seed: int = 0, **kwargs) -> DogfightWorld:
    """Worlds whose ships begin within a quarter of the torus, across its seams, so that they meet at once."""
    world = DogfightWorld(worlds, teams, **kwargs)
    world.reset(seed)
    for row in (at.X, at.Y):
        quarter = np.floor(world.state[:, row] * 2.0**12) / 2.0**14
        world.state[:, row] = np.where(world.state[:, at.TEAM] >= 0, (quarter + 900) % 1024, 0)
    return world


def random_actions(rng: np.random.Generator, worlds: int) -> np.ndarray:
    """int32 [worlds, 8, 3]: every class with equal probability."""
    sizes = (at.POWER_CLASSES, at.TURN_CLASSES, at.SHOOT_CLASSES)
    return np.stack([rng.integers(0, n, (worlds, at.SLOTS)) for n in sizes], axis=-1).astype(np.int32)
