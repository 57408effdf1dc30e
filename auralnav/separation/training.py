"""The training of a separator in memory: mixtures, loss, optimizer, averaged weights. It knows no files."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from auralnav.configs.separator import SeparatorExperiment
from auralnav.errors import AuralNavError
from auralnav.separation.losses import SeparationLoss
from auralnav.separation.mixtures import MixtureRecipe, MixtureRenderer, draw_mixtures
from auralnav.separation.recorded import Recorded, working_precision


def mixture_recipe(config: SeparatorExperiment) -> MixtureRecipe:
    """The mixtures of an experiment."""
    mixtures = config.mixtures
    return MixtureRecipe(
        active=tuple(mixtures.active),
        level_db=mixtures.level_db,
        natural_share=mixtures.natural_share,
        gate_share=mixtures.gate_share,
        cold_share=mixtures.cold_share,
        walk_share=mixtures.walk_share,
        noise_share=mixtures.noise_share,
        noise_snr_db=mixtures.noise_snr_db,
    )


def scheduled_rate(step: int, total: int, warmup: int, peak: float, final: float, decay_share: float = 1.0) -> float:
    """Learning rate of update `step` (from 0): linear up to `peak`, then a half cosine down to `final` at `total`.

    The cosine takes the last `decay_share` of the updates: before it, `total` may still change.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    begin = max(warmup, round((1.0 - decay_share) * total))
    done = min(max((step - begin) / max(total - begin, 1), 0.0), 1.0)
    return final + 0.5 * (peak - final) * (1.0 + math.cos(math.pi * done))


class SeparatorTraining:
    """Updates a separator on mixtures made as it goes.

    The mixtures of an update follow from the seed and its number, so that a training continued from its state goes
    on as if it had never stopped: on a CPU bit for bit.

    Args:
        config: the experiment.
        separator: audio [B, 2, N] → sources [B, K, N], on the renderer's device.
        renderer: the mixtures.

    Attributes:
        averaged: the separator with the exponential moving average of the weights: the one to keep.
        steps: updates done.
    """

    def __init__(self, config: SeparatorExperiment, separator: nn.Module, renderer: MixtureRenderer) -> None:
        self._config, self._renderer, self._separator = config, renderer, separator
        self._recipe = mixture_recipe(config)
        scale = "fixed" if config.train.loss == "snr" else "free"
        self._loss = SeparationLoss(config.separator.sources, scale).to(renderer.device)
        self._samples = round(config.train.segment * config.separator.sample_rate)
        self._optimizer = torch.optim.AdamW(
            separator.parameters(),
            lr=config.train.learning_rate,
            weight_decay=config.train.weight_decay,
            fused=renderer.device.type == "cuda",
        )
        # Sent where it is already: what a copy loses is the one block of memory that cuDNN wants recurrent weights in.
        self.averaged = copy.deepcopy(separator).to(renderer.device).requires_grad_(False).eval()
        self.steps = 0
        self._sums = torch.zeros(2, device=renderer.device)  # losses and gradient norms since the last look
        self._summed = 0
        # What is rendered here needs no look, and looking would have the host wait for the GPU.
        self._hear: Callable[[Tensor], Tensor] = getattr(separator, "separate", separator)
        self._descend: Callable[..., Tensor] = self._gradients
        if renderer.device.type == "cuda" and self._loss.stays_on_device:
            self._descend = Recorded(self._gradients, renderer.device)

    def mixtures(self, step: int) -> tuple[Tensor, Tensor]:
        """The batch of update `step`: audio [B, 2, N] and targets [B, K, N]."""
        train, renderer = self._config.train, self._renderer
        draw = draw_mixtures(
            np.random.default_rng([train.seed, 1, step]),
            self._recipe,
            train.batch_size,
            self._samples,
            self._config.separator.sources,
            renderer.room_shape,
            renderer.clip_shape,
            self._config.separator.sample_rate,
        )
        return renderer.render(draw)

    def step(self) -> None:
        """One update."""
        train = self._config.train
        rate = scheduled_rate(
            self.steps,
            train.total_steps,
            train.warmup_steps,
            train.learning_rate,
            train.learning_rate_final,
            train.decay_share,
        )
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        audio, targets = self.mixtures(self.steps)
        risen = min((self.steps + 1) / max(train.silence_warmup_steps, 1), 1.0)
        loss = self._descend(audio, targets, torch.tensor(risen * train.silence_weight))
        norm = nn.utils.clip_grad_norm_(self._separator.parameters(), train.max_grad_norm)
        self._optimizer.step()
        self.steps += 1
        # The first average is over all steps, or the initial weights would be remembered too long.
        keep = min(train.average, self.steps / (10.0 + self.steps))
        with torch.no_grad():
            averages: list[Tensor] = list(self.averaged.parameters())
            weights: list[Tensor] = list(self._separator.parameters())
            get_ema_multi_avg_fn(keep)(averages, weights, self.steps)
            self._sums += torch.stack([loss, norm])
        self._summed += 1

    def _gradients(self, audio: Tensor, targets: Tensor, silence_weight: Tensor) -> Tensor:
        """Leave each weight the gradient of the loss, which is returned."""
        self._separator.zero_grad(set_to_none=True)
        with working_precision(self._config.train.precision, audio.device):
            estimates = self._hear(audio)
            loss = self._loss(estimates, targets, audio.mean(dim=1), silence_weight)
            loss.backward()
        return loss.detach()

    def figures(self) -> dict[str, float]:
        """Mean loss (dB) and gradient norm since the last call, and the learning rate.

        Raises:
            AuralNavError: a loss or gradient was NaN or infinite.
        """
        self.refuse_divergence()
        loss, norm = (self._sums / max(self._summed, 1)).tolist()
        self._sums.zero_()
        self._summed = 0
        rate = self._optimizer.param_groups[0]["lr"]
        return {"train/loss": loss, "train/grad_norm": norm, "train/learning_rate": rate}

    def refuse_divergence(self) -> None:
        """Look at the updates since the last figures, for which the host waits.

        Raises:
            AuralNavError: a loss or gradient was NaN or infinite.
        """
        if not torch.isfinite(self._sums).all():
            raise AuralNavError(
                f"training diverged by step {self.steps} (a loss or gradient is not finite); lower "
                f"train.learning_rate or train.max_grad_norm, or use --set train.precision=fp32"
            )

    def state(self) -> dict[str, Any]:
        """All that the rest of the training depends on: numbers and tensors."""
        return {
            "steps": self.steps,
            "separator": dict(self._separator.state_dict()),
            "averaged": dict(self.averaged.state_dict()),
            "optimizer": self._optimizer.state_dict(),
            "sums": self._sums,
            "summed": self._summed,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a `state()` of a training with the same experiment."""
        self.steps = state["steps"]
        self._separator.load_state_dict(state["separator"])
        self.averaged.load_state_dict(state["averaged"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._sums = state["sums"].to(self._sums.device)
        self._summed = state["summed"]
