"""Heads: Woodworth's delays, the shadow, and what the image kernel draws with them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.signal import butter, freqz, sosfilt

from auralnav.envs.acoustics.cues import CueConfig, log_spectrogram, spatial_cues, stft
from auralnav.envs.acoustics.fractional import PHASES, TAPS, sinc_table, windowed_sinc
from auralnav.envs.acoustics.head import (
    head_model,
    open_ears,
    shadow_filter,
    shadow_response,
    spherical_head,
    woodworth_delay,
)
from auralnav.envs.acoustics.images import FRONT_GUARD, back_guard, ear_responses, shoebox_images
from auralnav.envs.acoustics.ism import image_count, shoebox_rirs
from auralnav.envs.acoustics.measure import interaural
from auralnav.envs.acoustics.tail import diffuse_coherence, diffuse_noise, late_tail
from auralnav.envs.acoustics.walls import (
    JOIN_SECONDS,
    TailDesign,
    _solve_beta,
    eyring_reflection,
    solve_reflection,
)
from auralnav.errors import ConfigError, RoomError

FS = 16000
SIZE = np.array([8.0, 8.0, 3.0])


def direct(head, azimuth: float, distance: float = 2.0, heading: float = 0.0) -> np.ndarray:
    """Response of the two ears to one image `azimuth` radians to the left of the heading, float32 [2, n]."""
    place = np.array(
        [[4 + distance * math.cos(azimuth + heading), 4 + distance * math.sin(azimuth + heading), 1.5]]
    )
    images = shoebox_images(SIZE, place, np.zeros(6), 6)
    out = np.zeros((1, 2, FRONT_GUARD + 400 + back_guard(head)), dtype=np.float32)
    ear_responses(images, (4.0, 4.0, 1.5, heading), head, out, 400)
    return out[0]


def test_woodworth() -> None:
    a, c = 0.09, 343.0
    assert woodworth_delay(0.0) == pytest.approx(-a / c)
    assert woodworth_delay(math.pi) == pytest.approx(a / c * math.pi / 2)
    assert woodworth_delay(math.pi / 2 - 1e-9) == pytest.approx(
        woodworth_delay(math.pi / 2 + 1e-9), abs=1e-11
    )
    largest = woodworth_delay(math.pi) - woodworth_delay(0.0)
    assert largest == pytest.approx(675e-6, abs=1e-6)


def test_brown_duda_at_its_ends() -> None:
    for angle, high in ((0.0, 2.0), (math.radians(150), 0.1)):
        b0, b1, pole = shadow_filter(angle, FS)
        _, response = freqz([b0, b1], [1, -pole], worN=[0.0, math.pi])
        assert abs(response[0]) == pytest.approx(1.0)
        assert abs(response[1]) == pytest.approx(high, rel=1e-6)
        impulse = shadow_response(angle, FS, 64)
        assert impulse.sum() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("degrees", [-90, -60, -20, 0, 10, 45, 90, 135, 180])
@pytest.mark.parametrize("name", ["sphere", "none"])
def test_itd_of_the_response(name: str, degrees: int) -> None:
    head = head_model(name, FS)
    azimuth = math.radians(degrees)
    ears = direct(head, azimuth, heading=0.7)
    level, delay = interaural(ears, FS)
    side = math.asin(math.sin(azimuth))
    expected = 0.09 / 343 * (side + math.sin(side)) if name == "sphere" else 0.18 / 343 * math.sin(side)
    # Phase weighting sees the shadow's own group delay too, at most 40 µs.
    assert delay == pytest.approx(expected, abs=6e-5 if name == "sphere" else 1e-5)
    if name == "sphere" and abs(degrees) in (60, 90):
        assert level * degrees > 0 and abs(level) > 4
    if name == "none" and degrees == 90:
        low = 20 * np.log10(ears[0].sum() / ears[1].sum())
        assert low == pytest.approx(0.78, abs=0.02), "all the level difference that two free microphones give"


def test_left_and_right_are_mirror_images() -> None:
    head = spherical_head(FS)
    left, right = direct(head, 0.8), direct(head, -0.8)
    assert np.allclose(left, right[::-1], atol=2e-7)


def test_open_ears_are_the_reference_kernel() -> None:
    rng = np.random.default_rng(0)
    sources = rng.uniform(0.5, 2.4, (2, 3))
    head = open_ears(FS)
    heading = 0.3
    images = shoebox_images(SIZE, sources, np.full(6, 0.8), 6)
    assert len(images[0]) == 2 * image_count(6)
    out = np.zeros((2, 2, FRONT_GUARD + 1000 + back_guard(head)), dtype=np.float32)
    ear_responses(images, (5.0, 4.0, 1.5, heading), head, out, 1000)
    axis = 0.09 * np.array([-math.sin(heading), math.cos(heading), 0.0])
    mics = np.array([5.0, 4.0, 1.5]) + np.stack([axis, -axis])
    expected = shoebox_rirs(SIZE, sources, mics, 0.8, 6, FS, n_samples=900)
    assert np.allclose(
        out[:, :, FRONT_GUARD : FRONT_GUARD + 900], expected, atol=1e-6 * np.abs(expected).max()
    )


def test_table_interpolation_is_below_minus_70_db() -> None:
    table = sinc_table()
    fraction = (np.arange(PHASES) + 0.5) / PHASES
    between = 0.5 * (table[:-1, :TAPS] + table[1:, :TAPS])
    exact = windowed_sinc(fraction)
    error = np.linalg.norm(between - exact, axis=1) / np.linalg.norm(exact, axis=1)
    assert 20 * np.log10(error.max()) < -70


def test_unknown_head() -> None:
    with pytest.raises(ConfigError, match="existing SOFA file"):
        head_model("nobody.sofa", FS)


# Walls and tail -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rt60", [0.15, 0.3, 0.6])
def test_eyring_alone_decays_too_slowly(rt60: float) -> None:
    size = np.array([7.0, 6.0, 3.0])
    walls = solve_reflection(size, np.array([[1.0, 2.0, 1.0]]), np.array([5.0, 3.0, 1.5]), rt60, 6, FS)
    assert 0.3 < walls.reflection < eyring_reflection(size, rt60)
    tail = walls.tail
    assert tail.late_energy.shape == (1,) and tail.missing_energy.shape == (1, round(JOIN_SECONDS * 1000))
    assert 0.5 * rt60 < tail.rt60[0] < 2 * rt60 and tail.join == JOIN_SECONDS


def test_no_decay_is_recognised() -> None:
    table = np.zeros((100, 96))
    table[0, 0] = 1.0  # all sound arrives at once: no reflection makes it last
    assert _solve_beta(table, 0.3, 20) == 0.0
    with pytest.raises(RoomError, match="rt60 must be positive"):
        solve_reflection(SIZE, SIZE[None] / 2, SIZE / 3, 0.0, 6, FS)


def test_diffuse_coherence_of_noise() -> None:
    noise = diffuse_noise(np.random.default_rng(0), 1, 2**17, FS)[0].astype(float)
    spectra = np.fft.rfft(noise.reshape(2, -1, 512) * np.hanning(512), axis=-1)
    cross = np.mean(spectra[0] * spectra[1].conj(), axis=0)
    coherence = cross / np.sqrt(
        np.mean(np.abs(spectra[0]) ** 2, axis=0) * np.mean(np.abs(spectra[1]) ** 2, axis=0)
    )
    frequency = np.fft.rfftfreq(512, 1 / FS)
    assert np.abs(coherence.real - diffuse_coherence(frequency))[3:-3].max() < 0.2
    assert np.sqrt(np.mean(np.abs(coherence.real - diffuse_coherence(frequency))[3:-3] ** 2)) < 0.08


def test_bands_of_a_tail_decay_on_their_own() -> None:
    slow, fast = (TailDesign(np.array([t]), np.ones(1), np.zeros((1, 50))) for t in (0.4, 0.2))
    tail = late_tail(np.random.default_rng(0), 1, open_ears(FS), slow, {4000.0: fast, 8000.0: fast})

    def slope(low: float, high: float) -> float:
        band = sosfilt(butter(4, [low, high], "bandpass", fs=FS, output="sos"), tail[0, 0].astype(float))
        parts = np.square(band[round(0.06 * FS) : round(0.18 * FS)]).reshape(6, -1).mean(axis=1)
        return -60 / np.polyfit(np.arange(6) * 0.02, 10 * np.log10(parts), 1)[0]

    assert slope(300, 1200) == pytest.approx(0.4, rel=0.1)
    assert slope(4500, 7000) == pytest.approx(0.2, rel=0.1)


# Cues ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lag", [-11, -5, 0, 4, 10])
def test_gcc_peak_is_the_delay(lag: int) -> None:
    config = CueConfig(FS, 4000)
    noise = 0.05 * np.random.default_rng(0).standard_normal(4100).astype(np.float32)
    ears = np.stack([noise[50:4050], 0.5 * noise[50 - lag : 4050 - lag]])  # positive: the left ear leads
    cues = spatial_cues(stft(ears, config), config)
    gcc = cues[config.slices["gcc"]]
    assert config.lags[gcc.argmax()] == pytest.approx(lag / FS, abs=1e-9)
    assert gcc.max() > 0.9
    assert np.allclose(cues[config.slices["ild"]] * 30, 20 * np.log10(2), atol=0.4)
    level = 10 ** (cues[config.slices["level"]] * 10 - 10)
    power = 0.5 * np.sum(np.mean(ears.astype(float) ** 2, axis=1))
    assert np.sum(level) == pytest.approx(power, rel=0.15)


def test_cues_of_silence_and_of_full_scale_are_within_bounds() -> None:
    config = CueConfig(FS, 4000)
    low, high = config.bounds
    for ears in (
        np.zeros((2, 4000)),
        np.ones((2, 4000)),
        np.sign(np.random.default_rng(0).standard_normal((2, 4000))),
    ):
        spectra = stft(ears.astype(np.float32), config)
        cues = spatial_cues(spectra, config)
        assert np.isfinite(cues).all() and (cues >= low).all() and (cues <= high).all()
        picture = log_spectrogram(spectra)
        assert picture.shape == (2, config.bins, config.frames) and picture.min() >= 0 and picture.max() < 8.3


def test_ipd_is_the_phase_of_a_tone() -> None:
    config = CueConfig(FS, 4000)
    t = np.arange(4000) / FS
    delay = 300e-6
    ears = 0.1 * np.stack([np.sin(2 * np.pi * 400 * t), np.sin(2 * np.pi * 400 * (t - delay))]).astype(
        np.float32
    )
    cues = spatial_cues(stft(ears.astype(np.float32), config), config)
    edges = config.band_edges[0] * FS / config.window_length
    band = int(np.searchsorted(edges, 400.0, side="right")) - 1
    cosine, sine = cues[config.slices["ipd"]][band], cues[config.slices["ipd"]][8 + band]
    assert math.atan2(sine, cosine) == pytest.approx(2 * math.pi * 400 * delay, abs=0.05)


def test_a_block_shorter_than_a_window_is_refused() -> None:
    with pytest.raises(ValueError, match="shorter than"):
        CueConfig(FS, 100)


def test_blocks_of_another_length_are_refused() -> None:
    config = CueConfig(16000, 4000)
    with pytest.raises(ValueError, match="3999 samples"):
        stft(np.zeros((2, 3999), dtype=np.float32), config)


@pytest.mark.parametrize("name", ["sphere", "none"])
def test_a_head_in_the_source_hears_finite_sound(name: str) -> None:
    """As from 1 cm away at the least: a head cannot be inside a source."""
    ears = direct(head_model(name, FS), 0.4, distance=0.0)
    assert np.isfinite(ears).all()
    assert 0 < np.abs(ears).max() < 2.1 / (4 * math.pi * 0.01)
