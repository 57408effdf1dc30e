"""Sequence replay for Q-learning with a memory: one ring of rows a world, and a memory state every few rows.

A row is an observation, the action taken there and the reward it brought. An episode that is cut off (by a
time limit) gets one more row with its terminal observation: a network that runs along the rows reaches it in
the right memory state, which is what the bootstrap there needs. A terminated episode needs none, for nothing
follows it. So each observation is stored once, and episodes follow each other in a ring without gaps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from auralnav.agents.observation_storage import HALF_MAX, smallest_integer, storage_dtype
from auralnav.agents.sequence_batch import Observations, SequenceBatch
from auralnav.errors import CheckpointError, ConfigError

# What a row's flags say: it is the first of an episode; the episode ended with its action, by the task or by
# a limit; it holds a terminal observation and no action.
FIRST, TERMINATED, TRUNCATED, TERMINAL = 1, 2, 4, 8


class SequenceReplay:
    """Rings of rows, from which sequences are drawn that begin where a memory state was stored.

    Takes the arguments of SB3's buffers, then its own. A sequence never reaches past the newest row, which
    is repeated and masked there, as are rows whose target is not known yet.

    Args:
        buffer_size: rows of all worlds together, rounded down to whole blocks of `seq_len` a world.
        observation_space: Box, Discrete, MultiDiscrete, MultiBinary, or a Dict of those.
        action_space: Discrete, from 0.
        device: where batches go; the rings are in main memory.
        n_envs: worlds.
        optimize_memory_usage: SB3's option; not needed here.
        seq_len: rows that are learned from in a sequence; a memory state is stored every `seq_len` rows.
        burn_in: rows before them that only bring the stored memory state up to date; less than `seq_len`.
        n_steps: rewards in a return before the bootstrap.
        gamma: discount.
        state_size: numbers of a memory state, 0 for none.
        history: observations are stacks of so many frames along their first axis, the newest last and zeros before
            an episode's beginning (as `HistoryStack` makes them): only the newest is stored.
        exact: store floats as float32 always (see `storage_dtype`).

    Raises:
        ConfigError: sizes that do not fit together, other actions, or observations that are no such stacks or have no
            storage type.
    """

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        device: torch.device | str = "cpu",
        n_envs: int = 1,
        optimize_memory_usage: bool = False,
        *,
        seq_len: int = 32,
        burn_in: int = 8,
        n_steps: int = 1,
        gamma: float = 0.99,
        state_size: int = 0,
        history: int = 1,
        exact: bool = False,
    ) -> None:
        if optimize_memory_usage:
            raise ConfigError("optimize_memory_usage: the sequence replay stores observations once; leave it")
        if not isinstance(action_space, spaces.Discrete) or action_space.start != 0:
            raise ConfigError(
                f"the sequence replay needs discrete actions that count from 0, not {action_space}"
            )
        if min(seq_len, n_steps, history) < 1:
            raise ConfigError(f"seq_len {seq_len}, n_steps {n_steps} and history {history} must be at least 1")
        if not 0 <= burn_in < seq_len:
            raise ConfigError(
                f"burn_in: {burn_in} must be from 0 to seq_len - 1 = {seq_len - 1}; "
                f"for a longer one raise seq_len"
            )
        self.seq_len, self.burn_in, self.n_steps, self.gamma = seq_len, burn_in, n_steps, gamma
        self.length = burn_in + seq_len + n_steps
        self.history = history
        self.rows = buffer_size // n_envs // seq_len * seq_len
        fewest = self.length + history - 1
        if self.rows < fewest:
            need = -(-fewest // seq_len) * seq_len * n_envs
            raise ConfigError(
                f"buffer_size: {buffer_size} is less than a sequence of burn_in + seq_len + n_steps + history - 1 = "
                f"{fewest} rows in each of {n_envs} worlds; use at least {need}"
            )
        self.device, self.n_envs = torch.device(device), n_envs
        parts = (
            observation_space.spaces
            if isinstance(observation_space, spaces.Dict)
            else {"": observation_space}
        )
        total = n_envs * self.rows
        self._observations = {
            key: np.zeros((total, *self._frame_shape(key, part)), storage_dtype(part, exact))
            for key, part in parts.items()
        }
        self._actions = np.zeros(total, smallest_integer(0, int(action_space.n) - 1))
        self._rewards = np.zeros(total, np.float32)
        self._flags = np.zeros(total, np.uint8)
        self._worlds = np.arange(n_envs)
        self.written = np.zeros(n_envs, np.int64)
        """Rows ever written, a world."""
        self.allocate_states(state_size)

    def _frame_shape(self, key: str, part: spaces.Space) -> tuple[int, ...]:
        """Of the newest frame of a part of the observation."""
        shape = part.shape or ()
        if self.history == 1:
            return shape
        if not shape or shape[0] % self.history:
            raise ConfigError(f"observation {key or part}: not a stack of {self.history} frames; give env.history")
        return shape[0] // self.history, *shape[1:]

    def allocate_states(self, state_size: int) -> None:
        """Make room for memory states of another size, while the replay is still empty."""
        self._states = np.zeros((self.n_envs * self.rows // self.seq_len, state_size), np.float16)

    @property
    def state_size(self) -> int:
        """Numbers of a memory state."""
        return self._states.shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes of all rings."""
        return sum(array.nbytes for array in self.arrays().values())

    def size(self) -> int:
        """Rows held, of all worlds together."""
        return int(np.minimum(self.written, self.rows).sum())

    def add(
        self,
        observations: Observations,
        actions: np.ndarray,
        rewards: np.ndarray,
        starts: np.ndarray,
        terminated: np.ndarray,
        truncated: np.ndarray,
        terminal_observations: dict[int, Any],
        before: torch.Tensor,
        after: torch.Tensor,
    ) -> None:
        """Store one step of every world.

        Args:
            observations: [N, *shape], those that were acted on.
            actions: [N].
            rewards: [N].
            starts: bool [N], whether the observation was an episode's first.
            terminated: bool [N], whether the task ended the episode with the action.
            truncated: bool [N], whether a limit did; never both.
            terminal_observations: of each truncated world.
            before: [N, S], the memory before the observation was seen.
            after: [N, S], the memory after it.
        """
        flags = FIRST * starts + TERMINATED * terminated + TRUNCATED * truncated
        at = self._append(self._worlds, before)
        self._put_observations(at, observations)
        self._actions[at] = np.reshape(actions, -1)
        self._rewards[at] = rewards
        self._flags[at] = flags
        for world in np.flatnonzero(truncated).tolist():
            row = self._append(self._worlds[world : world + 1], after)
            self._put_observations(row, terminal_observations[world])
            self._rewards[row] = 0.0
            self._flags[row] = TERMINAL

    def _put_observations(self, at: np.ndarray, observations: Observations) -> None:
        parts = observations if isinstance(observations, dict) else {"": observations}
        for key, ring in self._observations.items():
            # Of a stack the newest frame: the last rows of its first axis, whether of one world or of many.
            value, axis = np.asarray(parts[key]), -ring.ndim + 1
            ring[at] = value if self.history == 1 else np.split(value, self.history, axis)[-1]

    def _append(self, worlds: np.ndarray, states: torch.Tensor) -> np.ndarray:
        """Places of the next row of some worlds; their memory is stored where a block begins."""
        heads = self.written[worlds] % self.rows
        self.written[worlds] += 1
        begins = heads % self.seq_len == 0
        if self.state_size and begins.any():
            chosen = worlds[begins]
            values = states[torch.from_numpy(chosen).to(states.device)].clamp(-HALF_MAX, HALF_MAX)
            self._states[(chosen * self.rows + heads[begins]) // self.seq_len] = values.cpu().numpy()
        return worlds * self.rows + heads

    def _newest(self) -> np.ndarray:
        """Where the newest row of each world lies, int64 [N]."""
        return self._worlds * self.rows + (self.written - 1) % self.rows

    def running(self) -> np.ndarray:
        """Worlds whose newest row is not the last of an episode, bool [N]."""
        ended = self._flags[self._newest()] & (TERMINATED | TRUNCATED | TERMINAL) != 0
        return (self.written > 0) & ~ended

    def cut_episodes(self) -> None:
        """Let each running episode end with its newest row, as if cut off there.

        For worlds that start anew. The observation after the newest action was never stored, so the newest
        row becomes the terminal observation of the action before it.
        """
        worlds = self._worlds[self.running()]
        newest = self._newest()[worlds]
        goes_on = self._flags[newest] & FIRST == 0
        previous = worlds * self.rows + (self.written[worlds] - 2) % self.rows
        self._flags[previous[goes_on]] |= TRUNCATED
        self._flags[newest] |= TERMINAL
        self._rewards[newest] = 0.0

    def sample(self, batch_size: int, env: Any = None, ends_only: bool = False) -> SequenceBatch:
        """`batch_size` sequences, drawn evenly from all stored states with a known target behind them.

        `env` is SB3's `VecNormalize`, where one is used: what was stored raw is given out normalised. `ends_only` as
        for `sequences`: then only steps with an action are drawn.

        Raises:
            ConfigError: not one whole sequence has been stored yet, or no action.
        """
        first, counts = self._drawable()
        worlds, rows = self._draw(batch_size, first, counts)
        while ends_only:  # a few rows hold terminal observations and no action: others are drawn in their place
            acts = self._flags[self._places(worlds, rows[:, None])[:, 0]] & TERMINAL == 0
            missing = len(acts) - int(acts.sum())
            if not missing:
                break
            if missing == batch_size and not self._any_action(first, counts):
                raise ConfigError("learning_starts: no world has an action yet to learn from; raise it")
            others = self._draw(missing, first, counts)
            worlds, rows = (np.concatenate((a[acts], b)) for a, b in zip((worlds, rows), others, strict=True))
        return self.sequences(worlds, rows, env, ends_only)

    def _drawable(self) -> tuple[np.ndarray, np.ndarray]:
        """Of each world the first block that may be drawn, and how many may, int64 [N]."""
        # The oldest rows of a full ring have lost the frames before them.
        oldest = self.written - self.rows
        first = -(-np.where(oldest > 0, oldest + self.history - 1, 0) // self.seq_len)
        last = (self.written - 1 - self.burn_in - self.n_steps) // self.seq_len
        counts = np.maximum(last - first + 1, 0)
        if not counts.any():
            raise ConfigError(
                f"learning_starts: no world has {self.burn_in + self.n_steps + 1} steps yet to learn from; "
                f"raise it"
            )
        return first, counts

    def _draw(self, size: int, first: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Worlds and first rows [size] of sequences, drawn from the blocks that `_drawable` gives."""
        ends = np.cumsum(counts)
        drawn = np.random.randint(0, ends[-1], size)
        worlds = np.searchsorted(ends, drawn, side="right")
        return worlds, (drawn - (ends - counts)[worlds] + first[worlds]) * self.seq_len

    def _any_action(self, first: np.ndarray, counts: np.ndarray) -> bool:
        """Whether one of these rows, of sequences of one step, holds an action."""
        worlds = np.repeat(self._worlds, counts)
        rows = np.concatenate([start + np.arange(count) for start, count in zip(first, counts, strict=True)])
        return bool((self._flags[self._places(worlds, rows[:, None])] & TERMINAL == 0).any())

    def sequences(
        self, worlds: np.ndarray, rows: np.ndarray, env: Any = None, ends_only: bool = False
    ) -> SequenceBatch:
        """The sequences [M] that begin with `rows` (counted from a world's first, multiples of seq_len).

        With `ends_only`, of sequences of one step only that step's row and the one whose value is added: T = 2.
        """
        steps = rows[:, None] + np.arange(self.length)  # [M, T]
        newest = self.written[worlds, None] - 1
        known = steps <= newest
        # Past the newest row it is repeated, so that what looks at every row (running statistics of a features
        # extractor) meets neither rows of an older round nor empty ones.
        at = self._places(worlds, np.minimum(steps, newest))
        flags = np.where(known, self._flags[at], 0)
        rewards = self._rewards[at] if env is None else env.normalize_reward(self._rewards[at])
        learned = slice(self.burn_in, self.burn_in + self.seq_len)
        returns, count, terminated = self._returns(rewards, flags)
        bootstraps = np.arange(self.seq_len) + count
        seen, starts = np.minimum(steps, newest), flags & FIRST != 0
        if ends_only:
            ends = np.pad(bootstraps, ((0, 0), (1, 0)))
            seen, starts = (np.take_along_axis(part, ends, axis=1) for part in (seen, starts))
            bootstraps = np.ones_like(bootstraps)
        observations: Any = self.observations_at(worlds, seen)
        if env is not None:
            observations = env.normalize_obs(observations)
        reached = steps[:, learned] + count <= newest
        has_action = known[:, learned] & (flags[:, learned] & TERMINAL == 0)
        states = self._states[(worlds * self.rows + rows % self.rows) // self.seq_len]
        return SequenceBatch(
            observations={key: self._tensor(part) for key, part in observations.items()}
            if isinstance(observations, dict)
            else self._tensor(observations),
            starts=self._tensor(starts),
            states=self._tensor(states).float(),
            actions=self._tensor(self._actions[at[:, learned]]).long(),
            returns=self._tensor(returns),
            discounts=self._tensor(np.where(terminated, 0.0, self.gamma**count).astype(np.float32)),
            bootstraps=self._tensor(bootstraps),
            mask=self._tensor(has_action & (terminated | reached)),
        )

    def _places(self, worlds: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """Where rows [M, T] (counted from a world's first) of worlds [M] lie in the rings."""
        return worlds[:, None] * self.rows + steps % self.rows

    def observations_at(self, worlds: np.ndarray, steps: np.ndarray) -> Any:
        """Observations [M, T, *shape] of rows [M, T] of worlds [M], or a dict of such; stacks are put together."""
        at = self._places(worlds, steps)
        frames = {key: [ring[at]] for key, ring in self._observations.items()}
        inside = np.ones(at.shape, bool)
        for age in range(1, self.history):
            # A frame is of the same episode while no row after it is a first one.
            inside &= self._flags[self._places(worlds, steps - age + 1)] & FIRST == 0
            at = self._places(worlds, steps - age)
            for key, ring in self._observations.items():
                mask = inside.reshape(*inside.shape, *(1,) * (ring.ndim - 1))
                frames[key].append(np.where(mask, ring[at], ring.dtype.type(0)))
        stacked = {
            key: parts[0] if self.history == 1 else np.concatenate(parts[::-1], axis=2)
            for key, parts in frames.items()
        }
        return stacked.get("", stacked)

    def _returns(self, rewards: np.ndarray, flags: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Discounted sums [M, L] of the rewards to come, their number, and whether the episode terminated."""
        shape = (len(rewards), self.seq_len)
        returns, count = np.zeros(shape, np.float32), np.zeros(shape, np.int64)
        runs, terminated = np.ones(shape, bool), np.zeros(shape, bool)
        for step in range(self.n_steps):
            part = slice(self.burn_in + step, self.burn_in + step + self.seq_len)
            returns += np.where(runs, np.float32(self.gamma**step) * rewards[:, part], np.float32(0.0))
            count += runs
            terminated |= runs & (flags[:, part] & TERMINATED != 0)
            runs &= flags[:, part] & (TERMINATED | TRUNCATED) == 0
        return returns, count, terminated

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(self.device)

    def arrays(self) -> dict[str, np.ndarray]:
        """Views of all rings by name; the first axis counts blocks of `seq_len` rows, world after world."""
        rings = {
            f"observations/{key}" if key else "observations": ring for key, ring in self._observations.items()
        }
        rings |= {"actions": self._actions, "rewards": self._rewards, "flags": self._flags}
        views = {name: ring.reshape(-1, self.seq_len, *ring.shape[1:]) for name, ring in rings.items()}
        return views | {"states": self._states}

    def changed_blocks(self, since: np.ndarray) -> np.ndarray:
        """Indices into the first axis of `arrays()` of what may differ from when `written` was `since` [N].

        The two newest rows of then count as changed too: `cut_episodes` marks them.
        """
        first = np.maximum(np.maximum(since - 2, self.written - self.rows), 0) // self.seq_len
        last = (self.written - 1) // self.seq_len
        blocks = self.rows // self.seq_len
        spans = [
            world * blocks + np.arange(first[world], last[world] + 1) % blocks
            for world in self._worlds.tolist()
        ]
        return np.unique(np.concatenate(spans))

    def restore(self, written: np.ndarray) -> None:
        """Take the counters [N] of a saved replay whose `arrays()` have been filled in.

        Raises:
            CheckpointError: they are of another number of worlds.
        """
        if np.shape(written) != self.written.shape:
            raise CheckpointError(
                f"the saved replay is of {np.size(written)} worlds, the config asks for {self.n_envs}; "
                f"resume with the same env.num_envs"
            )
        self.written[:] = written
