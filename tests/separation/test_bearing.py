"""Bearings from lateral angles at several headings: right in front and behind, in any frame, fading, differentiable."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from auralnav.errors import ShapeError
from auralnav.separation.bearing import BEARING, FORGETTING, RIDGE, SUMS, with_bearing
from auralnav.separation.cues import MASKED

AZIMUTH, LEVEL = MASKED.index("azimuth"), MASKED.index("level")


def heard(bearings_deg: Tensor, heading_deg: Tensor) -> tuple[Tensor, Tensor]:
    """Features [B, K, 9] of sources at bearings [B, K] in the room, heard without error, and the heading [B, 2]."""
    relative = torch.deg2rad(bearings_deg - heading_deg[:, None])
    features = torch.zeros(*relative.shape, len(MASKED))
    features[..., LEVEL] = 0.5
    features[..., AZIMUTH] = torch.asin(torch.sin(relative)) / (np.pi / 2)
    heading = torch.deg2rad(heading_deg)
    return features, torch.stack([torch.cos(heading), torch.sin(heading)], dim=-1)


def after(bearings: Tensor, headings: Tensor) -> Tensor:
    """Bearings [B, K, 2] after the steps of headings [T, B]."""
    sums, told = torch.zeros(*bearings.shape, SUMS), torch.empty(0)
    for heading in headings:
        told, sums = with_bearing(*_between(heard(bearings, heading), sums))
    return told[..., -len(BEARING) :]


def _between(both: tuple[Tensor, Tensor], sums: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return both[0], sums, both[1]


ALL = torch.arange(0.0, 360.0, 15.0)[None]  # every direction is a source's


def test_a_turn_tells_every_direction_front_and_back():
    told = after(ALL, torch.tensor([[20.0], [50.0], [80.0], [110.0]]))
    angle = torch.rad2deg(torch.atan2(told[..., 1], told[..., 0]))
    error = (angle - (ALL - 110.0) + 180.0) % 360.0 - 180.0
    assert error.abs().max() < 12.0  # the ridge draws towards zero where least is known
    assert (told.norm(dim=-1) > 0.6).all()


def test_without_a_turn_nothing_is_ahead_or_behind_and_left_is_what_was_heard():
    told = after(ALL, torch.zeros(5, 1) + 30.0)
    assert told[..., 0].abs().max() < 1e-5
    weight = sum(FORGETTING**age for age in range(5))
    side = torch.sin(torch.deg2rad(ALL - 30.0))
    torch.testing.assert_close(told[..., 1], side * weight / (weight + RIDGE), atol=1e-5, rtol=0)


def test_it_is_the_ridge_regression_with_forgetting():
    """Against NumPy's least squares over all steps at once, with measurements that contradict each other."""
    rng = np.random.default_rng(0)
    sums = torch.zeros(1, 1, SUMS)
    rows, values = [np.sqrt(RIDGE) * np.eye(2)], [np.zeros(2)]
    steps = [(rng.uniform(0, 360), rng.uniform(-80, 80)) for _ in range(6)]
    told = torch.empty(0)
    for age, (heading, azimuth) in zip(reversed(range(6)), steps, strict=True):
        features, way = heard(torch.tensor([[heading + azimuth]]), torch.tensor([heading]))
        told, sums = with_bearing(features, sums, way)
        axis = np.array([-np.sin(np.radians(heading)), np.cos(np.radians(heading))])
        rows.append(np.sqrt(FORGETTING**age) * axis[None])
        values.append(np.sqrt(FORGETTING**age) * np.sin(np.radians([azimuth])))
    fit = np.linalg.lstsq(np.concatenate(rows), np.concatenate(values), rcond=None)[0]
    last = np.radians(steps[-1][0])
    turned = np.array([[np.cos(last), np.sin(last)], [-np.sin(last), np.cos(last)]]) @ fit
    np.testing.assert_allclose(told[0, 0, -2:].numpy(), turned.clip(-1, 1), atol=1e-4)


def test_the_frame_of_the_odometry_does_not_matter():
    headings = torch.tensor([[0.0], [30.0], [30.0], [60.0]])
    torch.testing.assert_close(after(ALL, headings), after(ALL + 77.0, headings + 77.0), atol=1e-4, rtol=0)


def test_silence_says_nothing_and_what_is_known_fades():
    features, heading = heard(ALL, torch.tensor([10.0]))
    told, sums = with_bearing(features, torch.zeros(1, ALL.shape[1], SUMS), heading)
    still, faded = with_bearing(torch.zeros_like(features), sums, heading)
    torch.testing.assert_close(faded, FORGETTING * sums)
    assert (still[..., -2:].norm(dim=-1) <= told[..., -2:].norm(dim=-1)).all()
    never, _ = with_bearing(torch.zeros_like(features), torch.zeros_like(sums), heading)
    assert not never.any()


def test_steps_before_an_episode_count_for_nothing():
    features, _ = heard(ALL, torch.tensor([10.0]))
    told, sums = with_bearing(torch.zeros_like(features), torch.zeros(1, ALL.shape[1], SUMS), torch.zeros(1, 2))
    assert not told.any() and not sums.any()


def test_timbre_stays_where_it_is_and_gradients_are_finite():
    features, heading = heard(ALL, torch.tensor([10.0]))
    more = torch.cat([features, torch.rand(1, ALL.shape[1], 16)], dim=-1).requires_grad_()
    told, sums = with_bearing(more, torch.zeros(1, ALL.shape[1], SUMS), heading)
    told, _ = with_bearing(more, sums, heading.flip(-1))
    torch.testing.assert_close(told[..., :-2], more)
    told[..., -2:].sum().backward()
    gradient = more.grad
    assert gradient is not None and torch.isfinite(gradient).all() and gradient[..., AZIMUTH].any()
    zeros = torch.zeros_like(more, requires_grad=True)
    with_bearing(zeros, torch.zeros_like(sums), heading)[0].sum().backward()
    assert zeros.grad is not None and torch.isfinite(zeros.grad).all()


def test_other_features_are_refused():
    with pytest.raises(ShapeError, match="9 features a source, not 3"):
        with_bearing(torch.zeros(1, 2, 3), torch.zeros(1, 2, SUMS), torch.zeros(1, 2))
