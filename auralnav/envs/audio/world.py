"""One world of AuralNav: motion, finding, reward, metrics and sound, without Gymnasium.

`AudioEnv` wraps one of these and `AudioVectorEnv` many, so single and vector form are the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from auralnav.envs.acoustics.soundbank import SoundBank
from auralnav.envs.acoustics.stream import StreamGroup
from auralnav.envs.audio.episode import BODY_RADIUS, Episode, draw_episode
from auralnav.envs.audio.geometry import segment_free
from auralnav.envs.audio.motion import LEFT, RIGHT, advance, heading, move_pose
from auralnav.envs.audio.oracle import plan_actions
from auralnav.envs.audio.room_sound import RoomSound, stream_group
from auralnav.envs.audio.settings import AudioSettings
from auralnav.envs.audio.touching import touching_tour_length
from auralnav.envs.audio.tour import TourPotential
from auralnav.errors import ActionError, ConfigError

REWARD_TERMS = {
    "shaped": ("found", "step", "shaping", "complete", "distractor"),
    "otoworld": ("found", "step", "turn", "closeness"),
}


class AudioWorld:
    """The moving part of an episode.

    Args:
        settings: the environment's arguments.
        bank: the sounds.
        group: the streams that are rendered together with this world's; None: a group of its own.
        room: its place among them.
    """

    def __init__(
        self, settings: AudioSettings, bank: SoundBank, group: StreamGroup | None = None, room: int = 0
    ) -> None:
        self.settings = settings
        self.bank = bank
        self.group = group or stream_group(settings, 1)
        self.room = room
        self.terms = REWARD_TERMS[settings.reward]
        self._turn = settings.turn

    # Episode ---------------------------------------------------------------------------------------------

    def reset(self, seed: int, fixed: Mapping[str, np.ndarray] | None = None) -> None:
        """Begin the episode of `seed`; see `draw_episode` for `fixed`."""
        self._begin(seed, fixed)
        self.sound.start(self.pose)

    def _begin(self, seed: int, fixed: Mapping[str, np.ndarray] | None) -> None:
        settings = self.settings
        self.fixed = dict(fixed or {})
        self.episode: Episode = draw_episode(seed, settings, self.bank, fixed)
        self.sound = RoomSound(self.episode, settings, self.bank, self.group, self.room)
        self._segments = self.episode.plan.segments
        x, y, theta = self.episode.start
        self.theta0 = theta
        self.turns = 0
        self.pose = (x, y, theta)
        self.previous_pose = self.pose
        self.step_index = 0
        self.found_step = np.full(settings.num_sources, -1, dtype=np.int64)
        self.remaining = np.ones(settings.num_sources, dtype=bool)
        self.bumped = False
        self.bumps = 0
        self.path_length = 0.0
        self.trail = [(x, y)]
        self.tour = TourPotential(self.episode.geo, self.sources)
        self.potential = -self.tour.length(x, y, self.remaining)

    @property
    def begun(self) -> bool:
        """Whether there is an episode."""
        return hasattr(self, "episode")

    @property
    def over(self) -> bool:
        """Whether the episode has come to its end: all found, or the horizon reached."""
        return not self.remaining.any() or self.step_index >= self.settings.horizon

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
        return self.group.audio[self.room]

    def step(self, action: Any) -> tuple[float, dict[str, float], bool, bool]:
        """Move, score and hear one action; see `act` for what is returned and raised."""
        outcome = self.act(self.checked(action))
        room = np.array([self.room])
        self.group.render(room)
        self.sound.finish()
        self.group.limit_levels(room)
        return outcome

    def checked(self, action: Any) -> Any:
        """The action as `act` takes it: an int, or two floats.

        Raises:
            ActionError: an action outside the space, or NaN.
        """
        return _continuous(action) if self.settings.continuous else _discrete(action)

    def act(self, action: Any) -> tuple[float, dict[str, float], bool, bool]:
        """Move and score one checked action; its sound is made as in `step`.

        Returns:
            reward, its terms by name, terminated, truncated.
        """
        settings = self.settings
        turned = self._move(action)
        self.step_index += 1
        if settings.moving:
            self.tour.update(self.sources)
        x, y, _ = self.pose
        distances = self.tour.distances(x, y)
        newly = self.remaining & (distances <= settings.found_radius)
        count = int(np.count_nonzero(newly))
        self.sound.advance(self.pose, self.step_index)
        if count:
            self.found_step[newly] = self.step_index
            self.remaining &= ~newly
            for k in np.flatnonzero(newly):
                self.sound.mute(int(k))
        done = not self.remaining.any()
        before, self.potential = self.potential, -self.tour.length(x, y, self.remaining)
        if settings.reward == "shaped":
            terms = {
                "found": settings.found_reward * count,
                "step": -settings.step_penalty,
                "shaping": settings.shaping_scale * (self.potential - before),
                "complete": settings.completion_reward if done else 0.0,
                "distractor": -settings.distractor_penalty if self._at_distractor() else 0.0,
            }
        else:
            nearest = float(distances[self.remaining].min()) if not count else math.inf
            terms = {
                "found": 100.0 * count,
                "step": -0.5,
                "turn": -0.1 if turned else 0.0,
                "closeness": 1.0 / max(nearest, 1e-3),
            }
        reward = sum(terms.values())
        truncated = not done and self.step_index >= settings.horizon
        return reward, terms, done, truncated

    def _at_distractor(self) -> bool:
        if not self.settings.distractors:
            return False
        lengths = self.episode.geo.distances(np.array([self.pose[:2]]), self.distractors)
        return bool((lengths <= self.settings.found_radius).any())

    def _move(self, action: Any) -> bool:
        """Carry out `action`; True when it turned the agent."""
        settings = self.settings
        x, y, _ = self.pose
        self.previous_pose = self.pose
        if settings.continuous:
            forward, rate = action
            # The turn moves the reference, so that the heading stays theta0 + turns · turn.
            self.theta0 += rate * self._turn
            turned = rate != 0.0
            theta = heading(self.theta0, self.turns, self._turn)
            nx, ny = advance(x, y, theta, forward * settings.step_size)
        else:
            nx, ny, self.turns = move_pose(
                x, y, self.theta0, self.turns, action, settings.step_size, self._turn
            )
            turned = action in (LEFT, RIGHT)
            theta = heading(self.theta0, self.turns, self._turn)
        self.bumped = False
        if (nx, ny) != (x, y):
            if segment_free(self._segments, x, y, nx, ny, BODY_RADIUS):
                self.path_length += math.hypot(nx - x, ny - y)
                x, y = nx, ny
            else:
                self.bumped = True
                self.bumps += 1
        self.pose = (x, y, theta)
        self.trail.append((x, y))
        return turned

    # What agents and people see -----------------------------------------------------------------------------

    def agent_info(self, out: np.ndarray) -> None:
        """Write cos θ and sin θ of odometry since the start, last bump, share of the horizon left; into float32 [4]."""
        turned = self.pose[2] - self.episode.start[2]
        out[0] = math.cos(turned)
        out[1] = math.sin(turned)
        out[2] = self.bumped
        out[3] = 1.0 - self.step_index / self.settings.horizon

    def metrics(self) -> dict[str, float]:
        """The episode's metrics so far.

        success, found_share, steps, length (m walked), bumps, distance_to_go (m, shortest tour through what is
        left), and, for sources that stand still, spl (success weighted by path length, Anderson et al. 2018,
        against the shortest tour that touches every found disc) and sna (success weighted by number of actions:
        oracle / max(oracle, taken)).
        """
        settings = self.settings
        success = not self.remaining.any()
        values = {
            "success": float(success),
            "found_share": float(np.count_nonzero(~self.remaining) / settings.num_sources),
            "steps": float(self.step_index),
            "length": self.path_length,
            "bumps": float(self.bumps),
            "distance_to_go": -self.potential,
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
        return best / max(best, self.path_length) if best > 0 else 1.0

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
            (x, y, self.theta0),
            self.sources,
            settings.found_radius,
            settings.step_size,
            self._turn,
            found,
            BODY_RADIUS,
            turns=0 if from_start else self.turns,
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
            "bumped": self.bumped,
        }

    # State ------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything that `restore` needs, and the hidden state that oracles and planners want.

        Arrays and scalars only: `agent` (x, y m, heading rad), `sources` [K, 2] m, `found` [K] … are for
        reading; changing them changes nothing on restore.
        """
        return {
            "episode_seed": self.episode.seed,
            "step": self.step_index,
            "pose": np.array(self.pose),
            "previous_pose": np.array(self.previous_pose),
            "theta0": self.theta0,
            "turns": self.turns,
            "found_step": self.found_step.copy(),
            "bumped": self.bumped,
            "bumps": self.bumps,
            "path_length": self.path_length,
            "potential": self.potential,
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
        self.step_index = int(state["step"])
        self.pose = _pose(state["pose"])
        self.previous_pose = _pose(state["previous_pose"])
        self.theta0 = float(state["theta0"])
        self.turns = int(state["turns"])
        self.found_step = np.array(state["found_step"], dtype=np.int64)
        self.remaining = self.found_step < 0
        self.bumped = bool(state["bumped"])
        self.bumps = int(state["bumps"])
        self.path_length = float(state["path_length"])
        self.potential = float(state["potential"])
        self.trail = [(float(x), float(y)) for x, y in np.asarray(state["trail"])]
        if self.settings.moving:
            self.tour.update(self.sources)
        muted: list[int | None] = [int(t) + 1 if t >= 0 else None for t in self.found_step]
        muted += [None] * self.settings.distractors
        self.sound.resume(self.step_index, self.pose, self.previous_pose, start, muted)
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


def _pose(values: Any) -> tuple[float, float, float]:
    x, y, theta = (float(v) for v in np.asarray(values))
    return x, y, theta
