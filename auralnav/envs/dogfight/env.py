"""Dogfight as a Gymnasium environment; the class docstring is the task's page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from auralnav.envs.dogfight.games import DogfightGames
from auralnav.envs.dogfight.settings import REWARD_TERMS, DogfightSettings
from auralnav.envs.dogfight.spaces import action_space, observation_space
from auralnav.envs.window import HumanView
from auralnav.envs.worlds import draw_seed
from auralnav.errors import ActionError, ConfigError

_ALL = np.ones(1, dtype=bool)
_REWARD_KEYS = [f"reward/{name}" for name in REWARD_TERMS]
STEP_RATE = 15
RENDER_MODES = ["rgb_array", "human"]


class DogfightEnv(gym.Env[Any, np.ndarray]):
    """Fly a team of ships against another one.

    ## Description
    Two teams of ships fight on a torus of 1024 × 1024 units. A ship always has its nose along its way, but for the
    angle of its turn; it can boost, coast or reverse, which empties or fills its power, turn, brake and shoot. Bullets
    hurt whoever they meet but the one who fired: team mates, too. A dead ship neither moves nor shoots. The agent
    flies all ships of team 0; scripts or another policy fly team 1. The world is 60 ticks a second; an action is held
    for 4 of them. Formulas and constants: `auralnav.envs.dogfight.rules` and `layout`.

    x is right and y down, as on a screen, and angles turn clockwise.

    ## Action Space
    `MultiDiscrete([3, 7, 2] * n)` for n ships, ship by ship:

    | part | classes |
    |---|---|
    | power | 0 coast, 1 boost, 2 reverse |
    | turn | 0 straight, 1 left, 2 right, 3 sharp left, 4 sharp right, 5 air brake, 6 sharp air brake |
    | shoot | 0, 1 |

    What a dead ship is told is ignored.

    ## Observation Space
    Own ships first. Where in the world a ship is stays unknown: moving the whole world changes no bit.

    `observation="flat"`: `Box` of 11·N + 13·N·(N − 1) numbers for N ships of both teams: of each ship INTRINSIC, then
    of each ordered pair RELATION (names in `auralnav.envs.dogfight.observe_rules`).

    `observation="factorised"`: `Dict` of `intrinsic`, (N, 11), and `edges`, (N, N, 45), which begin with 32 Fourier
    features of the way from ship to ship; the diagonal is zeros.

    What is dead is zeros. Velocities are in units of 180 units/s, accelerations of 150 units/s², turn rates of 2π/s;
    health and power are shares.

    ## Rewards
    The sum of named terms, each in `info["reward/<term>"]`, of the whole team:

    | term | value | scale |
    |---|---|---|
    | `win` | 1 on winning, −1 on losing, 0 for a draw | 1 |
    | `hit` | hits on the enemy less hits taken (a team mate's are among these) | 0.001 |
    | `dealt` | damage to the enemy, in ships' full healths | 0 |
    | `taken` | damage taken, likewise, negative | 0 |
    | `facing` | cosine of the angle from the nose to the nearest enemy, mean over the own living ships | 0 |
    | `closing` | how fast that enemy comes nearer, in units of 100 units/s, likewise | 0 |

    `rewards={"dealt": 0.5}` changes scales. The last two are for beginners: a ship that is to win must at times turn
    away.

    ## Starting State
    All ships at full health and power, anywhere, heading anywhere, at 100 units/s. `reset(seed=s)` draws the key of a
    series of games from s; `reset()` begins the next game of the series.

    ## Episode End
    Terminated when a side is gone; truncated at `horizon` ticks (1024), which is a draw. The last `info` then holds
    `episode_metrics`: success, draw, seconds, damage_dealt, damage_taken, friendly_damage, ships_left, enemies_left.

    ## Arguments
    See `auralnav.envs.dogfight.settings.DogfightSettings`; `render_mode` is None, "rgb_array" or "human".

    ## Registered Configurations
    `Dogfight-v0` (2 against 2), `Dogfight-1v1-v0`, `Dogfight-4v4-v0`; other sizes by `teams=(n, m)`.

    ## Version History
    * v0: first version.
    """

    metadata: dict[str, Any] = {"render_modes": RENDER_MODES, "render_fps": STEP_RATE}

    def __init__(self, *, render_mode: str | None = None, **settings: Any) -> None:
        if render_mode not in (None, *RENDER_MODES):
            raise ConfigError(f"render_mode={render_mode!r} is not None, 'rgb_array' or 'human'")
        self.settings = DogfightSettings.make(settings)
        self.metadata = {**type(self).metadata, "render_fps": self.settings.render_fps}
        self.render_mode = render_mode
        self.games = DogfightGames(self.settings)
        self.observation_space = observation_space(self.settings)
        self.action_space = action_space(self.settings.teams[0])
        self.recorder: Any = None
        """What takes down the game where there is a render mode (`auralnav.envs.dogfight.recorder`)."""
        self._key = -1
        self._running = False
        self._view = HumanView("Dogfight")

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin a game: the first one of a seed, or the next one.

        Raises:
            ConfigError: options, of which there are none.
        """
        refuse_options(options)
        super().reset(seed=seed)
        if seed is not None or self._key < 0:
            self._key = draw_seed(self.np_random)
            self.games.begin(_ALL, np.array([self._key]))
        else:
            self.games.begin(_ALL)
        self._running = True
        if self.render_mode is not None:
            self._record(anew=True)
        if self.render_mode == "human":
            self.render()
        return self._observation(), self._counts()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One action of each own ship, held for `action_repeat` ticks.

        Raises:
            ActionError: an action outside the space, or NaN.
            gymnasium.error.ResetNeeded: before the first reset and after a game's end.
        """
        if not self._running:
            raise gym.error.ResetNeeded("no game is running; call reset() before step()")
        games, given = self.games, np.asarray(action)
        if given.size != 3 * self.settings.teams[0]:
            own = self.settings.teams[0]
            raise ActionError(f"an action is power, turn and shoot of each of {own} ships, not {given.shape}")
        games.step(given.reshape(1, -1))
        terms = games.terms[0].tolist()
        terminated, truncated = bool(games.terminated[0]), bool(games.truncated[0])
        info: dict[str, Any] = dict(zip(_REWARD_KEYS, terms, strict=True))
        info.update(self._counts())
        if terminated or truncated:
            info["episode_metrics"] = {name: float(values[0]) for name, values in games.metrics().items()}
            self._running = False
        if self.render_mode is not None:
            self._record()
        if self.render_mode == "human":
            self.render()
        return self._observation(), float(games.rewards()[0]), terminated, truncated, info

    def _observation(self) -> Any:
        seen = self.games.observation()
        return {key: rows[0] for key, rows in seen.items()} if isinstance(seen, dict) else seen[0]

    def _counts(self) -> dict[str, int]:
        own, other = self.games.living()
        return {"ships": int(own[0]), "enemies": int(other[0])}

    # Pictures ---------------------------------------------------------------------------------------------

    def _record(self, anew: bool = False) -> None:
        if anew:
            from auralnav.envs.dogfight.pictures import new_recorder

            self.recorder = new_recorder(self.settings, self.games.names(0), self._key)
        self.recorder.take(self.games.world)

    def render(self) -> np.ndarray | None:
        """The arena, uint8 [H, W, 3] ("rgb_array"), or None after showing it ("human")."""
        if self.render_mode is None:
            gym.logger.warn("render() needs render_mode='rgb_array' or 'human' in gym.make")
            return None
        if self.recorder is None:
            raise gym.error.ResetNeeded("there is no game yet; call reset() first")
        if self._view.headless:
            return None
        from auralnav.envs.dogfight.pictures import draw_last

        picture = draw_last(self.recorder)
        if self.render_mode == "rgb_array":
            return picture
        self._view.show(picture)
        return None

    def close(self) -> None:
        """Close the window, if one is open."""
        self._view.close()

    # State ------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """The whole state as arrays and scalars, for `restore`, asymmetric critics and planners."""
        if self._key < 0:
            raise gym.error.ResetNeeded("there is no game yet; call reset() first")
        return {**self.games.snapshot(), "series": self._key, "running": self._running}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from `state` bit for bit; the environment must have the same arguments.

        Raises:
            ConfigError: no state of such an environment; nothing has changed then.
        """
        series, running = state.get("series"), state.get("running")
        if isinstance(series, bool) or not isinstance(series, (int, np.integer)) or series < 0:
            raise ConfigError(f"state['series'] is {series!r}, not a key of games; take a state of DogfightEnv")
        if not isinstance(running, (bool, np.bool_)):
            raise ConfigError(f"state['running'] is {running!r}, not a bool; take a state of DogfightEnv")
        self.games.restore(state)
        self._key, self._running = int(series), bool(running)
        if self.render_mode is not None:
            self._record(anew=True)


def refuse_options(options: Mapping[str, Any] | None, known: tuple[str, ...] = ()) -> None:
    """Refuse what is not among the known options of `reset`.

    Raises:
        ConfigError: an option that there is not.
    """
    for name in options or {}:
        if name not in known:
            raise ConfigError(f"reset option {name!r} is not known; a dogfight has {', '.join(known) or 'none'}")
