"""An ablation trains rows that differ in nothing else, continues what was stopped, and refuses what cannot be."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from tiny_separator import save_tiny

from auralnav.agents.training_callback import TrainingCallback
from auralnav.benchmarks import jobs
from auralnav.benchmarks.ablation import run_ablation
from auralnav.benchmarks.ablation_folder import AblationFolder
from auralnav.benchmarks.ablation_plan import ROWS, Plan, make_plan
from auralnav.benchmarks.ablation_record import AblationRecord
from auralnav.benchmarks.records import read_record
from auralnav.cli import main
from auralnav.configs.load import find_config
from auralnav.errors import AuralNavError, CheckpointError, ConfigError
from auralnav.separation.separator import DPRNNSeparator

SMALL = (
    "separation.sources=2", "env.num_envs=4", "env.horizon=6", "dqn.learning_starts=36", "dqn.batch_size=8",
    "dqn.buffer_size=400", "train.eval_every=24", "train.eval_episodes=2", "train.checkpoint_every=24",
    "train.log_every=8", "policy.net_arch=[16]",
)  # fmt: skip


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("separator") / "tiny.safetensors")


def small(weights: Path, *overrides: str, **options: object) -> Plan:
    given = {"rows": ("learned", "mixture", "tracker"), "memory": ["none"], "seeds": (1, 2), "steps": 48, "episodes": 3}
    return make_plan(separator=str(weights), overrides=(*SMALL, *overrides), **{**given, **options})  # type: ignore[arg-type]


class Done:
    """A process that has ended."""

    def __init__(self, returncode: int) -> None:
        self.returncode = returncode

    def poll(self) -> int:
        return self.returncode


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands, which are run in this process: a new one would take seconds to begin."""
    commands: list[list[str]] = []

    def run(arguments: Sequence[str], log: Path) -> Done:
        commands.append(list(arguments))
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "a") as handle, redirect_stdout(handle), redirect_stderr(handle):
            try:
                main(arguments)
            except SystemExit as end:
                return Done(int(end.code or 0))
            except RuntimeError as error:
                print(error)
                return Done(1)
        return Done(0)

    monkeypatch.setattr(jobs, "launch", run)
    monkeypatch.setattr(jobs, "POLL_SECONDS", 0.0)
    return commands


def test_rows_differ_in_masks_and_cues_and_in_nothing_else(weights: Path):
    plan = small(weights, rows=ROWS, memory=["none", "gru"], seeds=(5,))
    by_row = {(one.variant, one.row): one.config.model_dump() for one in plan.trainings()}
    assert len(by_row) == 8
    for variant in ("none", "gru"):
        parts = {row: by_row[variant, row]["separation"] for row in ROWS[:-1]}
        given = {row: (part.pop("masks"), part.pop("cues")) for row, part in parts.items()}
        assert given == {
            "learned": ("learned", "masked"), "oracle": ("oracle", "masked"), "mixture": ("mixture", "masked"),
            "seed": ("learned", "seed"),
        }  # fmt: skip
        assert all(by_row[variant, row] == by_row[variant, "learned"] for row in parts)
        one = by_row[variant, "learned"]
        assert one["policy"]["memory"] == variant and one["train"]["seed"] == 5
        assert one["env"]["threads"] == one["separation"]["threads"] == one["train"]["torch_threads"] == 1


def test_an_interrupted_ablation_is_continued_and_compared(
    weights: Path, tmp_path: Path, launched: list[list[str]], monkeypatch: pytest.MonkeyPatch
):
    plan, step = small(weights), TrainingCallback._on_step

    def dying(self: TrainingCallback) -> bool:
        if self.num_timesteps >= 40 and self._config.train.seed == 2 and self._config.separation.masks == "mixture":
            raise RuntimeError("killed")
        return step(self)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingCallback, "_on_step", dying)
        with pytest.raises(AuralNavError, match="none-mixture-seed2: killed"):
            run_ablation(plan, tmp_path / "here", 2, None)
    kinds = [command[0] for command in launched]
    assert kinds.count("train") == 4 and kinds.count("eval") == 4, "three trained agents and the tracker"
    runs = tmp_path / "here/runs"
    finished = (runs / "none-learned-seed1/policy.safetensors").stat().st_mtime_ns
    launched.clear()

    record = run_ablation(plan, tmp_path / "here", 2, None)
    assert isinstance(record, AblationRecord)
    assert [command[:2] for command in launched] == [
        ["train", "--resume"], ["eval", str(runs / "none-mixture-seed2")]
    ]  # fmt: skip
    assert (runs / "none-learned-seed1/policy.safetensors").stat().st_mtime_ns == finished
    assert [(one.variant, one.row, one.seeds) for one in record.rows] == [
        ("none", "learned", [1, 2]), ("none", "mixture", [1, 2]), ("", "tracker", []),
    ]  # fmt: skip
    evaluation = json.loads((tmp_path / "here/eval/none-mixture-seed2.json").read_text())
    assert record.rows[1].scores["return"][1] == [line["return"] for line in evaluation["episodes"]]
    assert [line["seed"] for line in evaluation["episodes"]] == [record.first_seed + i for i in range(3)]
    assert evaluation["env_kwargs"]["horizon"] == 6 and record.rows[0].training_steps[0] in (24, 48)
    tracker = json.loads((tmp_path / "here/eval/tracker.json").read_text())
    assert tracker["env_kwargs"]["horizon"] == 6 and len(tracker["episodes"]) == 3
    assert record.separator is not None and record.separator["name"] == weights.name
    launched.clear()
    again = run_ablation(plan, tmp_path / "here", 2, None)
    assert isinstance(again, AblationRecord) and again.rows == record.rows and not launched

    # The same command of the command line, with more episodes: only evaluations are missing.
    arguments = ["--rows", "learned,mixture", "--memory", "none", "--seeds", "1,2", "--steps", "48", "--episodes", "4"]
    sets = [part for one in SMALL for part in ("--set", one)]
    out = tmp_path / "record.json"
    main_code(["bench", "ablation", *arguments, "--separator", str(weights), "--folder", str(tmp_path / "here"),
               "--out", str(out), *sets])  # fmt: skip
    assert [command[0] for command in launched] == ["eval"] * 4
    assert read_record(out, AblationRecord).episodes == 4


def main_code(arguments: list[str]) -> int:
    try:
        main(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.mark.slow
def test_processes_are_stopped_with_their_checkpoints_and_go_on(weights: Path, tmp_path: Path):
    """The real processes: a signal to the command, and the same command again."""
    import signal
    import subprocess
    import sys
    import time

    sets = [part for one in (*SMALL, "train.checkpoint_every=0") for part in ("--set", one)]
    command = [sys.executable, "-m", "auralnav", "bench", "ablation", "--rows", "mixture", "--memory", "none",
               "--seeds", "1,2", "--steps", "2000", "--episodes", "2", "--separator", str(weights),
               "--folder", str(tmp_path / "here"), *sets]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    metrics = [tmp_path / f"here/runs/none-mixture-seed{seed}/metrics.csv" for seed in (1, 2)]
    while not all(file.is_file() and file.read_text().count("\n") > 3 for file in metrics):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 143 and "the same command goes on" in said
    steps = [json.loads((file.parent / "resume/manifest.json").read_text())["about"]["step"] for file in metrics]
    assert all(0 < step < 2000 for step in steps)
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert "mixture" in done.stdout


# What is wrong is said in one line --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rows": ["lerned"]}, r"--rows: 'lerned' is none of learned, .*did you mean learned\?"),
        ({"rows": []}, "--rows: nothing is named"),
        ({"memory": ["mamba3"]}, r"--memory: 'mamba3' is none of none, mamba, mamba2"),
        ({"seeds": ()}, "--seeds : give whole numbers"),
        ({"seeds": (1, 1)}, "--seeds 1,1: give whole numbers from 0, each once"),
        ({"seeds": (-1,)}, "--seeds -1"),
        ({"steps": 0}, "--steps 0, --episodes 3: give at least 1"),
        ({"episodes": 0}, "give at least 1"),
        ({"env": "AuralNav-v1"}, "AuralNav-v1: no such environment; did you mean AuralNav-v0"),
        ({"env": "CartPole-v1"}, "CartPole-v1: has no ears"),
        ({"experiments": ["auralnav-dprnn-dqn"]}, "--memory: an experiment of your own has its memory"),
        ({"experiments": ["auralnav-dqn"], "memory": []}, "separation.separator is none; .* separator: frozen"),
        ({"experiments": ["auralnav-dprnn-dqn"] * 2, "memory": []}, "two experiments of the same name"),
    ],
)  # fmt: skip
def test_bad_options_are_refused(weights: Path, options: dict, words: str):
    with pytest.raises(ConfigError, match=words) as caught:
        small(weights, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("separation.masks=oracle", "use --rows"),
        ("train.seed=3", "use --seeds"),
        ("train.total_steps=3", "use --steps"),
        ("policy.memory=gru", "use --memory"),
        ("env.num_sources=4", "2 rows for 4 sources; give 4"),
        ("env.hoirzon=4", "did you mean horizon"),
    ],
)
def test_settings_that_the_options_decide_or_that_do_not_fit_are_refused(weights: Path, override: str, words: str):
    with pytest.raises(ConfigError, match=words):
        small(weights, override, rows=("learned", "oracle"))


def test_a_separator_that_is_not_there_is_missed_before_anything_is_trained(tmp_path: Path):
    with pytest.raises(CheckpointError, match="no such file"):
        small(tmp_path / "nowhere.safetensors")
    assert small(tmp_path / "nowhere.safetensors", rows=("oracle", "mixture")).separator() is None


def test_experiments_on_different_tasks_are_not_compared(weights: Path, tmp_path: Path):
    other = tmp_path / "other.yaml"
    text = find_config("auralnav-dprnn-dqn").read_text().replace("name: auralnav-dprnn-dqn", "name: other")
    other.write_text(text.replace("id: AuralNav-v0", "id: AuralNav-Easy-v0"))
    both = ["auralnav-dprnn-dqn", str(other)]
    with pytest.raises(ConfigError, match="auralnav-dprnn-dqn, other: not the same task"):
        small(weights, experiments=both, memory=[], rows=("mixture",))
    assert small(weights, experiments=both, memory=[], rows=("mixture",), env="AuralNav-v0").variants.keys() == {
        "auralnav-dprnn-dqn", "other"
    }  # fmt: skip


def test_experiments_with_different_separators_are_not_compared(weights: Path, tmp_path: Path):
    texts = {}
    for name, notes in (("one", {}), ("same", {}), ("other", {"trained": "for longer"})):
        separator = DPRNNSeparator.load(weights)
        separator.notes = notes
        separator.save(tmp_path / f"{name}.safetensors")
        text = find_config("auralnav-dprnn-dqn").read_text().replace("name: auralnav-dprnn-dqn", f"name: {name}")
        texts[name] = tmp_path / f"{name}.yaml"
        texts[name].write_text(
            text.replace("separator: frozen", f"separator: frozen\n  weights: {tmp_path / name}.safetensors")
        )

    def plan(*names: str, **options: object) -> Plan:
        given = {"experiments": [str(texts[name]) for name in names], "memory": [], "rows": ("learned",)}
        return make_plan(overrides=SMALL, **{**given, **options})  # type: ignore[arg-type]

    assert plan("one", "same").separator()
    with pytest.raises(ConfigError, match="one, other: hear through different separators; give one with --separator"):
        plan("one", "other")
    assert plan("one", "other", rows=("mixture",)).separator() is None
    assert plan("one", "other", separator=str(weights)).separator()


def test_the_folder_of_another_ablation_is_left_alone(weights: Path, tmp_path: Path):
    here = tmp_path / "here"
    AblationFolder(small(weights), here)
    before = (here / "ablation.json").read_bytes()
    with pytest.raises(ConfigError, match=r"holds an ablation with train\.total_steps 48, not 60; choose another"):
        AblationFolder(small(weights, steps=60), here)
    with pytest.raises(ConfigError, match=r"holds an ablation with env\.distractors None, not 1"):
        AblationFolder(small(weights, "env.distractors=1"), here)
    with pytest.raises(ConfigError, match=r"with env\.id AuralNav-v0, not AuralNav-Easy-v0"):  # another memory, too
        AblationFolder(small(weights, memory=["gru"], env="AuralNav-Easy-v0"), here)
    other = DPRNNSeparator.load(weights)
    other.notes = {"trained": "for longer"}
    other.save(tmp_path / weights.name)
    with pytest.raises(ConfigError, match="holds an ablation with separator sha256"):
        AblationFolder(small(tmp_path / weights.name), here)
    assert (here / "ablation.json").read_bytes() == before
    # More seeds, rows and memories may join it.
    AblationFolder(small(weights, rows=("oracle",), seeds=(7,), memory=["gru"]), here)
    assert json.loads((here / "ablation.json").read_text())["variants"].keys() == {"none", "gru"}
    for text, words in (("{", "damaged"), ('{"format": 9, "variants": {}, "separator": null}', "another version")):
        (here / "ablation.json").write_text(text)
        with pytest.raises(ConfigError, match=words):
            AblationFolder(small(weights), here)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    with pytest.raises(ConfigError, match="holds something else than an ablation"):
        AblationFolder(small(weights), tmp_path / "full")
