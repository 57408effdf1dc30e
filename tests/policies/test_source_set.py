"""Rows of sources as a network sees them: in whatever order they come, the one attended to first, then the loudest."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces

from auralnav.errors import ShapeError
from auralnav.policies.source_set import SourceSetExtractor, attended_first

H, K, C, LEVEL = 3, 4, 5, 2


def space(shape: tuple[int, ...] = (H * K, C)) -> spaces.Dict:
    return spaces.Dict(
        {
            "vector": spaces.Box(-1.0, 1.0, (7,), np.float32),
            "sources": spaces.Box(-1.0, 1.0, shape, np.float32),
            "attended": spaces.Box(-1.0, 1.0, (H, K), np.float32),
        }
    )


def observation(batch: int = 6) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "vector": torch.rand(batch, 7, generator=generator),
        "sources": torch.rand(batch, H * K, C, generator=generator),
        # Only the newest step's counts.
        "attended": torch.eye(K)[torch.randint(K, (batch, H), generator=generator)],
    }


def test_the_one_attended_to_comes_first_the_others_by_level_and_each_keeps_its_history():
    rows = torch.rand(1, H, K, C, generator=torch.Generator().manual_seed(1))
    levels = torch.tensor([[0.2, 1.0, 0.0, 0.5]])
    for first, order in enumerate(([0, 1, 3, 2], [1, 3, 0, 2], [2, 1, 3, 0], [3, 1, 0, 2])):
        for count in range(1, K + 1):
            chosen = attended_first(rows, torch.tensor([first]), levels, count)
            torch.testing.assert_close(chosen, rows[:, :, order[:count]], rtol=0, atol=0)


def test_equally_loud_sources_keep_their_order():
    rows = torch.rand(2, H, K, C)
    chosen = attended_first(rows, torch.tensor([0, 2]), torch.zeros(2, K), K)
    torch.testing.assert_close(chosen[0], rows[0], rtol=0, atol=0)
    torch.testing.assert_close(chosen[1], rows[1, :, [2, 0, 1, 3]], rtol=0, atol=0)


@pytest.mark.parametrize("standardise", [False, True])
def test_the_order_of_the_sources_changes_nothing(standardise: bool):
    net, seen = SourceSetExtractor(space(), K, LEVEL, K, standardise), observation()
    net(seen)  # statistics, where it gathers some
    net.eval()
    order = [2, 0, 3, 1]
    mixed = {
        "sources": seen["sources"].unflatten(1, (H, K))[:, :, order].flatten(1, 2),
        "attended": seen["attended"][:, :, order],
    }
    features = net(seen)
    assert features.shape == (6, net.features_dim) == (6, 7 + H * K * C)
    torch.testing.assert_close(net({**seen, **mixed}), features, rtol=0, atol=0)
    if not standardise:
        torch.testing.assert_close(features[:, :7], seen["vector"], rtol=0, atol=0)
        assert (features[:, 7:].sort().values == seen["sources"].flatten(1).sort().values).all(), "all is there"


def test_rows_of_zeros_come_last_and_a_single_source_is_always_first():
    net, seen = SourceSetExtractor(space(), K, LEVEL, K), observation()
    alone = torch.zeros(6, H, K, C)
    alone[:, :, 2] = seen["sources"].unflatten(1, (H, K))[:, :, 2]
    attended = torch.eye(K)[torch.full((6, H), 2)]
    rows = net({**seen, "sources": alone.flatten(1, 2), "attended": attended})[:, 7:].unflatten(1, (H, K, C))
    torch.testing.assert_close(rows[:, :, 0], alone[:, :, 2], rtol=0, atol=0)
    assert not rows[:, :, 1:].any()


def test_only_the_first_rows_are_looked_at_where_so_asked():
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


def test_where_it_is_not_said_which_source_is_attended_to_the_rows_are_refused():
    for parts in ({}, {"attended": spaces.Box(-1.0, 1.0, (K,), np.float32)}):
        rest = {key: box for key, box in space().spaces.items() if key != "attended"}
        with pytest.raises(ShapeError, match=r"is no Box of shape \[3, 4\]; say"):
            SourceSetExtractor(spaces.Dict({**rest, **parts}), K, LEVEL, K)
