"""AuralNav as a Gymnasium environment; the class docstring is the task's page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from auralnav.envs.acoustics.soundbank import open_bank
from auralnav.envs.audio.episode import checked_options
from auralnav.envs.audio.group import WorldGroup
from auralnav.envs.audio.observe import Observer
from auralnav.envs.audio.rng_state import generator_from, generator_state
from auralnav.envs.audio.settings import AudioSettings
from auralnav.envs.audio.walks import REWARD_TERMS
from auralnav.envs.audio.world import AudioWorld
from auralnav.envs.window import HumanView
from auralnav.envs.worlds import draw_seed
from auralnav.errors import ConfigError

_ROOM = np.zeros(1, dtype=np.int64)  # the only room of a group of one


class AudioEnv(gym.Env[Any, Any]):
    """Walk to sound sources by ear.

    ## Description
    An agent with two ears stands in a room in which K sources sound. It turns and steps; a source within the
    found radius is switched off. The episode ends when all are found. The agent does not see: where the sources
    are must be heard, over time, because two ears cannot tell front from back and walls reflect.

    The frame is x right, y up, heading θ counter-clockwise from x; the ears lie 0.18 m apart, left and right of
    the heading. Delays, level differences and azimuths are positive to the left.

    ## Action Space
    `Discrete(4)`: 0 forward, 1 backward (0.5 m), 2 turn left, 3 turn right (30°). With `continuous=True` a
    `Box(-1, 1, (2,))`: forward speed and turn rate as fractions of a step. A step into a wall or an obstacle
    leaves the agent where it is.

    ## Observation Space
    A `Dict`; which keys it has is set by `obs_mode`:

    | key | shape | range | what | obs_mode |
    |---|---|---|---|---|
    | `audio` | (2, N) | [−1, 1] | what the ears heard in this step, left and right | waveform, all |
    | `spectrogram` | (2, F, T) | [0, 8.3] | log1p(1000·abs(STFT)), 32 ms Hann windows | spectrogram, all |
    | `cues` | (C,) | [−1, 1] | GCC-PHAT, phase and level differences, levels by band | cues, all |
    | `agent_info` | (4,) | [−1, 1] | cos θ, sin θ of odometry, last bump, share of horizon left | always |
    | `pose` | (3,) | finite | x, y (m), heading (rad) | with `expose_pose` |

    N = fs · step_duration (16 kHz · 0.25 s = 4000). At the defaults F = 257, T = 14 and C = 95 (layout in
    `auralnav.envs.acoustics.cues.CueConfig`). Sound is continuous across steps: clips run on, and within a step
    the room's response crossfades over 20 ms from the old pose to the new one. A source 1 m away in the free
    field has −26 dBFS RMS; the sum is clipped at ±1. A found source is silent from the next step on and its
    reverberation rings out.

    ## Rewards
    The sum of named terms, each in `info["reward/<term>"]`:

    | term | value |
    |---|---|
    | `found` | +10 for each source found |
    | `step` | −0.01 a step |
    | `shaping` | Φ(after, found removed) − Φ(before), Φ = −length of the shortest tour of what is left |
    | `complete` | +10 when all are found |
    | `distractor` | −0.5 a step within the found radius of a distractor |

    Tours are geodesic, through the places of all sources not yet found. The shaping is potential-based (Ng,
    Harada & Russell 1999), so it telescopes and cannot be farmed.
    `reward="otoworld"` gives OtoWorld's terms for comparison (found +100, step −0.5, turn −0.1, closeness
    1/distance to the nearest source whenever nothing is found). That reward can be farmed: turning on the spot
    beside a source, say 1 m from it, earns −0.6 + 1 = +0.4 a step for ever.

    ## Starting State
    Room size, reverberation time, sources, sounds and the agent's pose are drawn anew each episode from the
    environment's generator. `reset(options={"pose": (x, y, θ), "sources": [[x, y], …]})` fixes places.

    ## Episode End
    Terminated when all sources are found; truncated at `horizon` steps. The last `info` then holds
    `episode_metrics`: success, found_share, steps, length, bumps, distance_to_go and, for sources that stand
    still, spl and sna.

    ## Arguments
    See `auralnav.envs.audio.settings.AudioSettings`; `render_mode` is None, "rgb_array" or "human".

    ## Registered Configurations
    `AuralNav-v0` (two sources, reverberant shoebox, sphere head), `AuralNav-Easy-v0` (one source),
    `AuralNav-Anechoic-v0` (OtoWorld's rules: 8 × 8 m, no reflections, no head), `AuralNav-Hard-v0` (four
    sources, RT60 0.6 s, noise at 10 dB SNR), `AuralNav-Moving-v0` (sources walk), `AuralNav-Maze-v0` (polygon
    rooms with obstacles).

    ## Version History
    * v0: first version.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array", "human"], "render_fps": 4}

    def __init__(self, *, render_mode: str | None = None, **settings: Any) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ConfigError(f"render_mode={render_mode!r} is not None, 'rgb_array' or 'human'")
        self.settings = AudioSettings.make(settings)
        self.metadata = {**type(self).metadata, "render_fps": max(1, round(1 / self.settings.step_duration))}
        self.render_mode = render_mode
        self.observer = Observer(self.settings)
        self.observation_space = self.observer.space
        self.action_space = self.observer.action_space
        self.bank = open_bank(self.settings.sounds, self.settings.fs, self.settings.split)
        self.group = WorldGroup(self.settings, self.bank, 1)
        self.world = self.group.worlds[0]
        self._terms = [f"reward/{name}" for name in REWARD_TERMS[self.settings.reward]]
        self._view = HumanView("AuralNav")
        self._running = False

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begin an episode; options "pose" (x, y, θ) and "sources" [K, 2 or 3] fix places.

        Raises:
            RoomError: the room cannot hold the sources.
            ConfigError: an unknown option.
        """
        super().reset(seed=seed)
        fixed = checked_options(options, self.settings)
        self.world.reset(draw_seed(self.np_random), fixed)
        self._running = True
        if self.render_mode == "human":
            self.render()
        return self._observation(), {"num_found": 0, "bumped": False}

    def step(self, action: Any) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """One action and the sound heard during it.

        Raises:
            ActionError: an action outside the space, or NaN.
            gymnasium.error.ResetNeeded: before the first reset and after an episode's end.
        """
        if not self._running:
            raise gym.error.ResetNeeded("no episode is running; call reset() before step()")
        self.group.step(_ROOM, [self.world.checked(action)])
        walks = self.group.walks
        terminated, truncated = bool(walks.terminated[0]), bool(walks.truncated[0])
        info: dict[str, Any] = dict(zip(self._terms, walks.terms[0].tolist(), strict=True))
        info["bumped"] = bool(walks.bumped[0])
        info["num_found"] = int(np.count_nonzero(walks.found_step[0] >= 0))
        if terminated or truncated:
            info["episode_metrics"] = self.world.metrics()
            self._running = False
        if self.render_mode == "human":
            self.render()
        return self._observation(), float(walks.rewards[0]), terminated, truncated, info

    def _observation(self) -> dict[str, np.ndarray]:
        out = self.observer.empty(1)
        self.observer.fill(self.group, out)
        return {key: rows[0] for key, rows in out.items()}

    def render(self) -> np.ndarray | None:
        """The top view, uint8 [H, W, 3] ("rgb_array"), or None after showing it ("human")."""
        if self.render_mode is None:
            gym.logger.warn("render() needs render_mode='rgb_array' or 'human' in gym.make")
            return None
        if self._view.headless:
            return None
        from auralnav.envs.audio.render import draw_scene

        picture = draw_scene(self.scene())
        if self.render_mode == "rgb_array":
            return picture
        self._view.show(picture)
        return None

    def _begun(self) -> AudioWorld:
        """The world, once there is an episode."""
        if not self.world.begun:
            raise gym.error.ResetNeeded("there is no episode yet; call reset() first")
        return self.world

    def close(self) -> None:
        """Close the window, if one is open."""
        self._view.close()

    def scene(self) -> dict[str, Any]:
        """What the top view shows: plan, agent, sources, trail, sound."""
        return self._begun().scene()

    def source_images(self) -> np.ndarray:
        """What each source alone put into the ears in the last step, float32 [K + distractors, 2, N].

        Without noise and clipping their sum is `audio`.
        """
        return self._begun().sound.source_images()

    def oracle_actions(self) -> list[int] | None:
        """Fewest actions that find what remains from here (hybrid A*), or None where there is no such plan."""
        return self._begun().oracle_actions()

    def state(self) -> dict[str, Any]:
        """The whole state as arrays and scalars, for `restore`, oracles, asymmetric critics and planners."""
        return {**self._begun().state(), **generator_state(self.np_random)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from `state` bit for bit; the environment must have the same arguments.

        Raises:
            ConfigError: no state of such an environment.
        """
        self.world.restore(state)
        self._np_random = generator_from(state)
        self._running = not self.world.over
