"""The record of an ablation: every score of every training, means with intervals, and paired leads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from auralnav.agents.statistics import Interval, bootstrap_trainings
from auralnav.benchmarks.records import Record

MEASURES = ("success_60", "spl", "sna", "return", "success", "steps")
"""What is kept of each episode, as `auralnav eval` has it."""

COMPARED = MEASURES[:4]
"""Of what means and leads are given."""

LEADS = (
    ("learned", "mixture"),
    ("learned", "oracle"),
    ("learned", "seed"),
    ("learned", "tracker"),
    ("oracle", "mixture"),
    ("oracle", "tracker"),
    ("mixture", "tracker"),
)
"""Rows that are compared. Where learned masks do not lead over the mixture, the oracle's lead says whether the
separator or the task is the reason."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Scores(_Part):
    """One row: the scores of its trainings on the fixed episodes."""

    variant: str = Field(description="kind of memory or experiment; empty for the tracker")
    row: str
    seeds: list[int] = Field(description="of the trainings; none for the tracker")
    training_steps: list[int]
    training_seconds: list[float | None]
    scores: dict[str, list[list[float]]] = Field(description="measure: [trainings, episodes]")


class Estimate(_Part):
    """A mean over trainings and episodes with its 95 % interval; with `over_row`, the lead over that row."""

    variant: str
    row: str
    measure: str
    mean: float
    low: float
    high: float
    over_variant: str | None = None
    over_row: str | None = None


class AblationRecord(Record):
    """The outcome of one `auralnav bench ablation`; `settings` hold the experiments without masks, cues and seeds."""

    schema_version: Literal[1] = 1
    kind: Literal["ablation"] = "ablation"
    command: str
    env_id: str
    env_kwargs: dict[str, Any]
    first_seed: int
    episodes: int
    separator: dict[str, str] | None = Field(description="name and SHA-256 of its file")
    rows: list[Scores]
    means: list[Estimate]
    leads: list[Estimate]

    @model_validator(mode="after")
    def _tables_are_whole(self) -> Self:
        for row in self.rows:
            trainings = max(1, len(row.seeds))
            for measure, table in row.scores.items():
                if len(table) != trainings or any(len(scores) != self.episodes for scores in table):
                    wanted = f"{trainings} trainings on {self.episodes} episodes"
                    raise ValueError(f"{row.variant} {row.row}: {measure} is not of {wanted}")
        return self


def scores_of(variant: str, row: str, seeds: list[int], evaluations: list[dict[str, Any]]) -> Scores:
    """The scores of a row from the evaluation records of its trainings, in the order of their seeds.

    Measures that an episode does not have (SPL, where sources move) are left out.
    """
    tables = {measure: [[line.get(measure) for line in one["episodes"]] for one in evaluations] for measure in MEASURES}
    known = {measure: table for measure, table in tables.items() if None not in [x for line in table for x in line]}
    training = [one["training"] for one in evaluations] if seeds else []
    return Scores(
        variant=variant,
        row=row,
        seeds=seeds,
        training_steps=[one["steps"] for one in training],
        training_seconds=[one.get("wall_seconds") for one in training],
        scores=known,
    )


def means_of(rows: Iterable[Scores]) -> list[Estimate]:
    """The mean of each measure of each row; trainings and episodes are drawn anew (`bootstrap_trainings`)."""
    return [
        _estimate(bootstrap_trainings(table), variant=one.variant, row=one.row, measure=measure)
        for one in rows
        for measure, table in one.scores.items()
        if measure in COMPARED
    ]


def leads_of(rows: Iterable[Scores]) -> list[Estimate]:
    """Differences of the rows of LEADS in each variant, then of the same row between each variant and the first.

    All are paired by episode, and by seed where both sides have the same seeds. The tracker has one run.
    """
    table = {(one.variant, one.row): one for one in rows}
    variants = list(dict.fromkeys(variant for variant, _ in table if variant))
    pairs = [
        ((variant, row), ("" if peer == "tracker" else variant, peer)) for variant in variants for row, peer in LEADS
    ] + [
        ((variant, row), (variants[0], row))
        for variant in variants[1:]
        for row in dict.fromkeys(row for _, row in table)
    ]
    return [
        _lead(table[ours], table[theirs], measure)
        for ours, theirs in pairs
        if ours in table and theirs in table
        for measure in COMPARED
        if measure in table[ours].scores and measure in table[theirs].scores
    ]


def _lead(ours: Scores, theirs: Scores, measure: str) -> Estimate:
    interval = bootstrap_trainings(
        ours.scores[measure], theirs.scores[measure], paired=bool(ours.seeds) and ours.seeds == theirs.seeds
    )
    names = {"variant": ours.variant, "row": ours.row, "over_variant": theirs.variant, "over_row": theirs.row}
    return _estimate(interval, measure=measure, **names)


def _estimate(interval: Interval, **names: str) -> Estimate:
    return Estimate.model_validate({**names, "mean": interval.mean, "low": interval.low, "high": interval.high})
