"""Deep Q-learning with a memory: SB3's DQN on sequences, in the way of R2D2.

After Kapturowski et al., Recurrent experience replay in distributed reinforcement learning (2019): sequences
begin in the memory state that was stored when acting, and a burn-in brings it up to date before anything is
learned. Replay is uniform here, and all worlds share one exploration schedule.
"""

from __future__ import annotations

from typing import Any, ClassVar, cast

import numpy as np
import torch
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback
from stable_baselines3.common.utils import obs_as_tensor
from torch import Tensor
from torch.nn import functional as F

from auralnav.agents.batched_dqn import BatchedDQN
from auralnav.agents.memory_algorithm import MemoryAlgorithm, PredictState
from auralnav.agents.memory_dqn_policy import MemoryDQNPolicy
from auralnav.agents.memory_replay import SequenceReplay
from auralnav.agents.sequence_batch import SequenceBatch, cut_off_ends, part_of

_RESCALE_SLOPE = 1e-3


class MemoryDQN(MemoryAlgorithm, BatchedDQN):
    """SB3's DQN whose Q-network remembers: any memory core by name, learned from sequences.

    Exploration is drawn for each world. The memory takes in every step, explored or not, the warm-up too.

    Args:
        policy: "MlpPolicy", "CnnPolicy" or "MultiInputPolicy" (all `MemoryDQNPolicy`), or a subclass of it.
        env: as SB3's.
        memory: name of the core (`auralnav.policies.ssm.cores.CORES`).
        memory_kwargs: arguments of the core.
        dueling: a shared value and advantages.
        double: the online network chooses the next action that the target network values.
        rescale: learn h(Q), h(x) = sign(x)(√(|x|+1) − 1) + 0.001 x, for returns of many sizes (Pohlen et al.,
            Observe and look further, 2018).
        seq_len: steps learned from in a sequence; gradients reach as far back.
        burn_in: steps before them that only refresh the stored memory state.
        n_steps: rewards in a return before the bootstrap.
        batch_size: sequences in an update.
        learning_starts: environment steps before the first update.
        replay_buffer_kwargs: further arguments of `SequenceReplay`.
        policy_kwargs: further arguments of `MemoryDQNPolicy`, such as `net_arch`, the layers after the core.
        **kwargs: SB3's further arguments of `DQN`, by name.

    Raises:
        ConfigError: sizes that do not fit together, an unknown core or arguments it does not take.
        TypeError: `policy_kwargs` repeats an argument of its own here, such as `memory`.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": MemoryDQNPolicy,
        "CnnPolicy": MemoryDQNPolicy,
        "MultiInputPolicy": MemoryDQNPolicy,
    }
    policy: MemoryDQNPolicy

    def __init__(
        self,
        policy: str | type[MemoryDQNPolicy],
        env: GymEnv | str,
        *,
        memory: str = "mamba2",
        memory_kwargs: dict[str, Any] | None = None,
        dueling: bool = False,
        double: bool = True,
        rescale: bool = False,
        seq_len: int = 32,
        burn_in: int = 8,
        n_steps: int = 1,
        batch_size: int = 16,
        learning_starts: int = 1_000,
        replay_buffer_kwargs: dict[str, Any] | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        _init_setup_model: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            policy,
            env,
            batch_size=batch_size,
            learning_starts=learning_starts,
            replay_buffer_class=cast("type[ReplayBuffer]", SequenceReplay),
            # Not DQN's own `n_steps`: that one is for SB3's buffers.
            replay_buffer_kwargs={
                **(replay_buffer_kwargs or {}),
                "seq_len": seq_len,
                "burn_in": burn_in,
                "n_steps": n_steps,
            },
            policy_kwargs=dict(
                memory=memory, memory_kwargs=dict(memory_kwargs or {}), dueling=dueling, **(policy_kwargs or {})
            ),
            _init_setup_model=False,
            **kwargs,
        )
        self.memory, self.double, self.rescale = memory, double, rescale
        if _init_setup_model:
            self._setup_model()

    @property
    def replay(self) -> SequenceReplay:
        """The replay buffer under its own type."""
        return cast(SequenceReplay, self.replay_buffer)

    def _setup_model(self) -> None:
        self._check_memory()
        self.replay_buffer_kwargs["gamma"] = self.gamma
        fresh = self.replay_buffer is None
        super()._setup_model()
        core = self.policy.q_net.core
        if fresh:
            self.replay.allocate_states(core.state_size)
        self.memory_state: Tensor = core.initial_state(self.n_envs)
        """[N, S], the memory of the training worlds before their next observation."""
        self._memory_before = self.memory_state

    def _before_reset(self) -> None:
        self.replay.cut_episodes()
        self.memory_state = self.policy.q_net.core.initial_state(self.n_envs)

    def _sample_action(
        self, learning_starts: int, action_noise: ActionNoise | None = None, n_envs: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        self._memory_before = self.memory_state
        last: Any = self._last_obs
        starts = torch.as_tensor(self._last_episode_starts, dtype=torch.bool, device=self.device)
        with torch.no_grad():
            values, self.memory_state = self.policy.q_net.step(
                obs_as_tensor(last, self.device), self.memory_state, starts
            )
        greedy = values.argmax(dim=1).cpu().numpy()
        rate = 1.0 if self.num_timesteps < learning_starts else self.exploration_rate
        actions = self._explore(greedy, rate)
        return actions, actions

    def _store_transition(
        self,
        replay_buffer: ReplayBuffer,
        buffer_action: np.ndarray,
        new_obs: np.ndarray | dict[str, np.ndarray],
        reward: np.ndarray,
        dones: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        normaliser = self._vec_normalize_env
        raw: Any
        if normaliser is None:
            raw, new_raw, raw_reward = self._last_obs, new_obs, reward
        else:
            raw, new_raw = self._last_original_obs, normaliser.get_original_obs()
            raw_reward = normaliser.get_original_reward()
        cut_off = cut_off_ends(infos, dones)
        terminal = {world: infos[world]["terminal_observation"] for world in np.flatnonzero(cut_off).tolist()}
        if normaliser is not None:
            terminal = {world: normaliser.unnormalize_obs(obs) for world, obs in terminal.items()}
        cast(SequenceReplay, replay_buffer).add(
            raw,
            buffer_action,
            raw_reward,
            cast(np.ndarray, self._last_episode_starts),
            dones & ~cut_off,
            cut_off,
            terminal,
            self._memory_before,
            self.memory_state,
        )
        self._last_obs, self._last_original_obs = cast(Any, new_obs), cast(Any, new_raw)
        self._last_episode_starts = dones

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: PredictState | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, PredictState | None]:
        """Actions, ε-greedy for each world unless `deterministic`, and the new memory state.

        Args:
            observation: of one world or of n.
            state: what the last call returned, a tuple of one array [n, S]; None before the first.
            episode_start: bool [n], worlds whose episode begins with this observation.
            deterministic: greedy actions only.

        Raises:
            ShapeError: a state of another core or of another number of worlds.
        """
        values, state, vectorised = self.policy.values(observation, state, episode_start)
        actions = values.argmax(axis=1)
        if not deterministic:
            actions = self._explore(actions, self.exploration_rate)
        return (actions if vectorised else actions[0]), state

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        """Updates, each on `batch_size` sequences of the replay."""
        self._descend(gradient_steps, batch_size)

    def _loss(self, batch: SequenceBatch) -> Tensor:
        """Mean Huber loss over the rows with a known target."""
        net, target_net = self.policy.q_net, self.policy.q_net_target
        burn_in, rows = self.replay.burn_in, self.replay.seq_len
        state = batch.states
        with torch.no_grad():
            after = target_net.outputs(batch.observations, state, batch.starts)
            after = target_net.values(after[:, burn_in:])  # [M, L + n, A]
            if burn_in:
                before = np.s_[:, :burn_in]
                _, state = net.run(part_of(batch.observations, before), state, batch.starts[before])
        learned = np.s_[:, burn_in:]
        outputs = net.outputs(part_of(batch.observations, learned), state, batch.starts[learned])
        online = net.values(outputs)  # [M, L + n, A]
        values = online[:, :rows].gather(2, batch.actions[:, :, None]).squeeze(2)  # [M, L]
        with torch.no_grad():
            chooser = online if self.double else after
            best = after.gather(2, chooser.argmax(dim=2, keepdim=True)).squeeze(2)  # [M, L + n]
            best = best.gather(1, batch.bootstraps)
            if self.rescale:
                targets = rescale(batch.returns + batch.discounts * unscale(best))
            else:
                targets = batch.returns + batch.discounts * best
        losses = F.smooth_l1_loss(values, targets, reduction="none")
        return (losses * batch.mask).sum() / batch.mask.sum().clamp(min=1)

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 4,
        tb_log_name: str = "MemoryDQN",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> MemoryDQN:
        """SB3's `learn`."""
        return super().learn(
            total_timesteps, callback, log_interval, tb_log_name, reset_num_timesteps, progress_bar
        )

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "memory_state", "_memory_before"]


def rescale(values: Tensor) -> Tensor:
    """h(x) = sign(x)(√(|x|+1) − 1) + ε x with ε = 0.001 (Pohlen et al., 2018)."""
    return values.sign() * (torch.sqrt(values.abs() + 1) - 1) + _RESCALE_SLOPE * values


def unscale(values: Tensor) -> Tensor:
    """The inverse of `rescale`, sign(x)(((√(1 + 4ε(|x| + 1 + ε)) − 1) / 2ε)² − 1) without the cancellation."""
    shifted = values.abs() + 1 + _RESCALE_SLOPE
    root = 2 * shifted / (1 + torch.sqrt(1 + 4 * _RESCALE_SLOPE * shifted))
    return values.sign() * (root.square() - 1)
