from __future__ import annotations

import numpy as np
import pytest

from auralnav.envs.acoustics.measure import (
    coherence,
    decay_time,
    direct_to_reverberant,
    highpass,
    interaural,
    schroeder,
)
from auralnav.errors import RoomError

FS = 16000


def exponential(rt60: float, length: float = 2.0) -> np.ndarray:
    return 10.0 ** (-3.0 * np.arange(int(length * FS)) / FS / rt60)


@pytest.mark.parametrize("rt60", [0.15, 0.3, 0.6, 1.0])
@pytest.mark.parametrize("levels", [(-5, -25), (-5, -35), (0, -60)])
def test_an_exponential_decay_has_its_own_decay_time(rt60: float, levels: tuple[float, float]) -> None:
    assert decay_time(exponential(rt60), FS, *levels) == pytest.approx(rt60, rel=1e-4)


def test_t20_reads_the_early_slope_and_t60_the_whole_of_a_double_decay() -> None:
    h = np.sqrt(exponential(0.2) ** 2 + 1e-3 * exponential(1.0) ** 2)
    t20, t60 = decay_time(h, FS), decay_time(h, FS, -5, -60)
    assert t20 < 0.3
    assert t60 > 2 * t20


def test_the_schroeder_curve_is_the_energy_still_to_come() -> None:
    curve = schroeder([[3.0, 0.0, 4.0, 0.0]])
    np.testing.assert_allclose(curve[0, :3], 10 * np.log10([1.0, 16 / 25, 16 / 25]), atol=1e-12)
    assert curve[0, 3] == -300.0


def test_measuring_what_does_not_decay_says_so() -> None:
    with pytest.raises(RoomError, match="longer"):
        decay_time(exponential(1.0, length=0.01), FS)
    with pytest.raises(RoomError, match="silent"):
        decay_time(np.zeros(100), FS)
    with pytest.raises(RoomError, match="start_db"):
        decay_time(exponential(0.3), FS, -25, -5)
    with pytest.raises(RoomError, match="shape"):
        decay_time(np.ones((2, 50)), FS)


def test_the_highpass_is_3_db_down_at_its_cutoff_and_falls_24_db_an_octave() -> None:
    impulse = np.zeros(FS)
    impulse[0] = 1.0
    gain = 20 * np.log10(np.abs(np.fft.rfft(highpass(impulse, FS))))
    assert gain[125] == pytest.approx(-3.01, abs=0.05)
    assert gain[31] - gain[15] == pytest.approx(24.0 * np.log2(31 / 15), abs=0.5)
    assert gain[1000] == pytest.approx(0.0, abs=0.01)


def test_direct_to_reverberant_splits_the_energy_after_the_window() -> None:
    h = np.zeros(1000)
    h[[100, 101]] = 1.0
    h[140] = 1.0  # 2.5 ms after sample 100: the last one that counts as direct
    h[141] = 0.1
    assert direct_to_reverberant(h, FS, 100) == pytest.approx(10 * np.log10(3 / 0.01))
    assert direct_to_reverberant(h, FS, 100, window=0.0) == pytest.approx(10 * np.log10(1 / 2.01))
    with pytest.raises(RoomError, match="reverberant"):
        direct_to_reverberant(h, FS, 900)
    with pytest.raises(RoomError, match="direct"):
        direct_to_reverberant(h, FS, 20)


@pytest.mark.parametrize("delay", [-9.37, -0.5, 0.0, 0.25, 6.8])
@pytest.mark.parametrize("phat", [True, False])
def test_interaural_finds_a_subsample_delay_and_the_level(delay: float, phat: bool) -> None:
    rng = np.random.default_rng(3)
    left = rng.normal(size=4096)
    spectrum = np.fft.rfft(left)
    # The right ear hears the left one's sound `delay` samples later and 6 dB weaker.
    turn = np.exp(-2j * np.pi * np.arange(len(spectrum)) / 4096 * delay)
    right = 0.5 * np.fft.irfft(spectrum * turn, 4096)
    ild, itd = interaural(np.stack([left, right]), FS, phat=phat)
    assert ild == pytest.approx(6.02, abs=0.05)
    assert itd * FS == pytest.approx(delay, abs=0.02)


def test_interaural_looks_no_further_than_a_head() -> None:
    left = np.random.default_rng(0).normal(size=2048)
    _, itd = interaural(np.stack([left, np.roll(left, 200)]), FS)
    assert abs(itd) <= 1.01e-3


def test_interaural_needs_two_ears_with_sound() -> None:
    with pytest.raises(RoomError, match="shape"):
        interaural(np.ones(100), FS)
    with pytest.raises(RoomError, match="silent"):
        interaural(np.stack([np.ones(100), np.zeros(100)]), FS)


def test_coherence_of_a_known_mixture() -> None:
    rng = np.random.default_rng(1)
    common, noise = rng.normal(size=(2, 400_000))
    frequencies, gamma = coherence(np.stack([common, 0.6 * common + 0.8 * noise]), FS)
    assert frequencies[-1] == FS / 2
    np.testing.assert_allclose(gamma.real, 0.6, atol=0.08)
    np.testing.assert_allclose(gamma.imag, 0.0, atol=0.1)
    _, same = coherence(np.stack([common, -common]), FS)
    np.testing.assert_allclose(same, -1.0, atol=1e-9)
    with pytest.raises(RoomError, match="512"):
        coherence(np.ones((2, 100)), FS)
