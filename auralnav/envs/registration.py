"""The environment ids of this package, their arguments, and their registration with Gymnasium."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

_AUDIO_ENV = "auralnav.envs.audio.env:AudioEnv"
_AUDIO_VECTOR_ENV = "auralnav.envs.audio.vector:AudioVectorEnv"


@dataclass(frozen=True)
class EnvEntry:
    """One registered id.

    Attributes:
        id: the Gymnasium id.
        summary: one line for people, shown by `auralnav envs`.
        entry_point: "module:class" of the single environment.
        vector_entry_point: "module:class" of the vector environment.
        kwargs: constructor arguments that make this variant, where they differ from the defaults.
    """

    id: str
    summary: str
    entry_point: str = _AUDIO_ENV
    vector_entry_point: str = _AUDIO_VECTOR_ENV
    kwargs: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


def _dogfight(name: str, summary: str, **kwargs: Any) -> EnvEntry:
    return EnvEntry(
        name,
        summary,
        "auralnav.envs.dogfight.env:DogfightEnv",
        "auralnav.envs.dogfight.ships:make_vector",
        MappingProxyType(kwargs),
    )


ENTRIES: tuple[EnvEntry, ...] = (
    EnvEntry(
        "AuralNav-v0",
        "two sources in a reverberant shoebox room, heard with a spherical head",
    ),
    EnvEntry(
        "AuralNav-Easy-v0",
        "one source in a reverberant shoebox room, heard with a spherical head",
        kwargs=MappingProxyType({"num_sources": 1}),
    ),
    EnvEntry(
        "AuralNav-Anechoic-v0",
        "OtoWorld's rules: two sources in 8 × 8 m without reflections, two ears without a head",
        # A height is needed to place ears and sources; without reflections it does not change the sound.
        kwargs=MappingProxyType(
            {"num_sources": 2, "room_size": (8.0, 8.0, 3.0), "rt60": 0.0, "head": "none"}
        ),
    ),
    EnvEntry(
        "AuralNav-Hard-v0",
        "four sources, reverberation time 0.6 s, noise at 10 dB SNR",
        kwargs=MappingProxyType({"num_sources": 4, "rt60": 0.6, "noise_snr_db": 10.0}),
    ),
    EnvEntry(
        "AuralNav-Moving-v0",
        "two sources that walk between waypoints at up to 1 m/s",
        kwargs=MappingProxyType({"moving": True}),
    ),
    EnvEntry(
        "AuralNav-Maze-v0",
        "two sources in an L, a corridor or two rooms with a door, with obstacles in the way",
        kwargs=MappingProxyType({"room": "polygon", "layout": "random", "num_obstacles": (1, 3)}),
    ),
    _dogfight("Dogfight-v0", "a team of two ships against two on a torus"),
    _dogfight("Dogfight-1v1-v0", "one ship against one on a torus", teams=(1, 1)),
    _dogfight("Dogfight-4v4-v0", "a team of four ships against four on a torus", teams=(4, 4)),
)


def register_envs() -> None:
    """Register every id of this package with Gymnasium; calling it again changes nothing.

    The environments truncate themselves at their horizon, so no `max_episode_steps` is registered.
    """
    import gymnasium

    for entry in ENTRIES:
        if entry.id not in gymnasium.registry:
            gymnasium.register(
                id=entry.id,
                entry_point=entry.entry_point,
                vector_entry_point=entry.vector_entry_point,
                kwargs=dict(entry.kwargs),
            )
