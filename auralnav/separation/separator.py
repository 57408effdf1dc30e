"""A separator with one ear or two: Asteroid's DPRNNTasNet (Luo et al., ICASSP 2020) for any level, in one file."""

from __future__ import annotations

import json
import pickle
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from auralnav.errors import CheckpointError, ConfigError, ShapeError, SoundError, last_line
from auralnav.files import write_bytes
from auralnav.separation.asteroid_models import dprnn_tasnet
from auralnav.separation.dual_path import decode, estimate_masks
from auralnav.separation.separator_config import SeparatorConfig
from auralnav.separation.spatial import SpatialMasks

SEPARATOR_FORMAT = "auralnav-separator-1"
QUIETEST = 1e-6
"""RMS (−120 dBFS) of the mean of the ears below which it is not brought to 1."""

_SPATIAL = "spatial."  # before the names of the weights of `SpatialMasks` in a file
_ABOUT = "auralnav"


class DPRNNSeparator(nn.Module):
    """Tells the sources of a mixture apart, each as it is at the mean of the ears, and as loud as it is there.

    The network hears the mean of the ears at an RMS of 1, and its estimates are scaled back:
    `forward(a · audio)` is a · `forward(audio)` for every a > 0 that leaves the RMS above `QUIETEST`. Silence gives
    zeros.

    With `config.ears` at 2, what the network finds at the mean of the ears is refined by where it comes from
    (:mod:`auralnav.separation.spatial`).

    Args:
        config: sizes of the network.
        notes: what to remember with the weights, JSON values: the command, seeds, scores.

    Raises:
        MissingDependencyError: asteroid is not installed.
    """

    def __init__(self, config: SeparatorConfig | None = None, notes: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.config = config or SeparatorConfig()
        self.notes = notes or {}
        self.network: Any = dprnn_tasnet()(**self.config.keywords())
        self.spatial = SpatialMasks(self.config.sample_rate) if self.config.ears == 2 else None

    def forward(self, audio: Tensor) -> Tensor:
        """Estimates of the sources, in the network's own order.

        Args:
            audio: [B, 2, N], left and right ear, or with one ear of `config.ears` the mid signal [B, N]; computed in
                float32. B ≥ 1, N at least `config.kernel`. A row's result does not depend on the others.

        Returns:
            float32 [B, K, N].

        Raises:
            ShapeError: another shape, no floating-point numbers, too few samples, or no row.
            SoundError: NaN or infinite samples.
        """
        kernel = self.config.kernel
        mono = self.config.ears == 1 and audio.ndim == 2
        stereo = audio.ndim == 3 and audio.shape[1] == 2
        fits = (mono or stereo) and len(audio) > 0 and audio.shape[-1] >= kernel
        if not fits or not audio.is_floating_point():
            also = " or the mean of both [B, N]" if self.config.ears == 1 else ""
            raise ShapeError(
                f"this separator hears float32 [B, 2, N]{also} of N ≥ {kernel} samples, not {str(audio.dtype)[6:]} "
                f"{list(audio.shape)}; give left and right ear"
            )
        if not torch.isfinite(audio).all():
            raise SoundError("the mixture holds NaN or infinite samples: look at what made it")
        return self.separate(audio)

    def separate(self, audio: Tensor) -> Tensor:
        """As `forward`, for what is known to be a mixture: nothing is checked, so a GPU is not waited for."""
        audio = audio.float()
        mid = audio.mean(dim=1) if audio.ndim == 3 else audio
        samples = mid.shape[-1]
        # The floor goes before the root, whose gradient at 0 is infinite.
        level = mid.square().mean(dim=-1).clamp(min=QUIETEST**2).sqrt()[:, None, None]
        # Frames that end within the sound would leave its last samples out of every estimate.
        beyond = -(samples - self.config.kernel) % self.config.stride
        frames = self.network.forward_encoder(F.pad(mid.unsqueeze(1) / level, (0, beyond)))
        masked = self.network.apply_masks(frames, estimate_masks(self.network.masker, frames))
        estimates = decode(self.network.decoder, masked).float()[..., :samples]
        if self.spatial is not None:
            estimates = self.spatial(audio / level, estimates)
        return estimates * level

    def weights(self) -> dict[str, Tensor]:
        """All weights, the network's under the names that Asteroid gives them."""
        spatial = {} if self.spatial is None else self.spatial.state_dict()
        return {**self.network.state_dict(), **{_SPATIAL + name: value for name, value in spatial.items()}}

    def begin_with(self, other: DPRNNSeparator) -> None:
        """Take the weights of a separator with the same network; what that has no weights of stays as it is.

        Args:
            other: on any device; only its `config.ears` may differ from this one's.

        Raises:
            ConfigError: its network is another one.
        """
        mine, theirs = (replace(separator.config, ears=1) for separator in (self, other))
        if mine != theirs:
            unlike = [field.name for field in fields(mine) if getattr(mine, field.name) != getattr(theirs, field.name)]
            shown = ", ".join(f"{name} {getattr(theirs, name)} instead of {getattr(mine, name)}" for name in unlike)
            raise ConfigError(f"the weights to begin with are of another network: {shown}; give it the same sizes")
        known = other.weights()
        self._take({name: known.get(name, value) for name, value in self.weights().items()})

    def _take(self, weights: dict[str, Tensor]) -> None:
        """These weights, all of them, as `weights` names them."""
        if not isinstance(weights, dict):
            raise TypeError("no weights by name")
        own = {} if self.spatial is None else {_SPATIAL + name: name for name in self.spatial.state_dict()}
        rest = {name: value for name, value in weights.items() if name not in own}
        self.network.load_state_dict(rest, strict=True)
        if self.spatial is not None:
            found = {own[name]: value for name, value in weights.items() if name in own}
            self.spatial.load_state_dict(found, strict=True)

    def save(self, path: str | Path, dtype: torch.dtype = torch.float32) -> None:
        """Write weights, config and notes as safetensors, atomically.

        Args:
            path: of the file.
            dtype: of the weights in it; float16 takes half the space and moves the estimates by some −60 dB.

        Raises:
            OSError: writing fails.
        """
        about = {"format": SEPARATOR_FORMAT, "config": asdict(self.config), "notes": self.notes}
        weights = {name: value.detach().to("cpu", dtype).contiguous() for name, value in self.weights().items()}
        # One key only: safetensors writes several in random order, and equal weights should make equal files.
        write_bytes(path, save(weights, {_ABOUT: json.dumps(about, sort_keys=True)}))

    @classmethod
    def load(cls, path: str | Path) -> DPRNNSeparator:
        """The separator of a file that `save` wrote, on the CPU. Nothing is unpickled.

        Raises:
            CheckpointError: no such file, or one that is damaged, cut off, of something else or with bad numbers.
            MissingDependencyError: asteroid is not installed.
        """
        try:
            with safe_open(path, framework="pt") as file:
                about = json.loads((file.metadata() or {}).get(_ABOUT, "{}"))
                weights = {name: file.get_tensor(name).float() for name in file.keys()}
        except (SafetensorError, OSError, ValueError) as error:
            raise CheckpointError(
                f"{path}: cannot be read ({error}); give the safetensors file of a separator"
            ) from error
        if not isinstance(about, dict) or about.get("format") != SEPARATOR_FORMAT:
            raise CheckpointError(f"{path}: not a separator of this package; give one that it trained")
        try:
            config = SeparatorConfig(**about["config"])
        except (KeyError, TypeError, ConfigError) as error:
            raise CheckpointError(
                f"{path}: its config does not fit this version ({error}); train the separator anew"
            ) from error
        return cls._filled(config, weights, path, about.get("notes", {}))

    @classmethod
    def from_asteroid(cls, path: str | Path) -> DPRNNSeparator:
        """The separator of a DPRNNTasNet checkpoint of Asteroid's (`model.serialize()`, Asteroid's public models).

        It is read without running code from it. It hears every mixture at an RMS of 1, as ours do.

        Args:
            path: of the file, already on this machine.

        Raises:
            CheckpointError: no such file, one that is damaged or needs code to be read, another model, or a
                filterbank that is not learned.
            MissingDependencyError: asteroid is not installed.
        """
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:  # whose own words recommend to run the file's code
            raise CheckpointError(
                f"{path}: cannot be read as tensors (no file of torch's, or one with code in it); give an Asteroid "
                f"checkpoint"
            ) from error
        except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise CheckpointError(
                f"{path}: cannot be read as tensors ({reason}); give an Asteroid checkpoint"
            ) from error
        parts = ("model_name", "model_args", "state_dict")
        if not isinstance(content, dict) or any(part not in content for part in parts):
            raise CheckpointError(f"{path}: no Asteroid checkpoint: it has no {', '.join(parts)}")
        if content["model_name"] != "DPRNNTasNet":
            raise CheckpointError(f"{path}: a {content['model_name']}; give a DPRNNTasNet")
        try:
            config = SeparatorConfig.from_keywords(content["model_args"])
        except (TypeError, ConfigError) as error:
            raise CheckpointError(f"{path}: this model cannot be used: {error}") from error
        return cls._filled(config, content["state_dict"], path, {"asteroid": Path(path).name})

    @classmethod
    def _filled(
        cls, config: SeparatorConfig, weights: dict[str, Tensor], path: str | Path, notes: dict[str, Any]
    ) -> DPRNNSeparator:
        """A separator with these weights, exactly."""
        separator = cls(config, notes)
        try:
            separator._take(weights)
        except (RuntimeError, TypeError) as error:
            raise CheckpointError(
                f"{path}: its weights do not fit its config ({last_line(error)}); get it anew"
            ) from error
        if not all(torch.isfinite(value).all() for value in weights.values()):
            raise CheckpointError(f"{path}: holds weights that are NaN or infinite; use an earlier checkpoint")
        return separator
