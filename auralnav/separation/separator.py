"""A separator with one ear or two: Asteroid's DPRNNTasNet (Luo et al., ICASSP 2020) for any level, in one file."""

from __future__ import annotations

import json
import pickle
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from auralnav.errors import CheckpointError, ConfigError, ShapeError, SoundError
from auralnav.files import write_bytes
from auralnav.separation.asteroid_models import dprnn_tasnet
from auralnav.separation.dual_path import estimate_masks
from auralnav.separation.interaural import interaural_features, interaural_size
from auralnav.separation.separator_config import SeparatorConfig

SEPARATOR_FORMAT = "auralnav-separator-1"
QUIETEST = 1e-6
"""RMS (−120 dBFS) of what the network hears, mid signal or both ears, below which it is not brought to 1."""

INTERAURAL_SHARE = 0.3
"""Of interaural features beside frames at an RMS of 1."""

_ABOUT = "auralnav"


class DPRNNSeparator(nn.Module):
    """Tells the sources of a mixture apart, each as it is at the mean of the ears, and as loud as it is there.

    The network hears its input, mid signal or both ears, at an RMS of 1, and its estimates are scaled back:
    `forward(a · audio)` is a · `forward(audio)` for every a > 0 that leaves the RMS above `QUIETEST`. Silence gives
    zeros.

    With `config.ears` at 2, the masks, which are for the mean of the ears, follow also from how phase and level differ
    between them (:mod:`auralnav.separation.interaural`): where sounds come from then tells them apart, too.

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
        if self.config.ears == 2:
            masker, filters = self.network.masker, self.config.filters
            known = filters + interaural_size(self.config.kernel, self.config.sample_rate)
            self.network.masker = type(masker)(**{**masker.get_config(), "in_chan": known, "out_chan": filters})

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
        if self.config.ears == 1:
            audio = audio.mean(dim=1, keepdim=True) if audio.ndim == 3 else audio.unsqueeze(1)
        n = audio.shape[-1]
        # The floor goes before the root, whose gradient at 0 is infinite.
        level = audio.square().mean(dim=(1, 2), keepdim=True).clamp(min=QUIETEST**2).sqrt()
        # Frames that end within the sound would leave its last samples out of every estimate.
        scaled = F.pad(audio / level, (0, -(n - self.config.kernel) % self.config.stride))
        frames = self.network.forward_encoder(scaled.mean(dim=1, keepdim=True))
        known = frames
        if self.config.ears == 2:
            config = self.config
            between = interaural_features(scaled, config.kernel, config.stride, config.sample_rate)
            # The masker begins with one norm over all of this, in which the many channels would drown the sound's few.
            size = frames.float().square().mean(dim=(1, 2), keepdim=True).clamp(min=QUIETEST**2).sqrt()
            known = torch.cat([frames / size, INTERAURAL_SHARE * between], dim=1)
        masked = self.network.apply_masks(frames, estimate_masks(self.network.masker, known))
        return self.network.forward_decoder(masked).float()[..., :n] * level

    def save(self, path: str | Path, dtype: torch.dtype = torch.float32) -> None:
        """Write weights, config and notes as safetensors, atomically.

        Args:
            path: of the file.
            dtype: of the weights in it; float16 takes half the space and moves the estimates by some −60 dB.

        Raises:
            OSError: writing fails.
        """
        about = {"format": SEPARATOR_FORMAT, "config": asdict(self.config), "notes": self.notes}
        state = self.network.state_dict()
        weights = {name: value.detach().to("cpu", dtype).contiguous() for name, value in state.items()}
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
            separator.network.load_state_dict(weights, strict=True)
        except (RuntimeError, TypeError) as error:
            detail = str(error).strip().splitlines()[-1].strip()
            raise CheckpointError(f"{path}: its weights do not fit its config ({detail}); get it anew") from error
        if not all(torch.isfinite(value).all() for value in weights.values()):
            raise CheckpointError(f"{path}: holds weights that are NaN or infinite; use an earlier checkpoint")
        return separator
