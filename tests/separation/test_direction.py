"""Direction from masked cues of rendered scenes: sides, front and back, errors with oracle masks."""

from __future__ import annotations

import functools

import gymnasium as gym
import numpy as np
import pytest
import torch

import auralnav
from auralnav.benchmarks.separation_direction import front_scenes, oracle_errors
from auralnav.envs.acoustics.cues import CueConfig
from auralnav.envs.acoustics.sounds import CLASSES
from auralnav.errors import ConfigError
from auralnav.separation.cues import MASKED, SpatialCues, azimuth
from auralnav.separation.direction import DirectionMatch

auralnav.register_envs()

FS, N = 16_000, 4000


def make(**settings):
    defaults = {"num_sources": 1, "room_size": (8.0, 8.0, 3.0), "rt60": 0.0, "found_radius": 0.3}
    return gym.make("AuralNav-v0", disable_env_checker=True, **{**defaults, **settings}).unwrapped


def hear(env, degrees, distances, seed: int, heading: float = 0.0) -> torch.Tensor:
    """Images [1, K, 2, N] of sources at azimuths left of the heading, around the middle of the room, at ear height."""
    angles = heading + np.radians(degrees)
    places = [[4 + d * np.cos(a), 4 + d * np.sin(a), 1.5] for a, d in zip(angles, distances, strict=True)]
    env.reset(seed=seed, options={"pose": (4.0, 4.0, heading), "sources": places})
    return torch.from_numpy(env.source_images()[None])


def directions(images: torch.Tensor) -> torch.Tensor:
    """Degrees [K] of images [1, K, 2, N], through the masks that the images themselves give."""
    return torch.rad2deg(azimuth(SpatialCues(FS, N)(images.sum(dim=1), images.mean(dim=2))))[0]


@functools.lru_cache(maxsize=2)
def errors_by_class(rt60: float) -> dict[str, list[float]]:
    """Errors, degrees, of two sources ≥ 30° apart in the front half-plane, 1 to 3 m away."""
    scenes = front_scenes(rt60, 160, seed=0)
    errors: dict[str, list[float]] = {}
    for names, those in zip(scenes.classes, oracle_errors(scenes, FS).tolist(), strict=True):
        for name, error in zip(names, those, strict=True):
            errors.setdefault(name, []).append(error)
    return errors


def test_oracle_masks_give_directions_within_5_degrees() -> None:
    errors = errors_by_class(0.0)
    everything = np.concatenate(list(errors.values()))
    assert np.median(everything) <= 1.5  # the bar is 5
    assert np.mean(everything > 15) <= 0.02
    assert set(errors) == set(CLASSES)
    for name, those in errors.items():
        assert np.median(those) <= 5, name


def test_directions_hold_in_a_room() -> None:
    errors = np.concatenate(list(errors_by_class(0.3).values()))
    assert np.median(errors) <= 2.5
    assert np.mean(errors > 15) <= 0.1


@pytest.mark.parametrize("heading", [0.0, 2.0, -1.2])
@pytest.mark.parametrize("degrees", [-80, -45, -10, 0, 20, 60, 85])
def test_a_single_source_is_where_it_is(degrees: float, heading: float) -> None:
    found = [float(directions(hear(make(), [degrees], [2.0], seed, heading))[0]) for seed in range(3)]
    assert np.median(found) == pytest.approx(degrees, abs=5)


def test_ears_lie_left_and_right_and_hear_front_and_back_alike() -> None:
    """The ancestors' ears lay along the heading: they told front from back, and left from right not at all."""
    env = make()
    for degrees in (20, -50):
        front, back = (float(directions(hear(env, [a], [2.0], 1))[0]) for a in (degrees, 180 - degrees))
        assert front == pytest.approx(back, abs=2)
        mirrored = float(directions(hear(env, [-degrees], [2.0], 1))[0])
        assert front == pytest.approx(-mirrored, abs=2)
        assert np.sign(front) == np.sign(degrees)


def test_every_sided_feature_is_positive_to_the_left() -> None:
    env = make()
    for side in (1, -1):
        images = torch.cat([hear(env, [side * 60], [1.5], seed) for seed in range(8)])
        features = SpatialCues(FS, N)(images.sum(dim=1), images.mean(dim=2))[:, 0].mean(dim=0)
        for name in ("ipd_low_sin", "ild_low", "ild_high", "azimuth"):
            assert side * features[MASKED.index(name)] > 0.05, name
        seed_form = SpatialCues(FS, N, cues="seed")(images.sum(dim=1), images.mean(dim=2))[:, 0].mean(dim=0)
        assert side * seed_form[1] > 0.02


def test_clarity_falls_with_reverberation() -> None:
    clarity = {}
    for rt60 in (0.0, 0.3, 0.6):
        env = make(rt60=rt60)
        images = torch.cat([hear(env, [30], [2.5], seed) for seed in range(16)])
        features = SpatialCues(FS, N)(images.sum(dim=1), images.mean(dim=2))
        clarity[rt60] = float(features[..., MASKED.index("clarity")].median())
    assert 1.0 >= clarity[0.0] > 0.95 > clarity[0.3] > clarity[0.6]


def test_two_free_microphones_have_directions_of_their_own() -> None:
    env = make(head="none")
    cues = SpatialCues(FS, N, head="none")
    for degrees in (-70, -20, 35, 60):
        images = torch.cat([hear(env, [degrees], [2.0], seed) for seed in range(5)])
        found = torch.rad2deg(azimuth(cues(images.sum(dim=1), images.mean(dim=2)))).median()
        assert float(found) == pytest.approx(degrees, abs=5)


@pytest.mark.parametrize("fs", [8_000, 16_000, 48_000])
def test_directions_hold_at_other_rates_and_steps(fs: int) -> None:
    env = make(fs=fs, step_duration=0.5)
    cues = SpatialCues(fs, fs // 2)
    images = torch.cat([hear(env, [-40], [2.0], seed) for seed in range(5)])
    found = torch.rad2deg(azimuth(cues(images.sum(dim=1), images.mean(dim=2)))).median()
    assert float(found) == pytest.approx(-40, abs=5)


def test_a_perfect_match_is_found_and_clear() -> None:
    """Sums made from a template itself: the direction is its own, and explains everything."""
    sizes = CueConfig(FS, N)
    match = DirectionMatch(np.arange(sizes.bins) * FS / sizes.window_length, FS, "sphere")
    index = 40
    level, real, imag = match.templates[:, index].reshape(sizes.bins, 3).unbind(-1)
    # Energy 1 a bin: A + B = 1, A − B, 2 Re C and 2 Im C as the template has them.
    sums = torch.stack([(1 + level) / 2, (1 - level) / 2, real, imag], dim=-1)
    direction, clarity = match(0.01 * sums)
    assert float(90 * direction) == pytest.approx(3 * index - 90, abs=0.5)
    assert float(clarity) == pytest.approx(1.0, abs=0.02)


def test_an_unknown_head_is_refused() -> None:
    with pytest.raises(ConfigError, match="'none' and 'sphere'"):
        DirectionMatch(np.arange(257) * 31.25, FS, "cube")
