"""PPO with any memory core: whole windows in one forward pass."""

from __future__ import annotations

from typing import Any, ClassVar, cast

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule
from stable_baselines3.common.utils import FloatSchedule, obs_as_tensor
from stable_baselines3.common.vec_env import VecEnv

from auralnav.agents.memory_algorithm import MemoryAlgorithm
from auralnav.agents.memory_buffer import MemoryDictRolloutBuffer, MemoryRolloutBuffer
from auralnav.agents.memory_policy import (
    CORE_GROUP,
    MemoryCnnPolicy,
    MemoryPolicy,
    MultiInputMemoryPolicy,
)
from auralnav.errors import ConfigError


class MemoryPPO(MemoryAlgorithm, RecurrentPPO):
    """sb3-contrib's RecurrentPPO with a memory core in the place of its LSTMs.

    A rollout of each environment is cut into windows. The core's state is kept at the beginning of each; an
    update runs whole windows through one `forward`, with the starts of episodes marked, so gradients reach
    back to the window's beginning. Actor and critic share the core.

    Args:
        policy: "MlpPolicy", "CnnPolicy", "MultiInputPolicy" or a subclass of `MemoryPolicy`.
        env: as SB3 takes it.
        memory: name of the core: mamba, mamba2, gru, lstm, transformer or none.
        memory_kwargs: arguments of the core, such as `{"d_model": 64, "n_layers": 1}`.
        window: steps a window; divides `n_steps` and `batch_size`. How far back gradients reach.
        core_learning_rate: of the core, a number or a schedule; None = that of the rest.
        policy_kwargs: further arguments of the policy.
        **kwargs: of RecurrentPPO.

    Raises:
        ConfigError: an unknown core or bad arguments of it, windows that do not fill rollout or minibatch, or a
            minibatch of one step, whose advantages cannot be normalised.
        TypeError: `policy_kwargs` repeats an argument of its own here, such as `memory`.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": MemoryPolicy,
        "CnnPolicy": MemoryCnnPolicy,
        "MultiInputPolicy": MultiInputMemoryPolicy,
    }
    policy: MemoryPolicy
    rollout_buffer: MemoryRolloutBuffer | MemoryDictRolloutBuffer

    def __init__(
        self,
        policy: str | type[MemoryPolicy],
        env: GymEnv | str,
        *,
        memory: str = "mamba2",
        memory_kwargs: dict[str, Any] | None = None,
        window: int = 32,
        core_learning_rate: float | Schedule | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        _init_setup_model: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            cast(Any, policy),
            env,
            policy_kwargs=dict(memory=memory, memory_kwargs=dict(memory_kwargs or {}), **(policy_kwargs or {})),
            _init_setup_model=False,
            **kwargs,
        )
        self.memory, self.window = memory, window
        self.core_learning_rate = core_learning_rate
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        # RecurrentPPO's own builds states and buffers of LSTMs, so none of it is of use here.
        if self.batch_size is not None and (self.batch_size < 1 or self.batch_size % self.window):
            raise ConfigError(
                f"window: {self.window} does not divide batch_size {self.batch_size}; choose a divisor of it"
            )
        rollout = self.n_steps * self.n_envs
        smallest = rollout if self.batch_size is None else rollout % self.batch_size or self.batch_size
        if self.normalize_advantage and min(smallest, rollout) == 1:
            raise ConfigError(
                f"batch_size: {self.batch_size} leaves a minibatch of one step of the {rollout} in a rollout, "
                f"whose advantage cannot be normalised; choose a divisor above 1, or normalize_advantage=False"
            )
        self._check_memory()
        self._setup_lr_schedule()
        rate = self.core_learning_rate
        self.core_lr_schedule = self.lr_schedule if rate is None else FloatSchedule(rate)
        self.set_random_seed(self.seed)
        policy_class = cast(type[MemoryPolicy], self.policy_class)
        policy = policy_class(
            self.observation_space,
            self.action_space,
            self.lr_schedule,
            use_sde=self.use_sde,
            **self.policy_kwargs,
        )
        self.policy = policy.to(self.device)
        is_dict = isinstance(self.observation_space, spaces.Dict)
        self.rollout_buffer = (MemoryDictRolloutBuffer if is_dict else MemoryRolloutBuffer)(
            self.n_steps,
            self.observation_space,
            self.action_space,
            self.device,
            window=self.window,
            state_size=self.policy.core.state_size,
            gamma=self.gamma,
            gae_lambda=self.gae_lambda,
            n_envs=self.n_envs,
        )
        self._last_memory_state = self.policy.initial_state(self.n_envs)
        self.clip_range = FloatSchedule(self.clip_range)
        if self.clip_range_vf is not None:
            self.clip_range_vf = FloatSchedule(self.clip_range_vf)

    def _update_learning_rate(self, optimizers: list[torch.optim.Optimizer] | torch.optim.Optimizer) -> None:
        super()._update_learning_rate(optimizers)
        rate = self.core_lr_schedule(self._current_progress_remaining)
        self.logger.record("train/core_learning_rate", rate)
        for optimizer in optimizers if isinstance(optimizers, list) else [optimizers]:
            for group in optimizer.param_groups:
                if group.get("name") == CORE_GROUP:
                    group["lr"] = rate

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """Fill the buffer with `n_rollout_steps` steps of each environment; False when the callback says stop."""
        assert isinstance(rollout_buffer, MemoryRolloutBuffer | MemoryDictRolloutBuffer)
        self.policy.set_training_mode(False)
        rollout_buffer.reset()
        if self.use_sde:
            self.policy.reset_noise(env.num_envs)
        callback.on_rollout_start()
        for n_steps in range(n_rollout_steps):
            if self.use_sde and self.sde_sample_freq > 0 and n_steps % self.sde_sample_freq == 0:
                self.policy.reset_noise(env.num_envs)
            last_obs, starts = self._before_step()
            with torch.no_grad():
                actions_tensor, values, log_probs, state = self.policy(
                    obs_as_tensor(last_obs, self.device), self._last_memory_state, self._tensor(starts)
                )
            actions = actions_tensor.cpu().numpy()
            new_obs, rewards, dones, infos = env.step(self._inside_bounds(actions))
            assert not isinstance(new_obs, tuple)  # SB3 has no Tuple observations
            self.num_timesteps += env.num_envs
            callback.update_locals(locals())
            if not callback.on_step():
                return False
            self._update_info_buffer(infos, dones)
            self._bootstrap_truncated(rewards, dones, infos, state)
            rollout_buffer.add(
                last_obs,
                actions.reshape(env.num_envs, -1),
                rewards,
                starts,
                values,
                log_probs,
                state=self._last_memory_state,
            )
            self._last_obs, self._last_episode_starts = new_obs, dones
            self._last_memory_state = state
        last_obs, starts = self._before_step()
        with torch.no_grad():
            values = self.policy.predict_values(
                obs_as_tensor(last_obs, self.device), self._last_memory_state, self._tensor(starts)
            )
        rollout_buffer.compute_returns_and_advantage(values, starts)
        callback.update_locals(locals())
        callback.on_rollout_end()
        return True

    def _before_step(self) -> tuple[np.ndarray | dict[str, np.ndarray], np.ndarray]:
        """The newest observations, and which of them are an episode's first (`learn` sets both)."""
        assert self._last_obs is not None and self._last_episode_starts is not None
        return self._last_obs, self._last_episode_starts

    def _tensor(self, starts: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(starts, dtype=torch.bool, device=self.device)

    def _inside_bounds(self, actions: np.ndarray) -> np.ndarray:
        if not isinstance(self.action_space, spaces.Box):
            return actions
        if self.policy.squash_output:
            return self.policy.unscale_action(actions)
        return np.clip(actions, self.action_space.low, self.action_space.high)

    def _bootstrap_truncated(
        self, rewards: np.ndarray, dones: np.ndarray, infos: list[dict[str, Any]], state: torch.Tensor
    ) -> None:
        """Add the discounted value of what would have followed to rewards of episodes that were cut off.

        The value is that of the terminal observation, with the memory [N, S] of the episode up to it.
        """
        cut = [
            world
            for world in np.flatnonzero(dones).tolist()
            if infos[world].get("TimeLimit.truncated", False)
            and infos[world].get("terminal_observation") is not None
        ]
        if not cut:
            return
        last = [infos[world]["terminal_observation"] for world in cut]
        batch = (
            {key: np.stack([obs[key] for obs in last]) for key in last[0]}
            if isinstance(self.observation_space, spaces.Dict)
            else np.stack(last)
        )
        starts = torch.zeros(len(cut), dtype=torch.bool, device=self.device)
        with torch.no_grad():
            values = self.policy.predict_values(obs_as_tensor(batch, self.device), state[cut], starts)
        rewards[cut] += self.gamma * values.flatten().cpu().numpy()

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str = "MemoryPPO",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> MemoryPPO:
        """SB3's `learn`."""
        return super().learn(
            total_timesteps, callback, log_interval, tb_log_name, reset_num_timesteps, progress_bar
        )

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_last_memory_state"]
