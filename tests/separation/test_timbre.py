"""What a source sounds like: bands that sum to the whole, the same at every level, finite and repeatable."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from auralnav.envs.acoustics.cues import CueConfig, spatial_cues, stft
from auralnav.errors import ConfigError
from auralnav.separation.cues import MASKED, SpatialCues, azimuth
from auralnav.separation.timbre import RANGE_DB, TIMBRE_BANDS, band_levels, band_table

FS, N = 16_000, 4000
FIRST = len(MASKED)


def noise(*shape: int, seed: int = 0, level: float = 0.05) -> torch.Tensor:
    return level * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def filtered(low: float, high: float, seed: int) -> torch.Tensor:
    spectrum = torch.fft.rfft(noise(1, N, seed=seed))
    frequency = torch.fft.rfftfreq(N, 1 / FS)
    return torch.fft.irfft(spectrum * ((low <= frequency) & (frequency < high)), N)


def scene() -> tuple[torch.Tensor, torch.Tensor]:
    """A low source at the left and a high one at the right: two-ear sound [1, 2, N] and mids [1, 2, N]."""
    sources = torch.cat([filtered(150, 600, 1), 0.3 * filtered(2000, 5000, 2)])
    gains = torch.tensor([[1.2, 0.8], [0.8, 1.2]])
    images = gains[:, :, None] * sources[:, None]
    return images.sum(dim=0)[None], images.mean(dim=1)[None]


def test_the_bands_are_those_of_the_environments_level() -> None:
    """Of the whole mixture: the environment's level of each band against that of all of it."""
    audio = noise(1, 2, N)
    sizes = CueConfig(FS, N)
    spectra = stft(audio[0].numpy(), sizes)
    theirs = 100 * spatial_cues(spectra, sizes)[sizes.slices["level"]].astype(float) - 100
    whole = 10 * np.log10(np.sum(np.abs(spectra.astype(complex)) ** 2) / 2 / sizes.frames)
    ours = SpatialCues(FS, N, timbre=16).from_masks(audio, torch.ones(1, 1, 257, 14))[0, 0, FIRST:]
    expected = 1 + 2 * np.maximum(theirs - whole, -RANGE_DB) / RANGE_DB
    assert ours.numpy() == pytest.approx(expected, abs=2e-3)


def test_nothing_but_the_bands_is_added() -> None:
    audio, sources = scene()
    for form in ("masked", "seed"):
        plain, more = (SpatialCues(FS, N, cues=form, timbre=bands) for bands in (0, 16))
        assert more.names == (*plain.names, *(f"band_{band}" for band in range(TIMBRE_BANDS)))
        assert torch.equal(more(audio, sources)[..., : len(plain.names)], plain(audio, sources))


def test_sources_of_one_mixture_sound_as_they_do_alone() -> None:
    audio, sources = scene()
    cues = SpatialCues(FS, N, timbre=16)
    together = cues(audio, sources)[0, :, FIRST:]
    frequency = np.geomspace(80, 8000, TIMBRE_BANDS + 1)
    for row, (low, high) in zip(together, ((150, 600), (2000, 5000)), strict=True):
        inside = torch.from_numpy((frequency[1:] > low) & (frequency[:-1] < high))
        far = torch.from_numpy((frequency[1:] < low / 1.3) | (frequency[:-1] > high * 1.3))
        assert row[inside].max() > 0.3 and row[far].max() < -0.4
    for index in range(2):
        alone = sources[:, index : index + 1]
        assert (cues(alone.expand(1, 2, N), alone)[0, 0, FIRST:] - together[index]).abs().max() < 0.2


@pytest.mark.parametrize("gain", [0.01, 0.1, 8.0])
def test_bands_do_not_depend_on_the_level(gain: float) -> None:
    audio, sources = scene()
    cues = SpatialCues(FS, N, timbre=16)
    difference = cues(gain * audio, gain * sources) - cues(audio, sources)
    assert difference[..., FIRST:].abs().max() < 5e-3
    assert difference[..., MASKED.index("level")] == pytest.approx(math.log10(gain) / 5, abs=2e-3)


def test_every_band_lies_in_its_range_and_a_band_that_holds_all_is_one() -> None:
    table = band_table(CueConfig(FS, N))
    assert table.shape == (257, TIMBRE_BANDS) and (table.sum(dim=1) <= 1).all() and (table.sum(dim=0) >= 1).all()
    for energy in (torch.rand(50, 257), 1e-14 * torch.rand(3, 257), torch.zeros(2, 257), torch.eye(257)):
        levels = band_levels(energy, table)
        assert levels.isfinite().all() and -1 <= levels.min() and levels.max() <= 1
    single = band_levels(torch.eye(257), table)
    assert torch.equal(single, 2 * table - 1), "in each bin all the energy: 1 in its band, −1 elsewhere"
    assert (band_levels(torch.zeros(2, 257), table) == -1).all()


def test_a_silent_source_has_zeros_and_gradients_are_finite() -> None:
    audio, sources = scene()
    cues = SpatialCues(FS, N, timbre=16)
    silent = torch.cat([sources, torch.zeros(1, 1, N)], dim=1)
    assert not cues(audio, silent)[0, 2].any()
    assert not cues(torch.zeros_like(audio), torch.zeros_like(silent)).any()
    for heard, separated in ((audio, silent), (torch.zeros_like(audio), silent), (1e-12 * audio, 1e-12 * silent)):
        separated = separated.clone().requires_grad_()
        cues(heard, separated)[..., FIRST:].square().sum().backward()
        assert separated.grad is not None and separated.grad.isfinite().all()
    # Masks off their limits, and bands above the floor: there is a slope, and it is the right one.
    blurred = (sources + noise(1, 2, N, seed=7, level=3e-3)).double().requires_grad_()
    exact = SpatialCues(FS, N, timbre=16).double()
    towards = noise(2, TIMBRE_BANDS, seed=4, level=1.0).double()
    (towards * exact(audio.double(), blurred)[0, :, FIRST:]).sum().backward()
    assert blurred.grad is not None and blurred.grad.abs().max() > 0
    step = noise(1, 2, N, seed=9, level=1.0).double()
    with torch.no_grad():
        ends = [
            (towards * exact(audio.double(), blurred + sign * 1e-8 * step)[0, :, FIRST:]).sum() for sign in (1, -1)
        ]
    assert float((blurred.grad * step).sum()) == pytest.approx(float(ends[0] - ends[1]) / 2e-8, rel=2e-3, abs=1e-4)


def test_a_row_does_not_depend_on_the_rows_beside_it() -> None:
    audio, sources = (torch.cat([part, 0.5 * part.flip(1)]) for part in scene())
    cues = SpatialCues(FS, N, timbre=16)
    together = cues(audio, sources)
    for row in range(2):
        assert torch.allclose(cues(audio[row : row + 1], sources[row : row + 1])[0], together[row], atol=1e-6)


@pytest.mark.gpu
def test_cuda_finds_the_same_bands_every_time() -> None:
    table = band_table(CueConfig(FS, N)).cuda()
    energy = torch.rand(256, 4, 257, generator=torch.Generator().manual_seed(0)).cuda()
    first = band_levels(energy, table)
    assert all(torch.equal(band_levels(energy, table), first) for _ in range(5))
    assert torch.allclose(first.cpu(), band_levels(energy.cpu(), table.cpu()), atol=1e-4)


def test_directions_are_read_beside_the_timbre_and_other_bands_are_refused() -> None:
    features = torch.zeros(2, 25)
    features[..., MASKED.index("azimuth")] = 0.5
    assert torch.allclose(azimuth(features), torch.tensor(math.pi / 4))
    for bands in (8, -16, True):
        with pytest.raises(ConfigError, match="give 0 or 16 bands"):
            SpatialCues(FS, N, timbre=bands)  # type: ignore[arg-type]
