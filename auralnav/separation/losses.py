"""What a separator is trained for: a permutation-invariant loss over active and silent targets.

Every entry of the pairwise matrix is in decibels and lies between −30 (perfect) and a little above 0 (an estimate
that is no better than silence where there is a source, or than the mixture where there is none), so that active
and silent targets can be traded against each other when the best permutation is looked for, and averaged:

- an active target s: 10·log10((‖s − ŝ‖² + τ‖s‖²) / ‖s‖²), the negative signal-to-noise ratio, or with `scale="free"`
  10·log10((‖αs − ŝ‖² + τ‖αs‖²) / ‖αs‖²), the negative SI-SDR, αs the projection of ŝ on s (Le Roux et al.,
  "SDR – half-baked or well done?", ICASSP 2019);
- a silent one: 10·log10((‖ŝ‖² + τ‖x‖²) / ‖x‖²), x the mixture, since both ratios are undefined there (Wisdom et al.,
  "What's all the FUSS about free universal sound separation data?", ICASSP 2021).

τ = 1e-3 bends both off at 30 dB: the gradient of what is good already fades, and hard examples keep their share.
Dividing the silent term by ‖x‖² changes no gradient; without it a quiet mixture's silent targets would look better
than its active ones could ever be, and the permutation would follow the level.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from auralnav.errors import ShapeError
from auralnav.separation.order import FEW, assign

TAU = 1e-3
"""Share of the reference's energy that is added to the error's: the loss goes down to 10·log10(τ) = −30 dB."""

Scale = Literal["fixed", "free"]

_TINY = 1e-12  # energy, far below any sound's: keeps logarithms and quotients of silence finite


def pairwise_losses(estimates: Tensor, targets: Tensor, mixture: Tensor, scale: Scale = "fixed") -> Tensor:
    """Loss of each estimate against each target; see this module's page.

    Args:
        estimates: [B, K, N] any level.
        targets: [B, K, N]; a target of exact zeros is silent.
        mixture: [B, N] what the separator heard.
        scale: "fixed" asks for the target's level too (negative SNR), "free" does not (negative SI-SDR).

    Returns:
        float32 [B, K estimates, K targets] dB, finite with finite gradients for finite inputs.

    Raises:
        ShapeError: shapes that do not belong together.
    """
    if estimates.shape != targets.shape or mixture.shape != (targets.shape[0], targets.shape[2]):
        raise ShapeError(
            f"estimates {list(estimates.shape)}, targets {list(targets.shape)} and mixture {list(mixture.shape)}; "
            f"give [B, K, N], [B, K, N] and [B, N]"
        )
    # Energies of long segments lose too much in half precision, whatever the network ran in.
    with torch.autocast(estimates.device.type, enabled=False):
        estimates, targets, mixture = estimates.float(), targets.float(), mixture.float()
        loud = mixture.square().sum(-1)[:, None, None] + _TINY  # [B, 1, 1]
        given = estimates.square().sum(-1)[:, :, None]  # [B, K, 1]
        wanted = targets.square().sum(-1)[:, None, :]  # [B, 1, K]
        inner = estimates @ targets.transpose(1, 2)  # [B, K, K]
        if scale == "free":
            reference = inner.square() / (wanted + _TINY)
            error = given - reference
        else:
            reference = wanted
            error = given - 2.0 * inner + wanted
        # The difference of large energies may come out a little below 0; an estimate of silence is at 0 dB.
        active = (error.clamp(min=0.0) + TAU * reference + _TINY) / (reference + _TINY)
        silent = (given + TAU * loud) / loud
        return 10.0 * torch.log10(torch.where(wanted > 0, active, silent))


class SeparationLoss(nn.Module):
    """Mean over the outputs of the pairwise losses in the best permutation, and over the batch.

    The same as Asteroid's `PITLossWrapper` over these pairwise losses. That one reads the best permutation of every
    mixture back to the host, which on a GPU took a sixth of an update and stands in the way of recording it.

    Args:
        sources: K.
        scale: see :func:`pairwise_losses`.
    """

    def __init__(self, sources: int, scale: Scale = "fixed") -> None:
        super().__init__()
        self._scale: Scale = scale
        self.stays_on_device = sources <= FEW
        """Whether the host has no part in it, so that a GPU's work can be recorded."""

    def forward(
        self, estimates: Tensor, targets: Tensor, mixture: Tensor, silence_weight: float | Tensor = 1.0
    ) -> Tensor:
        """The loss in dB, a scalar, with silent targets weighed; arguments as :func:`pairwise_losses` takes them."""
        losses = pairwise_losses(estimates, targets, mixture, self._scale)
        silent = (targets == 0).all(-1)[:, None, :]
        losses = torch.where(silent, silence_weight * losses, losses)  # [B, K estimates, K targets]
        order = assign(-losses.detach()).unsqueeze(1)  # [B, 1, K]: the estimate of each target
        chosen = order == torch.arange(losses.shape[1], device=losses.device)[:, None]
        return torch.where(chosen, losses, 0.0).sum(dim=1).mean()
