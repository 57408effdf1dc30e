"""The state-space layers against outputs, gradients and states recorded from mamba_ssm 2.3.2.post1 on CUDA."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ssm_reference import device_of, distance
from torch import Tensor

from auralnav.policies.ssm import Mamba, Mamba2
from auralnav.policies.ssm.layer import SSMLayer

FIXTURES = Path(__file__).parent / "fixtures"
Recording = dict[str, Tensor]


def load(name: str, backend: str) -> tuple[SSMLayer, Recording]:
    with np.load(FIXTURES / f"{name}.npz") as archive:
        arrays: dict[str, Any] = dict(archive)
    config = json.loads(bytes(arrays.pop("config")))
    assert config.pop("version") == "2.3.2.post1"
    layer = {"Mamba": Mamba, "Mamba2": Mamba2}[config.pop("class")](**config, backend=backend)
    recording = {key: torch.from_numpy(array).to(device_of(backend)) for key, array in arrays.items()}
    parameters = {key[2:]: value for key, value in recording.items() if key.startswith("p/")}
    layer.load_state_dict(parameters, strict=True)
    assert {key: value.shape for key, value in layer.state_dict().items()} == {
        key: value.shape for key, value in parameters.items()
    }
    return layer.to(device_of(backend)), recording


@pytest.mark.parametrize("name", ["mamba1_d64", "mamba2_d64", "mamba2_d64_packed"])
def test_outputs_and_gradients_are_those_of_the_cuda_kernels(name: str, backend: str):
    layer, recording = load(name, backend)
    x = recording["x"].requires_grad_()
    y = layer(x, seq_idx=recording.get("seq_idx"))
    assert distance(y, recording["y"]) < 1e-5
    y.backward(recording["gy"])
    assert x.grad is not None
    assert distance(x.grad, recording["gx"]) < 5e-5
    for key, parameter in layer.named_parameters():
        assert parameter.grad is not None
        assert distance(parameter.grad, recording[f"g/{key}"]) < 5e-5, key


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("name", ["mamba1_d64", "mamba2_d64"])
def test_steps_and_states_are_those_of_the_cuda_kernels(name: str, inplace: bool, backend: str):
    layer, recording = load(name, backend)
    x = recording["x"]
    state = layer.init_state(len(x))
    outputs = []
    with torch.no_grad():
        for t in range(x.shape[1]):
            y, state = layer.step(x[:, t], state, inplace)
            outputs.append(y)
        assert distance(torch.stack(outputs, dim=1), recording["y_step"]) < 1e-5
        assert distance(state.conv, recording["conv_state"]) < 1e-5
        assert distance(state.ssm, recording["ssm_state"]) < 1e-5
        _, state = layer(x, return_state=True)
    assert distance(state.conv, recording["conv_state"]) < 1e-5
    assert distance(state.ssm, recording["ssm_state"]) < 1e-5
