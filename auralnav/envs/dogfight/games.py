"""Games of dogfight as one team plays them: opponents, rewards, what ends them, what is observed.

One implementation for a single environment, for many on the CPU (NumPy) and for many on a CUDA device (torch).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numba import njit

from auralnav.envs.dogfight import layout as at
from auralnav.envs.dogfight.checks import checked_actions, checked_snapshot
from auralnav.envs.dogfight.observe import Observer
from auralnav.envs.dogfight.rng import OPPONENT, philox
from auralnav.envs.dogfight.scoring import SUMS, score_games
from auralnav.envs.dogfight.scripts import FLYING, SCRIPTS
from auralnav.envs.dogfight.settings import REWARD_TERMS, DogfightSettings
from auralnav.envs.dogfight.views import flat_columns, team_order
from auralnav.envs.dogfight.world import DogfightWorld
from auralnav.errors import ActionError

Array = Any
"""NumPy's on the CPU, torch's on CUDA."""

_PER_WORD = 2.0**-32
_KEPT = ("sums", "terminated", "truncated")
"""What a snapshot holds beside the world's arrays."""


class DogfightGames:
    """W games of the same kind.

    Args:
        settings: the environment's arguments.
        worlds: W.
        device: "cpu" or "cuda".
        threads: as for `DogfightWorld`.

    Attributes:
        world: what is played.
        terms: [W, REWARD_TERMS] of the last step, scaled.
        terminated: bool [W], a side is gone.
        truncated: bool [W], the horizon came first.
    """

    def __init__(self, settings: DogfightSettings, worlds: int = 1, device: str = "cpu", threads: int = 0) -> None:
        self.settings = settings
        self.world = DogfightWorld(
            worlds, settings.teams, action_repeat=settings.action_repeat, horizon=settings.horizon,
            spread=settings.spread, device=device, threads=threads,
        )  # fmt: skip
        self.observer = Observer(self.world)
        self._on_cpu = device == "cpu"
        self._shared = _sharing(device)
        self._state, self._clock = self._shared(self.world.state), self._shared(self.world.clock)
        own, other = settings.teams
        self._own, self._other = slice(0, own), slice(own, own + other)
        self._theirs = team_order(settings.teams, 1)
        self._their_columns = flat_columns(self._theirs)
        # On CUDA a game begins within a step, so who flies in the next one of a world is known beforehand.
        self._fixed = len(settings.scripts) < 2 and settings.skills[0] == settings.skills[1]
        names = settings.scripts or ("actions",)
        self.world.command(names[0], self._other, skill=settings.skills[0])
        self.sums = self._shared(self.world.new_array((worlds, len(SUMS))))
        # Sums that Python and NumPy make alike want float64.
        shape = (worlds, len(REWARD_TERMS))
        self.terms = np.zeros(shape) if self._on_cpu else self._shared(self.world.new_array(shape))
        self._over = self._clock[:, at.CLOCK_STATUS] != at.RUNNING
        self.terminated, self.truncated = self._over & False, self._over & False
        self._score = score_games if self._on_cpu else _score_on_cuda()

    # Games ------------------------------------------------------------------------------------------------

    def begin(self, mask: np.ndarray, keys: np.ndarray | None = None) -> None:
        """Begin games.

        Args:
            mask: bool [W].
            keys: int64 [W], seeds of those worlds whose first game it is, −1 for those whose next one it is. None: the
                next one of all.
        """
        self.world.begin(mask, keys)
        self._draw_opponents(np.flatnonzero(mask))
        for array in (self.sums, self.terminated, self.truncated):
            array[mask] = 0

    def step(self, actions: Array, restart: bool = False, check: bool = True) -> None:
        """One step of all games that run.

        Args:
            actions: integers [W, ships · 3] or [W, ships, 3] of the own team.
            restart: games that were over begin anew instead.
            check: refuse classes that do not exist, for which a GPU is waited for.

        Raises:
            ActionError: another shape, no integers or a class that does not exist, of the own team or of a function
                that flies the other one.
        """
        own, count = self.settings.teams[0], self.world.num_worlds
        if tuple(actions.shape) not in ((count, own * 3), (count, own, 3)):
            raise ActionError(
                f"actions are {tuple(actions.shape)}, not ({count}, {own * 3}): power, turn and shoot of each ship"
            )
        over = self._clock[:, at.CLOCK_STATUS] != at.RUNNING
        commands = actions.reshape(count, own, 3)
        if callable(self.settings.opponent):
            theirs = self.settings.opponent(self.observation(team=1))
            commands = self._joined(commands, self._their_actions(theirs, check))
        self.world.step(commands, restart=restart, check=check)
        if restart and not self._fixed:
            self._draw_opponents(np.flatnonzero(self._host(over)))
        self._score(
            self._state, self._clock, self.settings.teams, self.settings.scales, over, restart,
            self.sums, self.terms, self.terminated, self.truncated,
        )  # fmt: skip

    def _joined(self, own: Array, theirs: Array) -> Array:
        """Actions of all ships, in the type of the own team's, which the world looks at."""
        if self._on_cpu:
            return np.concatenate([own, theirs.astype(own.dtype)], axis=1)
        from auralnav.envs.dogfight.tensors import side_by_side

        return side_by_side(own, theirs)

    def _their_actions(self, given: Any, check: bool) -> Array:
        """What a function lets the other team do, [W, ships, 3]; classes on CUDA are the world's to check."""
        count, other = self.world.num_worlds, self.settings.teams[1]
        on_device = not self._on_cpu and hasattr(given, "__cuda_array_interface__")
        try:
            actions = self._shared(given if on_device else np.asarray(given))
        except (TypeError, ValueError) as problem:
            raise ActionError(f"opponent: what it returned is no array of actions: {problem}") from problem
        if tuple(actions.shape) not in ((count, other * 3), (count, other, 3)):
            raise ActionError(f"opponent: its actions are {tuple(actions.shape)}, not ({count}, {other}, 3)")
        # "int64" is NumPy's name and "torch.int64" torch's.
        if not str(actions.dtype).rpartition(".")[2].startswith(("int", "uint")):
            raise ActionError(f"opponent: its actions are {actions.dtype}, not integers")
        actions = actions.reshape(count, other, 3)
        if check and self._on_cpu:
            try:
                checked_actions(actions, count)
            except ActionError as problem:
                raise ActionError(f"opponent: {problem}") from problem
        return actions

    def _draw_opponents(self, worlds: np.ndarray) -> None:
        """Who flies the other team in the games of these worlds, by the key and number of the game."""
        names, (low, high) = self.settings.scripts, self.settings.skills
        if self._fixed or not len(worlds):
            return
        key, clock = (self._host(array)[worlds] for array in (self.world.key, self.world.clock))
        first, second = (_words(key, clock[:, at.CLOCK_EPISODE].copy()) * _PER_WORD).T
        script = np.array([SCRIPTS[name] for name in names], np.float32)[(first * len(names)).astype(int)]
        skill = (low + (high - low) * second).astype(np.float32)
        for row, drawn in ((at.SCRIPT, script), (at.SKILL, skill)):
            spread = np.repeat(drawn[:, None], self.settings.teams[1], axis=1)
            self._state[worlds, row, self._other] = self.like_state(spread)

    # Outcome ----------------------------------------------------------------------------------------------

    def rewards(self) -> Array:
        """[W], sums of the terms."""
        return self.terms.sum(1)

    def metrics(self) -> dict[str, Array]:
        """Figures of each game, [W]; they hold for those that are over."""
        status, tick = self._clock[:, at.CLOCK_STATUS], self._clock[:, at.CLOCK_TICK]
        own, other = self.living()
        return {
            "success": (status == at.TEAM_0_WON) * 1.0,
            "draw": (status == at.DRAW) * 1.0,
            "seconds": tick / at.TICK_RATE,
            "damage_dealt": self.sums[:, 0] * 1.0,
            "damage_taken": self.sums[:, 1] * 1.0,
            "friendly_damage": self.sums[:, 2] * 1.0,
            "ships_left": own * 1.0,
            "enemies_left": other * 1.0,
        }

    def living(self) -> tuple[Array, Array]:
        """Living ships of the own team and of the other one, int [W] each."""
        health = self._state[:, at.HEALTH] > 0
        return health[:, self._own].sum(1), health[:, self._other].sum(1)

    def names(self, world: int) -> list[str]:
        """Who flies each ship of a world, for people."""
        own, other = self.settings.teams
        number = int(self._state[world, at.SCRIPT, own])
        opponent = next((name for name in FLYING if SCRIPTS[name] == number), "opponent")
        return ["agent"] * own + [opponent] * other

    # Observation ------------------------------------------------------------------------------------------

    def observation(self, team: int = 0) -> Any:
        """What a team observes, itself first: [W, flat_size(n)], or a dict of `intrinsic` and `edges`."""
        order = self._theirs if team else None
        if self.settings.observation == "flat":
            flat = self._shared(self.observer.flatten())
            return flat + 0 if order is None else flat[:, self._their_columns]
        intrinsic, edges = (self._shared(part) for part in self.observer.observe())
        if order is None:
            return {"intrinsic": intrinsic + 0, "edges": edges + 0}
        return {"intrinsic": intrinsic[:, order], "edges": edges[:, order][:, :, order]}

    # State ------------------------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, np.ndarray]:
        """Everything, as arrays on the host."""
        mine = {name: self._host(getattr(self, name)).copy() for name in _KEPT}
        return {**self.world.snapshot(), **mine}

    def restore(self, snapshot: Mapping[str, np.ndarray]) -> None:
        """Continue from a snapshot, bit for bit; raises as `DogfightWorld.restore`, and then nothing has changed."""
        mine = {name: getattr(self, name) for name in _KEPT}
        checked = checked_snapshot(snapshot, {name: self._host(array) for name, array in mine.items()})
        self.world.restore(snapshot)
        for array, values in zip(mine.values(), checked, strict=True):
            array[...] = self.like_state(values)

    def _host(self, array: Array) -> np.ndarray:
        if isinstance(array, np.ndarray):
            return array
        return array.copy_to_host() if hasattr(array, "copy_to_host") else array.cpu().numpy()

    def like_state(self, array: np.ndarray) -> Array:
        """An array of the host where the world's are."""
        return array if self._on_cpu else _as_tensor(array)


@njit  # not kept on disk, where it would outlive changes of what it calls
def _words(keys: np.ndarray, episodes: np.ndarray) -> np.ndarray:
    """Two random words of 32 bits for each game, float64 [w, 2]."""
    words = np.empty((len(keys), 2))
    for w in range(len(keys)):
        drawn = philox(keys[w], 0, 0, OPPONENT, episodes[w])
        words[w, 0], words[w, 1] = drawn[0], drawn[1]
    return words


def _score_on_cuda() -> Any:
    from auralnav.envs.dogfight.tensors import score_tensors

    return score_tensors


def _sharing(device: str) -> Callable[[Any], Array]:
    """A function from the world's arrays to arrays one computes with, which share their memory."""
    return _itself if device == "cpu" else _as_tensor


def _itself(array: np.ndarray) -> np.ndarray:
    return array


def _as_tensor(array: Any) -> Any:
    from auralnav.envs.dogfight.tensors import as_tensor

    return as_tensor(array)
