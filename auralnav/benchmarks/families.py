"""The families of `auralnav bench speed` by name."""

from __future__ import annotations

from auralnav.benchmarks.measure import Report
from auralnav.benchmarks.records import SpeedRecord
from auralnav.errors import ConfigError, did_you_mean

FAMILIES = {
    "audio": "environment steps, beside the same acoustic work with pyroomacoustics",
    "ssm": "state-space scans, layers and steps, beside mambapy, LSTM, GRU and the transformer layer",
    "agents": "training with each memory, beside SB3's PPO and DQN and sb3-contrib's RecurrentPPO",
    "dogfight": "ticks of dogfights with bullets on the CPU and, where there is one, a CUDA device, beside VMAS",
}
"""What each measures, in a line."""

SECONDS = {"audio": 2.0, "ssm": 0.5, "agents": 2.0, "dogfight": 1.0}
"""How long a peer works in a round, where nothing else is asked for: a training needs whole rollouts."""


def chosen_families(only: str) -> list[str]:
    """The names in a list with commas, in the order of `FAMILIES` and each once.

    Raises:
        ConfigError: a name that is none of them, or no name.
    """
    names = [name.strip() for name in only.split(",") if name.strip()]
    for name in names:
        if name not in FAMILIES:
            raise ConfigError(f"{name!r} is none of {', '.join(FAMILIES)}{did_you_mean(name, FAMILIES)}")
    if not names:
        raise ConfigError(f"no family is named; give one or more of {', '.join(FAMILIES)}, with commas")
    return [name for name in FAMILIES if name in names]


def measure_family(name: str, seconds: float | None, rounds: int, report: Report | None = None) -> SpeedRecord:
    """Measure one family.

    Args:
        name: one of `FAMILIES`.
        seconds: how long each peer works in each round; None = `SECONDS` of the family.
        rounds: how often all peers take their turn; medians over the rounds are recorded.
        report: called as (peer just measured, turns done, turns in all).

    Raises:
        KeyError: another name.
        ValueError: a time that is not positive, or no rounds.
    """
    time = SECONDS[name] if seconds is None else seconds
    if name == "audio":
        from auralnav.benchmarks.speed import audio_speed

        return audio_speed(time, rounds, report)
    if name == "ssm":
        from auralnav.benchmarks.ssm_speed import ssm_speed

        return ssm_speed(time, rounds, report)
    if name == "agents":
        from auralnav.benchmarks.memory_agents import memory_agents_speed

        return memory_agents_speed(time, rounds, report)
    if name == "dogfight":
        from auralnav.benchmarks.dogfight_speed import dogfight_speed

        return dogfight_speed(time, rounds, report)
    raise KeyError(name)
