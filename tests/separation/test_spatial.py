from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from auralnav.envs.acoustics.head import ear_responses
from auralnav.separation.scores import si_sdr
from auralnav.separation.spatial import DIRECTIONS, WINDOW_SECONDS, SpatialMasks

FS, N = 16_000, 16_000


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def notes(seed: int) -> np.ndarray:
    """Six tones at a time, others every eighth of a second: sounds of one kind that meet in few bins. [N]"""
    rng = np.random.default_rng(seed)
    time = np.arange(N) / FS
    sound = np.zeros(N)
    for begin in np.arange(0.0, 1.0, 0.125):
        inside = np.clip(np.minimum(time - begin, begin + 0.125 - time) / 0.01, 0.0, 1.0)
        for hz, phase in zip(rng.uniform(150, 6_000, 6), rng.uniform(0, 6.28, 6), strict=True):
            sound += inside * np.sin(2 * np.pi * hz * time + phase)
    return sound


def at(azimuth_deg: float, sound: np.ndarray) -> torch.Tensor:
    """What the ears of the sphere hear of a distant source, [2, N]."""
    frequency = np.fft.rfftfreq(len(sound), 1 / FS)
    delay, response = ear_responses(np.array([math.radians(azimuth_deg)]), frequency, "sphere", FS)
    ears = response[:, 0] * np.exp(-2j * np.pi * frequency * delay[:, 0, None])
    return torch.from_numpy(np.fft.irfft(ears * np.fft.rfft(sound), len(sound)).astype(np.float32))


def unsure(images: list[torch.Tensor], right: float | torch.Tensor, outputs: int = 4) -> torch.Tensor:
    """Estimates [1, K, N] of a separator that puts a share `right` (of each sample) of a source where it belongs."""
    mids = [image.mean(dim=0) for image in images]
    estimates = [right * mids[0] + (1 - right) * mids[1], right * mids[1] + (1 - right) * mids[0]]
    return torch.stack([*estimates, *[torch.zeros(N)] * (outputs - 2)])[None]


@pytest.fixture(scope="module")
def masks() -> SpatialMasks:
    return SpatialMasks(FS).requires_grad_(False)


@pytest.mark.parametrize(("first", "second"), [(60.0, -60.0), (0.0, 40.0), (-80.0, -20.0)])
def test_sounds_of_one_kind_are_told_apart_by_where_they_are(masks, first, second):
    images = [at(first, notes(1)), at(second, notes(2))]
    audio = (images[0] + images[1])[None]
    estimates = unsure(images, 0.6)
    refined = masks(audio, estimates)
    for k, image in enumerate(images):
        before, after = (si_sdr(sources[0, k], image.mean(dim=0)) for sources in (estimates, refined))
        assert after > before + 3.0
    assert refined[0, 2:].square().mean() < 1e-3 * refined[0, :2].square().mean()


def test_the_estimates_add_up_to_the_mean_of_the_ears(masks):
    audio, estimates = (torch.from_numpy(noise(seed, 3, k, 5_003)).float() for seed, k in ((0, 2), (1, 4)))
    torch.testing.assert_close(masks(audio, estimates).sum(dim=1), audio.mean(dim=1), atol=1e-5, rtol=0)


def test_a_source_alone_stays_as_it_is(masks):
    image = at(35.0, noise(3, N))
    refined = masks(image[None], torch.stack([image.mean(dim=0), *[torch.zeros(N)] * 3])[None])
    assert si_sdr(refined[0, 0], image.mean(dim=0)) > 30.0


def test_estimates_that_are_equal_stay_equal(masks):
    """Nothing is made up where the separator has no opinion."""
    audio = torch.from_numpy(noise(0, 1, 2, 8_000)).float()
    refined = masks(audio, audio.mean(dim=1, keepdim=True).expand(-1, 3, -1) / 3)
    torch.testing.assert_close(refined[:, 0], refined[:, 1])
    torch.testing.assert_close(refined[:, 0], audio.mean(dim=1) / 3, atol=1e-5, rtol=0)


def test_the_head_is_symmetric(masks):
    images = [at(50.0, notes(1)), at(-10.0, notes(2))]
    audio, estimates = (images[0] + images[1])[None], unsure(images, 0.7)
    torch.testing.assert_close(masks(audio, estimates), masks(audio.flip(1), estimates), atol=1e-4, rtol=1e-4)


def test_a_source_that_turns_to_the_other_side_is_followed(masks):
    """Directions are those of the moment: an agent that turns takes every source to another place."""
    half = N // 2
    sounds = [notes(1), notes(2)]
    images = []
    for place, sound in zip((45.0, -45.0), sounds, strict=True):
        here, there = at(place, sound), at(-place, sound)
        images.append(torch.cat([here[:, :half], there[:, half:]], dim=1))
    estimates = unsure(images, 0.75)
    refined = masks((images[0] + images[1])[None], estimates)
    for k, image in enumerate(images):
        for part in (slice(0, half - 4_000), slice(half + 4_000, N)):
            wanted = image.mean(dim=0)[part]
            assert si_sdr(refined[0, k, part], wanted) > si_sdr(estimates[0, k, part], wanted) + 1.0


def test_a_moment_without_an_opinion_is_told_apart_by_where_sources_are_before_and_after(masks):
    images = [at(60.0, notes(1)), at(-60.0, notes(2))]
    right = torch.full((N,), 0.8)
    right[round(0.35 * FS) : round(0.65 * FS)] = 0.5
    estimates = unsure(images, right)
    refined = masks((images[0] + images[1])[None], estimates)
    moment = slice(round(0.45 * FS), round(0.55 * FS))
    for k, image in enumerate(images):
        wanted = image.mean(dim=0)[moment]
        assert si_sdr(refined[0, k, moment], wanted) > si_sdr(estimates[0, k, moment], wanted) + 6.0


def test_rows_do_not_depend_on_each_other(masks):
    audio, estimates = (torch.from_numpy(noise(seed, 3, k, 6_000)).float() for seed, k in ((0, 2), (1, 4)))
    alone = masks(audio[1:2], estimates[1:2])
    torch.testing.assert_close(masks(audio, estimates)[1:2], alone, atol=1e-6, rtol=1e-5)


def test_silence_is_silent_with_finite_gradients():
    masks = SpatialMasks(FS)
    estimates = torch.zeros(1, 4, 4_000, requires_grad=True)
    refined = masks(torch.zeros(1, 2, 4_000), estimates)
    assert not refined.any()
    refined.sum().backward()
    for value in (estimates, *masks.parameters()):
        assert value.grad is not None and torch.isfinite(value.grad).all()


def test_it_is_computed_in_single_precision(masks):
    audio, estimates = (torch.from_numpy(noise(seed, 1, k, 4_000)).float() for seed, k in ((0, 2), (1, 4)))
    with torch.autocast("cpu", torch.bfloat16):
        half = masks(audio, estimates)
    assert torch.equal(half, masks(audio, estimates))


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_any_rate_has_its_own_tables(rate):
    masks = SpatialMasks(rate)
    assert masks.templates.shape == (round(0.5 * WINDOW_SECONDS * rate) + 1, 3, DIRECTIONS)
    refined = masks(torch.ones(1, 2, 3_000), torch.ones(1, 2, 3_000))
    torch.testing.assert_close(refined, torch.full_like(refined, 0.5), atol=1e-5, rtol=0)
