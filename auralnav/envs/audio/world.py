"""One world of AuralNav: its episode, metrics, state and what people see of it, without Gymnasium.

Motion and reward are in `walks`, sound in `room_sound`; `WorldGroup` steps worlds. `AudioEnv` has a group of one and
`AudioVectorEnv` several groups, so single and vector form are the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from auralnav.envs.acoustics.soundbank import SoundBank
from auralnav.envs.acoustics.stream import StreamGroup
from auralnav.envs.audio.episode import BODY_RADIUS, Episode, draw_episode
from auralnav.envs.audio.oracle import plan_actions
from auralnav.envs.audio.room_sound import RoomSound
from auralnav.envs.audio.settings import AudioSettings
from auralnav.envs.audio.touching import touching_tour_length
from auralnav.envs.audio.tour import TourPotential
from auralnav.envs.audio.walks import Walks
from auralnav.errors import ActionError, ConfigError


class AudioWorld:
    """An episode and the agent in it; a row of a group's arrays.

    Args:
        settings: the environment's arguments.
        bank: the sounds.
        walks: where the group's agents are.
        streams: what they hear.
        room: this one's place among them.
    """

    def __init__(
        self, settings: AudioSettings, bank: SoundBank, walks: Walks, streams: StreamGroup, room: int
    ) -> None:
        self.settings = settings
        self.bank = bank
        self.room = room
        self._walks = walks
        self._streams = streams

    # Episode ---------------------------------------------------------------------------------------------

    def reset(self, seed: int, fixed: Mapping[str, np.ndarray] | None = None) -> None:
        """Begin the episode of `seed`; see `draw_episode` for `fixed`."""
        self._begin(seed, fixed)
        self.sound.start(self.pose)

    def _begin(self, seed: int, fixed: Mapping[str, np.ndarray] | None) -> None:
        settings = self.settings
        self.fixed = dict(fixed or {})
        self.episode: Episode = draw_episode(seed, settings, self.bank, fixed)
        self.sound = RoomSound(self.episode, settings, self.bank, self._streams, self.room)
        x, y, _ = self.episode.start
        self.trail = [(x, y)]
        self.tour = TourPotential(self.episode.geo, self.episode.places(0)[: settings.num_sources, :2])
        self._walks.begin(self.room, self.episode)
        self._walks.place(self.room, self.tour, self.distractors)
        self._walks.potential[self.room] = -self.tour.length(x, y, self.remaining)

    @property
    def begun(self) -> bool:
        """Whether there is an episode."""
        return hasattr(self, "episode")

    @property
    def over(self) -> bool:
        """Whether the episode has come to its end: all found, or the horizon reached."""
        return not self.remaining.any() or self.step_index >= self.settings.horizon

    @property
    def pose(self) -> tuple[float, float, float]:
        """Where the agent is: x, y in m, heading in rad."""
        x, y, theta = self._walks.poses[self.room].tolist()
        return x, y, theta

    @property
    def step_index(self) -> int:
        """Steps taken."""
        return int(self._walks.steps[self.room])

    @property
    def remaining(self) -> np.ndarray:
        """Which sources are not found yet, bool [K]."""
        return self._walks.found_step[self.room] < 0

    @property
    def sources(self) -> np.ndarray:
        """Places of the sources now, float64 [K, 2] m."""
        return self.episode.places(self.step_index)[: self.settings.num_sources, :2]

    @property
    def distractors(self) -> np.ndarray:
        """Places of the distractors now, float64 [D, 2] m."""
        return self.episode.places(self.step_index)[self.settings.num_sources :, :2]

    @property
    def audio(self) -> np.ndarray:
        """What the ears heard in the last step, float32 [2, N]; overwritten by the next."""
        return self._streams.audio[self.room]

    def checked(self, action: Any) -> Any:
        """The action as `WorldGroup.step` takes it: an int, or two floats.

        Raises:
            ActionError: an action outside the space, or NaN.
        """
        return _continuous(action) if self.settings.continuous else _discrete(action)

    def move_sources(self) -> None:
        """Put the sources where they are at this step."""
        self.tour.update(self.sources)
        self._walks.place(self.room, self.tour, self.distractors)

    def record(self, found: bool) -> None:
        """Take note of a step that was rendered; `found`: some source may have been found in it."""
        x, y, _ = self.pose
        self.trail.append((x, y))
        if found:
            for k in np.flatnonzero(self._walks.found_step[self.room] == self.step_index):
                self.sound.mute(int(k))
        self.sound.finish()

    # What agents and people see -----------------------------------------------------------------------------

    def metrics(self) -> dict[str, float]:
        """The episode's metrics so far.

        success, found_share, steps, length (m walked), bumps, distance_to_go (m, shortest tour through what is
        left), and, for sources that stand still, spl (success weighted by path length, Anderson et al. 2018,
        against the shortest tour that touches every found disc) and sna (success weighted by number of actions:
        oracle / max(oracle, taken)).
        """
        settings, walks = self.settings, self._walks
        success = not self.remaining.any()
        values = {
            "success": float(success),
            "found_share": float(np.count_nonzero(~self.remaining) / settings.num_sources),
            "steps": float(self.step_index),
            "length": float(walks.path_length[self.room]),
            "bumps": float(walks.bumps[self.room]),
            "distance_to_go": -float(walks.potential[self.room]),
        }
        if not settings.moving:
            values["spl"] = self._spl() if success else 0.0
            if not settings.continuous:
                oracle = self.oracle_actions(from_start=True) if success else None
                steps = max(len(oracle or ()), 1)
                values["sna"] = steps / max(steps, self.step_index) if oracle is not None else 0.0
        return values

    def _spl(self) -> float:
        start = np.array(self.episode.start[:2])
        best = touching_tour_length(self.episode.geo, start, self.sources, self.settings.found_radius)
        return best / max(best, float(self._walks.path_length[self.room])) if best > 0 else 1.0

    def oracle_actions(self, from_start: bool = False) -> list[int] | None:
        """Fewest actions that find what remains, or None (moving sources, continuous actions, no plan)."""
        settings = self.settings
        if settings.moving or settings.continuous:
            return None
        x, y, _ = self.episode.start if from_start else self.pose
        found = np.zeros_like(self.remaining) if from_start else ~self.remaining
        return plan_actions(
            self.episode.plan,
            self.episode.geo,
            (x, y, float(self._walks.theta0[self.room])),
            self.sources,
            settings.found_radius,
            settings.step_size,
            settings.turn,
            found,
            BODY_RADIUS,
            turns=0 if from_start else int(self._walks.turns[self.room]),
        )

    def scene(self) -> dict[str, Any]:
        """What a picture of the world shows."""
        names = [ref.sound for ref in self.episode.clips]
        return {
            "plan": self.episode.plan,
            "agent": self.pose,
            "sources": self.sources.copy(),
            "found": ~self.remaining,
            "classes": names[: self.settings.num_sources],
            "distractors": self.distractors.copy(),
            "distractor_classes": names[self.settings.num_sources :],
            "trail": np.array(self.trail),
            "audio": self.audio.copy(),
            "fs": self.settings.fs,
            "step": self.step_index,
            "horizon": self.settings.horizon,
            "found_radius": self.settings.found_radius,
            "bumped": bool(self._walks.bumped[self.room]),
        }

    # State ------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything that `restore` needs, and the hidden state that oracles and planners want.

        Arrays and scalars only: `agent` (x, y m, heading rad), `sources` [K, 2] m, `found` [K] … are for
        reading; changing them changes nothing on restore.
        """
        walks, room = self._walks, self.room
        return {
            "episode_seed": self.episode.seed,
            "step": self.step_index,
            "pose": walks.poses[room].copy(),
            "previous_pose": walks.previous[room].copy(),
            "theta0": float(walks.theta0[room]),
            "turns": int(walks.turns[room]),
            "found_step": walks.found_step[room].copy(),
            "bumped": bool(walks.bumped[room]),
            "bumps": int(walks.bumps[room]),
            "path_length": float(walks.path_length[room]),
            "potential": float(walks.potential[room]),
            "trail": np.array(self.trail),
            "audio": self.audio.copy(),
            **{f"fixed_{name}": value.copy() for name, value in self.fixed.items()},
            "agent": np.array(self.pose),
            "sources": self.sources.copy(),
            "source_heights": self.episode.places(self.step_index)[:, 2].copy(),
            "distractors": self.distractors.copy(),
            "found": ~self.remaining,
            "room": self.episode.plan.boundary.copy(),
            "room_height": self.episode.plan.height,
            "rt60": self.episode.rt60,
            "reflection": self.sound.reflection,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from `state` bit for bit.

        Raises:
            ConfigError: no state of a world with these arguments.
        """
        shape = np.shape(state.get("found_step", ()))
        if "episode_seed" not in state or shape != (self.settings.num_sources,):
            raise ConfigError(
                "this is no state of an environment with these arguments; "
                "give what state() returned in one that has them"
            )
        fixed = {name[6:]: np.asarray(v) for name, v in state.items() if name.startswith("fixed_")}
        self._begin(int(state["episode_seed"]), fixed)
        start = self.pose
        walks, room = self._walks, self.room
        walks.steps[room] = state["step"]
        walks.poses[room] = state["pose"]
        walks.previous[room] = state["previous_pose"]
        walks.theta0[room] = state["theta0"]
        walks.turns[room] = state["turns"]
        walks.found_step[room] = state["found_step"]
        walks.bumped[room] = state["bumped"]
        walks.bumps[room] = state["bumps"]
        walks.path_length[room] = state["path_length"]
        walks.potential[room] = state["potential"]
        self.trail = [(float(x), float(y)) for x, y in np.asarray(state["trail"])]
        if self.settings.moving:
            self.move_sources()
        muted = [int(t) + 1 if t >= 0 else None for t in walks.found_step[room]]
        muted += [None] * self.settings.distractors
        x, y, theta = walks.previous[room].tolist()
        self.sound.resume(self.step_index, self.pose, (x, y, theta), start, muted)
        self.audio[...] = state["audio"]


def _continuous(action: Any) -> tuple[float, float]:
    """`action` as forward speed and turn rate."""
    values = np.asarray(action, dtype=np.float64)
    if values.shape != (2,):
        raise ActionError(f"action has shape {values.shape}; give 2 numbers: forward speed and turn rate")
    if not np.isfinite(values).all():
        raise ActionError(f"action {values.tolist()} is not finite; check the policy for NaN")
    if (np.abs(values) > 1.0 + 1e-6).any():
        raise ActionError(f"action {values.tolist()} lies outside [-1, 1]; clip it to the action space")
    return float(values[0]), float(values[1])


def _discrete(action: Any) -> int:
    """`action` as 0, 1, 2 or 3."""
    if isinstance(action, (int, np.integer)) and not isinstance(action, bool):
        choice = int(action)
    elif isinstance(action, np.ndarray) and action.size == 1 and np.issubdtype(action.dtype, np.integer):
        choice = int(action.reshape(-1)[0])
    else:
        raise ActionError(
            f"action {action!r} is not a whole number; give 0 forward, 1 backward, 2 left or 3 right"
        )
    if not 0 <= choice <= 3:
        raise ActionError(
            f"action {choice} lies outside Discrete(4); give 0 forward, 1 backward, 2 left or 3 right"
        )
    return choice
