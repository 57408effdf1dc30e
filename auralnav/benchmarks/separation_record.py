"""What `auralnav bench separation` found out, as one checked record. Levels and ratios are in dB."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from auralnav.agents.statistics import Interval
from auralnav.benchmarks.records import Measurement, Record

SCHEMA_VERSION = 1


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class TableRow(_Part):
    """Mixtures of one kind. Intervals are over mixtures, each of which counts with the mean of its sources."""

    name: str
    sources: int
    rt60: float = Field(description="s; 0: no reflections")
    noise: bool
    recorded: bool = Field(description="from the user's recordings, on which nothing was trained")
    measure: Literal["SI-SDRi", "SI-SDR"]
    value: Interval
    ceiling: Interval | None = Field(description="of the ideal ratio mask on the same mixtures")
    goal: float | None = Field(description="what is wanted")
    level_error: float = Field(description="mean size of the estimates' level errors")
    leak: float = Field(description="mean level, under the mixture, of the outputs without a source")
    values: list[float] = Field(description="of each mixture")

    @property
    def bar(self) -> float | None:
        """The goal, or the ceiling − 2 dB where that is lower."""
        if self.goal is None or self.ceiling is None:
            return self.goal
        return min(self.goal, self.ceiling.mean - 2.0)


class PairRow(_Part):
    """Two classes (or one with itself), without reflections: means over both sources of the mixtures."""

    a: str
    b: str
    value: float
    ceiling: float
    mixtures: int


class StreamingRow(_Part):
    """The last step of what the separator heard, scored alone, for every step whose window was full."""

    name: str
    window: float = Field(description="s that the separator heard; the whole mixture where `later`")
    later: bool = Field(description="whether it heard sound after the step too")
    value: Interval
    ceiling: Interval
    kept: float | None = Field(description="share of sources in the same output as in the step before, heard in both")


class DirectionRow(_Part):
    """Errors of the azimuth of each of two sources, degrees."""

    rt60: float
    masks: Literal["learned", "oracle", "mixture"]
    median: Interval = Field(description="interval over scenes")
    p90: float
    goal: float | None


class SeparationRecord(Record):
    """The outcome of one `auralnav bench separation`.

    Attributes:
        separator: name or path as it was given, the file's SHA-256, sizes, parameters.
        silence: largest |sample| of what is made of silence.
        speed: ms a step and room on one thread.
        left_out: what was not measured, and why.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    kind: Literal["separation"] = "separation"
    separator: dict[str, Any]
    rows: list[TableRow]
    pairs: list[PairRow]
    silence: float
    streaming: list[StreamingRow]
    direction: list[DirectionRow]
    speed: list[Measurement]
    left_out: dict[str, str] = Field(default_factory=dict)
