"""What a policy that separates gets to see: cues of each source in the place of the waveform.

A listener stands between the worlds and the frame stacks, in training (`HeardWorlds`) and wherever a trained
policy acts (`PolicyAgent`). With `separator: frozen` it is `SourceCues`: every step is separated once, all worlds in
one call, and what is stored and learned from are a few numbers a source. With `separator: finetune` it is `AudioSteps`:
the policy's own network hears the sound, which the replay keeps as 16-bit numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, cast

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import SyncVectorEnv, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space

from auralnav.agents.separators import load_separator
from auralnav.configs.schema import ExperimentConfig, SeparationConfig
from auralnav.devices import torch_device
from auralnav.envs.audio.env import AudioEnv
from auralnav.envs.audio.settings import AudioSettings
from auralnav.envs.audio.vector import AudioVectorEnv
from auralnav.errors import ConfigError
from auralnav.policies.source_set import ATTENDED, SOURCES
from auralnav.separation.attention import NOBODY, attend
from auralnav.separation.bearing import BEARING, SUMS, with_bearing
from auralnav.separation.cues import LEVEL_COLUMN, SpatialCues
from auralnav.separation.streamed_cues import StreamedCues

AUDIO = "audio"
HEADING = "heading"
MIXTURE = "mixture"
FULL_SCALE = 32767  # the 16-bit number of a sample at 1

Observation = dict[str, np.ndarray]


class Listener(Protocol):
    """What turns the worlds' observations into the policy's; `space` is one world's, after it."""

    space: spaces.Dict

    def hear(self, observation: Observation, start: np.ndarray, mask: np.ndarray | None = None) -> Observation:
        """The policy's observation of N worlds.

        Args:
            observation: of the worlds, each with N rows.
            start: bool [N], worlds whose episode begins with it.
            mask: bool [N], worlds for which it is new; the others were observed before. None for all.
        """
        ...

    def state(self) -> dict[str, Any]:
        """A copy of what is remembered of the running episodes."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a `state()`, bit for bit."""
        ...


class SourceCues:
    """Cues of each source of N worlds, `sources` float32 [K, C] in [−1, 1], in the place of `audio`.

    A row holds the source's spatial cues, its timbre if wanted, and (not with the seed's cues, which have no azimuth)
    its bearing. Beside the rows stands `mixture`, the same of the whole sound without timbre. With `masks: mixture` it
    is the first row of `sources`, and the other rows are zeros. `attended`, float32 [1, K], is 1 for the source that is
    attended to and 0 for the others (`auralnav.separation.attention`).

    Args:
        config: which masks, which cues, how many rows K.
        worlds: AuralNav worlds that give waveforms, native or synchronous.

    Raises:
        ConfigError: worlds without waveforms, more sources than rows, or a separator that does not fit.
        CheckpointError: no such separator, or its file is damaged.
        MissingDependencyError: masks are learned and asteroid is not installed.
    """

    def __init__(self, config: SeparationConfig, worlds: VectorEnv) -> None:
        space, settings = _waveforms(worlds)
        self.config, self.num_envs = config, worlds.num_envs
        self._cues = make_cues(config, settings)
        self._images: Callable[[np.ndarray], np.ndarray] | None = None
        self._stream: StreamedCues | None = None
        self._threads: ThreadPoolExecutor | None = None
        if config.masks == "oracle":
            heard = settings.num_sources + settings.distractors
            if heard > config.sources:
                raise ConfigError(f"separation.sources: {config.sources} rows for {heard} sources; give {heard}")
            self._images = image_source(worlds)
        elif config.masks == "learned":
            separator = load_separator(config, settings.fs)
            device = torch_device(config.device, "separation.device")
            self._stream = StreamedCues(separator.to(device), self._cues, self.num_envs, config.window_seconds)
            if config.threads > 1 and device.type == "cpu":
                self._threads = ThreadPoolExecutor(config.threads)
        self._ranks = np.zeros((self.num_envs, settings.num_sources + settings.distractors), np.int64)
        # The newest of every world: a row of the mixture, then one of each source.
        rows = (self.num_envs, 1 + config.sources)
        self._features = np.zeros((*rows, len(row_names(self._cues))), np.float32)
        self._sums = np.zeros((*rows, SUMS), np.float32)
        self._attended = np.full(self.num_envs, NOBODY, np.int64)
        self.space = _replaced(space, {
            key: spaces.Box(-1.0, 1.0, part.shape[1:], np.float32) for key, part in self._parts().items()
        })  # fmt: skip

    def hear(self, observation: Observation, start: np.ndarray, mask: np.ndarray | None = None) -> Observation:
        """See `Listener`; the separation of a world's rows does not depend on the other worlds."""
        new = np.ones(self.num_envs, dtype=bool) if mask is None else mask
        if new.any():
            features = self._measure(observation[AUDIO][new], start[new], new)
            if self.config.cues == "masked":
                sums = np.where(start[new, None, None], np.float32(0.0), self._sums[new])
                heading = observation["agent_info"][new, :2]
                followed = with_bearing(*(torch.from_numpy(part) for part in (features, sums, heading)))
                features, self._sums[new] = (part.numpy() for part in followed)
            self._features[new] = features
            levels = torch.from_numpy(features[:, 1:, LEVEL_COLUMN[self.config.cues]])
            before = torch.from_numpy(np.where(start[new], NOBODY, self._attended[new]))
            self._attended[new] = attend(levels, before).numpy()
        rest = {key: value for key, value in observation.items() if key != AUDIO}
        return {**self._parts(), **rest}

    def _parts(self) -> Observation:
        """Copies of the newest features as the policy sees them."""
        mixture = self._features[:, 0, mixture_columns(self._cues)]  # fancy indices copy
        attended = np.arange(self.config.sources) == self._attended[:, None, None]
        return {MIXTURE: mixture, SOURCES: self._features[:, 1:].copy(), ATTENDED: attended.astype(np.float32)}

    def _measure(self, sound: np.ndarray, start: np.ndarray, new: np.ndarray) -> np.ndarray:
        """Cues [b, 1 + K, C] of the b worlds of `new`, without bearings."""
        if self._stream is not None:
            return self._separated(self._stream, sound, start, np.flatnonzero(new))
        audio = torch.from_numpy(np.ascontiguousarray(sound))
        features = np.zeros((len(audio), self._features.shape[1], len(self._cues.names)), np.float32)
        if self._images is not None:
            mids = self._ranked(self._images(new).mean(axis=2), start, new)
            features[:, : 1 + mids.shape[1]] = self._cues.with_mixture(audio, torch.from_numpy(mids)).numpy()
        else:  # what is heard is one source
            features[:, :2] = self._cues.of_mixture(audio).numpy()
        return features

    def _separated(
        self, stream: StreamedCues, sound: np.ndarray, start: np.ndarray, worlds: np.ndarray
    ) -> np.ndarray:
        """Cues [b, 1 + K, C] of the b worlds' sound [b, 2, n], their worlds shared between the threads."""

        def measure(part: np.ndarray) -> np.ndarray:
            return stream.hear(*(torch.from_numpy(each[part]) for each in (sound, start, worlds))).numpy()

        if self._threads is None:
            return measure(np.arange(len(worlds)))
        parts = np.array_split(np.arange(len(worlds)), min(len(worlds), self.config.threads))
        return np.concatenate(list(self._threads.map(measure, parts)))

    def _ranked(self, mids: np.ndarray, start: np.ndarray, new: np.ndarray) -> np.ndarray:
        """True sources [b, K, n] in a separator's order: the loudest first when an episode starts.

        The worlds' own order would say which ones are distractors.
        """
        ranks = np.argsort(-np.square(mids).sum(axis=2), axis=1, kind="stable")
        self._ranks[new] = ranks = np.where(start[:, None], ranks, self._ranks[new])
        return np.take_along_axis(mids, ranks[:, :, None], axis=1)

    def state(self) -> dict[str, Any]:
        """A copy of what is known of each source, of the true ones' order and of the sound the separator remembers."""
        return {
            "features": self._features.copy(),
            "sums": self._sums.copy(),
            "attended": self._attended.copy(),
            "ranks": self._ranks.copy(),
            "stream": None if self._stream is None else self._stream.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a `state()`."""
        self._features[:] = state["features"]
        self._sums[:] = state["sums"]
        self._attended[:] = state["attended"]
        self._ranks[:] = state["ranks"]
        if self._stream is not None:
            self._stream.restore(state["stream"])


class AudioSteps:
    """The sound of AuralNav worlds, for a policy that separates it: `audio` int16 [2, n], full scale at 32767.

    `heading`, float32 [1, 2], is the odometry's cosine and sine, stacked as the sound is.

    Raises:
        ConfigError: worlds without waveforms.
    """

    def __init__(self, worlds: VectorEnv) -> None:
        space, _ = _waveforms(worlds)
        shape = space[AUDIO].shape or ()
        self.space = _replaced(space, {
            AUDIO: spaces.Box(-FULL_SCALE, FULL_SCALE, shape, np.int16),
            HEADING: spaces.Box(-1.0, 1.0, (1, 2), np.float32),
        })  # fmt: skip

    def hear(self, observation: Observation, start: np.ndarray, mask: np.ndarray | None = None) -> Observation:
        """See `Listener`."""
        sound = np.rint(observation[AUDIO] * FULL_SCALE).astype(np.int16)
        return {**observation, AUDIO: sound, HEADING: observation["agent_info"][:, None, :2].copy()}

    def state(self) -> dict[str, Any]:
        """Nothing: the frame stacks remember."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""


def make_cues(config: SeparationConfig, settings: AudioSettings) -> SpatialCues:
    """The cues of a config for the sound of some worlds; a measured head is taken for a sphere."""
    head = "none" if settings.head == "none" else "sphere"
    return SpatialCues(settings.fs, settings.block, config.cues, head, config.timbre)


def row_names(cues: SpatialCues) -> tuple[str, ...]:
    """Names of the numbers of a row."""
    return (*cues.names, *(BEARING if cues.cues == "masked" else ()))


def mixture_columns(cues: SpatialCues) -> list[int]:
    """Those of a row's numbers that the mixture has too: all but the timbre, which follows the cues."""
    timbre = range(len(cues.names) - cues.timbre, len(cues.names))
    return [column for column in range(len(row_names(cues))) if column not in timbre]


def make_listener(config: ExperimentConfig, worlds: VectorEnv) -> Listener | None:
    """The listener of an experiment, None for one without separation; raises as `SourceCues` does."""
    if not config.separates:
        return None
    return SourceCues(config.separation, worlds) if config.separation.separator == "frozen" else AudioSteps(worlds)


class HeardWorlds(VectorWrapper):
    """Native worlds heard through a listener: every observation, an episode's last and first ones too.

    Args:
        worlds: with autoreset DISABLED.
        listener: what hears them.
    """

    def __init__(self, worlds: VectorEnv, listener: Listener) -> None:
        super().__init__(worlds)
        self.listener = listener
        self.single_observation_space = listener.space
        self.observation_space = batch_space(listener.space, worlds.num_envs)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin episodes, in the worlds of `options["reset_mask"]` or in all."""
        observation, info = self.env.reset(seed=seed, options=options)
        mask = np.asarray((options or {}).get("reset_mask", np.ones(self.num_envs, dtype=bool)))
        return self.listener.hear(observation, mask, mask), info

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """One action in every world."""
        observation, rewards, terminated, truncated, info = self.env.step(actions)
        start = np.zeros(self.num_envs, dtype=bool)
        return self.listener.hear(observation, start), rewards, terminated, truncated, info

    def state(self) -> dict[str, Any]:
        """The state of the worlds and of the listener."""
        return {"worlds": cast(Any, self.env.unwrapped).state(), "listener": self.listener.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a `state()`, bit for bit."""
        cast(Any, self.env.unwrapped).restore(state["worlds"])
        self.listener.restore(state["listener"])


def image_source(worlds: VectorEnv) -> Callable[[np.ndarray], np.ndarray]:
    """The function mask bool [N] → what each source alone put into the ears, float32 [worlds of mask, K, 2, n].

    Raises:
        ConfigError: no AuralNav worlds.
    """
    base = worlds.unwrapped
    if isinstance(base, AudioVectorEnv):
        return base.source_images
    single = _single_worlds(base)
    return lambda mask: np.stack([single[world].source_images() for world in np.flatnonzero(mask).tolist()])


def _single_worlds(base: VectorEnv) -> list[AudioEnv]:
    single = [env.unwrapped for env in base.envs] if isinstance(base, SyncVectorEnv) else []
    if not single or not all(isinstance(env, AudioEnv) for env in single):
        raise ConfigError("separation.separator: only AuralNav worlds can be separated; set it to none")
    return cast(list[AudioEnv], single)


def _waveforms(worlds: VectorEnv) -> tuple[spaces.Dict, AudioSettings]:
    """One world's observation space, which holds waveforms, and its arguments."""
    base = worlds.unwrapped
    settings = base.settings if isinstance(base, AudioVectorEnv) else _single_worlds(base)[0].settings
    space = worlds.single_observation_space
    if not isinstance(space, spaces.Dict) or AUDIO not in space.spaces:
        raise ConfigError(f"env.obs_mode: {settings.obs_mode} holds no waveform to separate; use waveform")
    return space, settings


def _replaced(space: spaces.Dict, parts: Mapping[str, spaces.Space]) -> spaces.Dict:
    """A space with other parts in the place of the sound."""
    return spaces.Dict({**parts, **{name: box for name, box in space.spaces.items() if name != AUDIO}})
