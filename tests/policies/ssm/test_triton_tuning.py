"""Which configurations the kernels of `mamba_ssm` are left with, on stand-ins for Triton's tuners."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from auralnav.errors import ConfigError
from auralnav.policies.ssm import triton_tuning


@dataclass(frozen=True)
class Config:
    """As `triton.Config` where it is asked: block sizes, warps and stages in one."""

    kwargs: dict[str, int]

    def all_kwargs(self) -> dict[str, int]:
        return {"num_warps": 4, "num_stages": 3} | self.kwargs


WANTED = Config({"BLOCK_SIZE_M": 64, "BLOCK_SIZE_N": 32})
OTHERS = [Config({"BLOCK_SIZE_M": 64, "BLOCK_SIZE_N": 64}), Config({"BLOCK_SIZE_M": 32, "BLOCK_SIZE_N": 32})]


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    monkeypatch.delenv(triton_tuning.VARIABLE, raising=False)
    monkeypatch.setattr(triton_tuning, "CONFIGURATIONS", {"_known": WANTED.kwargs, "_elsewhere": {}})
    known, unknown = (SimpleNamespace(configs=[*OTHERS, WANTED]) for _ in range(2))
    return SimpleNamespace(_known=known, _unknown=unknown, _helper=len)


def test_a_known_kernel_keeps_its_configuration_and_others_all_of_theirs(module: SimpleNamespace):
    assert triton_tuning.pin([module]) == ["_known"]
    assert module._known.configs == [WANTED]
    assert module._unknown.configs == [*OTHERS, WANTED]
    assert triton_tuning.pin([module]) == ["_known"]


def test_a_kernel_that_upstream_has_changed_is_tuned_as_before(module: SimpleNamespace):
    module._known.configs = list(OTHERS)
    assert triton_tuning.pin([module]) == []
    assert module._known.configs == OTHERS


def test_the_environment_leaves_the_tuning_on(module: SimpleNamespace, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(triton_tuning.VARIABLE, "1")
    assert triton_tuning.pin([module]) == []
    assert module._known.configs == [*OTHERS, WANTED]
    monkeypatch.setenv(triton_tuning.VARIABLE, "yes")
    with pytest.raises(ConfigError, match="AURALNAV_SSM_TUNE: 'yes' is neither 0 nor 1"):
        triton_tuning.pin([module])
