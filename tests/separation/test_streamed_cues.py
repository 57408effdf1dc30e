from __future__ import annotations

import math

import pytest
import torch

from auralnav.errors import ShapeError, SoundError
from auralnav.separation.cues import SpatialCues
from auralnav.separation.separator import DPRNNSeparator
from auralnav.separation.separator_config import SeparatorConfig
from auralnav.separation.streamed_cues import StreamedCues
from auralnav.separation.streaming import StreamingSeparator

RATE, STEP, ROOMS = 16_000, 4000, 9


def separator() -> DPRNNSeparator:
    torch.manual_seed(0)
    config = SeparatorConfig(sources=3, ears=2, filters=16, bottleneck=8, hidden=8, chunk=20, hop=10, repeats=1)
    return DPRNNSeparator(config).eval()


def streamed(device: str = "cpu") -> StreamedCues:
    return StreamedCues(separator().to(device), SpatialCues(RATE, STEP), ROOMS)


def steps() -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Sound, first steps and rooms: all, a few, one, some that begin anew, all."""
    generator = torch.Generator().manual_seed(1)
    chosen = [torch.arange(ROOMS), torch.tensor([7, 2]), torch.tensor([4]), torch.arange(1, 7), torch.arange(ROOMS)]
    return [
        (
            0.1 * torch.randn(len(rows), 2, STEP, generator=generator),
            torch.full((len(rows),), k in (0, 3)),
            rows,
        )
        for k, rows in enumerate(chosen)
    ]


def test_features_are_those_of_the_separated_steps():
    both, stream, cues = streamed(), StreamingSeparator(separator(), STEP, batch=ROOMS), SpatialCues(RATE, STEP)
    for audio, start, rows in steps():
        heard = stream.push(audio, start, rows)
        assert torch.equal(both.hear(audio, start, rows), cues.with_mixture(heard.audio, heard.sources))


def test_it_goes_on_from_its_state():
    one, other = streamed(), streamed()
    for step in steps()[:3]:
        one.hear(*step)
    other.restore(one.state())
    for step in steps()[3:]:
        assert torch.equal(one.hear(*step), other.hear(*step))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda audio: audio[:, :1], ShapeError, "left and right ear"),
        (lambda audio: audio[..., 1:], ShapeError, "4000 samples at 16000 Hz"),
        (lambda audio: audio.index_fill(0, torch.tensor([2]), math.nan), SoundError, "NaN"),
    ],
    ids=["mono", "length", "nan"],
)
def test_wrong_sound_is_refused_and_changes_nothing(change, error, words):
    cues, untouched = streamed(), streamed()
    audio, start, rows = steps()[0]
    with pytest.raises(error, match=words):
        cues.hear(change(audio), start, rows)
    assert torch.equal(cues.hear(audio, start, rows), untouched.hear(audio, start, rows))


def test_estimates_that_are_not_finite_are_said_to_be_the_weights_fault():
    cues = streamed()
    with torch.no_grad():
        next(cues.stream.separator.network.masker.net_out.parameters()).fill_(math.nan)
    with pytest.raises(SoundError, match="look at the separator's weights"):
        cues.hear(*steps()[0])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="this torch sees no GPU")
def test_a_recorded_call_is_the_one_that_is_not(monkeypatch: pytest.MonkeyPatch):
    recorded, plain = streamed("cuda"), streamed("cuda")
    monkeypatch.setattr(plain, "_replayed", lambda *step: plain._features(*(part.cuda() for part in step)))
    for _ in range(2):  # calls are recorded in the first round, and only replayed in the second
        for step in steps():
            torch.testing.assert_close(recorded.hear(*step), plain.hear(*step), rtol=1e-3, atol=1e-3)
    assert sorted(recorded._recorded) == [4, 9]
