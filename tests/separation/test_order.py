from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.signal import butter, sosfilt

from auralnav.separation.order import (
    BANDS,
    SourceOrder,
    assign,
    band_powers,
    spectral_likeness,
    waveform_likeness,
)

RATE, STEP, WINDOW = 16_000, 4_000, 12_000
BANDS_HZ = {"low": (150, 500), "middle": (800, 1800), "high": (3000, 6000), "wide": (100, 7000)}


def sound(name: str, seconds: float, seed: int = 0) -> np.ndarray:
    """Noise of a band, at an RMS of 1."""
    noise = np.random.default_rng([seed, list(BANDS_HZ).index(name)]).standard_normal(round(seconds * RATE))
    filtered = sosfilt(butter(4, BANDS_HZ[name], btype="bandpass", fs=RATE, output="sos"), noise)
    return filtered / filtered.std()


def arranged(sources: np.ndarray, seed: int | None = 0, order: SourceOrder | None = None) -> list[list[int]]:
    """For each step, the row of `sources` [K, N] in each slot; a seed shuffles the rows before each step."""
    count, length = sources.shape
    rng = np.random.default_rng(seed)
    order = order or SourceOrder(1, count, WINDOW - STEP, STEP / RATE, RATE)
    padded = np.concatenate([np.zeros((count, WINDOW - STEP)), sources], axis=1)
    slots = []
    for step in range(length // STEP):
        window = torch.from_numpy(padded[:, step * STEP : step * STEP + WINDOW]).float()
        permutation = np.arange(count) if seed is None else rng.permutation(count)
        start = torch.tensor([step == 0])
        result = order.arrange(window[permutation][None], start, torch.tensor([0]))[0]
        slots.append([int(np.flatnonzero([torch.equal(row, true) for true in window])[0]) for row in result])
    return slots


def test_the_loudest_comes_first():
    sources = np.stack([0.1 * sound("low", 0.25), 0.4 * sound("high", 0.25), 0.2 * sound("middle", 0.25)])
    for seed in range(5):
        assert arranged(sources, seed=seed) == [[1, 2, 0]]


def test_sources_whose_levels_cross_keep_their_slots():
    rise = np.geomspace(0.03, 0.6, 20 * STEP)
    sources = np.stack([rise * sound("low", 5.0), rise[::-1] * sound("middle", 5.0)])
    for seed in range(5):
        assert arranged(sources, seed=seed) == [[1, 0]] * 20


def test_sources_of_the_same_spectrum_keep_their_slots_by_their_waveforms():
    rise = np.geomspace(0.1, 0.5, 20 * STEP)
    sources = np.stack([rise * sound("wide", 5.0, seed=1), rise[::-1] * sound("wide", 5.0, seed=2)])
    for seed in range(5):
        assert arranged(sources, seed=seed) == [[1, 0]] * 20


@pytest.mark.parametrize("pause", [1.0, 4.0, 8.0])
def test_sources_that_pause_get_their_slots_back(pause):
    """Another sounds on; of the two that pause, the louder one comes back as the quieter one."""
    seconds, on = 4.0 + pause, round(2.0 * RATE)
    first, second = np.full(round(seconds * RATE), 0.3), np.full(round(seconds * RATE), 0.1)
    first[on:-on] = second[on:-on] = 0.0
    first[-on:], second[-on:] = 0.1, 0.3
    sources = np.stack([0.4 * sound("low", seconds), first * sound("middle", seconds), second * sound("high", seconds)])
    for seed in range(3):
        slots = arranged(sources, seed=seed)
        assert slots[:8] + slots[-8:] == [[0, 1, 2]] * 16
        assert all(row[0] == 0 for row in slots)


@pytest.mark.parametrize("both", [True, False])
def test_a_separator_that_swaps_its_outputs_in_a_pause_is_seen_through(both):
    """Rows are outputs here: after the pause, what was row 1 is row 2; between, and where none is back, leaks."""
    low, middle, high = (0.3 * sound(name, 6.0) for name in ("low", "middle", "high"))
    leaks = 0.01 * np.stack([sound("wide", 6.0, seed) for seed in (1, 2)])
    rows = np.stack([low, *leaks])
    rows[1, : 8 * STEP] += middle[: 8 * STEP]
    rows[2, 16 * STEP :] += middle[16 * STEP :]
    if both:
        rows[2, : 8 * STEP] += 0.7 * high[: 8 * STEP]
        rows[1, 16 * STEP :] += 0.7 * high[16 * STEP :]
    slots = arranged(rows, seed=None)
    assert slots[:16] == [[0, 1, 2]] * 16 and slots[16:] == [[0, 2, 1]] * 8


def test_a_new_source_does_not_take_the_slot_of_one_that_pauses():
    gates = np.zeros((4, 24))
    gates[0], gates[1, :8], gates[1, 18:], gates[2, 12:] = 1.0, 1.0, 1.0, 1.0
    names = ["low", "middle", "wide", "high"]
    sources = np.stack([0.3 * 0.8**i * sound(name, 6.0) for i, name in enumerate(names)])
    sources *= gates.repeat(STEP, axis=1)
    sources += 1e-4 * np.random.default_rng(0).standard_normal(sources.shape)
    for seed in range(5):
        slots = arranged(sources, seed=seed)
        new = slots[12].index(2)
        assert new in (2, 3)
        assert all(row[0] == 0 for row in slots) and all(row[new] == 2 for row in slots[12:])
        assert [row[1] for row in slots[:8] + slots[18:]] == [1] * 14


def test_a_reset_forgets():
    order = SourceOrder(1, 2, WINDOW - STEP, STEP / RATE, RATE)
    sources = np.stack([0.3 * sound("low", 2.0), 0.1 * sound("middle", 2.0)])
    assert arranged(sources, order=order)[-1] == [0, 1]
    quieter = sources * np.array([[0.1], [2.0]])
    assert arranged(quieter, order=order) == [[1, 0]] * 8


def test_rows_are_rooms_of_their_own():
    order = SourceOrder(3, 2, WINDOW - STEP, STEP / RATE, RATE)
    estimates = torch.from_numpy(np.stack([0.1 * sound("low", 0.75), 0.3 * sound("middle", 0.75)])).float()
    both = torch.stack([estimates, estimates.flip(0)])
    start = torch.tensor([True, True])
    result = order.arrange(both, start, torch.tensor([2, 0]))
    assert torch.equal(result, estimates.flip(0).expand(2, -1, -1))
    state = order.state()
    assert (state["before"][1] == 0).all() and (state["spectra"][1] == 0).all()
    louder = estimates * torch.tensor([[10.0], [1.0]])
    kept = order.arrange(louder[None], ~start[:1], torch.tensor([2]))[0]
    new = order.arrange(louder[None], ~start[:1], torch.tensor([1]))[0]
    assert torch.equal(kept, louder.flip(0)) and torch.equal(new, louder)


def test_silence_is_no_trouble():
    order = SourceOrder(1, 4, WINDOW - STEP, STEP / RATE, RATE)
    silence = torch.zeros(1, 4, WINDOW)
    for start in (True, False):
        assert torch.equal(order.arrange(silence, torch.tensor([start]), torch.tensor([0])), silence)
    assert all(torch.isfinite(value).all() for value in order.state().values())


@pytest.mark.parametrize("rate", [8000, 16_000, 48_000])
def test_a_tones_power_lies_in_its_band(rate):
    t = torch.arange(rate, dtype=torch.float64) / rate
    powers = band_powers(torch.sin(2 * torch.pi * 1000.0 * t).float(), rate)
    edges = 80.0 * (rate / 2 / 80.0) ** (np.arange(BANDS + 1) / BANDS)
    place = np.searchsorted(edges, 1000.0) - 1
    assert powers.shape == (BANDS,)
    assert powers[place - 1 : place + 2].sum() > 0.99 * powers.sum()


def test_likeness_of_spectra():
    powers = torch.tensor([[4.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 0.0]])
    expected = torch.tensor([[1.0, 0.5**0.5, 0.0], [0.5**0.5, 1.0, 0.0], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(spectral_likeness(powers, 1e-9 * powers), expected)


def test_likeness_of_waveforms_asks_for_energy_in_what_is_shared():
    x = torch.from_numpy(sound("wide", 0.75)).float()
    fresh = torch.cat([1e-3 * x[:8000], x[8000:]])  # a leak, then a sound
    likeness = waveform_likeness(torch.stack([x, fresh, -x]), x[None, :8000])[:, 0]
    torch.testing.assert_close(likeness, torch.tensor([(2 / 3) ** 0.5, 0.0, 0.0]), atol=0.02, rtol=0)


def test_the_assignment_has_the_largest_sum():
    scores = torch.tensor([[[0.9, 0.8], [0.8, 0.1]], [[0.9, 0.2], [0.8, 0.3]]])
    assert assign(scores).tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize(("estimates", "slots"), [(1, 1), (3, 2), (4, 4), (5, 1), (5, 5), (6, 6), (7, 3)])
def test_the_assignment_is_that_of_the_hungarian_method(estimates: int, slots: int):
    scores = torch.randn(50, estimates, slots, generator=torch.Generator().manual_seed(0))
    expected = [linear_sum_assignment(table.T, maximize=True)[1] for table in scores.numpy()]
    assert assign(scores).tolist() == np.stack(expected).tolist()
