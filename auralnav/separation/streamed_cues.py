"""Cues of the sources of many rooms, step by step: separation, order and cues in one go.

On a GPU that go is recorded as a CUDA graph: it consists of some thousand small kernels, which Python takes several
times as long to start as they run.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from auralnav.errors import SoundError
from auralnav.separation.cues import SpatialCues
from auralnav.separation.recorded import Recorded
from auralnav.separation.separator import DPRNNSeparator
from auralnav.separation.streaming import StreamingSeparator

_FEWEST = 4  # rooms of the smallest recorded call; a larger one takes four times as many, up to all


class StreamedCues:
    """A `StreamingSeparator` followed by `SpatialCues`.

    Args:
        separator: on the device where the work is done.
        cues: whose features are wanted; moved to that device.
        batch, window_seconds: as for `StreamingSeparator`; the step is the cues' block.

    Raises:
        ConfigError: as `StreamingSeparator` raises it.
    """

    def __init__(
        self, separator: DPRNNSeparator, cues: SpatialCues, batch: int, window_seconds: float = 0.5
    ) -> None:
        n = cues.masking.sizes.n
        self.stream = StreamingSeparator(separator, n, window_seconds, batch)
        self.device = self.stream.device
        self.cues = cues.to(self.device)
        self._recorded: dict[int, Recorded] = {}

    def hear(self, audio: Tensor, start: Tensor, rows: Tensor) -> Tensor:
        """Features of the next step of some rooms.

        Args:
            audio: float32 [b, 2, n], left and right ear, on the host.
            start: bool [b], first steps of episodes.
            rows: int64 [b], the rooms that `audio` is of, each once.

        Returns:
            float32 [b, 1 + K, C] on the host, as `SpatialCues.with_mixture` gives them, sources in a stable order.

        Raises:
            ShapeError, SoundError: as `StreamingSeparator.push`; the rooms are then as they were before.
            SoundError: also where the weights give NaN, after which there is no going on.
        """
        self.stream.check(audio, start, rows)
        with torch.no_grad():  # a thread's own setting
            if self.device.type == "cuda":
                features = self._replayed(audio, start, rows).cpu()
            else:
                features = self._features(audio, start, rows)
        if not torch.isfinite(features).all():
            raise SoundError("separated sources hold NaN or infinite samples: look at the separator's weights")
        return features

    def _features(self, audio: Tensor, start: Tensor, rows: Tensor) -> Tensor:
        """What `hear` gives, on the device; NaN for a room with an estimate that is not finite."""
        heard = self.stream.advance(audio, start, rows)
        features = self.cues.measure(heard.audio, heard.sources)
        # A sum is finite if all are: samples are far from where it could overflow.
        broken = ~torch.isfinite(heard.sources.sum(dim=(1, 2)))
        return features.masked_fill(broken[:, None, None], torch.nan)

    def _replayed(self, audio: Tensor, start: Tensor, rows: Tensor) -> Tensor:
        """`_features` by a recorded call for as many rooms or more, filled up with the last room again and again."""
        count, size = len(rows), _FEWEST
        while size < count:
            size *= 4
        size = min(size, self.stream.batch)
        inputs = (audio, start, rows)
        if size > count:
            again = torch.arange(size).clamp(max=count - 1)
            inputs = (audio[again], start[again], rows[again])
        call = self._recorded.get(size)
        if call is None:
            before, call = self.stream.state(), Recorded(self._features, self.device)
            try:
                call(*inputs)
            finally:
                self.stream.restore(before)  # rehearsals went on
            self._recorded[size] = call
        return call(*inputs)[:count]

    def state(self) -> dict[str, Any]:
        """A copy of all that is remembered, on the CPU."""
        return self.stream.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a `state()`, bit for bit."""
        self.stream.restore(state)
