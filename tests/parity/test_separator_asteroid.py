"""The separator against Asteroid's own DPRNNTasNet with the same weights."""

from __future__ import annotations

import pytest
import torch

from auralnav.separation.asteroid_models import dprnn_tasnet
from auralnav.separation.separator import DPRNNSeparator

SIZES = {"n_src": 3, "bn_chan": 16, "hid_size": 12, "n_repeats": 2, "n_filters": 24, "sample_rate": 8000}


@pytest.mark.parametrize("extra", [{}, {"rnn_type": "GRU", "mask_act": "relu"}, {"kernel_size": 32, "stride": 16}])
@pytest.mark.parametrize("level", [1e-3, 1.0, 30.0])
def test_forward_is_asteroids_on_a_mixture_of_unit_level(tmp_path, extra, level):
    torch.manual_seed(0)
    theirs = dprnn_tasnet()(**SIZES, **extra).eval()
    content = {"model_name": "DPRNNTasNet", "state_dict": theirs.state_dict(), "model_args": theirs.get_model_args()}
    torch.save(content, tmp_path / "model.pth")
    ours = DPRNNSeparator.from_asteroid(tmp_path / "model.pth").eval()
    mid = torch.randn(4, 1600)
    mid = mid / mid.square().mean(dim=-1, keepdim=True).sqrt()
    torch.testing.assert_close(ours(level * mid), level * theirs(mid), rtol=1e-4, atol=1e-5 * level)
