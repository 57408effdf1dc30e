"""Many AuralNav worlds in one vector environment, stepped by a few threads.

Each world is stepped by the same code as the single environment, so the bits are the same. The worlds come in
chunks: a thread moves and scores those of its chunk one by one, then renders them all in a few calls that hold no
GIL, so that the threads run side by side. (A call a world and stage would release and take back the GIL twenty
times a step, and the threads would wait for each other most of the time.)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from typing import Any

import numpy as np
from gymnasium import error
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from auralnav.envs.acoustics.soundbank import SoundBank, open_bank
from auralnav.envs.audio.env import AudioEnv, draw_seed
from auralnav.envs.audio.episode import checked_options
from auralnav.envs.audio.observe import Observer
from auralnav.envs.audio.rng_state import generator_from, generator_state
from auralnav.envs.audio.room_sound import stream_group
from auralnav.envs.audio.settings import AudioSettings
from auralnav.envs.audio.world import AudioWorld
from auralnav.errors import ConfigError

_CHUNK = 8  # most worlds rendered by one call: enough to seldom need the GIL, few enough to share the threads


class AudioVectorEnv(VectorEnv[dict[str, np.ndarray], np.ndarray, np.ndarray]):
    """N worlds of :class:`AudioEnv`; spaces, rewards and infos as there.

    World i of `reset(seed=s)` is seeded s + i. With autoreset NEXT_STEP (the default) the step after the end of
    a world's episode ignores its action and returns its reset observation; with DISABLED
    `reset(options={"reset_mask": bool [N]})` resets the chosen worlds.

    Args:
        num_envs: number of worlds.
        threads: threads that share them, up to 8 worlds at a time; 0: as many as there are cores.
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
            _Chunk(first, self.settings, bank, min(size, num_envs - first))
            for first in range(0, num_envs, size)
        ]
        self._threads = min(cores, len(self._chunks))
        self.worlds = [world for chunk in self._chunks for world in chunk.worlds]
        self._pool: ThreadPoolExecutor | None = None
        self._finished = np.zeros(num_envs, dtype=bool)
        self._started = False
        self._observations = self.observer.empty(num_envs)

    # Vector API -------------------------------------------------------------------------------------------

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begin episodes in all worlds, or in those of `options["reset_mask"]`; other options as in AudioEnv."""
        rest = dict(options or {})
        mask = np.asarray(rest.pop("reset_mask", np.ones(self.num_envs, dtype=bool)))
        if mask.shape != (self.num_envs,) or mask.dtype != np.bool_:
            raise ConfigError(
                f"reset_mask must be bool of shape ({self.num_envs},), got {mask.dtype} {mask.shape}"
            )
        if not self._started and not mask.all():
            raise error.ResetNeeded("the first reset must reset every world")
        fixed = checked_options(rest, self.settings)
        self._seed(seed, mask)

        def begin(chunk: _Chunk) -> None:
            for i, world in chunk:
                if mask[i]:
                    world.reset(draw_seed(self._rngs[i]), fixed)
            self._fill(chunk)

        self._each(begin)
        self._finished[mask] = False
        self._started = True
        info = {"num_found": np.zeros(self.num_envs, dtype=np.int64), "_num_found": mask.copy()}
        return deepcopy(self._observations), info

    def step(
        self, actions: np.ndarray
    ) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One action in every world; see the class docstring for finished ones."""
        if not self._started:
            raise error.ResetNeeded("call reset() before step()")
        actions = np.asarray(actions)
        if len(actions) != self.num_envs:
            raise ConfigError(f"{len(actions)} actions for {self.num_envs} worlds; give one a world")
        again = self._finished.copy() if self.autoreset_mode == AutoresetMode.NEXT_STEP else None
        rewards = np.zeros(self.num_envs)
        terminated = np.zeros(self.num_envs, dtype=bool)
        truncated = np.zeros(self.num_envs, dtype=bool)
        terms = {name: np.zeros(self.num_envs) for name in self.worlds[0].terms}
        metrics: dict[int, dict[str, float]] = {}

        # Checked before any world moves.
        checked = [
            None if again is not None and again[i] else world.checked(actions[i])
            for i, world in enumerate(self.worlds)
        ]

        def advance(chunk: _Chunk) -> None:
            stepped = []
            for i, world in chunk:
                if checked[i] is None:
                    world.reset(draw_seed(self._rngs[i]))
                    continue
                rewards[i], values, terminated[i], truncated[i] = world.act(checked[i])
                for name, value in values.items():
                    terms[name][i] = value
                stepped.append(world)
            if stepped:
                rooms = np.array([world.room for world in stepped])
                chunk.group.render(rooms)
                for world in stepped:
                    world.sound.finish()
                chunk.group.limit_levels(rooms)
            for i, world in chunk:
                if terminated[i] or truncated[i]:
                    metrics[i] = world.metrics()
            self._fill(chunk)

        self._each(advance)
        self._finished = terminated | truncated
        stepped = np.ones(self.num_envs, dtype=bool) if again is None else ~again
        return (
            deepcopy(self._observations),
            rewards,
            terminated,
            truncated,
            self._infos(terms, metrics, stepped),
        )

    def _infos(self, terms, metrics, stepped) -> dict[str, Any]:
        count = self.settings.num_sources
        worlds = self.worlds
        info: dict[str, Any] = {
            "bumped": np.array([w.bumped for w in worlds]),
            "num_found": np.array([count - np.count_nonzero(w.remaining) for w in worlds]),
        }
        info.update((f"reward/{name}", values) for name, values in terms.items())
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
        for chunk in self._chunks:
            self._fill(chunk)
        self._rngs = [generator_from(state) for state in states]
        self._finished = np.array([bool(state.get("finished", False)) for state in states])
        self._started = True

    # Workers ----------------------------------------------------------------------------------------------

    def _seed(self, seed: int | Sequence[int | None] | None, mask: np.ndarray) -> None:
        if isinstance(seed, (int, np.integer)):
            seeds: Sequence[int | None] = [int(seed) + i for i in range(self.num_envs)]
        else:
            seeds = [None] * self.num_envs if seed is None else list(seed)
        if len(seeds) != self.num_envs:
            raise ConfigError(
                f"{len(seeds)} seeds for {self.num_envs} worlds; give one number or one a world"
            )
        if not self._rngs:
            self._rngs = [seeding.np_random(s)[0] for s in seeds]
            return
        for i in np.flatnonzero(mask):
            if seeds[i] is not None:
                self._rngs[i] = seeding.np_random(seeds[i])[0]

    def _fill(self, chunk: _Chunk) -> None:
        rows = {key: values[chunk.first : chunk.last] for key, values in self._observations.items()}
        self.observer.fill(chunk.worlds, chunk.group.audio, rows)

    def _each(self, work: Callable[[_Chunk], None]) -> None:
        """Run `work` for every chunk, shared among the threads."""
        if self._threads == 1:
            for chunk in self._chunks:
                work(chunk)
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="auralnav")
        for future in [self._pool.submit(work, chunk) for chunk in self._chunks]:
            future.result()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pool": None}


class _Chunk:
    """Consecutive worlds from `first` to `last` − 1 that share a stream group; iterates over (index, world)."""

    def __init__(self, first: int, settings: AudioSettings, bank: SoundBank, count: int) -> None:
        self.first, self.last = first, first + count
        self.group = stream_group(settings, count)
        self.worlds = [AudioWorld(settings, bank, self.group, room) for room in range(count)]

    def __iter__(self) -> Iterator[tuple[int, AudioWorld]]:
        return enumerate(self.worlds, start=self.first)


__all__ = ["AudioEnv", "AudioVectorEnv"]
