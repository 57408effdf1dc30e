"""Leads are paired by episode and seed, and a record is read back as it was written."""

from __future__ import annotations

import io
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from auralnav.benchmarks.ablation_record import AblationRecord, Scores, leads_of, means_of, scores_of
from auralnav.benchmarks.ablation_tables import ablation_tables
from auralnav.benchmarks.records import read_record, write_record
from auralnav.errors import ConfigError

RNG = np.random.default_rng(0)
HARD = RNG.uniform(0, 1, 40)  # episodes are easy and hard
LUCK = np.array([[0.0], [0.2], [0.5]])  # seeds are good and bad


def scores(variant: str, row: str, lead: float, seeds: list[int]) -> Scores:
    luck = LUCK[: len(seeds)] if seeds else np.zeros((1, 1))
    table = (HARD + luck + lead).tolist()
    count = len(seeds)
    return Scores(
        variant=variant, row=row, seeds=seeds, training_steps=[100] * count, training_seconds=[1.0] * count,
        scores={"spl": table, "success_60": [[1.0] * len(HARD)] * max(1, count)},
    )  # fmt: skip


@cache
def record() -> AblationRecord:
    seeds = [3, 4, 5]
    rows = [
        scores("none", "learned", 0.10, seeds),
        scores("none", "mixture", 0.04, seeds),
        scores("gru", "learned", 0.25, seeds),
        scores("gru", "mixture", 0.25, seeds),
        scores("", "tracker", 0.30, []),
    ]
    return AblationRecord(
        command="auralnav bench ablation", env_id="AuralNav-v0", env_kwargs={"num_sources": 3}, first_seed=0,
        episodes=40, separator=None, rows=rows, means=means_of(rows), leads=leads_of(rows),
    )  # fmt: skip


def test_leads_are_paired_by_episode_and_by_seed_where_there_are_seeds():
    spl = [one for one in record().leads if one.measure == "spl"]
    leads = {(one.variant, one.row, one.over_variant, one.over_row): one for one in spl}
    assert list(leads) == [
        ("none", "learned", "none", "mixture"),
        ("none", "learned", "", "tracker"),
        ("none", "mixture", "", "tracker"),
        ("gru", "learned", "gru", "mixture"),
        ("gru", "learned", "", "tracker"),
        ("gru", "mixture", "", "tracker"),
        ("gru", "learned", "none", "learned"),
        ("gru", "mixture", "none", "mixture"),
    ]
    # The difference is the same in every pair of seed and episode: paired, nothing is left to vary.
    for key, lead in {
        ("none", "learned", "none", "mixture"): 0.06,
        ("gru", "learned", "gru", "mixture"): 0.0,
        ("gru", "learned", "none", "learned"): 0.15,
    }.items():
        one = leads[key]
        assert (one.mean, one.low, one.high) == pytest.approx((lead, lead, lead), abs=1e-9)
    # The tracker has no seeds: those of the agent are drawn alone, the least draws three times the same.
    tracker = leads["none", "learned", "", "tracker"]
    assert tracker.mean == pytest.approx(0.1 + 0.7 / 3 - 0.3)
    assert (tracker.low, tracker.high) == pytest.approx((-0.2, 0.3), abs=1e-9)


def test_means_vary_with_episodes_and_seeds():
    means = {(one.variant, one.row): one for one in record().means if one.measure == "spl"}
    one = means["none", "learned"]
    assert one.mean == pytest.approx(HARD.mean() + 0.7 / 3 + 0.1)
    assert one.over_row is None and one.high - one.low > 0.4
    assert means["", "tracker"].high - means["", "tracker"].low < 0.25


def test_other_seeds_are_not_paired():
    rows = [scores("none", "learned", 0.1, [1, 2, 3]), scores("none", "mixture", 0.0, [4, 5, 6])]
    lead = next(one for one in leads_of(rows) if one.measure == "spl")
    assert lead.high - lead.low > 0.3


def test_measures_that_an_episode_lacks_are_left_out():
    lines = [
        {"spl": None, "success": 1, "return": 2.5, "steps": 7},
        {"spl": 0.5, "success": 0, "return": 1.0, "steps": 9},
    ]
    one = scores_of("none", "oracle", [7], [{"episodes": lines, "training": {"steps": 50}}])
    assert one.scores == {"success": [[1, 0]], "return": [[2.5, 1.0]], "steps": [[7, 9]]}
    assert (one.training_steps, one.training_seconds) == ([50], [None])


def test_a_record_is_read_back_as_it_was_written(tmp_path: Path):
    before = record()
    write_record(tmp_path / "ablation.json", before)
    assert read_record(tmp_path / "ablation.json", AblationRecord) == before
    values = json.loads((tmp_path / "ablation.json").read_text())
    values["rows"][0]["scores"]["spl"][1].pop()
    for change, words in (
        (values, "none learned: spl is not of 3 trainings on 40 episodes"),
        ({**values, "schema_version": 2}, "schema_version"),
        ({**values, "kind": "speed"}, "kind"),
    ):
        (tmp_path / "broken.json").write_text(json.dumps(change))
        with pytest.raises(ConfigError, match=words):
            read_record(tmp_path / "broken.json", AblationRecord)


def test_the_tables_fit_eighty_columns_and_show_every_row():
    console = Console(file=io.StringIO(), width=80)
    for table in ablation_tables(record()):
        console.print(table)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in text and max(len(line) for line in text.splitlines()) <= 80
    for expected in ("AuralNav-v0 (num_sources=3): 40 episodes", "seeds 3, 4, 5", "learned − mixture", "tracker",
                     "gru − no memory", "+0.060", "+0.150 to +0.150", "success in 60 steps"):  # fmt: skip
        assert expected in text


def test_the_return_is_shown_where_there_are_distractors_and_no_table_is_empty():
    lines = [{"success_60": 1, "spl": 0.5, "sna": 0.4, "return": -2.5, "success": 1, "steps": 9}] * 40
    alone = [scores_of("", "tracker", [], [{"episodes": lines}])]
    changed = record().model_copy(update={"rows": alone, "means": means_of(alone), "leads": leads_of(alone)})
    for kwargs, shown, hidden in (({"distractors": 2}, "-2.500", "0.400"), ({"distractors": 0}, "0.400", "-2.500")):
        tables = ablation_tables(changed.model_copy(update={"env_kwargs": kwargs}))
        console = Console(file=io.StringIO(), width=80)
        for table in tables:
            console.print(table)
        text = console.file.getvalue()  # type: ignore[attr-defined]
        assert len(tables) == 1 and shown in text and hidden not in text
