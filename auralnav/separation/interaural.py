"""What differs between the ears, frame by frame and frequency by frequency: phase and level."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

WINDOW_SECONDS = 0.016
"""Hann window: long enough to tell the harmonics of a voice apart, short enough to follow it."""

_QUIET = 1e-3  # power of a bin, of sound at an RMS of 1, below which phase and level fade to 0


def interaural_size(kernel: int, sample_rate: int) -> int:
    """Channels of :func:`interaural_features`: three a frequency."""
    return 3 * (_window(kernel, sample_rate) // 2 + 1)


def interaural_features(audio: Tensor, kernel: int, stride: int, sample_rate: int) -> Tensor:
    """Cosine and sine of the interaural phase difference, and half the log ratio of powers, left to right.

    As extra inputs of a separator (Wang, Le Roux & Hershey, ICASSP 2018; Gu et al., Interspeech 2019) they say where
    the sound of a frequency comes from. The frames' centres are those of a filterbank with this kernel and stride.

    Args:
        audio: [B, 2, N] left and right ear at an RMS of about 1, N = kernel + (T − 1) · stride.
        kernel: samples of a filter.
        stride: samples from frame to frame.
        sample_rate: Hz.

    Returns:
        float32 [B, 3F, T], cosines, sines and levels of F frequencies from 0 to half the rate.
    """
    with torch.autocast(audio.device.type, enabled=False):
        window = _window(kernel, sample_rate)
        before = (window - kernel) // 2
        padded = F.pad(audio.float(), (before, window - kernel - before))
        hann = torch.hann_window(window, device=audio.device)
        left, right = torch.fft.rfft(padded.unfold(2, window, stride) * hann).unbind(1)  # [B, T, F]
        cross = left * right.conj()
        size = (cross.real.square() + cross.imag.square() + _QUIET**2).sqrt()
        powers = [ear.real.square() + ear.imag.square() + _QUIET for ear in (left, right)]
        level = 0.5 * (powers[0].log() - powers[1].log())
        return torch.cat([cross.real / size, cross.imag / size, level], dim=2).transpose(1, 2)


def _window(kernel: int, sample_rate: int) -> int:
    return max(round(WINDOW_SECONDS * sample_rate), kernel)
