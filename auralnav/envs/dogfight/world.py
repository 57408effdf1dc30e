"""A batch of dogfight worlds: the arrays, and how to begin, step, keep and restore games."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numba
import numpy as np

from auralnav.envs.dogfight import cpu
from auralnav.envs.dogfight import layout as at
from auralnav.envs.dogfight.scripts import SCRIPTS
from auralnav.errors import ActionError, ConfigError, did_you_mean

Sizes = tuple[int, int]
FEW = 16
"""Worlds below this are stepped in the calling thread."""
CHUNKS = 4
"""Parts that a thread's share of the worlds is cut into, so that none waits long for another."""


class DogfightWorld:
    """W games of team combat on a torus, stepped together; `layout` says what the arrays hold.

    `state`, `clock`, `key` and `actions` are the games: torch shares them without copying (`torch.from_numpy`, or
    `torch.as_tensor` for the arrays of a CUDA device), and what is written into them holds from the next step on.

    Args:
        num_worlds: W, >= 1.
        teams: ships of team 0 and of team 1, each >= 1 and together <= 8; or one such pair for each world. Team 0 has
            the first slots, team 1 the next ones, and the rest is empty.
        action_repeat: ticks of 1/60 s that one action is held, >= 1.
        horizon: ticks after which a game is a draw, >= 1.
        spread: standard deviation of the noise on each component of a bullet's velocity, [0, 100] units/s.

    Raises:
        ConfigError: an argument out of range.
    """

    def __init__(
        self,
        num_worlds: int = 1,
        teams: Sizes | Sequence[Sizes] = (2, 2),
        *,
        action_repeat: int = at.ACTION_REPEAT,
        horizon: int = at.HORIZON,
        spread: float = at.BULLET_SPREAD,
    ) -> None:
        for name, value in (("num_worlds", num_worlds), ("action_repeat", action_repeat), ("horizon", horizon)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise ConfigError(f"{name}={value!r} is not a whole number of at least 1")
        if not (isinstance(spread, (int, float)) and 0 <= spread <= 100):
            raise ConfigError(f"spread={spread!r} is not a number from 0 to 100 units/s")
        self.num_worlds = int(num_worlds)
        self.sizes = checked_sizes(teams, self.num_worlds)
        self.action_repeat, self.horizon, self.spread = int(action_repeat), int(horizon), float(spread)
        self.state = np.zeros((self.num_worlds, at.ROWS, at.SLOTS), np.float32)
        self.clock = np.zeros((self.num_worlds, 4), np.int64)
        self.key = np.zeros(self.num_worlds, np.int64)
        self.actions = np.zeros((self.num_worlds, at.SLOTS, 3), np.int32)
        slots = np.arange(at.SLOTS)
        first, both = self.sizes[:, :1], self.sizes.sum(1, keepdims=True)
        self.state[:, at.TEAM] = np.where(slots < first, 0, np.where(slots < both, 1, -1))
        self.state[:, at.SKILL] = 1.0
        self.reset(0)

    @property
    def ships(self) -> Any:
        """float32 [W, SHIP_ROWS, 8]: the rows of the ships, a view of `state`."""
        return self.state[:, : at.SHIP_ROWS]

    @property
    def bullets(self) -> Any:
        """float32 [W, 5, BARRELS, 8]: x, y, vx, vy and ticks left of the bullets, a view of `state`."""
        return self.state[:, at.BULLET_X :].reshape(self.num_worlds, 5, at.BARRELS, at.SLOTS)

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
        if begun.dtype != bool or begun.shape != (self.num_worlds,):
            raise ConfigError(f"mask is {begun.dtype} {begun.shape}, not bool ({self.num_worlds},)")
        self.key[begun] = seed + np.flatnonzero(begun)
        self.clock[begun, at.CLOCK_EPISODE] = 0
        cpu.begin_games(self._flat(), self.clock, self.key, begun)

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
        self.state[worlds, at.SCRIPT, ships] = SCRIPTS[script]
        self.state[worlds, at.SKILL, ships] = skill

    def step(self, actions: Any = None, *, restart: bool = False) -> None:
        """Hold one action of each ship for `action_repeat` ticks, fewer where a game ends.

        Args:
            actions: int [W, 8, 3] or [W, n, 3] for the first n slots: power, turn and shoot classes; None = what is
                in `self.actions`.
            restart: a world whose game is over begins its next one, which takes the step (NEXT_STEP autoreset); it
                stays as it is otherwise.

        Raises:
            ActionError: an action of another shape or outside its classes.
        """
        if actions is not None:
            given = checked_actions(actions, self.num_worlds)
            self.actions[:, : given.shape[1]] = given
        else:
            checked_actions(self.actions, self.num_worlds)
        self._step(self._rules(self.action_repeat), restart, True, True)

    def decide(self) -> None:
        """Write the actions of scripted ships into `self.actions`, as the next `step` would."""
        cpu.decide_worlds(self._flat(), self.clock, self.key, self.actions)

    def tick(self, first: bool) -> None:
        """One tick on the actions in `self.actions`; finished worlds stay as they are.

        After one `decide`, `action_repeat` calls, the first of them with `first`, are one `step`, bit for bit but for the
        rows ACC_X, ACC_Y and OMEGA, which are of the last tick.
        """
        self._step(self._rules(1), False, False, first)

    @property
    def status(self) -> Any:
        """int64 [W]: RUNNING, TEAM_0_WON, TEAM_1_WON or DRAW."""
        return self.clock[:, at.CLOCK_STATUS]

    def snapshot(self) -> dict[str, np.ndarray]:
        """Copies of `state`, `clock`, `key` and `actions`, from which `restore` continues bit for bit."""
        return {name: np.array(getattr(self, name)) for name in _ARRAYS}

    def restore(self, snapshot: Mapping[str, np.ndarray]) -> None:
        """Go back to a snapshot of a world of the same size.

        Raises:
            ConfigError: an array is missing, of another shape or not finite.
        """
        for name in _ARRAYS:
            if name not in snapshot:
                raise ConfigError(f"the snapshot holds no {name!r}; take one with snapshot()")
            given, mine = np.asarray(snapshot[name]), getattr(self, name)
            if given.shape != mine.shape or given.dtype != mine.dtype:
                raise ConfigError(f"snapshot[{name!r}] is {given.dtype} {given.shape}, not {mine.dtype} {mine.shape}")
            if not np.isfinite(given).all():
                raise ConfigError(f"snapshot[{name!r}] holds NaN or infinity")
        for name in _ARRAYS:
            getattr(self, name)[...] = snapshot[name]

    def _rules(self, ticks: int) -> tuple[int, int, np.float32, np.float32]:
        return ticks, self.horizon, np.float32(self.spread), reach(self.spread)

    def _step(self, rules: tuple[int, int, np.float32, np.float32], restart: bool, decides: bool, first: bool) -> None:
        arrays = self._flat(), self.clock, self.key, self.actions
        if self.num_worlds < FEW:
            cpu.step_few(*arrays, rules, restart, decides, first)
        else:
            cpu.step_worlds(*arrays, rules, restart, decides, first, CHUNKS * numba.get_num_threads())

    def _flat(self) -> np.ndarray:
        return self.state.reshape(self.num_worlds, -1)


_ARRAYS = ("state", "clock", "key", "actions")


def reach(spread: float) -> np.float32:
    """Squared distance between bullet and ship at the middle of a tick beyond which they cannot meet in it.

    Ten units of radius, and half of what both can move: the ship and the one that fired at MAX_SPEED, the bullet's own
    speed, and noise of 5.8 standard deviations on each axis, which none exceeds.
    """
    fastest = 2 * float(at.MAX_SPEED) + float(at.BULLET_SPEED) + math.sqrt(2) * 5.8 * spread
    return np.float32((float(at.SHIP_RADIUS) + fastest / (2 * at.TICK_RATE) + 0.01) ** 2)


def checked_sizes(teams: Sizes | Sequence[Sizes], num_worlds: int) -> np.ndarray:
    """int64 [W, 2]: the ships of each team in each world.

    Raises:
        ConfigError: a team without ships, more than 8 ships, or another shape.
    """
    try:
        sizes = np.array(teams)
    except ValueError as error:
        raise ConfigError(f"teams={teams!r} are not pairs of numbers of ships") from error
    if sizes.shape not in ((2,), (num_worlds, 2)) or sizes.dtype.kind not in "iu":
        raise ConfigError(f"teams={teams!r} is not (ships of team 0, ships of team 1), or one such pair a world")
    sizes = np.broadcast_to(sizes, (num_worlds, 2)).astype(np.int64)
    for few, many in np.unique(sizes, axis=0):
        if few < 1 or many < 1 or few + many > at.SLOTS:
            raise ConfigError(f"teams=({few}, {many}): each needs a ship, and together they have {at.SLOTS} at most")
    return sizes


def checked_actions(actions: Any, num_worlds: int) -> np.ndarray:
    """Actions as an integer array [W, n, 3].

    Raises:
        ActionError: another shape, no integers (so no NaN), or a class that does not exist.
    """
    given = np.asarray(actions)
    if given.ndim != 3 or given.shape[0] != num_worlds or given.shape[2] != 3 or not 1 <= given.shape[1] <= at.SLOTS:
        raise ActionError(f"actions are {given.shape}, not ({num_worlds}, ships, 3) for up to {at.SLOTS} ships")
    if given.dtype.kind not in "iu":
        raise ActionError(f"actions are {given.dtype}, not integers: power 0 to 2, turn 0 to 6, shoot 0 or 1")
    for column, (name, classes) in enumerate(_CLASSES):
        low, high = given[..., column].min(), given[..., column].max()
        if low < 0 or high >= classes:
            raise ActionError(f"{name}={low if low < 0 else high} is outside its classes, 0 to {classes - 1}")
    return given


_CLASSES = (("power", at.POWER_CLASSES), ("turn", at.TURN_CLASSES), ("shoot", at.SHOOT_CLASSES))
