"""The separator inside the network: what it computes, and that gradients and target updates reach it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces
from tiny_separator import tiny_separator

from auralnav.agents.dprnn_extractor import DPRNNExtractor
from auralnav.agents.source_cues import FULL_SCALE
from auralnav.errors import ShapeError
from auralnav.separation.attention import NOBODY, attend
from auralnav.separation.bearing import SUMS, with_bearing
from auralnav.separation.cues import SpatialCues

N, STEPS = 1600, 3
EARS = pytest.mark.parametrize("ears", [1, 2])


def space(steps: int = STEPS) -> spaces.Dict:
    return spaces.Dict(
        {
            "vector": spaces.Box(-1.0, 1.0, (5 * steps,), np.float32),
            "audio": spaces.Box(-FULL_SCALE, FULL_SCALE, (2 * steps, N), np.int16),
            "heading": spaces.Box(-1.0, 1.0, (steps, 2), np.float32),
        }
    )


def extractor(cues: str = "masked", ears: int = 1, rows: int = 2) -> DPRNNExtractor:
    return DPRNNExtractor(space(), tiny_separator(ears=ears), SpatialCues(16_000, N, cues), rows)  # type: ignore[arg-type]


def heard(batch: int, seed: int = 0) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(seed)
    audio = rng.normal(0, 0.05 * FULL_SCALE, (batch, 2 * STEPS, N)).round()
    angle = rng.uniform(0, 2 * np.pi, (batch, STEPS))
    return {
        "vector": torch.from_numpy(rng.uniform(-1, 1, (batch, 5 * STEPS)).astype(np.float32)),
        "audio": torch.from_numpy(audio.astype(np.float32)),
        "heading": torch.from_numpy(np.stack([np.cos(angle), np.sin(angle)], axis=-1).astype(np.float32)),
    }


@EARS
@pytest.mark.parametrize("form", ["masked", "seed"])
def test_features_are_the_flat_parts_the_mixture_and_each_steps_sources_the_attended_one_first(ears: int, form: str):
    net, observation = extractor(form, ears), heard(2)
    C = 9 if form == "masked" else 3
    level, told = (6, C + 2) if form == "masked" else (2, C)
    with torch.no_grad():
        features = net(observation)
        sound = observation["audio"] / FULL_SCALE
        # By hand: the steps' ears joined to one window, separated at once.
        window = torch.stack([sound[:, 0::2].flatten(1), sound[:, 1::2].flatten(1)], dim=1)
        estimates = net.separator(window)
        sums, rows, mixture = torch.zeros(2, 3, SUMS), [], []
        for step in range(STEPS):
            part = slice(step * N, (step + 1) * N)
            cues = net.cues(window[:, :, part], estimates[:, :, part])
            cues = torch.cat([net.cues.of_mixture(window[:, :, part]), cues], dim=1)
            if form == "masked":
                cues, sums = with_bearing(cues, sums, observation["heading"][:, step])
            mixture.append(cues[:, 0])
            rows.append(cues[:, 1:])
        attended = torch.full((2,), NOBODY)
        for part in rows:
            attended = attend(part[:, :, level], attended)
        order = [[int(first), 1 - int(first)] for first in attended]
        expected = []
        for b in range(2):
            sources = [part[b][order[b]].flatten() for part in rows]
            expected.append(torch.cat([observation["vector"][b], *(part[b] for part in mixture), *sources]))
    assert features.shape == (2, net.features_dim) == (2, 5 * STEPS + STEPS * 3 * told)
    torch.testing.assert_close(features, torch.stack(expected), atol=1e-5, rtol=0)


def test_only_the_attended_source_is_looked_at_where_so_asked():
    torch.manual_seed(0)
    one, both = extractor(rows=1), extractor()
    one.load_state_dict(both.state_dict())
    with torch.no_grad():
        few, all_of_them = one(heard(3)), both(heard(3))
    before = STEPS * (5 + 11)
    assert few.shape == (3, one.features_dim) == (3, before + STEPS * 11)
    attended = all_of_them[:, before:].unflatten(1, (STEPS, 2, 11))[:, :, 0].flatten(1)
    torch.testing.assert_close(few[:, before:], attended, atol=1e-6, rtol=0)


@EARS
def test_one_room_is_heard_alike_alone_and_in_a_batch(ears: int):
    """An ancestor made two monos of a room's ears when it acted, and not when it learned."""
    net, observation = extractor(ears=ears), heard(4)
    with torch.no_grad():
        together = net(observation)
        for row in range(4):
            alone = net({key: part[row : row + 1] for key, part in observation.items()})
            torch.testing.assert_close(alone[0], together[row], atol=1e-4, rtol=0)


def test_exchanged_ears_mirror_the_cues():
    net, observation = extractor("seed"), heard(2)
    steps = observation["audio"].unflatten(1, (STEPS, 2))
    # Louder on the left, at full scale of neither ear.
    steps[:, :, 0] = 3 * steps[:, :, 1]
    mirrored = {**observation, "audio": steps.flip(2).flatten(1, 2)}
    with torch.no_grad():
        one, other = (net(each)[:, 5 * STEPS :].unflatten(1, (STEPS * 3, 3)) for each in (observation, mirrored))
    torch.testing.assert_close(one[..., 1], -other[..., 1], atol=1e-5, rtol=0)  # level difference
    torch.testing.assert_close(one[..., 2], other[..., 2], atol=1e-5, rtol=0)  # level
    assert one[..., 1].abs().max() > 0.01


@EARS
def test_silence_and_the_time_before_an_episode_have_no_cues(ears: int):
    net, observation = extractor(ears=ears), heard(2)
    observation["audio"][0] = 0.0
    observation["audio"][1, : 2 * (STEPS - 1)] = 0.0
    features = net(observation)
    assert not features[0, 5 * STEPS :].any()
    rows = features[1, -STEPS * 2 * 11 :].unflatten(0, (STEPS, 2, 11))
    assert not rows[: STEPS - 1].any() and rows[-1].any()
    features.sum().backward()
    assert all(torch.isfinite(weight.grad).all() for weight in net.separator.parameters() if weight.grad is not None)


@EARS
def test_gradients_reach_every_weight_of_the_separator(ears: int):
    net = extractor(ears=ears)
    net(heard(2))[:, 5 * STEPS :].square().sum().backward()
    for name, weight in net.separator.named_parameters():
        assert weight.grad is not None and torch.isfinite(weight.grad).all(), name
        assert weight.grad.any(), name


def test_each_extractor_has_its_own_copy():
    separator, cues = tiny_separator(), SpatialCues(16_000, N)
    first, second = (DPRNNExtractor(space(), separator, cues, 2) for _ in range(2))
    with torch.no_grad():
        next(first.separator.parameters()).add_(1.0)
    kept = zip(second.separator.parameters(), separator.parameters(), strict=True)
    assert all(torch.equal(mine, given) for mine, given in kept)
    assert not torch.equal(next(first.separator.parameters()), next(second.separator.parameters()))


@pytest.mark.parametrize("shape", [(N,), (3, N), None])
def test_another_observation_is_refused(shape: tuple[int, ...] | None):
    parts: dict[str, spaces.Space] = {"heading": spaces.Box(-1, 1, (1, 2), np.float32)}
    if shape is not None:
        parts["audio"] = spaces.Box(-1, 1, shape, np.float32)
    with pytest.raises(ShapeError, match="two ears"):
        DPRNNExtractor(spaces.Dict(parts), tiny_separator(), SpatialCues(16_000, N), 2)


def test_headings_that_do_not_fit_the_sound_are_refused():
    parts = {**space().spaces, "heading": spaces.Box(-1, 1, (STEPS + 1, 2), np.float32)}
    with pytest.raises(ShapeError, match=r"give a Box of shape \[3, 2\]"):
        DPRNNExtractor(spaces.Dict(parts), tiny_separator(), SpatialCues(16_000, N), 2)
