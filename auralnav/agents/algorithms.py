"""SB3's DQN and PPO, with or without a memory, built from a checked config."""

from __future__ import annotations

from typing import Any, cast

from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy, MultiInputActorCriticPolicy
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.dqn.policies import DQNPolicy, MultiInputPolicy
from torch import nn

from auralnav.agents.aural_dqn import AuralDQN, AuralMemoryDQN
from auralnav.agents.baselines import task_settings
from auralnav.agents.dprnn_extractor import DPRNNExtractor
from auralnav.agents.memory_dqn_policy import MemoryDQNPolicy
from auralnav.agents.memory_policy import MemoryPolicy
from auralnav.agents.memory_ppo import MemoryPPO
from auralnav.agents.separators import load_separator
from auralnav.agents.source_cues import make_cues
from auralnav.configs.schema import DQNConfig, ExperimentConfig, PPOConfig
from auralnav.devices import torch_device
from auralnav.envs.audio.settings import AudioSettings
from auralnav.errors import ConfigError
from auralnav.policies.dueling import DuelingPolicy
from auralnav.policies.extractors import AuralExtractor, VectorExtractor
from auralnav.policies.source_set import SourceSetExtractor
from auralnav.separation.cues import LEVEL_COLUMN

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "elu": nn.ELU, "silu": nn.SiLU}


def choose_device(config: ExperimentConfig, space: spaces.Space) -> str:
    """`auto` takes a GPU only for networks with convolutions or a separator; small ones are faster on the CPU.

    Raises:
        ConfigError: `cuda` is asked for and there is none.
    """
    few_numbers = not isinstance(space, spaces.Dict) or config.separation.separator == "frozen"
    small = config.train.device == "auto" and few_numbers
    return torch_device("cpu" if small else config.train.device, "train.device").type


def algorithm_class(config: ExperimentConfig) -> type[BaseAlgorithm]:
    """What trains a config: `algorithm` with or without a memory."""
    if config.algorithm == "dqn":
        return AuralMemoryDQN if config.remembers else AuralDQN
    return MemoryPPO if config.remembers else PPO


def policy_parts(config: ExperimentConfig, space: spaces.Space) -> tuple[type[BasePolicy], dict[str, Any]]:
    """The policy class of a config and its keyword arguments for a (stacked) observation space."""
    kwargs: dict[str, Any] = {
        "net_arch": list(config.policy.net_arch),
        "activation_fn": _ACTIVATIONS[config.policy.activation],
        # One fused kernel for the whole update: about a tenth of a gradient step of these small networks.
        "optimizer_kwargs": {"fused": True} | ({"eps": 1e-5} if config.algorithm == "ppo" else {}),
    }
    is_dict = isinstance(space, spaces.Dict)
    if config.separation.separator == "finetune":
        kwargs["features_extractor_class"] = DPRNNExtractor
        kwargs["features_extractor_kwargs"] = _separation_parts(config)
    elif config.separates:
        kwargs["features_extractor_class"] = SourceSetExtractor
        kwargs["features_extractor_kwargs"] = {
            "sources": config.separation.sources,
            "level": LEVEL_COLUMN[config.separation.cues],
            "looked_at": config.separation.rows,
            "standardise": config.policy.standardise,
        }
    elif is_dict:
        kwargs["features_extractor_class"] = AuralExtractor
        kwargs["features_extractor_kwargs"] = {
            "map_features": config.policy.cnn_features,
            "standardise": config.policy.standardise,
        }
    elif config.policy.standardise:
        kwargs["features_extractor_class"] = VectorExtractor
    if config.remembers:
        core = config.policy.core
        kwargs["memory"] = config.policy.memory
        kwargs["memory_kwargs"] = {"d_model": core.d_model, "n_layers": core.n_layers, **core.kwargs}
        if config.algorithm == "ppo":
            return MemoryPolicy, kwargs
        return MemoryDQNPolicy, {**kwargs, "dueling": config.dqn.dueling}
    if config.algorithm == "dqn":
        if config.dqn.dueling:
            return DuelingPolicy, kwargs
        return (MultiInputPolicy if is_dict else DQNPolicy), kwargs
    return (MultiInputActorCriticPolicy if is_dict else ActorCriticPolicy), kwargs


def _separation_parts(config: ExperimentConfig) -> dict[str, Any]:
    """What a `DPRNNExtractor` is made of."""
    task = AudioSettings.make(task_settings(config.env))
    return {
        "separator": load_separator(config.separation, task.fs),
        "cues": make_cues(config.separation, task),
        "looked_at": config.separation.rows,
        "standardise": config.policy.standardise,
    }


def build_policy(config: ExperimentConfig, space: spaces.Space, action_space: spaces.Space) -> BasePolicy:
    """The network of a config with fresh weights, on the CPU."""
    policy_class, kwargs = policy_parts(config, space)
    policy = policy_class(space, action_space, lambda _: 1e-4, **kwargs)  # type: ignore[call-arg]
    policy.set_training_mode(False)
    return policy


def check_fits(config: ExperimentConfig, space: spaces.Space, action_space: spaces.Space) -> None:
    """Whether the algorithm of a config can act with these spaces (frames stacked), on this machine.

    Raises:
        ConfigError: it cannot, or there is no such memory core.
    """
    if config.algorithm == "dqn" and not isinstance(action_space, spaces.Discrete):
        raise ConfigError(
            f"algorithm: dqn needs discrete actions, the environment has {action_space}; use algorithm: ppo"
        )
    if config.remembers:
        build_policy(config, space, action_space)  # the core checks its arguments
    elif config.separates:
        policy_parts(config, space)  # a separator that learns is looked for
    elif config.algorithm == "dqn" and config.dqn.n_steps > 1 and isinstance(space, spaces.Dict):
        raise ConfigError(
            "dqn.n_steps: must be 1 with spectrograms or waveforms (SB3's n-step buffer is for vectors)"
        )
    choose_device(config, space)


def build_model(config: ExperimentConfig, env: VecEnv) -> BaseAlgorithm:
    """The algorithm of a config on `env`; seeds Python, NumPy, torch and the worlds.

    Raises:
        ConfigError: the algorithm cannot act in this environment.
    """
    check_fits(config, env.observation_space, env.action_space)
    policy_class, policy_kwargs = policy_parts(config, env.observation_space)
    learner = config.learner
    common: dict[str, Any] = {
        "learning_rate": _schedule(learner.learning_rate, learner.learning_rate_final),
        "batch_size": learner.batch_size,
        "gamma": learner.gamma,
        "max_grad_norm": learner.max_grad_norm,
        "policy_kwargs": policy_kwargs,
        "seed": config.train.seed,
        "device": choose_device(config, env.observation_space),
    }
    memory = (
        {key: policy_kwargs.pop(key) for key in ("memory", "memory_kwargs")} if config.remembers else {}
    )
    if config.algorithm == "dqn":
        dqn = config.dqn
        if config.remembers:
            memory |= {"dueling": policy_kwargs.pop("dueling"), "rescale": dqn.rescale}
            memory |= {"seq_len": dqn.seq_len, "burn_in": dqn.burn_in}
        if config.separates:
            history = {"history": config.env.history}
            memory |= {"replay_buffer_kwargs": history} if config.remembers else history
        if config.separation.separator == "finetune":
            memory["separator_learning_rate"] = _second_schedule(dqn, config.separation.learning_rate)
        return (AuralMemoryDQN if config.remembers else AuralDQN)(
            cast(Any, policy_class),
            env,
            buffer_size=dqn.buffer_size,
            learning_starts=dqn.learning_starts,
            tau=dqn.tau,
            train_freq=dqn.train_freq,
            gradient_steps=dqn.gradient_steps,
            n_steps=dqn.n_steps,
            # SB3 updates the target at most once a vector step, and warns where less is asked for.
            target_update_interval=max(dqn.target_update_interval, env.num_envs),
            exploration_fraction=dqn.exploration_fraction,
            exploration_initial_eps=dqn.exploration_initial,
            exploration_final_eps=dqn.exploration_final,
            double=dqn.double,
            **memory,
            **common,
        )
    ppo = config.ppo
    if config.remembers:
        memory |= {"window": ppo.window, "core_learning_rate": _second_schedule(ppo, ppo.core_learning_rate)}
    return (MemoryPPO if config.remembers else PPO)(
        cast(Any, policy_class),
        env,
        n_steps=ppo.n_steps,
        n_epochs=ppo.n_epochs,
        gae_lambda=ppo.gae_lambda,
        clip_range=_schedule(ppo.clip_range, ppo.clip_range_final),
        clip_range_vf=ppo.clip_range_vf,
        normalize_advantage=ppo.normalize_advantage,
        ent_coef=ppo.ent_coef,
        vf_coef=ppo.vf_coef,
        target_kl=ppo.target_kl,
        **memory,
        **common,
    )


def _second_schedule(learner: DQNConfig | PPOConfig, rate: float | None) -> float | LinearSchedule | None:
    """A part's own learning rate, which falls by the same share as that of the rest; None where it has none."""
    last = learner.learning_rate_final
    if rate is None:
        return None
    return _schedule(rate, None if last is None else rate * last / learner.learning_rate)


def _schedule(start: float, end: float | None) -> float | LinearSchedule:
    return start if end is None else LinearSchedule(start, end, 1.0)
