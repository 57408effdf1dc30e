"""Many AuralNav worlds in one vector environment, stepped by a few threads.

Worlds are stepped by the same code as the single environment, so the bits are the same. They come in groups, and a
step of a group is a dozen calls however many worlds it has, of which the long ones hold no GIL: the threads, each
with a group of its own at a time, then run side by side. (A call a world and stage would release and take back the
GIL twenty times a world, and the threads would wait for each other most of the time.)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import error
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from auralnav.envs.acoustics.soundbank import open_bank
from auralnav.envs.audio.env import AudioEnv
from auralnav.envs.audio.episode import checked_options
from auralnav.envs.audio.group import WorldGroup
from auralnav.envs.audio.observe import Observer
from auralnav.envs.audio.rng_state import generator_from, generator_state
from auralnav.envs.audio.settings import AudioSettings
from auralnav.envs.audio.walks import REWARD_TERMS
from auralnav.envs.worlds import MASK, Seeds, checked_mask, checked_seeds, draw_seed
from auralnav.errors import ConfigError

_CHUNK = 16  # most worlds rendered by one call: enough to seldom need the GIL, few enough to stay in the cache


class AudioVectorEnv(VectorEnv[dict[str, np.ndarray], np.ndarray, np.ndarray]):
    """N worlds of :class:`AudioEnv`; spaces, rewards and infos as there.

    World i of `reset(seed=s)` is seeded s + i. With autoreset NEXT_STEP (the default) the step after the end of
    a world's episode ignores its action and returns its reset observation; with DISABLED
    `reset(options={"reset_mask": bool [N]})` resets the chosen worlds.

    Args:
        num_envs: number of worlds.
        threads: threads that share them, up to 16 worlds at a time; 0: as many as there are cores.
        autoreset_mode: AutoresetMode.NEXT_STEP or DISABLED.
        render_mode: None or "rgb_array" (a tuple of pictures).
        **settings: arguments of `AudioEnv`.
    """

    metadata: dict[str, Any] = {
        "render_modes": ["rgb_array"],
        "render_fps": 4,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        num_envs: int = 1,
        *,
        threads: int = 0,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        **settings: Any,
    ) -> None:
        if num_envs < 1 or threads < 0:
            raise ConfigError(f"num_envs={num_envs}, threads={threads}; give num_envs >= 1 and threads >= 0")
        if render_mode not in (None, "rgb_array"):
            raise ConfigError(f"render_mode={render_mode!r}; a vector environment takes None or 'rgb_array'")
        mode = AutoresetMode(autoreset_mode)
        if mode == AutoresetMode.SAME_STEP:
            raise ConfigError("autoreset_mode must be NEXT_STEP or DISABLED")
        self.settings = AudioSettings.make(settings)
        self.metadata = {**type(self).metadata, "autoreset_mode": mode}
        self.autoreset_mode = mode
        self.render_mode = render_mode
        self.num_envs = num_envs
        self.observer = Observer(self.settings)
        self.single_observation_space = self.observer.space
        self.single_action_space = self.observer.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        bank = open_bank(self.settings.sounds, self.settings.fs, self.settings.split)
        self._rngs: list[np.random.Generator] = []
        cores = threads or os.cpu_count() or 1
        size = min(_CHUNK, -(-num_envs // cores))
        self._chunks = [
            _Chunk(first, WorldGroup(self.settings, bank, min(size, num_envs - first)))
            for first in range(0, num_envs, size)
        ]
        self._threads = min(cores, len(self._chunks))
        self.worlds = [world for chunk in self._chunks for world in chunk.group.worlds]
        self._terms = REWARD_TERMS[self.settings.reward]
        self._pool: ThreadPoolExecutor | None = None
        self._finished = np.zeros(num_envs, dtype=bool)
        self._started = False

    # Vector API -------------------------------------------------------------------------------------------

    def reset(
        self,
        *,
        seed: Seeds = None,
        options: Mapping[str, Any] | None = None,
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begin episodes in all worlds, or in those of `options["reset_mask"]`; other options as in AudioEnv."""
        mask = checked_mask(options, self.num_envs)
        rest = {name: value for name, value in (options or {}).items() if name != MASK}
        if not self._started and not mask.all():
            raise error.ResetNeeded("the first reset must reset every world")
        fixed = checked_options(rest, self.settings)
        self._seed(seed, mask)

        observations = self.observer.empty(self.num_envs)

        def begin(chunk: _Chunk) -> None:
            for i, world in enumerate(chunk.group.worlds, start=chunk.first):
                if mask[i]:
                    world.reset(draw_seed(self._rngs[i]), fixed)
            self._fill(chunk, observations)

        self._each(begin)
        self._finished[mask] = False
        self._started = True
        info = {"num_found": np.zeros(self.num_envs, dtype=np.int64), "_num_found": mask.copy()}
        return observations, info

    def step(
        self, actions: np.ndarray
    ) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One action in every world; see the class docstring for finished ones."""
        if not self._started:
            raise error.ResetNeeded("call reset() before step()")
        actions = np.asarray(actions)
        if len(actions) != self.num_envs:
            raise ConfigError(f"{len(actions)} actions for {self.num_envs} worlds; give one a world")
        stepped = np.ones(self.num_envs, dtype=bool)
        if self.autoreset_mode == AutoresetMode.NEXT_STEP:
            stepped = ~self._finished
        # Checked before any world moves.
        checked = self._checked(actions, stepped)
        observations = self.observer.empty(self.num_envs)
        metrics: dict[int, dict[str, float]] = {}

        def advance(chunk: _Chunk) -> None:
            group, first = chunk.group, chunk.first
            for room in np.flatnonzero(~stepped[first : chunk.last]):
                group.worlds[room].reset(draw_seed(self._rngs[first + room]))
            rooms = np.flatnonzero(stepped[first : chunk.last])
            if len(rooms):
                group.step(rooms, checked[first + rooms])
                ended = group.walks.terminated | group.walks.truncated
                for room in rooms[ended[rooms]].tolist():
                    metrics[first + room] = group.worlds[room].metrics()
            self._fill(chunk, observations)

        self._each(advance)
        terminated = self._gather("terminated") & stepped
        truncated = self._gather("truncated") & stepped
        self._finished = terminated | truncated
        rewards = np.where(stepped, self._gather("rewards"), 0.0)
        return observations, rewards, terminated, truncated, self._infos(metrics, stepped)

    def _checked(self, actions: np.ndarray, stepped: np.ndarray) -> np.ndarray:
        """The actions of the worlds that are stepped, int64 [N] or float64 [N, 2]; zeros for the others."""
        if not self.settings.continuous and actions.ndim == 1 and actions.dtype == np.int64:
            checked = np.where(stepped, actions, 0)
            if checked.min() >= 0 and checked.max() <= 3:
                return checked
        # One by one, also to name the wrong one.
        shape, kind = ((self.num_envs, 2), np.float64) if self.settings.continuous else (self.num_envs, np.int64)
        checked = np.zeros(shape, dtype=kind)
        for i in np.flatnonzero(stepped):
            checked[i] = self.worlds[i].checked(actions[i])
        return checked

    def _gather(self, name: str) -> np.ndarray:
        """The array `name` of all groups' walks, one row a world."""
        return np.concatenate([getattr(chunk.group.walks, name) for chunk in self._chunks])

    def _infos(self, metrics: dict[int, dict[str, float]], stepped: np.ndarray) -> dict[str, Any]:
        info: dict[str, Any] = {
            "bumped": self._gather("bumped"),
            "num_found": np.count_nonzero(self._gather("found_step") >= 0, axis=1),
        }
        terms = np.where(stepped, self._gather("terms").T, 0.0)
        info.update((f"reward/{name}", values) for name, values in zip(self._terms, terms, strict=True))
        info.update([(f"_{key}", stepped) for key in info])
        if metrics:
            ended = np.zeros(self.num_envs, dtype=bool)
            ended[list(metrics)] = True
            batch: dict[str, np.ndarray] = {}
            for name in next(iter(metrics.values())):
                values = np.zeros(self.num_envs)
                for i, entry in metrics.items():
                    values[i] = entry[name]
                batch[name] = values
                batch[f"_{name}"] = ended
            info["episode_metrics"] = batch
            info["_episode_metrics"] = ended
        return info

    def render(self) -> tuple[np.ndarray, ...] | None:
        """A picture a world (render_mode "rgb_array")."""
        if self.render_mode is None:
            return None
        from auralnav.envs.audio.render import draw_scene

        return tuple(draw_scene(world.scene()) for world in self.worlds)

    def source_images(self, mask: np.ndarray | None = None) -> np.ndarray:
        """What each source alone put into the ears in the last step, as `AudioEnv.source_images`.

        Args:
            mask: bool [N], the worlds that are asked for; None for all.

        Returns:
            float32 [worlds asked for, K + distractors, 2, samples].
        """
        if not self._started:
            raise error.ResetNeeded("there are no episodes yet; call reset() first")
        wanted = np.ones(self.num_envs, dtype=bool) if mask is None else np.asarray(mask, dtype=bool)
        sources = self.settings.num_sources + self.settings.distractors
        images = np.zeros((self.num_envs, sources, 2, self.settings.block), dtype=np.float32)

        def separate(chunk: _Chunk) -> None:
            rooms = np.flatnonzero(wanted[chunk.first : chunk.last])
            if len(rooms):
                images[chunk.first + rooms] = chunk.group.streams.source_images(rooms)

        self._each(separate)
        return images[wanted]

    def close_extras(self, **kwargs: Any) -> None:
        """Stop the threads."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    # State ------------------------------------------------------------------------------------------------

    def state(self) -> list[dict[str, Any]]:
        """The state of each world, as `AudioEnv.state`, with `finished` (its episode is over)."""
        return [
            {**world.state(), **generator_state(rng), "finished": bool(done)}
            for world, rng, done in zip(self.worlds, self._rngs, self._finished, strict=True)
        ]

    def restore(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Continue from what `state` returned, bit for bit."""
        if len(states) != self.num_envs:
            raise ConfigError(
                f"{len(states)} states for {self.num_envs} worlds; restore with num_envs={len(states)}"
            )
        for world, state in zip(self.worlds, states, strict=True):
            world.restore(state)
        self._rngs = [generator_from(state) for state in states]
        self._finished = np.array([bool(state.get("finished", False)) for state in states])
        self._started = True

    # Workers ----------------------------------------------------------------------------------------------

    def _seed(self, seed: Seeds, mask: np.ndarray) -> None:
        seeds = checked_seeds(seed, self.num_envs)
        if not self._rngs:
            self._rngs = [seeding.np_random(s)[0] for s in seeds]
            return
        for i in np.flatnonzero(mask):
            if seeds[i] is not None:
                self._rngs[i] = seeding.np_random(seeds[i])[0]

    def _fill(self, chunk: _Chunk, observations: dict[str, np.ndarray]) -> None:
        rows = {key: values[chunk.first : chunk.last] for key, values in observations.items()}
        self.observer.fill(chunk.group, rows)

    def _each(self, work: Callable[[_Chunk], None]) -> None:
        """Run `work` for every chunk, shared among the threads, of which the caller's is one."""
        chunks = iter(self._chunks)

        def share() -> None:
            for chunk in chunks:
                work(chunk)

        if self._threads > 1 and self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads - 1, thread_name_prefix="auralnav")
        others = [self._pool.submit(share) for _ in range(self._threads - 1)] if self._pool else []
        try:
            share()
        finally:
            wait(others)
        for other in others:
            other.result()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pool": None}


@dataclass(frozen=True)
class _Chunk:
    """A group whose worlds are those from `first` on."""

    first: int
    group: WorldGroup

    @property
    def last(self) -> int:
        """The first world that is no longer of the group."""
        return self.first + len(self.group.worlds)


__all__ = ["AudioEnv", "AudioVectorEnv"]
