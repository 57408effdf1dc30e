"""Procedural sounds keep the promises of their module's page."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time

import numpy as np
import pytest

from auralnav.envs.acoustics import sounds
from auralnav.envs.acoustics.sounds import CLASSES, TEST_SEEDS, TRAIN_SEEDS, synthesise
from auralnav.errors import SoundError

FORMATS = [(8_000, 3.0), (11_025, 1.37), (16_000, 0.5), (16_000, 3.0), (44_100, 2.0), (48_000, 1.0)]


def rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.asarray(x, float) ** 2)))


def window_rms(x: np.ndarray, n: int) -> np.ndarray:
    """RMS of every window of n samples on the circle, whichever sample it begins at."""
    power = np.concatenate([[0.0], np.cumsum(np.concatenate([x, x[:n]]).astype(float) ** 2)])
    return np.sqrt((power[n : n + len(x)] - power[: len(x)]) / n)


def octave_levels(x: np.ndarray, fs: int) -> dict[float, float]:
    """Level in dB of each octave band against the loudest."""
    power, freqs = np.abs(np.fft.rfft(x)) ** 2, np.fft.rfftfreq(len(x), 1.0 / fs)
    centres = [c for c in 62.5 * 2.0 ** np.arange(9) if c < fs / 2]
    energy = np.array([power[(freqs >= c / 2**0.5) & (freqs < c * 2**0.5)].sum() for c in centres])
    return dict(zip(centres, 10.0 * np.log10(energy / energy.max() + 1e-12), strict=True))


def surprise_at_seam(x: np.ndarray, fs: int, order: int = 32) -> float:
    """How badly a linear predictor misses where two repeats join, against its worst miss around it.

    The predictor is fitted to 50 ms on either side of the join without the join, so that it knows the tones
    and a click stands out.
    """
    reach = fs // 20
    near = np.concatenate([x[-reach:], x[:reach]]).astype(float)
    past = np.lib.stride_tricks.sliding_window_view(near[:-1], order)
    target = near[order:]
    after_join = np.arange(len(target)) + order - reach  # 0: the first sample of the second repeat
    join = (after_join >= 0) & (after_join < order)
    taps = np.linalg.lstsq(past[~join], target[~join])[0]
    miss = np.abs(target - past @ taps)
    return float(miss[join].max() / miss[~join].max())


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize(("fs", "seconds"), FORMATS)
def test_shape_level_and_peak(name: str, fs: int, seconds: float) -> None:
    for seed in (3, 1003):
        clip = synthesise(name, seed, fs, seconds)
        assert clip.dtype == np.float32 and clip.shape == (round(fs * seconds),) and clip.flags.c_contiguous
        assert np.isfinite(clip).all()
        assert rms(clip) == pytest.approx(1.0, abs=1e-5)
        assert np.abs(clip).max() <= sounds.MAX_PEAK


@pytest.mark.parametrize("name", CLASSES)
def test_heard_in_every_quarter_second(name: str) -> None:
    for seed in [*TRAIN_SEEDS, *TEST_SEEDS]:
        assert window_rms(synthesise(name, seed, 16_000, 3.0), 4000).min() >= 0.1, seed


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize(("fs", "seconds"), [(8_000, 3.0), (16_000, 3.0), (48_000, 1.0)])
def test_broad_enough_to_localise(name: str, fs: int, seconds: float) -> None:
    for seed in (*TRAIN_SEEDS[:6], *TEST_SEEDS[:6]):
        levels = octave_levels(synthesise(name, seed, fs, seconds), fs)
        loud = [centre for centre, level in levels.items() if level > -30.0]
        assert len(loud) >= 2, (seed, levels)
        assert any(300.0 * 2**0.5 <= centre <= 4000.0 / 2**0.5 for centre in loud), (seed, levels)


@pytest.mark.parametrize("name", CLASSES)
def test_end_joins_start(name: str) -> None:
    for fs, seconds in ((8_000, 3.0), (16_000, 3.0), (11_025, 1.37)):
        for seed in (0, 1, 1000):
            # A loop's join is about as smooth as its surroundings.
            assert surprise_at_seam(synthesise(name, seed, fs, seconds), fs) <= 1.6, (fs, seed)


@pytest.mark.parametrize("name", ["siren", "alarm", "car_horn", "bird", "music_box", "speech"])
def test_seam_measure_sees_a_cut(name: str) -> None:
    clips = [synthesise(name, seed, 16_000, 3.0) for seed in range(8)]
    cuts = [surprise_at_seam(clip[: -1600 - 371 * seed], 16_000) for seed, clip in enumerate(clips)]
    assert np.median(cuts) > 1.9


@pytest.mark.parametrize("name", CLASSES)
def test_same_seed_same_samples_other_seed_another_instance(name: str) -> None:
    first = synthesise(name, 5, 16_000, 1.0)
    np.testing.assert_array_equal(first, synthesise(name, 5, 16_000, 1.0))
    for other in (synthesise(name, 6, 16_000, 1.0), synthesise(name, 1005, 16_000, 1.0)):
        spectra = [np.abs(np.fft.rfft(x)) for x in (first, other)]
        alike = np.vdot(*spectra) / np.linalg.norm(spectra[0]) / np.linalg.norm(spectra[1])
        assert alike < 0.95
    assert not np.array_equal(first, synthesise(CLASSES[CLASSES.index(name) - 1], 5, 16_000, 1.0))


def test_same_instance_at_every_rate() -> None:
    """A seed keeps its pitch: the strongest partial of a tonal class does not depend on the sampling rate."""
    for name in ("car_horn", "telephone", "music_box"):
        peaks = []
        for fs in (8_000, 16_000, 48_000):
            spectrum = np.abs(np.fft.rfft(synthesise(name, 2, fs, 3.0)))
            spectrum[int(3.0 * 3500) :] = 0.0
            peaks.append(spectrum.argmax() / 3.0)
        assert max(peaks) - min(peaks) <= 1.0, (name, peaks)


def test_another_process_makes_the_same_bits() -> None:
    code = (
        "import hashlib\nfrom auralnav.envs.acoustics.sounds import CLASSES, synthesise\n"
        "print(*[hashlib.sha256(synthesise(c, 7, 16000, 1.0).tobytes()).hexdigest() for c in CLASSES])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = [hashlib.sha256(synthesise(c, 7, 16_000, 1.0).tobytes()).hexdigest() for c in CLASSES]
    assert run.stdout.split() == here


def mel_features(x: np.ndarray, fs: int = 16_000, bands: int = 32) -> np.ndarray:
    """Mean over time of the log power in `bands` mel bands."""
    frames = np.lib.stride_tricks.sliding_window_view(x, 512)[::256] * np.hanning(512)
    edges = 700.0 * (
        10.0 ** (np.linspace(*np.log10(1.0 + np.array([60.0, 7600.0]) / 700.0), bands + 1)) - 1.0
    )
    band = np.digitize(np.fft.rfftfreq(512, 1.0 / fs), edges)
    power = np.abs(np.fft.rfft(frames)) ** 2
    energy = np.stack([power[:, band == b + 1].sum(axis=1) for b in range(bands)], axis=1)
    return np.log10(energy + 1e-3).mean(axis=0)


def test_classes_are_told_apart_on_unheard_instances() -> None:
    """Nearest centroid of the training instances' mean log-mel spectra: the simplest listener there is."""
    centroids = np.stack(
        [np.mean([mel_features(synthesise(c, s)) for s in TRAIN_SEEDS], axis=0) for c in CLASSES]
    )
    right = [
        int(np.linalg.norm(centroids - mel_features(synthesise(c, s)), axis=1).argmin()) == i
        for i, c in enumerate(CLASSES)
        for s in TEST_SEEDS
    ]
    assert np.mean(right) >= 0.95


def test_splits_are_disjoint() -> None:
    assert not set(TRAIN_SEEDS) & set(TEST_SEEDS)


def test_fast_enough() -> None:
    """20 ms is the target on an idle core; the test allows a busy one four times that."""
    for name in CLASSES:
        times = []
        for seed in range(6):
            start = time.process_time()
            synthesise(name, seed)
            times.append(time.process_time() - start)
        assert min(times) < 0.08, name


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("syren", 0, 16_000, 3.0), "did you mean 'siren'"),
        (("zzz", 0, 16_000, 3.0), "choose from telephone"),
        (("siren", -1, 16_000, 3.0), "0 or more"),
        (("siren", 0, 4_000, 3.0), "8000 to 48000"),
        (("siren", 0, 96_000, 3.0), "8000 to 48000"),
        (("siren", 0, 16_000, 0.0), "0.5 to 60"),
        (("siren", 0, 16_000, float("nan")), "0.5 to 60"),
    ],
)
def test_bad_arguments_say_what_to_do(args: tuple, words: str) -> None:
    with pytest.raises(SoundError, match=words) as caught:
        synthesise(*args)
    assert "\n" not in str(caught.value)
