"""Evaluation while training: the greedy policy on fixed episodes, in worlds of its own."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm

from auralnav.agents.history import HistoryWrapper
from auralnav.agents.sb3_env import METRICS, make_vector_adapter
from auralnav.configs.schema import ExperimentConfig

SCORES = ("spl", "success", "return")
"""What tells the best policy: the first of these that the episodes have."""


class TrainingEvaluator:
    """Plays episodes seeded `eval_seed`, `eval_seed + 1`, … with test sounds and averages what they report.

    The outcome depends on the weights alone: neither on the number of worlds nor on earlier evaluations.
    """

    def __init__(self, config: ExperimentConfig) -> None:
        self._episodes = config.train.eval_episodes
        self._seed = config.train.eval_seed
        worlds = min(config.env.num_envs, self._episodes)
        overrides = {"split": "test"} if config.env.is_aural else {}
        self._adapter = make_vector_adapter(config.env, worlds, **overrides)
        self._env = HistoryWrapper(self._adapter, config.env.history, config.env.previous_action)

    def run(self, model: BaseAlgorithm) -> dict[str, float]:
        """Means over the episodes: `return`, `length` and each metric (over the episodes that have it)."""
        self._adapter.seed_queue = iter(range(self._seed, self._seed + self._episodes))
        worlds = self._env.num_envs
        # Which of the fixed episodes a world plays: its first by index, later ones as resets come.
        counter = itertools.count(worlds)
        playing: list[int | None] = list(range(worlds))
        outcomes: dict[int, dict[str, float]] = {}
        obs = self._env.reset()
        while len(outcomes) < self._episodes:
            actions, _ = model.policy.predict(obs, deterministic=True)  # type: ignore[arg-type]
            obs, _, dones, infos = self._env.step(actions)
            for world in np.flatnonzero(dones).tolist():
                episode = playing[world]
                if episode is not None:
                    info = infos[world]
                    outcomes[episode] = {
                        **info[METRICS],
                        "return": info["episode"]["r"],
                        "length": info["episode"]["l"],
                    }
                following = next(counter)
                playing[world] = following if following < self._episodes else None
        return _means([outcomes[episode] for episode in sorted(outcomes)])

    def close(self) -> None:
        """Close the worlds."""
        self._env.close()


def score(means: dict[str, float]) -> float:
    """The number that is compared to find the best policy (higher is better)."""
    return next(means[key] for key in SCORES if key in means)


def _means(outcomes: list[dict[str, float]]) -> dict[str, float]:
    means: dict[str, float] = {}
    for key in sorted({key for outcome in outcomes for key in outcome}):
        values: list[Any] = [
            outcome[key] for outcome in outcomes if key in outcome and np.isfinite(outcome[key])
        ]
        if values:
            means[key] = float(np.mean(values))
    return means
