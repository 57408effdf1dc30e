"""Rows of sources as a network sees them: in whatever order they come, the loudest now first."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces

from auralnav.errors import ShapeError
from auralnav.policies.source_set import SourceSetExtractor, loudest_first

H, K, C, LEVEL = 3, 4, 5, 2


def space(shape: tuple[int, ...] = (H * K, C)) -> spaces.Dict:
    return spaces.Dict(
        {"vector": spaces.Box(-1.0, 1.0, (7,), np.float32), "sources": spaces.Box(-1.0, 1.0, shape, np.float32)}
    )


def observation(batch: int = 6) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "vector": torch.rand(batch, 7, generator=generator),
        "sources": torch.rand(batch, H * K, C, generator=generator),
    }


def test_sources_are_ordered_by_their_newest_level_and_keep_their_histories():
    rows = torch.rand(1, H, K, C, generator=torch.Generator().manual_seed(1))
    rows[0, -1, :, LEVEL] = torch.tensor([0.2, 0.9, 0.0, 0.5])
    for count in range(1, K + 1):
        expected = rows[:, :, [1, 3, 0, 2][:count]]
        torch.testing.assert_close(loudest_first(rows, LEVEL, count), expected, rtol=0, atol=0)


def test_equally_loud_sources_keep_their_order():
    rows = torch.rand(2, H, K, C)
    rows[:, -1, :, LEVEL] = 0.0
    torch.testing.assert_close(loudest_first(rows, LEVEL, K), rows, rtol=0, atol=0)


@pytest.mark.parametrize("standardise", [False, True])
def test_the_order_of_the_sources_changes_nothing(standardise: bool):
    net, seen = SourceSetExtractor(space(), K, LEVEL, K, standardise), observation()
    net(seen)  # statistics, where it gathers some
    net.eval()
    mixed = seen["sources"].unflatten(1, (H, K))[:, :, [2, 0, 3, 1]].flatten(1, 2)
    features = net(seen)
    assert features.shape == (6, net.features_dim) == (6, 7 + H * K * C)
    torch.testing.assert_close(net({**seen, "sources": mixed}), features, rtol=0, atol=0)
    if not standardise:
        torch.testing.assert_close(features[:, :7], seen["vector"], rtol=0, atol=0)
        assert (features[:, 7:].sort().values == seen["sources"].flatten(1).sort().values).all(), "all is there"


def test_a_row_of_zeros_comes_last_and_one_source_is_always_first():
    net, seen = SourceSetExtractor(space(), K, LEVEL, K), observation()
    alone = torch.zeros(6, H, K, C)
    alone[:, :, 2] = seen["sources"].unflatten(1, (H, K))[:, :, 2]
    rows = net({**seen, "sources": alone.flatten(1, 2)})[:, 7:].unflatten(1, (H, K, C))
    torch.testing.assert_close(rows[:, :, 0], alone[:, :, 2], rtol=0, atol=0)
    assert not rows[:, :, 1:].any()


def test_only_the_loudest_are_looked_at_where_so_asked():
    seen = observation()
    whole, part = (SourceSetExtractor(space(), K, LEVEL, count) for count in (K, 2))
    rows = whole(seen)[:, 7:].unflatten(1, (H, K, C))
    assert part.features_dim == 7 + H * 2 * C
    torch.testing.assert_close(part(seen)[:, 7:], rows[:, :, :2].flatten(1), rtol=0, atol=0)


def test_standardised_features_have_mean_zero_and_variance_one():
    net, seen = SourceSetExtractor(space(), K, LEVEL, K, standardise=True), observation(400)
    features = net(seen)
    assert features.mean(dim=0).abs().max() < 1e-4
    torch.testing.assert_close(features.std(dim=0, correction=0), torch.ones(net.features_dim), rtol=0, atol=1e-2)


@pytest.mark.parametrize("shape", [(H * K + 1, C), (H * K * C,), (H, K, C), (H * K, LEVEL)])
def test_other_rows_are_refused(shape: tuple[int, ...]):
    with pytest.raises(ShapeError, match="give rows of 4 sources") as error:
        SourceSetExtractor(space(shape), K, LEVEL, K)
    assert "\n" not in str(error.value)
    with pytest.raises(ShapeError, match="sources: None"):
        SourceSetExtractor(spaces.Dict({"vector": space()["vector"]}), K, LEVEL, K)
