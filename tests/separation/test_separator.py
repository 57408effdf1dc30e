from __future__ import annotations

import pickle
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from auralnav.configs.separator import NetworkConfig
from auralnav.errors import CheckpointError, ConfigError, ShapeError, SoundError
from auralnav.separation.asteroid_models import dprnn_tasnet
from auralnav.separation.separator import QUIETEST, DPRNNSeparator
from auralnav.separation.separator_config import SeparatorConfig

SMALL = SeparatorConfig(sources=3, filters=16, bottleneck=8, hidden=8, chunk=20, hop=10, repeats=1)


@pytest.fixture
def separator() -> DPRNNSeparator:
    torch.manual_seed(0)
    return DPRNNSeparator(SMALL).eval()


def noise(*shape: int) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("n", [32, 33, 47, 48, 500, 1001])
def test_every_length_comes_back_whole_with_sound_in_its_last_samples(separator, n):
    sources = separator(noise(2, n))
    assert sources.shape == (2, 3, n) and sources.dtype == torch.float32
    assert (sources[..., -1] != 0).all()


@pytest.mark.parametrize("gain", [2.0**-10, 2.0**4])
def test_the_estimates_scale_with_the_mixture_to_the_bit(separator, gain):
    mid = noise(2, 800)
    assert torch.equal(separator(gain * mid), gain * separator(mid))


def test_the_estimates_scale_with_the_mixture(separator):
    mid = noise(2, 800)
    torch.testing.assert_close(separator(0.003 * mid), 0.003 * separator(mid), rtol=1e-4, atol=1e-8)


def test_silence_gives_zeros_and_finite_gradients(separator):
    mid = torch.zeros(2, 500)
    mid[1] = noise(500)
    mid.requires_grad_()
    sources = separator(mid)
    assert (sources[0] == 0).all() and (sources[1] != 0).any()
    sources.square().sum().backward()
    for tensor in (mid, *separator.parameters()):
        assert tensor.grad is not None and torch.isfinite(tensor.grad).all()


def test_what_is_next_to_silence_stays_finite_and_quiet(separator):
    sources = separator(1e-3 * QUIETEST * noise(1, 500))
    assert torch.isfinite(sources).all() and sources.abs().max() < QUIETEST


def test_a_row_does_not_depend_on_the_others(separator):
    mid = noise(4, 700)
    others = mid.clone()
    others[[0, 2, 3]] = torch.stack([torch.zeros(700), 1e3 * noise(700), noise(700).flip(0)])
    assert torch.equal(separator(mid)[1], separator(others)[1])
    torch.testing.assert_close(separator(mid)[1:2], separator(mid[1:2]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "audio",
    [
        torch.zeros(500),
        torch.zeros(1, 3, 500),
        torch.zeros(1, 31),
        torch.zeros(1, 2, 31),
        torch.zeros(1, 99).int(),
        torch.zeros(0, 2, 500),
    ],
)
@pytest.mark.parametrize("ears", [1, 2])
def test_what_is_no_mixture_is_refused(ears, audio):
    separator = DPRNNSeparator(replace(SMALL, ears=ears))
    said = r"hears float32 \[B, 2, N\] " + (r"or the mean of both \[B, N\] " if ears == 1 else "") + "of N ≥ 32 samples"
    with pytest.raises(ShapeError, match=said + r", not [^\n]*; give left and right ear"):
        separator(audio)


def test_two_ears_are_not_given_one_signal():
    with pytest.raises(ShapeError, match=r"float32 \[B, 2, N\] of N ≥ 32 samples, not float32 \[2, 500\]"):
        DPRNNSeparator(replace(SMALL, ears=2))(noise(2, 500))


def test_one_ear_hears_the_mean_of_both(separator):
    audio = noise(2, 2, 500)
    assert torch.equal(separator(audio), separator(audio.mean(dim=1)))


@pytest.mark.parametrize("ears", [1, 2])
def test_sound_in_double_precision_is_heard_as_float32(ears):
    torch.manual_seed(0)
    separator, audio = DPRNNSeparator(replace(SMALL, ears=ears)).eval(), noise(2, 2, 500)
    estimates = separator(audio.double())
    assert estimates.dtype == torch.float32
    assert torch.equal(estimates, separator(audio))


def test_two_ears_hear_more_than_their_mean_and_estimate_what_is_in_it():
    torch.manual_seed(0)
    separator = DPRNNSeparator(replace(SMALL, ears=2)).eval()
    audio = noise(2, 2, 500)
    other = audio + torch.tensor([[1.0], [-1.0]]) * noise(2, 1, 500)
    torch.testing.assert_close(other.mean(dim=1), audio.mean(dim=1))
    assert (separator(audio) - separator(other)).abs().max() > 1e-4
    gain = torch.tensor([2.0**-9, 2.0**5])[:, None, None]
    assert torch.equal(separator(gain * audio), gain * separator(audio))
    # What has no mean has no estimate, however loud the ears are.
    assert separator(torch.stack([audio[:, 0], -audio[:, 0]], dim=1)).abs().max() < 1e-6
    silent = torch.zeros(1, 2, 500, requires_grad=True)
    assert not separator(silent).any()
    separator(silent).sum().backward()
    assert silent.grad is not None and torch.isfinite(silent.grad).all()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_sound_with_bad_samples_is_refused(separator, bad):
    mid = noise(2, 100)
    mid[1, 50] = bad
    with pytest.raises(SoundError, match="NaN or infinite"):
        separator(mid)


@pytest.mark.parametrize(
    "field, value",
    [
        ("sources", 0),
        ("hidden", 8.5),
        ("ears", 3),
        ("filters", True),
        ("stride", 33),
        ("hop", 21),
        ("cell", "lstm"),
        ("mask", "exp"),
    ],
)
def test_bad_sizes_are_refused(field, value):
    with pytest.raises(ConfigError, match=f"separator {field}"):
        replace(SMALL, **{field: value})


def test_every_size_reaches_the_network():
    config = SeparatorConfig(
        sources=2, sample_rate=8000, filters=12, kernel=10, stride=5, bottleneck=6, hidden=7, chunk=9, hop=4, repeats=3,
        layers=2, cell="GRU", bidirectional=False, multiply=True, norm="cLN", mask="relu", encoding="relu",
    )  # fmt: skip
    network = DPRNNSeparator(config).network
    assert SeparatorConfig.from_keywords(network.get_model_args()) == config


def test_an_experiment_that_says_nothing_has_the_separators_own_sizes():
    assert NetworkConfig().model_dump() == asdict(SeparatorConfig())


def test_the_default_fits_the_package():
    assert 4 * sum(weight.numel() for weight in DPRNNSeparator().parameters()) < 2e6


# files


@pytest.mark.parametrize("ears", [1, 2])
def test_a_file_brings_back_weights_sizes_and_notes(ears, tmp_path):
    separator = DPRNNSeparator(replace(SMALL, ears=ears))
    separator.notes = {"command": "auralnav train separator", "seeds": [1, 2]}
    separator.save(tmp_path / "a.safetensors")
    loaded = DPRNNSeparator.load(tmp_path / "a.safetensors")
    assert loaded.config == separator.config and loaded.notes == separator.notes
    assert torch.equal(loaded(noise(1, 2, 400)), separator(noise(1, 2, 400)))
    loaded.save(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_half_the_size_is_nearly_the_same_separator(separator, tmp_path):
    separator.save(tmp_path / "whole.safetensors")
    separator.save(tmp_path / "half.safetensors", torch.float16)
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("whole", "half")]
    weights = sum(weight.numel() for weight in separator.parameters())
    assert sizes[0] - sizes[1] == pytest.approx(2 * weights, rel=0.05)
    loaded = DPRNNSeparator.load(tmp_path / "half.safetensors")
    assert all(weight.dtype == torch.float32 for weight in loaded.parameters())
    wanted = separator(noise(1, 2, 4_000))
    assert (loaded(noise(1, 2, 4_000)) - wanted).norm() < 1e-2 * wanted.norm()


def test_a_save_that_fails_leaves_the_file_as_it_was(separator, tmp_path, monkeypatch):
    file = tmp_path / "a.safetensors"
    separator.save(file)
    before = file.read_bytes()
    monkeypatch.setattr(Path, "write_bytes", lambda self, data: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        separator.save(file)
    assert file.read_bytes() == before and list(tmp_path.iterdir()) == [file]


def damaged(separator: DPRNNSeparator, file: Path, how: str) -> None:
    separator.save(file)
    data = file.read_bytes()
    if how == "cut off":
        file.write_bytes(data[: len(data) // 2])
    elif how == "no header":
        file.write_bytes(data[:5])
    elif how == "empty":
        file.write_bytes(b"")
    elif how == "missing":
        file.unlink()
    elif how == "a pickle":
        file.write_bytes(pickle.dumps({"weights": [1.0]}))
    elif how == "foreign":
        save_file({"weight": torch.ones(3)}, file, {"format": "pt"})
    elif how == "foreign metadata":
        save_file({"weight": torch.ones(3)}, file, {"auralnav": "[1]"})
    elif how == "unknown size":
        file.write_bytes(data.replace(b"repeats", b"rEpeats"))
    elif how == "bad size":
        file.write_bytes(data.replace(rb"\"hidden\": 8", rb"\"hidden\": 0"))
    elif how == "other sources":
        file.write_bytes(data.replace(rb"\"sources\": 3", rb"\"sources\": 4"))
    elif how == "NaN":
        next(separator.network.parameters()).data[0] = torch.nan
        separator.save(file)


@pytest.mark.parametrize(
    "how",
    ["cut off", "no header", "empty", "missing", "a pickle", "foreign", "foreign metadata", "unknown size", "bad size",
     "other sources", "NaN"],
)  # fmt: skip
def test_a_bad_file_is_refused_in_one_line(separator, tmp_path, how):
    file = tmp_path / "a.safetensors"
    damaged(separator, file, how)
    with pytest.raises(CheckpointError) as caught:
        DPRNNSeparator.load(file)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(str(file)) and ";" in str(caught.value)


# Asteroid's checkpoints


def asteroid_checkpoint(file: Path, **changes: object) -> torch.nn.Module:
    """A model of other sizes, number of sources and rate, saved as `torch.save(model.serialize(), …)` would."""
    torch.manual_seed(2)
    model = dprnn_tasnet()(
        n_src=2, sample_rate=8000.0, bn_chan=8, hid_size=6, n_repeats=1, n_filters=16, kernel_size=2, stride=1,
        chunk_size=30, mask_act="relu",
    )  # fmt: skip
    content = {
        "model_name": "DPRNNTasNet",
        "state_dict": model.state_dict(),
        "model_args": model.get_model_args(),
        "infos": {"software_versions": {"torch_version": "1.6.0"}},
    }
    torch.save({**content, **changes}, file)
    return model.eval()


def test_an_asteroid_checkpoint_keeps_its_rate_and_sources(tmp_path):
    asteroid_checkpoint(tmp_path / "model.pth")
    config = DPRNNSeparator.from_asteroid(tmp_path / "model.pth").config
    assert (config.sources, config.sample_rate, config.kernel, config.hop) == (2, 8000, 2, 15)


def test_what_a_checkpoint_does_not_say_is_as_asteroid_has_it(tmp_path):
    asteroid_checkpoint(tmp_path / "model.pth")
    model = dprnn_tasnet()(n_src=2)
    asteroid_checkpoint(tmp_path / "model.pth", model_args={"n_src": 2}, state_dict=model.state_dict())
    config = DPRNNSeparator.from_asteroid(tmp_path / "model.pth").config
    assert (config.bottleneck, config.repeats, config.kernel, config.sample_rate) == (128, 6, 16, 8000)


class Malicious:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code of the file ran')",))


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"model_name": "ConvTasNet"}, "a ConvTasNet; give a DPRNNTasNet"),
        ({"model_args": {"n_src": 2, "fb_name": "stft"}}, "filterbank is 'stft'"),
        ({"model_args": {"n_src": 2, "hid_size": "many"}}, "separator hidden"),
        ({"model_args": {}}, "separator sources"),
        ({"model_args": 3}, "cannot be used"),
        ({"model_args": {"n_src": 2}}, "do not fit its config"),
        ({"state_dict": 3}, "do not fit its config"),
        ({"infos": Malicious()}, "cannot be read as tensors"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused_in_one_line(tmp_path, changes, reason):
    file = tmp_path / "model.pth"
    asteroid_checkpoint(file, **changes)
    with pytest.raises(CheckpointError, match=reason) as caught:
        DPRNNSeparator.from_asteroid(file)
    assert "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value)  # torch's advice is to run what the file holds


@pytest.mark.parametrize("content", [None, b"", b"nonsense", "cut off"])
def test_a_checkpoint_that_cannot_be_read_is_refused_in_one_line(tmp_path, content):
    file = tmp_path / "model.pth"
    if content == "cut off":
        asteroid_checkpoint(file)
        content = file.read_bytes()[:4000]
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(CheckpointError, match="cannot be read as tensors") as caught:
        DPRNNSeparator.from_asteroid(file)
    assert "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value)


def test_a_checkpoint_without_a_model_is_refused(tmp_path):
    torch.save({"weights": torch.ones(2)}, tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match="no Asteroid checkpoint: it has no model_name, model_args, state_dict"):
        DPRNNSeparator.from_asteroid(tmp_path / "model.pth")
