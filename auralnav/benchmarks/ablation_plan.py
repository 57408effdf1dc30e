"""What an ablation of separation trains: the same experiment with other masks or cues, and nothing else changed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from auralnav.agents.algorithms import check_fits
from auralnav.agents.baselines import task_settings
from auralnav.agents.separators import find_separator
from auralnav.agents.train import make_training_env, with_absolute_paths
from auralnav.configs.load import load_config
from auralnav.configs.schema import AURAL_PREFIX, AudioEnvConfig, ExperimentConfig, PolicyConfig
from auralnav.errors import ConfigError, did_you_mean
from auralnav.files import sha256

TRAINED: dict[str, tuple[str, str]] = {
    "learned": ("learned", "masked"),
    "oracle": ("oracle", "masked"),
    "mixture": ("mixture", "masked"),
    "seed": ("learned", "seed"),
}
"""The rows that are trained: `separation.masks` and `separation.cues` of each.

The mixture is one source of everything: one row of cues and zeros in the others, as a separator gives that hears one
source, so that its network is as large as the others'. The same row K times would say no more, and would only let
the first layer learn K times as fast.
"""

TRACKER = "tracker"
ROWS = (*TRAINED, TRACKER)
WITHOUT_MEMORY, WITH_MEMORY = "auralnav-dprnn-dqn", "auralnav-dprnn-mamba-dqn"

_OURS = {
    "separation.masks": "the rows say it; use --rows",
    "separation.cues": "the rows say it; use --rows",
    "separation.separator": "the rows are of a frozen one; leave it out",
    "separation.weights": "use --separator",
    "train.seed": "use --seeds",
    "train.total_steps": "use --steps",
    "env.id": "use --env",
    "policy.memory": "use --memory, or experiments of your own",
}
"""Settings that options of the command decide, with the word for who sets them by `--set`."""


@dataclass(frozen=True)
class Training:
    """One training of an ablation: a row, with or without a memory, from one seed."""

    variant: str
    row: str
    config: ExperimentConfig

    @property
    def name(self) -> str:
        """Of its folder and files."""
        return f"{self.variant}-{self.row}-seed{self.config.train.seed}"


@dataclass(frozen=True)
class Plan:
    """An ablation.

    Attributes:
        variants: experiments by name: a kind of memory, or the experiment's own name. Their seed, masks and cues
            stand for those that the rows and the seeds bring.
        rows: some of ROWS, in that order.
        seeds: of the trainings, the same ones in each row.
        episodes: fixed evaluation episodes.
    """

    variants: dict[str, ExperimentConfig]
    rows: tuple[str, ...]
    seeds: tuple[int, ...]
    episodes: int

    @property
    def env(self) -> AudioEnvConfig:
        """The task, as the first variant has it; the others have the same."""
        return next(iter(self.variants.values())).env

    def trainings(self) -> Iterator[Training]:
        """All of them, seed after seed: with few processes the first seeds are complete first."""
        for seed in self.seeds:
            for variant, config in self.variants.items():
                for row in self.rows:
                    if row != TRACKER:
                        yield Training(variant, row, of_row(config, row, seed))

    def separator(self) -> dict[str, str] | None:
        """Name and SHA-256 of the separator's file; None where no row hears through it."""
        if not any(TRAINED[row][0] == "learned" for row in self.rows if row in TRAINED):
            return None
        weights = next(iter(self.variants.values())).separation.weights
        return {"name": Path(weights).name, "sha256": _digest(weights)}


def of_row(config: ExperimentConfig, row: str, seed: int) -> ExperimentConfig:
    """The experiment of a row: masks, cues and seed are changed, nothing else."""
    masks, cues = TRAINED[row]
    separation = config.separation.model_copy(update={"masks": masks, "cues": cues})
    train = config.train.model_copy(update={"seed": seed})
    return config.model_copy(update={"separation": separation, "train": train})


def make_plan(
    experiments: Sequence[str] = (),
    *,
    env: str | None = None,
    rows: Sequence[str] = ROWS,
    memory: Sequence[str] = (),
    seeds: Sequence[int] = (10, 11, 12),
    steps: int | None = None,
    episodes: int = 200,
    separator: str | None = None,
    overrides: Sequence[str] = (),
) -> Plan:
    """A checked plan; every run has one torch thread and one thread for its worlds.

    Args:
        experiments: names or files, each with its own memory; without any those that come with the package, for each
            of `memory`.
        env: an AuralNav id in the place of the experiments' own.
        rows: some of ROWS.
        memory: kinds of memory, "none" among them; without experiments only. None given: "none" and "mamba2".
        seeds: of the trainings.
        steps: environment steps of each training; None: as the experiments have it.
        episodes: fixed evaluation episodes.
        separator: name or path of the separator; None: as the experiments have it.
        overrides: `key.sub=value` changes of every experiment.

    Raises:
        ConfigError: names, numbers or settings that are wrong or do not go together.
        CheckpointError: no such separator, or a damaged one.
    """
    chosen = tuple(row for row in ROWS if row in _known(rows, ROWS, "--rows"))
    if len(set(seeds)) < len(seeds) or not seeds or min(seeds) < 0:
        given = ",".join(map(str, seeds))
        raise ConfigError(f"--seeds {given}: give whole numbers from 0, each once, for example 10,11,12")
    if (steps is not None and steps < 1) or episodes < 1:
        raise ConfigError(f"--steps {steps}, --episodes {episodes}: give at least 1")
    if env is not None and not env.startswith(AURAL_PREFIX):
        raise ConfigError(f"--env {env}: has no ears; give an AuralNav id (`auralnav envs` lists them)")
    for override in overrides:
        key = override.partition("=")[0].strip()
        if key in _OURS:
            raise ConfigError(f"--set {override}: {_OURS[key]}")
    sets = ["env.threads=1", "separation.threads=1", "train.torch_threads=1", *overrides]
    sets += [] if env is None else [f"env.id={json.dumps(env)}"]
    sets += [] if steps is None else [f"train.total_steps={steps}"]
    sets += [] if separator is None else [f"separation.weights={json.dumps(separator)}"]
    if experiments and memory:
        raise ConfigError("--memory: an experiment of your own has its memory; give one of the two")
    if experiments:
        configs = [load_config(name, sets) for name in experiments]
        variants = {config.name: config for config in configs}
        if len(variants) < len(configs):
            raise ConfigError("two experiments of the same name cannot be told apart; give one of them another `name`")
    else:
        known = get_args(PolicyConfig.model_fields["memory"].annotation)
        kinds = _known(memory or ("none", "mamba2"), known, "--memory")
        variants = {kind: _packaged(kind, sets) for kind in kinds}
    variants = {name: with_absolute_paths(config) for name, config in variants.items()}
    plan = Plan(variants, chosen, tuple(seeds), episodes)
    _check(plan)
    return plan


def comma_list(text: str) -> list[str]:
    """The names between commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def whole_numbers(text: str) -> list[int]:
    """The numbers between commas.

    Raises:
        ConfigError: something else stands there.
    """
    try:
        return [int(number) for number in comma_list(text)]
    except ValueError as error:
        raise ConfigError(f"--seeds {text}: give whole numbers from 0, each once, for example 10,11,12") from error


def _digest(weights: str) -> str:
    """SHA-256 of a separator's file."""
    return sha256(find_separator(weights))


def _packaged(kind: str, sets: Sequence[str]) -> ExperimentConfig:
    if kind == "none":
        return load_config(WITHOUT_MEMORY, sets)
    return load_config(WITH_MEMORY, [f"policy.memory={kind}", *sets])


def _known(names: Sequence[str], known: Sequence[str], option: str) -> list[str]:
    """The names without repetition, all of them known."""
    wrong = next((name for name in names if name not in known), None)
    if wrong is not None:
        raise ConfigError(f"{option}: {wrong!r} is none of {', '.join(known)}{did_you_mean(wrong, known)}")
    if not names:
        raise ConfigError(f"{option}: nothing is named; give some of {', '.join(known)}")
    return list(dict.fromkeys(names))


def _check(plan: Plan) -> None:
    """Refuse before the first training what would end one of them at its beginning."""
    tasks = []
    for name, config in plan.variants.items():
        if config.separation.separator != "frozen":
            raise ConfigError(
                f"{name}: separation.separator is {config.separation.separator}; the rows are of a frozen one, so "
                f"give an experiment with separator: frozen"
            )
        settings = task_settings(config.env)
        tasks.append((config.env.id, {key: settings[key] for key in settings if key not in ("obs_mode", "split")}))
        for row in plan.rows:
            if row != TRACKER:
                few = config.env.model_copy(update={"num_envs": 1})
                one = of_row(config, row, plan.seeds[0]).model_copy(update={"env": few})
                with closing(make_training_env(one)) as worlds:
                    check_fits(one, worlds.observation_space, worlds.action_space)
    if any(task != tasks[0] for task in tasks):
        raise ConfigError(f"{', '.join(plan.variants)}: not the same task; give experiments on one, or --env and --set")
    if plan.separator() and len({_digest(config.separation.weights) for config in plan.variants.values()}) > 1:
        raise ConfigError(f"{', '.join(plan.variants)}: hear through different separators; give one with --separator")
    if TRACKER in plan.rows and plan.env.continuous:
        raise ConfigError("env.continuous: the tracker walks in steps; leave it out of --rows")
