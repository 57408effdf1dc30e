"""Recording a game as it is played: the states of one world, one after another, become a `Replay`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from auralnav.envs.dogfight import layout as at
from auralnav.envs.dogfight.bullet_log import BulletLog
from auralnav.envs.dogfight.replay import Arena, Replay, Setting
from auralnav.envs.dogfight.world import DogfightWorld
from auralnav.errors import ReplayError
from auralnav.provenance import package_versions

PACKAGES = ("auralnav", "numpy", "numba")


class GameRecorder:
    """Takes the state of one world after its reset and after each step, of one tick or of several.

    Args:
        names: of the pilots, one for each ship, in the order of the slots; the names of a team's pilots are also what
            the result calls it.
        seed: that the world was reset with.
        horizon: ticks after which the game is a draw.
        action_repeat: ticks that the pilots' actions are held.
        settings: other settings of the game, for people: JSON values.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        seed: int | None = None,
        horizon: int = at.HORIZON,
        action_repeat: int = at.ACTION_REPEAT,
        settings: Mapping[str, Setting] | None = None,
    ) -> None:
        self.names = tuple(names)
        self.seed, self.settings = seed, dict(settings or {})
        self.arena = Arena(horizon=horizon, action_repeat=action_repeat)
        self._frames: list[np.ndarray] = []
        self._actions: list[np.ndarray] = []
        self._ticks: list[int] = []
        self._bullets: BulletLog | None = None
        self._status = at.RUNNING

    def add(self, state: np.ndarray, clock: np.ndarray, actions: np.ndarray) -> None:
        """Take in a state; arrays are copied. The same tick again changes nothing.

        Args:
            state: float32 [ROWS, SLOTS] of one world, as in `layout`; its rows "of the last step" are of all ticks
                since the state before.
            clock: int64 [4] of it.
            actions: int [SLOTS, 3], held in the step that led here; of no meaning at the start.

        Raises:
            ReplayError: another shape, a number that is not finite, more or fewer ships than names, or an earlier tick
                than the last one: each game has a recorder of its own.
        """
        tick = int(clock[at.CLOCK_TICK])
        if state.shape != (at.ROWS, at.SLOTS) or actions.shape != (at.SLOTS, 3):
            raise ReplayError(
                f"a state is [{at.ROWS}, {at.SLOTS}] with actions [{at.SLOTS}, 3], "
                f"got {list(state.shape)} and {list(actions.shape)}"
            )
        if not np.isfinite(state).all():
            row, slot = (int(i) for i in np.argwhere(~np.isfinite(state))[0])
            raise ReplayError(f"row {row} of ship {slot + 1} is {state[row, slot]} at tick {tick}: not recorded")
        ships = int((state[at.TEAM] >= 0).sum())
        if ships != len(self.names) or (state[at.TEAM, :ships] < 0).any():
            raise ReplayError(f"{len(self.names)} names for {ships} ships in the first slots: give one for each")
        if self._ticks and tick <= self._ticks[-1]:
            if tick == self._ticks[-1]:
                return
            raise ReplayError(f"tick {tick} after tick {self._ticks[-1]}: record each game with a recorder of its own")
        kept = np.array(state, dtype=np.float32)
        if self._bullets is None:
            self._bullets = BulletLog(kept, tick)
            actions = np.zeros_like(actions)
        else:
            self._bullets.add(kept, tick)
        self._frames.append(kept[: at.SHIP_ROWS, :ships])
        self._actions.append(np.array(actions[:ships], dtype=np.uint8))
        self._ticks.append(tick)
        self._status = int(clock[at.CLOCK_STATUS])

    def take(self, world: DogfightWorld, index: int = 0) -> None:
        """Take in the state of one of the worlds on the CPU; see `add`."""
        self.add(world.state[index], world.clock[index], world.actions[index])

    def replay(self) -> Replay:
        """What was recorded so far.

        Raises:
            ReplayError: nothing was.
        """
        if self._bullets is None:
            raise ReplayError("nothing was recorded: add the state after the reset and after each step")
        frames = np.stack(self._frames)  # [F, SHIP_ROWS, N]
        winners = {at.TEAM_0_WON: 0, at.TEAM_1_WON: 1}
        return Replay(
            team=frames[0, at.TEAM].astype(np.int8),
            names=self.names,
            tick=np.array(self._ticks, dtype=np.int32),
            position=np.stack([frames[:, at.X], frames[:, at.Y]], axis=-1),
            velocity=np.stack([frames[:, at.VX], frames[:, at.VY]], axis=-1),
            attitude=np.arctan2(frames[:, at.SIN], frames[:, at.COS]),
            health=frames[:, at.HEALTH].copy(),
            power=frames[:, at.POWER].copy(),
            action=np.stack(self._actions),
            bullets=self._bullets.bullets(),
            winner=winners.get(self._status),
            finished=self._status != at.RUNNING,
            seed=self.seed,
            arena=self.arena,
            settings=self.settings,
            versions=package_versions(PACKAGES),
        )


def record_game(
    world: DogfightWorld, names: Sequence[str], seed: int, *, every_tick: bool = True, **settings: Setting
) -> Replay:
    """Play one game of the first world, all of whose ships fly by scripts, and record it.

    Args:
        world: what plays it; it is reset first.
        names: of the pilots, one for each ship of the first world.
        seed: of the game.
        every_tick: keep a frame of each tick; else one of each step, in a file of two thirds the size.
        settings: other settings to keep in the replay.

    Raises:
        ReplayError: too few or too many names.
        ConfigError: a seed out of range.
    """
    recorder = GameRecorder(
        names,
        seed=seed,
        horizon=world.horizon,
        action_repeat=world.action_repeat,
        settings={"spread": world.spread, **settings},
    )
    world.reset(seed)
    recorder.take(world)
    while world.status[0] == at.RUNNING:
        if every_tick:
            world.decide()
            for _ in range(world.action_repeat):
                # "first" of its step, so that shots and damage are those of this tick.
                world.tick(first=True)
                recorder.take(world)
        else:
            world.step()
            recorder.take(world)
    return recorder.replay()
