from __future__ import annotations

import math

import pytest
import torch

from auralnav.separation.interaural import WINDOW_SECONDS, interaural_features, interaural_size

FS, KERNEL, STRIDE = 16_000, 64, 32
WINDOW = round(WINDOW_SECONDS * FS)
BINS = WINDOW // 2 + 1


def features(audio: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Cosines, sines and levels [B, F, T]."""
    return interaural_features(audio, KERNEL, STRIDE, FS).split(BINS, dim=1)


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_there_is_a_frame_for_each_of_the_filterbanks():
    frames = 40
    found = interaural_features(noise(2, 2, KERNEL + (frames - 1) * STRIDE), KERNEL, STRIDE, FS)
    assert found.shape == (2, interaural_size(KERNEL, FS), frames) and found.dtype == torch.float32
    assert interaural_size(KERNEL, FS) == 3 * BINS
    assert interaural_size(400, FS) == 3 * 201  # a longer filter has a longer window


@pytest.mark.parametrize("bin_number", [5, 20])
@pytest.mark.parametrize("samples", [-2, 0, 3])
def test_a_delay_is_a_phase_and_a_gain_a_level(bin_number, samples):
    w = 2 * math.pi * bin_number / WINDOW
    t = torch.arange(KERNEL + 99 * STRIDE, dtype=torch.float64)
    audio = torch.stack([2.0 * torch.cos(w * t), torch.cos(w * (t - samples))])[None].float()  # the right ear is later
    cosine, sine, level = (part[0, bin_number, 5:-5] for part in features(audio))
    torch.testing.assert_close(cosine, torch.full_like(cosine, math.cos(w * samples)), atol=1e-3, rtol=0)
    torch.testing.assert_close(sine, torch.full_like(sine, math.sin(w * samples)), atol=1e-3, rtol=0)
    torch.testing.assert_close(level, torch.full_like(level, math.log(2.0)), atol=1e-3, rtol=0)


def test_swapped_ears_turn_sines_and_levels_round():
    audio = noise(1, 2, 2_000 // STRIDE * STRIDE + KERNEL)
    (cosine, sine, level), (cosine_2, sine_2, level_2) = features(audio), features(audio.flip(1))
    torch.testing.assert_close(cosine, cosine_2)
    torch.testing.assert_close(sine, -sine_2)
    torch.testing.assert_close(level, -level_2)
    assert (cosine.square() + sine.square()).max() <= 1 + 1e-5


def test_a_click_is_in_the_frames_whose_filters_it_is_in_the_middle_of():
    audio = torch.zeros(1, 2, KERNEL + 49 * STRIDE)
    at = KERNEL // 2 + 20 * STRIDE
    audio[0, 0, at], audio[0, 1, at] = 2.0, 1.0
    loudness = features(audio)[2][0].mean(dim=0)
    assert loudness.argmax() == 20
    reach = WINDOW // 2 // STRIDE
    assert (loudness[20 - reach + 1 : 20 + reach] > 0).all() and not loudness[: 20 - reach].any()


def test_silence_has_no_direction_and_finite_gradients():
    audio = torch.zeros(1, 2, 640, requires_grad=True)
    cosine, sine, level = features(audio)
    assert not cosine.any() and not sine.any() and not level.any()
    (cosine.sum() + sine.sum() + level.sum()).backward()
    assert audio.grad is not None and torch.isfinite(audio.grad).all()


def test_it_is_computed_in_single_precision():
    audio = noise(1, 2, 640)
    with torch.autocast("cpu", torch.bfloat16):
        half = interaural_features(audio, KERNEL, STRIDE, FS)
    assert torch.equal(half, interaural_features(audio, KERNEL, STRIDE, FS))
