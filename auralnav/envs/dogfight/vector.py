"""Many dogfights stepped together, on the CPU in NumPy or on a CUDA device in torch: Gymnasium's `VectorEnv`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import error
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from auralnav.envs.dogfight.checks import checked_count, checked_snapshot
from auralnav.envs.dogfight.env import RENDER_MODES, STEP_RATE, refuse_options
from auralnav.envs.dogfight.games import Array, DogfightGames
from auralnav.envs.dogfight.settings import REWARD_TERMS, DogfightSettings
from auralnav.envs.dogfight.spaces import action_space, observation_space
from auralnav.envs.worlds import MASK, Seeds, checked_mask, checked_seeds, draw_seed
from auralnav.errors import ActionError, ConfigError


class DogfightVectorEnv(VectorEnv[Any, Any, Any]):
    """N games of :class:`DogfightEnv`; spaces, rewards and infos as there, with the same bits.

    World i of `reset(seed=s)` is seeded s + i. With autoreset NEXT_STEP (the default) the step after the end of a game
    ignores its action and returns the next game's first observation; with DISABLED
    `reset(options={"reset_mask": bool [N]})` begins the next games of the chosen worlds.

    Infos are Gymnasium's: a key `k` has values of all worlds, and `_k` says in a mask which of them hold.

    With `device="cuda"` all arrays are torch tensors of that device, actions and the masks of infos too, and nothing is
    copied to the host; games there begin by themselves (NEXT_STEP), and only with a single opponent of fixed skill
    without being waited for.

    Args:
        num_envs: number of worlds.
        device: "cpu" or "cuda".
        threads: that share the worlds on the CPU; 0: as many as there are cores.
        check: refuse actions that do not exist, for which a GPU is waited for.
        autoreset_mode: AutoresetMode.NEXT_STEP or DISABLED.
        render_mode: None or "rgb_array" (a tuple of pictures), on the CPU.
        **settings: arguments of `DogfightEnv`.

    Raises:
        ConfigError: an argument that cannot be.
    """

    metadata: dict[str, Any] = {
        "render_modes": RENDER_MODES[:1],
        "render_fps": STEP_RATE,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        num_envs: int = 1,
        *,
        device: str = "cpu",
        threads: int = 0,
        check: bool = True,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        **settings: Any,
    ) -> None:
        num_envs = checked_count("num_envs", num_envs)
        modes = [AutoresetMode.NEXT_STEP, *([AutoresetMode.DISABLED] if device == "cpu" else [])]
        mode = next((mode for mode in modes if autoreset_mode in (mode, mode.value)), None)
        if mode is None:
            raise ConfigError(
                f"autoreset_mode={autoreset_mode!r}: give AutoresetMode.NEXT_STEP, or on the CPU AutoresetMode.DISABLED"
            )
        if render_mode not in (None, *RENDER_MODES[:1]) or (render_mode and device != "cpu"):
            raise ConfigError(f"render_mode={render_mode!r}: give None, or on the CPU 'rgb_array'")
        self.settings = DogfightSettings.make(settings)
        self.metadata = {**type(self).metadata, "render_fps": self.settings.render_fps, "autoreset_mode": mode}
        self.autoreset_mode, self.render_mode = mode, render_mode
        self.num_envs, self.device, self._check = num_envs, device, check
        self.games = DogfightGames(self.settings, num_envs, device, threads)
        self.single_observation_space = observation_space(self.settings)
        self.single_action_space = action_space(self.settings.teams[0])
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._keys = np.full(num_envs, -1, np.int64)

    @property
    def _started(self) -> bool:
        return bool(self._keys[0] >= 0)

    def reset(self, *, seed: Seeds = None, options: Mapping[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin games in all worlds, or in those of `options["reset_mask"]`: the first of a seed, or the next ones.

        Raises:
            ConfigError: another option, a mask of another shape, or not one seed a world.
        """
        refuse_options(options, (MASK,))
        mask = checked_mask(options, self.num_envs)
        if not self._started and not mask.all():
            raise error.ResetNeeded("the first reset must reset every world")
        keys = self._new_keys(seed, mask)
        self.games.begin(mask, keys)
        self._keys = np.where(keys < 0, self._keys, keys)
        return self.games.observation(), self._counts(self.games.like_state(mask.copy()))

    def _new_keys(self, seed: Seeds, mask: np.ndarray) -> np.ndarray:
        """Keys of the worlds whose series of games begins, −1 for those that go on."""
        seeds = checked_seeds(seed, self.num_envs)
        keys = np.full(self.num_envs, -1, np.int64)
        for i in np.flatnonzero(mask):
            if seeds[i] is not None or self._keys[i] < 0:
                keys[i] = draw_seed(seeding.np_random(seeds[i])[0])
        return keys

    def step(self, actions: Any) -> tuple[Any, Array, Array, Array, dict[str, Any]]:
        """One action in every world; see the class docstring for those whose game is over.

        Raises:
            ActionError: actions of another shape, no integers, or outside their classes.
            gymnasium.error.ResetNeeded: before the first reset, or with DISABLED after a game's end.
        """
        if not self._started:
            raise error.ResetNeeded("there are no games yet; call reset() first")
        games = self.games
        restart = self.autoreset_mode == AutoresetMode.NEXT_STEP
        if not restart and (games.terminated | games.truncated).any():
            raise error.ResetNeeded("a game is over; reset its world with options={'reset_mask': …}")
        if self.device == "cpu":
            actions = np.asarray(actions)
        elif not hasattr(actions, "__cuda_array_interface__"):
            raise ActionError(f"actions are {type(actions).__name__}; worlds on CUDA take the device's integer tensors")
        games.step(actions, restart, self._check)
        terminated, truncated = games.terminated | False, games.truncated | False
        return games.observation(), games.rewards(), terminated, truncated, self._infos(terminated | truncated)

    def _infos(self, ended: Array) -> dict[str, Any]:
        games = self.games
        info: dict[str, Any] = {f"reward/{name}": games.terms[:, k] + 0.0 for k, name in enumerate(REWARD_TERMS)}
        everywhere = ended | True
        info |= {f"_{key}": everywhere for key in list(info)}
        info |= self._counts(everywhere)
        # Whether any has ended is asked where the answer is at hand.
        if self.device != "cpu" or ended.any():
            metrics = games.metrics()
            info["episode_metrics"] = {**metrics, **{f"_{key}": ended for key in metrics}}
            info["_episode_metrics"] = ended
        return info

    def _counts(self, mask: Array) -> dict[str, Any]:
        own, other = self.games.living()
        return {"ships": own, "enemies": other, "_ships": mask, "_enemies": mask}

    def render(self) -> tuple[np.ndarray, ...] | None:
        """A picture a world (render_mode "rgb_array"): where everything is now, without what was before."""
        if self.render_mode is None:
            return None
        if not self._started:
            raise error.ResetNeeded("there are no games yet; call reset() first")
        from auralnav.envs.dogfight.pictures import draw_now

        return tuple(draw_now(self.games, i, int(self._keys[i])) for i in range(self.num_envs))

    def state(self) -> dict[str, Any]:
        """The state of all worlds, as arrays on the host."""
        if not self._started:
            raise error.ResetNeeded("there are no games yet; call reset() first")
        return {**self.games.snapshot(), "series": self._keys.copy()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state` returned, bit for bit.

        Raises:
            ConfigError: a state of other worlds; nothing has changed then.
        """
        [keys] = checked_snapshot(state, {"series": self._keys})
        if keys.min() < 0:
            raise ConfigError("state['series'] holds a world without games; take a state after reset()")
        self.games.restore(state)
        self._keys = keys.copy()
