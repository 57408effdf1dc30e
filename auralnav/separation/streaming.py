"""Separation step by step: each step is separated with the sound before it, all rooms in one call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from auralnav.errors import ConfigError, ShapeError, SoundError
from auralnav.separation.order import FRAME_SECONDS, SourceOrder
from auralnav.separation.separator import DPRNNSeparator


@dataclass(frozen=True)
class Separated:
    """One step of b rooms: what was heard, float32 [b, 2, n], and its sources at mid, [b, K, n], in stable order."""

    audio: Tensor
    sources: Tensor


class StreamingSeparator:
    """Separates the steps of many rooms as they come.

    The separator hears the window that ends with the newest step; the step's part of its estimates is given out.
    Sound before an episode is silence. Nothing is differentiated.

    Args:
        separator: on the device where the sound will be.
        step: n, samples a step.
        window_seconds: that the separator hears, the step included.
        batch: rooms.
        sample_rate: of the sound, Hz, to be checked against the separator's; None: it is the separator's.

    Raises:
        ConfigError: sound of another rate, a window shorter than the step or than 32 ms, or no room.
    """

    def __init__(
        self,
        separator: DPRNNSeparator,
        step: int,
        window_seconds: float = 0.5,
        batch: int = 1,
        sample_rate: int | None = None,
    ) -> None:
        rate = separator.config.sample_rate
        if sample_rate not in (None, rate):
            raise ConfigError(
                f"the separator is for sound at {rate} Hz, not {sample_rate} Hz; resample the sound, or train a "
                f"separator for {sample_rate} Hz"
            )
        window = round(window_seconds * rate)
        shortest = max(step, separator.config.kernel, round(FRAME_SECONDS * rate))
        if step < 1 or batch < 1 or window < shortest:
            raise ConfigError(
                f"window_seconds={window_seconds}, step={step}, batch={batch}: give at least one room, steps of at "
                f"least one sample, and windows of at least {shortest / rate:g} s"
            )
        self.separator, self.step, self.window, self.batch = separator, step, window, batch
        self.device = next(separator.parameters()).device
        self._heard = torch.zeros(batch, 2, window, device=self.device)
        self._order = SourceOrder(
            batch, separator.config.sources, window - step, step / rate, rate, device=self.device
        )

    @torch.no_grad()
    def push(self, audio: Tensor, start: Tensor | None = None, rows: Tensor | None = None) -> Separated:
        """Separate the next step of all rooms, or of some.

        Args:
            audio: float32 [b, 2, n], left and right ear.
            start: bool [b], the first step of an episode: nothing from before it counts. None: nowhere.
            rows: int64 [b], the rooms that `audio` is of, each once. None: all, in their order.

        Raises:
            ShapeError: mono sound, steps of another length (or rate), another batch, a room that there is not.
            SoundError: NaN or infinite samples. The rooms are then as they were before.
        """
        rows = torch.arange(self.batch) if rows is None else rows
        start = torch.zeros(len(audio), dtype=torch.bool) if start is None else start
        self.check(audio, start, rows)
        return self.advance(audio.to(self._heard), start.to(self.device), rows.to(self.device))

    def advance(self, audio: Tensor, start: Tensor, rows: Tensor) -> Separated:
        """As `push`, all on the device and nothing checked, so a GPU is not waited for.

        A room may be named twice, with the same sound.
        """
        heard = self._heard[rows].masked_fill(start[:, None, None], 0.0)
        heard = torch.cat([heard[..., self.step :], audio], dim=-1)
        # What was checked need not be again, which would have the host wait for a GPU.
        estimates = getattr(self.separator, "separate", self.separator)(heard)
        self._heard[rows] = heard
        arranged = self._order.arrange(estimates, start, rows)
        return Separated(heard[..., -self.step :], arranged[..., -self.step :])

    def check(self, audio: Tensor, start: Tensor, rows: Tensor) -> None:
        """Refuse what `push` cannot take, with its errors."""
        b, rate = len(rows), self.separator.config.sample_rate
        if audio.shape != (b, 2, self.step) or not audio.is_floating_point():
            raise ShapeError(
                f"a step of {b} rooms is float32 [{b}, 2, {self.step}], not {str(audio.dtype)[6:]} "
                f"{list(audio.shape)}; give left and right ear, {self.step} samples at {rate} Hz"
            )
        if start.shape != (b,) or start.dtype != torch.bool:
            raise ShapeError(f"start is bool [{b}], not {str(start.dtype)[6:]} {list(start.shape)}; one a room")
        if rows.ndim != 1 or rows.dtype != torch.int64 or not b or len(rows.unique()) < b:
            raise ShapeError(f"rows are int64 [b ≥ 1], each room once, not {rows.tolist()}")
        if not 0 <= int(rows.min()) <= int(rows.max()) < self.batch:
            raise ShapeError(f"rows {rows.tolist()} are not all among the {self.batch} rooms; count them from 0")
        if not torch.isfinite(audio).all():
            raise SoundError("the sound holds NaN or infinite samples: look at what made it")

    def state(self) -> dict[str, Any]:
        """A copy of all that is remembered, on the CPU."""
        return {"heard": self._heard.cpu().clone(), "order": self._order.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a `state()`, bit for bit."""
        self._heard.copy_(state["heard"])
        self._order.restore(state["order"])
