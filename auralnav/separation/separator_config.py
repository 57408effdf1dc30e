"""Sizes of a separator, in our names and in Asteroid's."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, fields
from typing import Any

from auralnav.errors import ConfigError
from auralnav.separation.asteroid_models import dprnn_tasnet

# Our name of each size and Asteroid's; DPRNNTasNet hands what it does not know to its filterbank, without a word.
_KEYWORDS = {
    "sources": "n_src",
    "sample_rate": "sample_rate",
    "filters": "n_filters",
    "kernel": "kernel_size",
    "stride": "stride",
    "bottleneck": "bn_chan",
    "hidden": "hid_size",
    "chunk": "chunk_size",
    "hop": "hop_size",
    "repeats": "n_repeats",
    "layers": "num_layers",
    "cell": "rnn_type",
    "bidirectional": "bidirectional",
    "multiply": "use_mulcat",
    "norm": "norm_type",
    "mask": "mask_act",
    "encoding": "encoder_activation",
}
_ALLOWED: dict[str, tuple[Any, ...]] = {
    "cell": ("LSTM", "GRU", "RNN"),
    "bidirectional": (True, False),
    "multiply": (True, False),
    "ears": (1, 2),
    "norm": ("gLN", "cLN"),
    "mask": ("sigmoid", "relu", "softmax", "tanh", "linear"),
    "encoding": ("linear", "relu"),
}


@dataclass(frozen=True)
class SeparatorConfig:
    """Sizes of a DPRNNTasNet.

    Args:
        sources: K, outputs; rooms with fewer sources leave the others silent.
        sample_rate: Hz.
        ears: 1: the network hears the mid signal, as Asteroid has it, and its estimates are the result. 2: they are
            refined by the directions that the ears' differences tell.
        filters: of the learned filterbank.
        kernel: samples a filter.
        stride: samples from frame to frame, at most `kernel`.
        bottleneck: channels between the recurrent layers.
        hidden: width of a recurrent layer in each direction.
        chunk: frames that the layers within chunks see.
        hop: frames from chunk to chunk, at most `chunk`.
        repeats: pairs of a layer within and a layer across chunks.
        layers: recurrent layers in each half of a pair.
        cell: "LSTM", "GRU" or "RNN".
        bidirectional: whether the layers across chunks see the window's later sound too.
        multiply: whether each layer is a product of two (Nachmani et al., ICML 2020).
        norm: "gLN" over all of a window, or "cLN" over the channels.
        mask: "sigmoid", "relu", "softmax", "tanh" or "linear".
        encoding: what is applied to the filterbank's output, "relu" or "linear".

    Raises:
        ConfigError: a size that is no whole number above 0, sizes that do not fit each other, or an unknown name.
    """

    sources: int = 4
    sample_rate: int = 16_000
    ears: int = 1
    filters: int = 64
    kernel: int = 32
    stride: int = 16
    bottleneck: int = 64
    hidden: int = 64
    chunk: int = 50
    hop: int = 25
    repeats: int = 2
    layers: int = 1
    cell: str = "LSTM"
    bidirectional: bool = True
    multiply: bool = False
    norm: str = "gLN"
    mask: str = "sigmoid"
    encoding: str = "linear"

    def __post_init__(self) -> None:
        for field in fields(self):
            value, allowed = getattr(self, field.name), _ALLOWED.get(field.name)
            if allowed is not None and value not in allowed:
                names = ", ".join(str(name) for name in allowed)
                raise ConfigError(f"separator {field.name}: {value!r} is none of {names}")
            if allowed is None and (type(value) is not int or value < 1):
                raise ConfigError(f"separator {field.name}: {value!r} is no whole number above 0")
        for small, large in (("stride", "kernel"), ("hop", "chunk")):
            if getattr(self, small) > getattr(self, large):
                raise ConfigError(
                    f"separator {small}: {getattr(self, small)} leaves gaps; give at most the {large}, "
                    f"{getattr(self, large)}"
                )

    @classmethod
    def from_keywords(cls, arguments: dict[str, Any]) -> SeparatorConfig:
        """The sizes in DPRNNTasNet's own arguments; what they do not say is as Asteroid has it.

        Raises:
            ConfigError: sizes that are none, or a filterbank that is not learned.
            MissingDependencyError: asteroid is not installed.
        """
        parameters = inspect.signature(dprnn_tasnet()).parameters
        said: dict[str, Any] = {name: p.default for name, p in parameters.items() if p.default is not p.empty}
        said.update(arguments)
        if said["fb_name"] not in ("free", "FreeFB"):
            raise ConfigError(f"its filterbank is {said['fb_name']!r}; give a model with learned filters (free)")
        if said["out_chan"] not in (None, said["n_filters"]):
            raise ConfigError(f"its masks have {said['out_chan']} channels, its filterbank {said['n_filters']}")
        if said["hop_size"] is None:
            said["hop_size"] = said["chunk_size"] // 2
        said["encoder_activation"] = said["encoder_activation"] or "linear"
        said["rnn_type"] = str(said["rnn_type"]).upper()
        if said["sample_rate"] == round(said["sample_rate"]):
            said["sample_rate"] = round(said["sample_rate"])  # public models hold 8000.0
        sizes: dict[str, Any] = {ours: said.get(theirs) for ours, theirs in _KEYWORDS.items()}
        return cls(**sizes)

    def keywords(self) -> dict[str, Any]:
        """These sizes under the names that DPRNNTasNet's constructor gives them."""
        return {theirs: getattr(self, ours) for ours, theirs in _KEYWORDS.items()}
