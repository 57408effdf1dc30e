"""Observation and action spaces of AuralNav, and how a world fills an observation."""

from __future__ import annotations

import math

import numpy as np
from gymnasium import spaces

from auralnav.envs.acoustics.cues import SPECTROGRAM_TOP, CueConfig, log_spectrogram, spatial_cues, stft
from auralnav.envs.audio.group import WorldGroup
from auralnav.envs.audio.settings import LARGEST_ROOM, AudioSettings


class Observer:
    """Spaces and observations for one set of arguments.

    Args:
        settings: the environment's arguments.
    """

    def __init__(self, settings: AudioSettings) -> None:
        self.settings = settings
        mode = settings.obs_mode
        self.cue_config = CueConfig(settings.fs, settings.block)
        boxes: dict[str, spaces.Box] = {}
        if mode in ("waveform", "all"):
            boxes["audio"] = spaces.Box(-1.0, 1.0, (2, settings.block), np.float32)
        if mode in ("spectrogram", "all"):
            shape = (2, self.cue_config.bins, self.cue_config.frames)
            boxes["spectrogram"] = spaces.Box(0.0, SPECTROGRAM_TOP, shape, np.float32)
        if mode in ("cues", "all"):
            low, high = self.cue_config.bounds
            boxes["cues"] = spaces.Box(low, high, dtype=np.float32)
        boxes["agent_info"] = spaces.Box(
            np.array([-1, -1, 0, 0], dtype=np.float32), np.ones(4, dtype=np.float32), dtype=np.float32
        )
        if settings.expose_pose:
            high = np.array([LARGEST_ROOM, LARGEST_ROOM, math.pi], dtype=np.float32)
            boxes["pose"] = spaces.Box(-high, high, dtype=np.float32)
        self.boxes = boxes
        self.space = spaces.Dict(dict(boxes))
        self.action_space: spaces.Space = (
            spaces.Box(-1.0, 1.0, (2,), np.float32) if settings.continuous else spaces.Discrete(4)
        )

    def empty(self, worlds: int) -> dict[str, np.ndarray]:
        """Room for the observations of `worlds` worlds, one row each, with anything in it."""
        return {key: np.empty((worlds, *box.shape), dtype=np.float32) for key, box in self.boxes.items()}

    def fill(self, group: WorldGroup, out: dict[str, np.ndarray]) -> None:
        """Write the observations of a group's worlds into the rows of `out`."""
        audio = group.streams.audio
        if "audio" in out:
            out["audio"][...] = audio
        if "cues" in out or "spectrogram" in out:
            spectra = stft(audio, self.cue_config)
            if "cues" in out:
                out["cues"][...] = spatial_cues(spectra, self.cue_config)
            if "spectrogram" in out:
                out["spectrogram"][...] = log_spectrogram(spectra)
        group.walks.odometry(out["agent_info"])
        if "pose" in out:
            for row, (x, y, theta) in zip(out["pose"], group.walks.poses.tolist(), strict=True):
                row[:] = x, y, math.remainder(theta, 2 * math.pi)
            limit = np.float32(math.pi)
            np.clip(out["pose"][:, 2], -limit, limit, out=out["pose"][:, 2])
