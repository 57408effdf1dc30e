from __future__ import annotations

import pytest
import torch

from auralnav.errors import ConfigError, ShapeError, SoundError
from auralnav.separation.separator import DPRNNSeparator
from auralnav.separation.separator_config import SeparatorConfig
from auralnav.separation.streaming import StreamingSeparator

STEP, WINDOW = 1000, 3000


@pytest.fixture(scope="module", params=[1, 2], ids=["one ear", "two ears"])
def separator(request: pytest.FixtureRequest) -> DPRNNSeparator:
    torch.manual_seed(0)
    config = SeparatorConfig(
        sources=3, ears=request.param, filters=16, bottleneck=8, hidden=8, chunk=20, hop=10, repeats=1
    )  # fmt: skip
    return DPRNNSeparator(config).eval()


def stream(separator: DPRNNSeparator, batch: int = 1) -> StreamingSeparator:
    return StreamingSeparator(separator, STEP, WINDOW / 16_000, batch)


def noise(*shape: int, seed: int = 1) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def sorted_rows(sources: torch.Tensor) -> torch.Tensor:
    """Sources [K, n] in an order of their own, to be compared whatever their slots."""
    return sources[sources[:, 0].argsort()]


def test_a_step_is_separated_with_the_sound_before_it(separator):
    audio = noise(1, 2, 6 * STEP)
    rooms = stream(separator)
    for k in range(6):
        result = rooms.push(audio[..., k * STEP : (k + 1) * STEP], torch.tensor([k == 0]))
        assert torch.equal(result.audio, audio[..., k * STEP : (k + 1) * STEP])
        before = torch.zeros(1, 2, max(0, WINDOW - (k + 1) * STEP))
        window = torch.cat([before, audio[..., max(0, (k + 1) * STEP - WINDOW) : (k + 1) * STEP]], dim=-1)
        with torch.no_grad():
            expected = separator(window)[0, :, -STEP:]
        assert result.sources.shape == (1, 3, STEP)
        torch.testing.assert_close(sorted_rows(result.sources[0]), sorted_rows(expected), rtol=1e-4, atol=1e-6)


def test_silence_in_is_silence_out(separator):
    rooms = stream(separator)
    for _ in range(3):
        result = rooms.push(torch.zeros(1, 2, STEP))
        assert (result.sources == 0).all() and (result.audio == 0).all()


def test_rooms_of_one_call_are_as_rooms_alone(separator):
    audio = noise(5, 3, 2, STEP)
    starts = torch.tensor([[True] * 3, [False] * 3, [False, True, False], [False] * 3, [True, False, False]])
    together = stream(separator, 3)
    alone = [stream(separator) for _ in range(3)]
    for step, start in zip(audio, starts, strict=True):
        result = together.push(step, start)
        for row in range(3):
            single = alone[row].push(step[row : row + 1], start[row : row + 1])
            torch.testing.assert_close(result.sources[row], single.sources[0], rtol=1e-4, atol=1e-6)


def test_a_room_does_not_depend_on_the_others(separator):
    audio, others = noise(4, 3, 2, STEP), noise(4, 3, 2, STEP, seed=2)
    others[:, 1] = audio[:, 1]
    first, second = stream(separator, 3), stream(separator, 3)
    for k in range(4):
        rest = torch.tensor([k == 2, False, k == 3])
        assert torch.equal(first.push(audio[k]).sources[1], second.push(others[k], rest).sources[1])


def test_a_start_forgets(separator):
    used, fresh = stream(separator, 2), stream(separator, 2)
    for seed in range(3):
        used.push(noise(2, 2, STEP, seed=seed))
    step = noise(2, 2, STEP, seed=9)
    after = used.push(step, torch.tensor([True, False])).sources
    new = fresh.push(step, torch.tensor([True, True])).sources
    assert torch.equal(after[0], new[0]) and not torch.allclose(after[1], new[1])


def test_some_rooms_go_on_while_others_wait(separator):
    some, every = stream(separator, 3), stream(separator, 2)
    audio = noise(4, 2, 2, STEP)
    some.push(noise(3, 2, STEP, seed=5))
    for k in range(4):
        start = torch.full((2,), k == 0)
        a = some.push(audio[k], start, torch.tensor([2, 0])).sources
        torch.testing.assert_close(a, every.push(audio[k], start).sources, rtol=1e-4, atol=1e-6)
    assert (some.state()["heard"][1, :, :-STEP] == 0).all()


def test_a_restored_stream_goes_on_to_the_bit(separator):
    rooms, other = stream(separator, 2), stream(separator, 2)
    for seed in range(3):
        rooms.push(noise(2, 2, STEP, seed=seed))
    state = rooms.state()
    expected = rooms.push(noise(2, 2, STEP, seed=7)).sources
    for again in (rooms, other):
        again.restore(state)
        assert torch.equal(again.push(noise(2, 2, STEP, seed=7)).sources, expected)


def test_double_precision_sound_is_taken_and_nothing_is_differentiated(separator):
    result = stream(separator).push(noise(1, 2, STEP).double().requires_grad_())
    assert result.sources.dtype == torch.float32 and not result.sources.requires_grad


@pytest.mark.parametrize(
    "shape", [(2, STEP), (2, 1, STEP), (2, STEP, 2), (2, 2, STEP // 2), (3, 2, STEP), (1, 2, STEP)]
)
def test_what_is_no_step_of_the_rooms_is_refused(separator, shape):
    with pytest.raises(ShapeError, match=r"float32 \[2, 2, 1000\], not float32 [^\n]*1000 samples at 16000 Hz$"):
        stream(separator, 2).push(torch.zeros(shape), torch.zeros(2, dtype=torch.bool))


def test_int16_is_refused(separator):
    with pytest.raises(ShapeError, match="not int16"):
        stream(separator).push(torch.zeros(1, 2, STEP, dtype=torch.int16))


@pytest.mark.parametrize("rows", [[0, 0], [0, 2], [-1, 0], [0.0, 1.0]])
def test_rows_that_are_no_rooms_are_refused(separator, rows):
    with pytest.raises(ShapeError, match=r"^rows [^\n]*$"):
        stream(separator, 2).push(torch.zeros(2, 2, STEP), rows=torch.tensor(rows))


@pytest.mark.parametrize("start", [torch.zeros(2), torch.zeros(1, dtype=torch.bool)])
def test_a_start_of_another_kind_is_refused(separator, start):
    with pytest.raises(ShapeError, match=r"start is bool \[2\]"):
        stream(separator, 2).push(torch.zeros(2, 2, STEP), start)


@pytest.mark.parametrize("bad", [torch.nan, -torch.inf])
def test_a_step_with_bad_samples_is_refused_and_loses_nothing(separator, bad):
    rooms, untouched = stream(separator, 2), stream(separator, 2)
    broken = noise(2, 2, STEP, seed=3)
    broken[1, 0, 5] = bad
    for other in (rooms, untouched):
        other.push(noise(2, 2, STEP))
    with pytest.raises(SoundError, match="NaN or infinite"):
        rooms.push(broken, torch.ones(2, dtype=torch.bool))
    after = noise(2, 2, STEP, seed=4)
    assert torch.equal(rooms.push(after).sources, untouched.push(after).sources)


def test_sound_of_another_rate_is_refused(separator):
    with pytest.raises(ConfigError, match="for sound at 16000 Hz, not 44100 Hz; resample"):
        StreamingSeparator(separator, STEP, sample_rate=44_100)


@pytest.mark.parametrize("sizes", [{"step": 0}, {"batch": 0}, {"step": 16_000}, {"step": 100, "window_seconds": 0.01}])
def test_sizes_that_do_not_fit_are_refused(separator, sizes):
    with pytest.raises(ConfigError, match=r"give at least one room[^\n]*$"):
        StreamingSeparator(separator, **{"step": STEP, **sizes})
