"""A batch of dogfight worlds: the arrays, and how to begin, step, keep and restore games."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from auralnav.envs.dogfight import cpu
from auralnav.envs.dogfight import layout as at
from auralnav.envs.dogfight.checks import (
    checked_actions,
    checked_scalars,
    checked_sizes,
    checked_snapshot,
    team_rows,
)
from auralnav.envs.dogfight.crew import CREW
from auralnav.envs.dogfight.scripts import SCRIPTS
from auralnav.errors import ConfigError, did_you_mean

Sizes = tuple[int, int]
Rules = tuple[int, int, np.float32, np.float32]
ARRAYS = ("state", "clock", "key", "actions")
FEW = 32
"""Worlds below this are not worth another thread."""
PARTS = 2
"""That a thread's share of the worlds is cut into, so that none waits long for another."""


class DogfightWorld:
    """W games of team combat on a torus, stepped together; `layout` says what the arrays hold.

    `state`, `clock`, `key` and `actions` are the games. What is written into them holds from the next step on, and
    torch shares them without copying: `torch.from_numpy(world.state)` on the CPU, where they are NumPy arrays, and
    `torch.as_tensor(world.state, device="cuda")` on CUDA, where they have a `__cuda_array_interface__`.

    Args:
        num_worlds: W, >= 1.
        teams: ships of team 0 and of team 1, each >= 1 and together <= 8; or one such pair for each world. Team 0 has
            the first slots, team 1 the next ones, and the rest is empty.
        action_repeat: ticks of 1/60 s that one action is held, >= 1.
        horizon: ticks after which a game is a draw, >= 1.
        spread: standard deviation of the noise on each component of a bullet's velocity, [0, 100] units/s.
        device: "cpu" or "cuda", the current CUDA device.
        threads: that share the worlds on the CPU, where there are many; 0 = as many as the process has cores.

    Raises:
        ConfigError: an argument out of range, or a device that is missing.
    """

    def __init__(
        self,
        num_worlds: int = 1,
        teams: Sizes | Sequence[Sizes] = (2, 2),
        *,
        action_repeat: int = at.ACTION_REPEAT,
        horizon: int = at.HORIZON,
        spread: float = at.BULLET_SPREAD,
        device: str = "cpu",
        threads: int = 0,
    ) -> None:
        checked_scalars(num_worlds, action_repeat, horizon, spread)
        if isinstance(threads, bool) or not isinstance(threads, (int, np.integer)) or threads < 0:
            raise ConfigError(f"threads={threads!r} is not a whole number from 0")
        self.threads = int(threads) or len(os.sched_getaffinity(0))
        self.num_worlds = int(num_worlds)
        self.sizes = checked_sizes(teams, self.num_worlds)
        self.action_repeat, self.horizon, self.spread = int(action_repeat), int(horizon), float(spread)
        self.device = device
        self.cuda = cuda_backend(device)
        state = np.zeros((self.num_worlds, at.ROWS, at.SLOTS), np.float32)
        state[:, at.TEAM] = team_rows(self.sizes)
        state[:, at.SKILL] = 1.0
        self.state = self._put(state)
        self.clock = self._put(np.zeros((self.num_worlds, 4), np.int64))
        self.key = self._put(np.zeros(self.num_worlds, np.int64))
        self.actions = self._put(np.zeros((self.num_worlds, at.SLOTS, 3), np.int32))
        self.reset(0)

    @property
    def ships(self) -> Any:
        """float32 [W, SHIP_ROWS, 8]: the rows of the ships, a view of `state`."""
        return self.state[:, : at.SHIP_ROWS]

    @property
    def bullets(self) -> np.ndarray:
        """float32 [W, 5, BARRELS, 8]: x, y, vx, vy and ticks left of the bullets; on the CPU a view of `state`."""
        state = self.state if self.cuda is None else self.cuda.get(self.state)
        return state[:, at.BULLET_X :].reshape(self.num_worlds, 5, at.BARRELS, at.SLOTS)

    @property
    def status(self) -> Any:
        """int64 [W]: RUNNING, TEAM_0_WON, TEAM_1_WON or DRAW, a view of `clock`."""
        return self.clock[:, at.CLOCK_STATUS]

    def reset(self, seed: int, mask: np.ndarray | None = None) -> None:
        """Begin games: world i with the key seed + i, at game 0 of that key.

        Args:
            seed: [0, 2^62).
            mask: bool [W], the worlds that begin; None = all.

        Raises:
            ConfigError: a seed or a mask that cannot be.
        """
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**62:
            raise ConfigError(f"seed={seed!r} is not a whole number from 0 to 2^62 - 1")
        begun = np.ones(self.num_worlds, bool) if mask is None else np.asarray(mask)
        self.begin(begun, int(seed) + np.arange(self.num_worlds))

    def begin(self, mask: np.ndarray, keys: np.ndarray | None = None) -> None:
        """Begin games in some worlds.

        Args:
            mask: bool [W], the worlds that begin.
            keys: int64 [W], the key whose game 0 begins, or where it is negative the next game of the world's own key,
                as everywhere for None.

        Raises:
            ConfigError: a mask that cannot be.
        """
        begun = np.asarray(mask)
        if begun.dtype != bool or begun.shape != (self.num_worlds,):
            raise ConfigError(f"mask is {begun.dtype} {begun.shape}, not bool ({self.num_worlds},)")
        new = begun & (keys >= 0) if keys is not None else np.zeros_like(begun)
        with self._on_host("state", "clock", "key") as (state, clock, key):
            clock[begun, at.CLOCK_EPISODE] += 1
            if keys is not None:
                key[new] = keys[new]
                clock[new, at.CLOCK_EPISODE] = 0
            cpu.begin_games(_flat(state), clock, key, begun)

    def command(self, script: str, ships: Any = slice(None), worlds: Any = slice(None), skill: float = 1.0) -> None:
        """Give ships to a script of `scripts.SCRIPTS`, or back to `self.actions`.

        Args:
            script: its name; "actions" for ships that are commanded from outside.
            ships: which slots, as an index.
            worlds: which worlds, as an index.
            skill: probability of the script's action, drawn each step; a random one is taken otherwise. [0, 1]

        Raises:
            ConfigError: another name, or a skill out of range.
        """
        if script not in SCRIPTS:
            raise ConfigError(f"script {script!r} is none of {', '.join(SCRIPTS)}{did_you_mean(script, SCRIPTS)}")
        if not 0 <= skill <= 1:
            raise ConfigError(f"skill={skill!r} is not a probability, 0 to 1")
        with self._on_host("state") as (state,):
            state[worlds, at.SCRIPT, ships] = SCRIPTS[script]
            state[worlds, at.SKILL, ships] = skill

    def step(self, actions: Any = None, *, restart: bool = False, steps: int = 1, check: bool = True) -> None:
        """Let scripts choose, and hold one action of each ship for `action_repeat` ticks, fewer where a game ends.

        Args:
            actions: int [W, n, 3] for the first n slots: power, turn and shoot classes; a scripted ship's are not read.
                None = what is in `self.actions`. On CUDA, an array of the device or of the host.
            restart: a world whose game is over begins its next one, which takes the step (NEXT_STEP autoreset); it
                stays as it is otherwise.
            steps: how many such steps at once, for games between scripts.
            check: look for classes that do not exist; without, they mean a turn or gear of no name.

        Raises:
            ActionError: an action of another shape, no integer or outside its classes.
        """
        if self.cuda is not None:
            if actions is not None:
                self.cuda.take_actions(actions, self.actions, check)
            arrays = self.state, self.clock, self.key, self.actions
            self.cuda.step(arrays, self._rules(self.action_repeat), restart, True, steps)
            return
        if actions is not None:
            given = checked_actions(actions, self.num_worlds) if check else np.asarray(actions)
            self.actions[:, : given.shape[1]] = given
        elif check:
            checked_actions(self.actions, self.num_worlds)
        for _ in range(steps):
            self._advance(self._rules(self.action_repeat), restart, True, True)

    def decide(self) -> np.ndarray:
        """Write the actions of scripted ships into `self.actions`, as the next `step` would; on the CPU only.

        Returns:
            `self.actions`, int32 [W, 8, 3].
        """
        self._only_cpu("decide()")
        cpu.decide_worlds(_flat(self.state), self.clock, self.key, self.actions)
        return self.actions

    def tick(self, first: bool) -> None:
        """One tick on the actions in `self.actions`; finished worlds stay as they are. On the CPU only.

        After one `decide`, `action_repeat` calls, the first of them with `first`, are one `step`, bit for bit but for
        the rows ACC_X, ACC_Y and OMEGA, which are of the last tick.
        """
        self._only_cpu("tick()")
        self._advance(self._rules(1), False, False, first)

    def snapshot(self) -> dict[str, np.ndarray]:
        """Copies of `state`, `clock`, `key` and `actions`, from which `restore` continues bit for bit."""
        return {name: self._get(getattr(self, name)) for name in ARRAYS}

    def restore(self, snapshot: Mapping[str, np.ndarray]) -> None:
        """Go back to a snapshot of worlds of the same teams; one that is refused changes nothing.

        Raises:
            ConfigError: an array is missing, of another shape, not finite or out of bounds, or the teams are others.
        """
        checked = checked_snapshot(snapshot, {name: getattr(self, name) for name in ARRAYS})
        if not np.array_equal(checked[0][:, at.TEAM], team_rows(self.sizes)):
            raise ConfigError("the snapshot is of other teams; restore it where teams= is what it was there")
        with self._on_host(*ARRAYS) as arrays:
            for array, values in zip(arrays, checked, strict=True):
                array[...] = values

    def new_array(self, shape: tuple[int, ...]) -> Any:
        """A float32 array of zeros on the world's device."""
        return self._put(np.zeros(shape, np.float32))

    def _rules(self, ticks: int) -> Rules:
        return ticks, self.horizon, np.float32(self.spread), reach(self.spread)

    def _advance(self, rules: Rules, restart: bool, decides: bool, first: bool) -> None:
        arrays = _flat(self.state), self.clock, self.key, self.actions
        self.share(cpu.step_worlds, *arrays, rules, restart, decides, first)

    def share(self, kernel: Callable[..., None], *arguments: Any) -> None:
        """Call a kernel for ranges of worlds, `kernel(*arguments, first, last)`, shared by the world's threads."""
        count = self.num_worlds
        parts = min(self.threads * PARTS, count // FEW) if self.threads > 1 else 1
        if parts < 2:
            kernel(*arguments, 0, count)
            return
        CREW.run(
            lambda part: kernel(*arguments, part * count // parts, (part + 1) * count // parts), parts, self.threads
        )

    def _only_cpu(self, what: str) -> None:
        if self.cuda is not None:
            raise ConfigError(f"{what} is for worlds on the CPU; restore a snapshot into one with device='cpu'")

    def _put(self, array: np.ndarray) -> Any:
        return array if self.cuda is None else self.cuda.put(array)

    def _get(self, array: Any) -> np.ndarray:
        return array.copy() if self.cuda is None else self.cuda.get(array)

    @contextmanager
    def _on_host(self, *names: str) -> Iterator[tuple[np.ndarray, ...]]:
        """Arrays to read and write: themselves on the CPU, on CUDA copies that go back to the device at the end."""
        if self.cuda is None:
            yield tuple(getattr(self, name) for name in names)
            return
        copies = tuple(self.cuda.get(getattr(self, name)) for name in names)
        yield copies
        for name, copy in zip(names, copies, strict=True):
            self.cuda.set(getattr(self, name), copy)


def cuda_backend(device: str) -> Any:
    """None for "cpu", a `CudaBackend` for "cuda".

    Raises:
        ConfigError: another name, or no CUDA device.
    """
    if device == "cpu":
        return None
    if device != "cuda":
        raise ConfigError(f"device={device!r} is not 'cpu' or 'cuda'")
    from auralnav.envs.dogfight.cuda_backend import CudaBackend

    return CudaBackend()


def reach(spread: float) -> np.float32:
    """Squared distance between bullet and ship at the middle of a tick beyond which they cannot meet in it.

    Ten units of radius, and half of what both can move: the ship and the one that fired at MAX_SPEED, the bullet's own
    speed, and noise of 5.8 standard deviations on each axis, which none exceeds.
    """
    fastest = 2 * float(at.MAX_SPEED) + float(at.BULLET_SPEED) + math.sqrt(2) * 5.8 * spread
    return np.float32((float(at.SHIP_RADIUS) + fastest / (2 * at.TICK_RATE) + 0.01) ** 2)


def _flat(state: np.ndarray) -> np.ndarray:
    return state.reshape(len(state), -1)
