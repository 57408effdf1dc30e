"""The arguments of an AuralNav environment, checked once and written down once."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from auralnav.envs.audio.layouts import MAX_OBSTACLES
from auralnav.errors import ConfigError, did_you_mean

Range = tuple[float, float]

LARGEST_ROOM = 100.0
"""Longest side of a room, m; bounds the pose that `expose_pose` shows."""

_RANGE_ERROR = "give a number, or a pair (low, high) with low <= high"

_CHOICES = {
    "room": ("shoebox", "polygon"),
    "renderer": ("hybrid", "ism"),
    "obs_mode": ("waveform", "spectrogram", "cues", "all"),
    "split": ("train", "test"),
    "reward": ("shaped", "otoworld"),
    "layout": ("random", "l", "corridor", "two_rooms"),
}

_WHOLE = (
    ("num_sources", 1, 4),
    ("distractors", 0, 4),
    ("max_order", 0, 30),
    ("horizon", 1, None),
    ("fs", 4000, 96000),
)
"""Name, least and greatest value of each whole number."""


@dataclass(frozen=True)
class AudioSettings:
    """Arguments of `AudioEnv` and `AudioVectorEnv` (all by keyword). NumPy scalars count as Python's own numbers.

    Attributes:
        num_sources: sources to find, 1 to 4.
        room: "shoebox", or "polygon" (a `layout` with obstacles).
        room_size: width, depth and height of a shoebox, m, at most 100; each a number, or a range from which it
            is drawn anew each episode.
        rt60: reverberation time, s, number or range; 0 or None: no reflections.
        band_rt60: octave bands whose reverberation time is a share of `rt60` of their own: a mapping, or pairs, of
            centre in Hz and share (0.25 to 2). It shapes what follows the early images, so "hybrid" alone has it.
        head: "sphere" (rigid sphere of 0.09 m), "none" (two free microphones 0.18 m apart) or the path of a SOFA
            file with a measured HRTF.
        renderer: "hybrid" (early images and a diffuse tail) or "ism" (images to `max_order` alone).
        max_order: highest number of reflections drawn as single images.
        moving: sources walk between random waypoints.
        source_speed: their speed, m/s, number or range within (0, 1].
        distractors: further sources of reserved sound classes that must not be approached.
        noise_snr_db: diffuse background noise this far below the mixture at the start, dB; None: none.
        fs: sampling rate, Hz.
        step_duration: seconds of sound a step.
        horizon: steps until truncation.
        found_radius: geodesic distance at which a source counts as found, m.
        step_size: metres a forward or backward step.
        turn_deg: degrees a turn.
        obs_mode: "waveform", "spectrogram", "cues" or "all".
        expose_pose: add `pose` (x, y in m and heading in rad) to the observation.
        sounds: "procedural", or the path of a folder of sound files.
        split: sound instances of "train" or "test".
        continuous: actions Box(2) (forward speed, turn rate) instead of Discrete(4).
        reward: "shaped" (potential-based) or "otoworld" (the ancestor's, farmable; for comparison).
        found_reward, completion_reward: for each source found and for all.
        step_penalty: taken off each step.
        shaping_scale: times the change of the shortest remaining tour, 1/m.
        distractor_penalty: taken off each step within `found_radius` of a distractor.
        layout: polygon rooms: "random", "l", "corridor" or "two_rooms".
        num_obstacles: boxes in polygon rooms, number or range.
    """

    num_sources: int = 2
    room: str = "shoebox"
    room_size: tuple[Any, Any, Any] = ((5.0, 10.0), (5.0, 10.0), (2.4, 3.5))
    rt60: Any = (0.15, 0.6)
    band_rt60: Any = ()
    head: str = "sphere"
    renderer: str = "hybrid"
    max_order: int = 6
    moving: bool = False
    source_speed: Any = (0.3, 0.8)
    distractors: int = 0
    noise_snr_db: float | None = None
    fs: int = 16000
    step_duration: float = 0.25
    horizon: int = 200
    found_radius: float = 1.0
    step_size: float = 0.5
    turn_deg: float = 30.0
    obs_mode: str = "waveform"
    expose_pose: bool = False
    sounds: str = "procedural"
    split: str = "train"
    continuous: bool = False
    reward: str = "shaped"
    found_reward: float = 10.0
    completion_reward: float = 10.0
    step_penalty: float = 0.01
    shaping_scale: float = 1.0
    distractor_penalty: float = 0.5
    layout: str = "random"
    num_obstacles: Any = (1, 3)

    @classmethod
    def make(cls, arguments: Mapping[str, Any]) -> AudioSettings:
        """Settings from keyword arguments.

        Raises:
            ConfigError: an unknown name (the nearest known one is suggested) or a bad value.
        """
        known = [field.name for field in fields(cls)]
        for name in arguments:
            if name not in known:
                hint = did_you_mean(name, known) or f"; known arguments: {', '.join(known)}"
                raise ConfigError(f"AuralNav takes no argument {name!r}{hint}")
        return cls(**arguments)

    def __post_init__(self) -> None:
        # Frozen: what is normalised is set once, here.
        for field in fields(self):
            object.__setattr__(self, field.name, _plain(getattr(self, field.name)))
        for name, allowed in _CHOICES.items():
            value = getattr(self, name)
            if value not in allowed:
                raise ConfigError(f"{name}={value!r} is not one of {', '.join(allowed)}")
        for name, low, high in _WHOLE:
            _whole_number(name, getattr(self, name), low, high)
        for name in ("found_radius", "step_size", "step_duration", "turn_deg"):
            _number(name, getattr(self, name), low=0.0, exclusive=True)
        if self.turn_deg > 180:
            raise ConfigError(f"turn_deg={self.turn_deg!r}; give at most 180")
        for name in (
            "found_reward",
            "completion_reward",
            "step_penalty",
            "shaping_scale",
            "distractor_penalty",
        ):
            _number(name, getattr(self, name), low=0.0)
        for name in ("moving", "expose_pose", "continuous"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name}={getattr(self, name)!r}; give True or False")
        for name, known in (("sounds", "procedural"), ("head", "sphere' or 'none")):
            if not isinstance(getattr(self, name), (str, os.PathLike)):
                raise ConfigError(f"{name}={getattr(self, name)!r}; give '{known}', or a path")
        if self.noise_snr_db is not None:
            _number("noise_snr_db", self.noise_snr_db)
        if self.block < round(0.04 * self.fs):
            raise ConfigError(f"step_duration={self.step_duration!r} s is too short; give at least 0.04 s")
        if not isinstance(self.room_size, (tuple, list)) or len(self.room_size) != 3:
            raise ConfigError(f"room_size={self.room_size!r}; give width, depth and height in metres")
        sides = tuple(as_range("room_size", side, low=0.0, exclusive=True) for side in self.room_size)
        if max(side[1] for side in sides) > LARGEST_ROOM:
            raise ConfigError(f"room_size={self.room_size!r}; give sides of at most {LARGEST_ROOM:g} m")
        object.__setattr__(self, "room_size", sides)
        rt60 = as_range("rt60", 0.0 if self.rt60 is None else self.rt60, low=0.0)
        if 0 < rt60[1] and rt60[0] < 0.05:
            raise ConfigError(f"rt60={self.rt60!r}; give 0 for no reflections, or at least 0.05 s")
        if rt60[1] > 3.0:
            raise ConfigError(
                f"rt60={self.rt60!r}; give at most 3 s (the images of a longer decay are too many)"
            )
        object.__setattr__(self, "rt60", rt60)
        object.__setattr__(self, "band_rt60", self._bands())
        speed = as_range("source_speed", self.source_speed, low=0.0, exclusive=True)
        if speed[1] > 1.0:
            raise ConfigError(f"source_speed={self.source_speed!r}; give at most 1 m/s")
        object.__setattr__(self, "source_speed", speed)
        boxes = as_range("num_obstacles", self.num_obstacles, low=0.0)
        if any(value != int(value) or value > MAX_OBSTACLES for value in boxes):
            raise ConfigError(
                f"num_obstacles={self.num_obstacles!r}; give a whole number from 0 to {MAX_OBSTACLES}, or a pair"
            )
        object.__setattr__(self, "num_obstacles", boxes)

    def _bands(self) -> tuple[Range, ...]:
        """`band_rt60` as pairs (octave centre, share), lowest first."""
        given = self.band_rt60
        pairs = tuple(given.items()) if isinstance(given, Mapping) else given
        if not isinstance(pairs, (tuple, list)) or any(
            not isinstance(pair, (tuple, list)) or len(pair) != 2 for pair in pairs
        ):
            raise ConfigError(f"band_rt60={given!r}; give pairs of octave centre and share, such as {{4000: 0.6}}")
        bands = [
            (_number("band_rt60", hz, low=0.0, exclusive=True), _number("band_rt60", share)) for hz, share in pairs
        ]
        octaves = [round(math.log2(centre / 1000.0)) for centre, _ in bands]
        for (centre, share), octave in zip(bands, octaves, strict=True):
            if not 60.0 <= centre <= 0.5 * self.fs or abs(math.log2(centre / 1000.0) - octave) > 0.05:
                raise ConfigError(
                    f"band_rt60: {centre:g} is no octave centre; give 63, 125, 250 … Hz, up to {self.fs // 2}"
                )
            if not 0.25 <= share <= 2.0:
                raise ConfigError(f"band_rt60: {share:g} of rt60 at {centre:g} Hz; give a share from 0.25 to 2")
        if len(set(octaves)) < len(octaves):
            raise ConfigError(f"band_rt60={given!r} names an octave twice; give each once")
        if bands and self.renderer != "hybrid":
            raise ConfigError("band_rt60 needs renderer='hybrid': images alone decay alike in all bands")
        return tuple(sorted(bands))

    @property
    def block(self) -> int:
        """Samples of sound a step, N."""
        return round(self.fs * self.step_duration)

    @property
    def turn(self) -> float:
        """A turn in radians."""
        return math.radians(self.turn_deg)


def _plain(value: Any) -> Any:
    """`value` with NumPy scalars, also those in a pair or triple, as Python's own."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (tuple, list)):
        return tuple(_plain(part) for part in value)
    return value


def _whole_number(name: str, value: Any, low: int, high: int | None) -> None:
    """Refuse what is no whole number from `low` to `high` (True is none, nor is 2.0)."""
    if type(value) is not int or value < low or (high is not None and value > high):
        wanted = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise ConfigError(f"{name}={value!r}; give a whole number {wanted}")


def _number(name: str, value: Any, low: float = -math.inf, exclusive: bool = False) -> float:
    """`value` as a finite float not below `low`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ConfigError(f"{name}={value!r}; give a finite number")
    if value < low or (exclusive and value == low):
        raise ConfigError(
            f"{name}={value!r}; give a number {'above' if exclusive else 'of at least'} {low:g}"
        )
    return float(value)


def as_range(name: str, value: Any, low: float = -math.inf, exclusive: bool = False) -> Range:
    """A number or a pair as a pair (low, high)."""
    pair = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(pair) != 2:
        raise ConfigError(f"{name}={value!r}; {_RANGE_ERROR}")
    first, last = (_number(name, v, low, exclusive) for v in pair)
    if first > last:
        raise ConfigError(f"{name}={value!r}; {_RANGE_ERROR}")
    return first, last
