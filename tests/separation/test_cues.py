"""Spatial cues of separated sources: masks, ranges, definitions, gradients, the seed's form, bad input."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from auralnav.envs.acoustics.cues import CueConfig, spatial_cues, stft
from auralnav.envs.acoustics.head import ear_responses
from auralnav.errors import ConfigError, ShapeError, SoundError
from auralnav.separation.cues import MASKED, SEED, SpatialCues, azimuth

FS, N = 16_000, 4000


def noise(*shape: int, seed: int = 0, level: float = 0.05) -> torch.Tensor:
    return level * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def scene(sources: int = 3, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Two-ear sound [2, 2, N] of noises in separate bands with delays and levels of their own, and their mids."""
    spectra = torch.fft.rfft(noise(2, sources, N, seed=seed))
    frequency = torch.fft.rfftfreq(N, 1 / FS)
    edges = torch.logspace(math.log10(60), math.log10(8000), sources + 1)
    for k in range(sources):
        spectra[:, k, (frequency < edges[k]) | (frequency > 1.1 * edges[k + 1])] *= 0.02
    delay = torch.linspace(-4e-4, 3e-4, sources)[:, None]
    gain = torch.linspace(0.7, 1.2, sources)[:, None]
    shift = gain * torch.exp(1j * math.pi * frequency * delay)
    ears = torch.stack([spectra * shift, spectra / shift], dim=2)
    images = torch.fft.irfft(ears, N)
    return images.sum(dim=1), images.mean(dim=2)


def reference_masks(left: np.ndarray, right: np.ndarray, sources: np.ndarray) -> np.ndarray:
    masks = np.minimum(np.abs(sources) / (np.abs(left + right) / 2 + 1e-7), 1.0)
    return masks / np.maximum(masks.sum(axis=0), 1.0)


def spectra_of(audio: torch.Tensor, sources: torch.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Left [T, F], right [T, F] and sources [K, T, F] of one block, by the environments' own STFT."""
    sizes = CueConfig(FS, N)
    left, right = (stft(np.ascontiguousarray(ear.numpy()), sizes).astype(complex) for ear in audio)
    return left, right, stft(np.ascontiguousarray(sources.numpy()), sizes).astype(complex)


def reference_masked(left: np.ndarray, right: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """The nine numbers [K, 9] in plain float64, bin by bin where that is clearer."""
    frequency = np.arange(left.shape[1]) * FS / 512
    out = []
    for mask in masks:
        energy = mask**2 * (abs(left) ** 2 + abs(right) ** 2)
        past = energy.copy()
        for t in range(1, len(energy)):
            past[t] = np.max([energy[s] * np.exp(-(t - 1 - s) * 0.016 / 0.045) for s in range(t)], axis=0)
        weight = (mask / mask.max()) ** 8 * (energy / (energy + past)) ** 6
        a, b, c = ((weight * x).sum(axis=0) for x in (abs(left) ** 2, abs(right) ** 2, left * right.conj()))
        row = []
        for low, high in ((80, 741), (741, 1500)):
            band = (frequency >= low) & (frequency < high)
            mean = c[band].sum() / ((a + b)[band].sum() / 2)
            row += [mean.real, mean.imag]
        for low, high in ((80, 1500), (1500, 1e9)):
            band = (frequency >= low) & (frequency < high)
            row.append(10 * np.log10(a[band].sum() / b[band].sum()) / 30)
        row.append((10 * np.log10(energy.sum(axis=1).mean() / 2) + 100) / 100)
        grid = np.radians(np.linspace(-90, 90, 61))
        delay, response = ear_responses(grid, frequency, "sphere", FS)
        match = []
        for index in range(61):
            p, q = (response[ear, index] * np.exp(-2j * np.pi * frequency * delay[ear, index]) for ear in (0, 1))
            size = np.sqrt(abs(p) ** 2 + abs(q) ** 2)
            p, q = p / size, q / size
            explained = abs(p) ** 2 * a + abs(q) ** 2 * b + 2 * (p.conj() * q * c).real
            count = (a + b) / (a + b + 1e-3 * (a + b).max()) / (1 + (frequency / 6000) ** 2) * (frequency >= 80)
            match.append(np.sum(count * (2 * explained / (a + b) - 1)) / count.sum())
        likely = np.exp(100 * (np.array(match) - max(match)))
        likely /= likely.sum()
        row += [(likely * grid).sum() / (np.pi / 2), (likely * match).sum()]
        out.append(row)
    return np.array(out)


def test_the_nine_numbers_are_what_their_definitions_say() -> None:
    audio, sources = scene()
    features = SpatialCues(FS, N)(audio, sources)
    for row in range(2):
        left, right, separated = spectra_of(audio[row], sources[row])
        expected = reference_masked(left, right, reference_masks(left, right, separated))
        np.testing.assert_allclose(features[row].numpy(), expected, atol=2e-4)


def test_the_seeds_numbers_are_plain_means_of_masked_cues() -> None:
    """Mean over time and frequency of mask × IPD, mask × ILD and mask × VOL, as the seed's step 4 has it."""
    audio, sources = scene()
    features = SpatialCues(FS, N, cues="seed")(audio, sources)
    assert features.shape == (2, 3, 3)
    for row in range(2):
        left, right, separated = spectra_of(audio[row], sources[row])
        masks = reference_masks(left, right, separated)
        ipd = np.angle(left * right.conj()) / np.pi
        ild = np.clip(20 * np.log10(abs(left) / abs(right)) / 30, -1, 1)
        vol = np.clip((10 * np.log10((abs(left) ** 2 + abs(right) ** 2) / 2) + 100) / 100, 0, 1)
        expected = np.stack([(masks * cue).mean(axis=(1, 2)) for cue in (ipd, ild, vol)], axis=-1)
        np.testing.assert_allclose(features[row].numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("loudness", [1e-3, 1.0, 30.0])
def test_masks_lie_between_0_and_1_and_claim_no_more_than_there_is(loudness: float) -> None:
    """The seed's |S| / (|mix| + ε) goes beyond 1 where sources cancel, and several claim more than all."""
    audio, sources = noise(3, 2, N), loudness * noise(3, 4, N, seed=1)
    masks = SpatialCues(FS, N).masks(audio, sources)
    assert masks.shape == (3, 4, 257, 14)
    assert 0 <= masks.min() and masks.max() <= 1
    assert masks.sum(dim=1).max() <= 1 + 1e-6
    assert masks.max() > 0.2 * min(loudness, 1)


def test_the_only_source_has_masks_of_one_and_the_cues_of_the_mixture() -> None:
    audio = noise(1, 2, N)
    cues = SpatialCues(FS, N)
    masks = cues.masks(audio, audio.mean(dim=1, keepdim=True))
    assert masks.min() > 0.99
    of_source = cues(audio, audio.mean(dim=1, keepdim=True))
    of_mixture = cues.from_masks(audio, torch.ones(1, 1, 257, 14))
    assert torch.allclose(of_source, of_mixture, atol=1e-3)


@pytest.mark.parametrize("form", ["masked", "seed"])
def test_the_mixture_stands_beside_its_sources_and_changes_none(form) -> None:
    audio, sources = scene()
    cues = SpatialCues(FS, N, form, timbre=16)
    beside = cues.with_mixture(audio, sources)
    torch.testing.assert_close(beside[:, 1:], cues(audio, sources), atol=1e-6, rtol=0)
    torch.testing.assert_close(beside[:, :1], cues.of_mixture(audio), atol=1e-6, rtol=0)
    of_ones = cues.from_masks(audio, torch.ones(len(audio), 1, 257, 14))
    torch.testing.assert_close(cues.of_mixture(audio), of_ones, atol=1e-6, rtol=0)


def test_cues_through_given_masks_are_those_through_their_own() -> None:
    audio, sources = scene()
    for form in ("masked", "seed"):
        cues = SpatialCues(FS, N, cues=form)
        assert torch.allclose(cues.from_masks(audio, cues.masks(audio, sources)), cues(audio, sources), atol=1e-6)


@pytest.mark.parametrize("form", ["masked", "seed"])
def test_every_number_stays_in_its_range(form) -> None:
    cues = SpatialCues(FS, N, cues=form)
    impulses, clipped = torch.zeros(1, 2, N), torch.sign(noise(1, 2, N))
    impulses[0, 0, 777] = 1.0
    one_ear, tone = noise(1, 2, N), torch.sin(0.3 * torch.arange(N)).expand(1, 2, N)
    one_ear[:, 1] = 0.0
    for audio in (noise(1, 2, N), impulses, clipped, one_ear, tone, -tone, noise(1, 2, N, level=1e-4)):
        for gain in (1e-3, 1.0, 100.0):
            sources = torch.cat([gain * audio.mean(dim=1, keepdim=True), noise(1, 2, N, seed=3)], dim=1)
            features = cues(audio, sources)
            assert features.isfinite().all() and features.abs().max() <= 1.0
            assert features[..., cues.names.index("level" if form == "masked" else "vol")].min() >= 0.0


@pytest.mark.parametrize("form", ["masked", "seed"])
def test_a_silent_source_has_exact_zeros_and_leaves_the_others_alone(form) -> None:
    audio, sources = scene(2)
    cues = SpatialCues(FS, N, cues=form)
    with_silence = cues(audio, torch.cat([sources, torch.zeros(2, 1, N)], dim=1))
    assert with_silence[:, 2].abs().max() == 0
    assert torch.allclose(with_silence[:, :2], cues(audio, sources))
    assert cues(torch.zeros(1, 2, N), torch.zeros(1, 4, N)).abs().max() == 0
    assert cues(1e-7 * audio, 1e-7 * sources).abs().max() == 0, "below −100 dBFS"


def test_level_follows_the_source_in_decibels_and_direction_does_not() -> None:
    audio, sources = scene(2)
    loud, quiet = (SpatialCues(FS, N)(gain * audio, gain * sources) for gain in (1.0, 0.1))
    level = MASKED.index("level")
    assert torch.allclose(loud[..., level] - quiet[..., level], torch.tensor(0.2), atol=1e-3)
    others = [i for i in range(9) if i != level]
    assert torch.allclose(loud[..., others], quiet[..., others], atol=5e-3)


def test_level_and_bands_are_those_of_the_environments_cues() -> None:
    audio = noise(1, 2, N)
    sizes = CueConfig(FS, N)
    theirs = spatial_cues(stft(audio[0].numpy(), sizes), sizes)[sizes.slices["level"]]
    total = 10 * np.log10(np.sum(10 ** ((100 * theirs.astype(float) - 100) / 10)))
    ours = SpatialCues(FS, N).from_masks(audio, torch.ones(1, 1, 257, 14))[0, 0, MASKED.index("level")]
    assert 100 * float(ours) - 100 == pytest.approx(total, abs=0.3)  # theirs begin at 80 Hz


def test_exchanged_ears_change_the_side_and_nothing_else() -> None:
    audio, sources = scene()
    sides = {"masked": ("ipd_low_sin", "ipd_high_sin", "ild_low", "ild_high", "azimuth"), "seed": SEED[:2]}
    for form, flipped in sides.items():
        cues = SpatialCues(FS, N, cues=form)
        sign = torch.tensor([-1.0 if name in flipped else 1.0 for name in cues.names])
        assert torch.allclose(cues(audio.flip(1), sources), sign * cues(audio, sources), atol=1e-4)


def test_a_stereo_block_is_one_block_and_not_two_monos() -> None:
    """The ancestor reshaped stereo into two monos at act time: its batch then held ears instead of rooms."""
    audio, sources = scene()
    cues = SpatialCues(FS, N)
    together = cues(audio, sources)
    assert together.shape == (2, 3, 9)
    for row in range(2):
        alone = cues(audio[row : row + 1], sources[row : row + 1])
        assert torch.allclose(alone[0], together[row], atol=1e-5)
    for ears_as_batch in (audio.reshape(4, 1, N), audio.reshape(4, N)):
        with pytest.raises(ShapeError, match="two-ear sound"):
            cues(ears_as_batch, sources.repeat(2, 1, 1))


@pytest.mark.parametrize("form", ["masked", "seed"])
def test_gradients_are_those_of_the_numbers(form) -> None:
    audio, sources = (x[:1].double() for x in scene())
    sources += noise(1, 3, N, seed=7, level=1e-3).double()  # masks off their limits
    cues = SpatialCues(FS, N, cues=form).double()
    sources.requires_grad_()
    towards = noise(3, len(cues.names), seed=4, level=1.0).double()
    (towards * cues(audio, sources)[0]).sum().backward()
    assert sources.grad is not None and sources.grad.abs().max() > 0
    for seed in range(4):
        step = noise(1, 3, N, seed=10 + seed, level=1.0).double()
        with torch.no_grad():
            ends = [(towards * cues(audio, sources + sign * 1e-8 * step)[0]).sum() for sign in (1, -1)]
        slope = float(ends[0] - ends[1]) / 2e-8
        assert float((sources.grad * step).sum()) == pytest.approx(slope, rel=2e-3, abs=1e-4)


@pytest.mark.parametrize("form", ["masked", "seed"])
def test_gradients_are_finite_on_silence(form) -> None:
    cues = SpatialCues(FS, N, cues=form)
    audio, sources = scene()
    half = torch.ones(N)
    half[: N // 2] = 0.0
    cases = {
        "all silent": (torch.zeros_like(audio), torch.zeros_like(sources)),
        "sources silent": (audio, torch.zeros_like(sources)),
        "mixture silent": (torch.zeros_like(audio), sources),
        "half silent": (half * audio, half * sources),
        "one silent": (audio, sources * torch.tensor([1.0, 0.0, 1.0])[:, None]),
        "next to silent": (1e-12 * audio, 1e-12 * sources),
        "one ear silent": (audio * torch.tensor([1.0, 0.0])[:, None], sources),
        "faint estimate": (audio, sources * torch.tensor([1.0, 1e-9, 1.0])[:, None]),
    }
    for name, (heard, separated) in cases.items():
        separated = separated.clone().requires_grad_()
        cues(heard, separated).square().sum().backward()
        assert separated.grad is not None and separated.grad.isfinite().all(), name


def test_features_keep_their_precision_under_autocast() -> None:
    audio, sources = scene()
    cues = SpatialCues(FS, N)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = cues(audio, sources)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, cues(audio, sources))


def test_an_azimuth_is_read_from_the_masked_features_only() -> None:
    features = torch.zeros(2, 3, 9)
    features[..., MASKED.index("azimuth")] = 0.5
    assert torch.allclose(azimuth(features), torch.tensor(math.pi / 4))
    with pytest.raises(ShapeError, match="9 features"):
        azimuth(torch.zeros(2, 3, 3))


@pytest.mark.parametrize(
    ("audio", "sources", "error", "message"),
    [
        (noise(1, 1, N), noise(1, 4, N), ShapeError, "two-ear sound"),
        (noise(2, N), noise(1, 4, N), ShapeError, "two-ear sound"),
        (noise(1, 2, 8000), noise(1, 4, 8000), ShapeError, "blocks of 4000"),
        (noise(1, 2, N), noise(1, 4, N - 1), ShapeError, "same blocks"),
        (noise(1, 2, N), noise(2, 4, N), ShapeError, "same blocks"),
        (noise(1, 2, N), noise(1, 0, N), ShapeError, "K = 0"),
        (torch.full((1, 2, N), torch.nan), noise(1, 4, N), SoundError, "NaN"),
        (noise(1, 2, N), torch.full((1, 4, N), torch.inf), SoundError, "NaN or infinite"),
    ],
)
def test_bad_input_is_refused_in_one_line(audio, sources, error, message: str) -> None:
    cues = SpatialCues(FS, N)
    for call in (cues.forward, cues.masks):
        with pytest.raises(error, match=message) as caught:
            call(audio, sources)
        assert "\n" not in str(caught.value)


def test_bad_masks_and_settings_are_refused() -> None:
    cues = SpatialCues(FS, N)
    with pytest.raises(ShapeError, match="257, 14"):
        cues.from_masks(noise(1, 2, N), torch.ones(1, 4, 14, 257))
    for bad in (2.0, -0.1, math.nan):
        with pytest.raises(SoundError, match="outside"):
            cues.from_masks(noise(1, 2, N), torch.full((1, 1, 257, 14), bad))
    with pytest.raises(ConfigError, match="masked"):
        SpatialCues(FS, N, cues="means")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="sphere"):
        SpatialCues(FS, N, head="cube")  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="32 ms"):
        SpatialCues(FS, 500)
