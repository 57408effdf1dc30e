"""Evaluation while training: the greedy policy on fixed episodes with held-out sounds."""

from __future__ import annotations

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm

from auralnav.agents.evaluate import PolicyAgent, evaluate
from auralnav.configs.schema import ExperimentConfig

SHOWN = ("success_60", "success", "spl", "return", "steps")


def evaluate_model(model: BaseAlgorithm, config: ExperimentConfig) -> dict[str, float]:
    """Means over the episodes seeded `eval_seed`, `eval_seed + 1`, …, of each measure that is defined.

    The outcome depends on the weights alone: neither on the number of worlds nor on earlier evaluations.
    """
    train = config.train
    agent = PolicyAgent(model.policy, config)
    lines = evaluate(agent, config.env, train.eval_episodes, train.eval_seed, num_envs=config.env.num_envs)
    means: dict[str, float] = {}
    for key in sorted({key for line in lines for key in line} - {"seed"}):
        values = [float(value) for line in lines if (value := line.get(key)) is not None]
        if values:
            means[key] = float(np.mean(values))
    return means


def score(means: dict[str, float]) -> tuple[float, float]:
    """What is compared to find the best policy: SPL, or success where it is not defined, then the return."""
    return means.get("spl", means.get("success", 0.0)), means["return"]
