"""Sizes, names and weights that no memory core can have."""

from __future__ import annotations

from typing import Any

import pytest

from auralnav.errors import CheckpointError, ConfigError
from auralnav.policies.ssm.cores import CORES, make_core


@pytest.mark.parametrize("name", CORES)
@pytest.mark.parametrize("argument", ["n_layers", "d_model"])
@pytest.mark.parametrize("value", [0, -1, 2.0, "2", None])
def test_every_core_refuses_a_size_that_is_none_in_one_line(name: str, argument: str, value: Any):
    with pytest.raises(ConfigError) as error:
        make_core(name, 5, **{argument: value})
    assert str(error.value) == f"{argument}: {value!r} is not a whole number of at least 1"


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("transformer", {"n_heads": 0}, "n_heads: 0 is not"),
        ("transformer", {"window": 2.5}, "window: 2.5 is not"),
        ("none", {"expand": 0}, "expand: 0 is not"),
        ("gru", {"cell": "lstm"}, "memory gru: .*'cell'"),
        (None, {}, "did you mean none"),
    ],
)
def test_other_arguments_that_do_not_fit_are_refused(name: Any, arguments: dict[str, Any], words: str):
    with pytest.raises(ConfigError, match=words) as error:
        make_core(name, 5, **arguments)
    assert "\n" not in str(error.value)


def test_a_whole_checkpoint_in_the_place_of_weights_is_refused():
    core = make_core("gru", 5)
    with pytest.raises(CheckpointError, match=r"model is .* there and absent here") as error:
        core.load_state_dict({"model": core.state_dict(), "step": 3})
    assert "\n" not in str(error.value)
