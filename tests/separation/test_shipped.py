"""The separators that come with the package, on a few held-out mixtures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from auralnav.agents.separators import find_separator, shipped_separators
from auralnav.separation.separator import DPRNNSeparator
from auralnav.separation.validation import KINDS, judge, validation_sets


@pytest.mark.parametrize("name", shipped_separators())
def test_a_shipped_separator_is_small_says_how_it_was_made_and_holds_no_path(name):
    path = find_separator(name)
    assert path.stat().st_size <= 2_000_000
    separator = DPRNNSeparator.load(path)
    assert separator.notes["command"].startswith(f"auralnav train {name}")
    assert separator.notes["experiment"]["name"] == name
    assert "run-dir" not in separator.notes["command"] and "/" not in separator.notes["command"]


@pytest.mark.parametrize("name", shipped_separators())
def test_a_shipped_separator_separates_and_leaves_alone_what_is_alone(name):
    separator = DPRNNSeparator.load(find_separator(name)).eval()
    two, _, _, one = validation_sets(8, separator.config.sample_rate)
    assert [kind.active for kind in (KINDS[0], KINDS[3])] == [2, 1]
    assert judge(separator, two).improvement.mean() > 10.0
    assert np.median(judge(separator, one).si_sdr) > 20.0
    assert not separator(torch.zeros(1, 2, 8_000)).any()


def test_there_is_one():
    assert "separator-small" in shipped_separators()
