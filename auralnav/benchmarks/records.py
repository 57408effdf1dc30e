"""Benchmark records: one JSON file a run, checked when it is written and when it is read."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from auralnav.errors import ConfigError
from auralnav.files import write_text
from auralnav.provenance import hardware, package_versions, source_commit

SCHEMA_VERSION = 1

AnyRecord = TypeVar("AnyRecord", bound="Record")


class Measurement(BaseModel):
    """One figure: the median over the rounds, and the rounds themselves."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    name: str
    unit: str
    description: str
    value: float = Field(description="median of `rounds`")
    rounds: list[float] = Field(min_length=1)
    settings: dict[str, Any] = Field(default_factory=dict)


class Ratio(BaseModel):
    """How many times better `name` was than `reference`: the median of the rounds' ratios."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    name: str
    reference: str
    value: float
    rounds: list[float] = Field(min_length=1)


class Record(BaseModel):
    """What every record carries: when, with what and on which machine it was measured."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    created: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    commit: str | None = None
    modified: bool | None = Field(default=None, description="whether the checkout differed from `commit`")
    versions: dict[str, str] = Field(default_factory=dict)
    hardware: dict[str, str | int | float] = Field(default_factory=dict)
    settings: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def of_this_machine(cls, **fields: Any) -> Self:
        """A record of `fields` with this machine, these packages and this commit filled in."""
        return cls.model_validate(
            {**source_commit(), "versions": package_versions(), "hardware": hardware(), **fields}
        )


class SpeedRecord(Record):
    """The outcome of one `auralnav bench speed`."""

    schema_version: Literal[1] = SCHEMA_VERSION
    kind: Literal["speed"] = "speed"
    family: str
    measurements: list[Measurement]
    ratios: list[Ratio]
    left_out: dict[str, str] = Field(
        default_factory=dict, description="what this machine could not measure, and why"
    )

    def measurement(self, name: str) -> Measurement:
        """The measurement called `name`.

        Raises:
            KeyError: when there is none.
        """
        for one in self.measurements:
            if one.name == name:
                return one
        raise KeyError(name)


def joined(records: Sequence[SpeedRecord]) -> SpeedRecord:
    """One record of several families measured in one run; `settings` are kept by family.

    Commit, versions and hardware are those of the first. `family` lists all, with commas.

    Raises:
        ValueError: no records, or two with a figure of the same name.
    """
    if not records:
        raise ValueError("no records to join")
    measurements = [one for record in records for one in record.measurements]
    names = [one.name for one in measurements]
    if len(set(names)) < len(names):
        raise ValueError(f"figures of the same name: {sorted({name for name in names if names.count(name) > 1})}")
    return records[0].model_copy(
        update={
            "family": ",".join(record.family for record in records),
            "settings": {record.family: record.settings for record in records},
            "measurements": measurements,
            "ratios": [ratio for record in records for ratio in record.ratios],
            "left_out": {what: why for record in records for what, why in record.left_out.items()},
        }
    )


def write_record(path: str | os.PathLike[str], record: Record) -> None:
    """Write `record` to `path` as indented JSON, atomically."""
    write_text(path, record.model_dump_json(indent=2) + "\n")


def read_record(path: str | os.PathLike[str], kind: type[AnyRecord]) -> AnyRecord:
    """Read a record back.

    Args:
        path: of the file.
        kind: of the record.

    Raises:
        ConfigError: when the file is no JSON, or not a record of this kind and schema version.
        OSError: when the file cannot be read.
    """
    text = Path(path).read_text(encoding="utf-8")
    try:
        return kind.model_validate(json.loads(text))
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"{path} is not JSON ({error.msg}, line {error.lineno}): run the benchmark again"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the record"
        raise ConfigError(
            f"{path}: {where}: {first['msg']}; run the benchmark again to replace it"
        ) from error
