"""What a checkpoint holds: the policy as safetensors, and the whole state of a training in one tensor tree.

Nothing here pickles or unpickles. SB3's own `.zip` is written for interchange (`export_zip`) and read only
with `trust=True` (`load_zip`), for reading it runs code from the file.
"""

from __future__ import annotations

import json
import random
import warnings
from collections import deque
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from gymnasium import spaces
from safetensors import SafetensorError
from safetensors.numpy import load, save
from stable_baselines3 import DQN
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy

from auralnav.agents.algorithms import algorithm_class, build_policy
from auralnav.agents.history import HistoryStack
from auralnav.agents.memory_dqn import MemoryDQN
from auralnav.agents.memory_ppo import MemoryPPO
from auralnav.configs.schema import ExperimentConfig
from auralnav.errors import CheckpointError, last_line
from auralnav.files import atomic_write

POLICY_FORMAT = "auralnav-policy-1"
_ABOUT = "auralnav"
# All that SB3 lets through for a damaged zip; the assertion is its own, for one without data.
_ZIP_ERRORS = (
    OSError, ValueError, KeyError, RuntimeError, EOFError, AssertionError, UnpicklingError, BadZipFile,
)  # fmt: skip


def describe_space(space: spaces.Space) -> dict[str, Any]:
    """A Box, Discrete, MultiDiscrete or Dict space as JSON values."""
    if isinstance(space, spaces.Box):
        return {
            "box": list(space.shape),
            "dtype": str(space.dtype),
            "low": _bound(space.low),
            "high": _bound(space.high),
        }
    if isinstance(space, spaces.Discrete):
        return {"discrete": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.MultiDiscrete) and space.nvec.ndim == 1 and not space.start.any():
        return {"multi": space.nvec.tolist()}
    if isinstance(space, spaces.Dict):
        return {"dict": {key: describe_space(part) for key, part in space.spaces.items()}}
    raise CheckpointError(f"{space}: no form on disk; use Box, Discrete, flat MultiDiscrete or Dict spaces")


def parse_space(value: dict[str, Any]) -> spaces.Space:
    """The space of `describe_space`'s values."""
    if "box" in value:
        shape = tuple(value["box"])
        low, high = (
            np.broadcast_to(np.asarray(value[end], value["dtype"]), shape) for end in ("low", "high")
        )
        return spaces.Box(low.copy(), high.copy(), dtype=np.dtype(value["dtype"]).type)  # type: ignore[arg-type]
    if "discrete" in value:
        return spaces.Discrete(value["discrete"], start=value["start"])
    if "multi" in value:
        return spaces.MultiDiscrete(value["multi"])
    return spaces.Dict({key: parse_space(part) for key, part in value["dict"].items()})


def encode_policy(
    policy: BasePolicy,
    config: ExperimentConfig,
    raw_space: spaces.Space,
    action_space: spaces.Space,
    step: int,
) -> bytes:
    """The weights as safetensors bytes, with all that is needed to know whose they are.

    `raw_space` is the environment's own observation space, before frames are stacked.
    """
    metadata = {
        "format": POLICY_FORMAT,
        "algorithm": config.algorithm,
        "memory": config.policy.memory,
        "env_id": config.env.id,
        "step": step,
        "observation_space": describe_space(raw_space),
        "action_space": describe_space(action_space),
    }
    # Copies: PPO's shared features extractor appears under three names, and a file holds each name whole.
    weights = {key: np.array(value.detach().cpu().numpy()) for key, value in policy.state_dict().items()}
    # One key only: safetensors writes several in random order, and equal weights should make equal files.
    return save(weights, {_ABOUT: json.dumps(metadata)})


def check_policy(
    metadata: dict[str, Any],
    config: ExperimentConfig,
    name: str,
    raw_space: spaces.Space | None = None,
    action_space: spaces.Space | None = None,
) -> None:
    """Raise CheckpointError where a policy file belongs to another environment, spaces, algorithm or memory."""
    if metadata.get("format") != POLICY_FORMAT:
        raise CheckpointError(
            f"{name}: not a policy of this package; give a policy.safetensors of a run folder"
        )
    if metadata["algorithm"] != config.algorithm:
        raise CheckpointError(
            f"{name}: trained by {metadata['algorithm']}, the config says {config.algorithm}; "
            f"use the run's own config.yaml"
        )
    memory = metadata.get("memory", "none")  # files of before there was one do not say
    if memory != config.policy.memory:
        raise CheckpointError(
            f"{name}: trained with memory {memory}, the config says {config.policy.memory}; "
            f"use the run's own config.yaml"
        )
    if metadata["env_id"] != config.env.id:
        raise CheckpointError(
            f"{name}: trained on {metadata['env_id']}, not on {config.env.id}; "
            f"use a checkpoint of {config.env.id}"
        )
    for key, space in (("observation_space", raw_space), ("action_space", action_space)):
        if space is not None and metadata[key] != describe_space(space):
            raise CheckpointError(
                f"{name}: its {key.replace('_', ' ')} is not that of {config.env.id} with these arguments; "
                f"use the run's own config.yaml"
            )


def decode_policy(data: bytes, name: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Weights and metadata of `encode_policy`'s bytes.

    Raises:
        CheckpointError: the bytes are cut off or no policy.
    """
    try:
        tensors = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(
            f"{name}: damaged or cut off ({error}); restore it from a copy or train anew"
        ) from error
    metadata = json.loads(header.get("__metadata__", {}).get(_ABOUT, "{}"))
    return {key: torch.from_numpy(np.array(value)) for key, value in tensors.items()}, metadata


def load_weights(policy: BasePolicy, weights: dict[str, torch.Tensor], name: str) -> None:
    """Put weights into a policy, exactly.

    Raises:
        CheckpointError: names or shapes differ from the config's network.
    """
    try:
        policy.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise CheckpointError(
            f"{name}: does not fit the network of the config ({last_line(error)}); use the run's own"
        ) from error


def rebuild_policy(
    data: bytes, config: ExperimentConfig, name: str
) -> tuple[BasePolicy, spaces.Space, spaces.Space]:
    """The network of a checked config with a policy file's weights; also the raw spaces.

    Raises:
        CheckpointError: damaged file, or a file that does not belong to the config.
    """
    weights, metadata = decode_policy(data, name)
    check_policy(metadata, config, name)
    raw_space = parse_space(metadata["observation_space"])
    action_space = parse_space(metadata["action_space"])
    stack = HistoryStack(raw_space, action_space, 1, config.env.history, config.env.previous_action)
    policy = build_policy(config, stack.space, action_space)
    load_weights(policy, weights, name)
    return policy, raw_space, action_space


def capture(model: BaseAlgorithm, env_state: dict[str, Any] | None) -> dict[str, Any]:
    """The whole state of a training between two rollouts, but the policy's weights and the replay buffer.

    A rollout buffer is empty then, with the memory's states at the beginnings of its windows.
    """
    counters = {name: getattr(model, name) for name in _counters(model)}
    return {
        "optimizer": model.policy.optimizer.state_dict(),
        "counters": counters,
        "ep_info": list(model.ep_info_buffer or ()),
        "ep_success": [float(value) for value in model.ep_success_buffer or ()],
        "last_obs": model._last_obs if env_state is not None else None,
        "last_episode_starts": model._last_episode_starts if env_state is not None else None,
        "memory": getattr(model, name) if (name := _memory_attribute(model)) is not None else None,
        "env": env_state,
        "logger": {
            "value": dict(model.logger.name_to_value),
            "count": dict(model.logger.name_to_count),
            "excluded": dict(model.logger.name_to_excluded),
        },
        "rng": _random_state(model),
    }


def apply(model: BaseAlgorithm, state: dict[str, Any]) -> None:
    """Put a captured state back into a freshly built model, its environment's state aside.

    The generators are set last, for everything before may draw from them.
    """
    model.policy.optimizer.load_state_dict(state["optimizer"])
    for name in _counters(model):
        setattr(model, name, state["counters"][name])
    model.ep_info_buffer = deque(state["ep_info"], maxlen=model._stats_window_size)
    model.ep_success_buffer = deque(state["ep_success"], maxlen=model._stats_window_size)
    model._last_obs = state["last_obs"]
    model._last_episode_starts = state["last_episode_starts"]
    if (attribute := _memory_attribute(model)) is not None:
        setattr(model, attribute, state["memory"].to(model.device))
    model.logger.name_to_value.update(state["logger"]["value"])
    model.logger.name_to_count.update(state["logger"]["count"])
    model.logger.name_to_excluded.update(state["logger"]["excluded"])
    rng = state["rng"]
    random.setstate(rng["python"])
    np.random.set_state(rng["numpy"])
    torch.set_rng_state(rng["torch"])
    if rng["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(rng["cuda"])
    model.action_space.np_random.bit_generator.state = rng["action_space"]


def _random_state(model: BaseAlgorithm) -> dict[str, Any]:
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(legacy=False),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if model.device.type == "cuda" else [],
        "action_space": model.action_space.np_random.bit_generator.state,
    }


def _counters(model: BaseAlgorithm) -> list[str]:
    names = ["num_timesteps", "_episode_num", "_n_updates", "_current_progress_remaining"]
    return [*names, "_n_calls", "exploration_rate"] if isinstance(model, DQN) else names


def _memory_attribute(model: BaseAlgorithm) -> str | None:
    """Where an algorithm keeps the memory [N, S] of its running worlds; None for one without."""
    if isinstance(model, MemoryPPO):
        return "_last_memory_state"
    return "memory_state" if isinstance(model, MemoryDQN) else None


def export_zip(model: BaseAlgorithm, path: Path) -> None:
    """Write SB3's own format, for use with SB3 alone (it holds pickles)."""
    with atomic_write(path) as temporary:
        model.save(temporary)


def load_zip(path: Path, config: ExperimentConfig, trust: bool = False) -> BaseAlgorithm:
    """Read SB3's own format, as it was exported from a training with `config`.

    Raises:
        CheckpointError: without `trust=True`, for reading it runs code from the file; or a damaged file.
    """
    if not trust:
        raise CheckpointError(
            f"{path}: reading SB3's zip runs code from it; pass --trust if you trust its origin"
        )
    try:
        with warnings.catch_warnings():
            # SB3 builds its own n-step buffer from n_steps, then warns of the one it saved.
            warnings.filterwarnings("ignore", message=r"`n_steps=\d+` is ignored", category=UserWarning)
            return algorithm_class(config).load(path, device="cpu")
    except _ZIP_ERRORS as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); export it again") from error


def _bound(values: np.ndarray) -> float | list[Any]:
    first = float(values.flat[0]) if values.size else 0.0
    return first if np.all(values == first) else values.astype(float).tolist()
