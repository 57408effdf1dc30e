"""Which source is attended to: kept while it is heard, left for a much louder one, and begun with the loudest."""

from __future__ import annotations

import torch

from auralnav.separation.attention import MARGIN, NOBODY, attend


def followed(levels: list[list[float]]) -> list[int]:
    """What one world attends to, step after step."""
    attended, path = torch.tensor([NOBODY]), []
    for step in levels:
        attended = attend(torch.tensor([step]), attended)
        path.append(int(attended))
    return path


def test_an_episode_begins_with_the_loudest_and_the_first_of_equals():
    assert followed([[0.2, 0.7, 0.3]]) == [1]
    assert followed([[0.2, 0.7, 0.7]]) == [1]
    assert followed([[0.0, 0.0, 0.0], [0.0, 0.0, 0.4]]) == [0, 2], "somebody in silence, then who is heard"


def test_a_source_is_kept_though_others_become_a_little_louder():
    near = 0.7 + 0.9 * MARGIN
    assert followed([[0.7, 0.6], [0.7, near], [0.6, 0.65], [0.7, near]]) == [0, 0, 0, 0]


def test_it_is_left_for_one_that_is_much_louder_and_that_one_is_kept():
    assert followed([[0.7, 0.6], [0.7, 0.7 + 1.1 * MARGIN], [0.72, 0.7]]) == [0, 1, 1]


def test_it_is_left_when_it_falls_silent():
    assert followed([[0.7, 0.6, 0.3], [0.0, 0.2, 0.3], [0.3, 0.28, 0.29], [0.3, 0.28, 0.0]]) == [0, 2, 2, 0]


def test_worlds_do_not_touch_each_other_and_levels_pass_on_no_gradients():
    generator = torch.Generator().manual_seed(0)
    levels = torch.rand(20, 5, 4, generator=generator).round(decimals=1).requires_grad_()
    together = torch.full((5,), NOBODY)
    alone = [torch.tensor([NOBODY]) for _ in range(5)]
    for step in levels:
        together = attend(step, together)
        alone = [attend(step[world : world + 1], last) for world, last in enumerate(alone)]
        assert together.tolist() == [int(each) for each in alone]
    assert not together.requires_grad and together.unique().numel() > 1
