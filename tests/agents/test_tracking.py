from __future__ import annotations

import sys
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from auralnav.agents.tracking import has_key
from auralnav.agents.train import resume, start
from auralnav.configs.load import parse_config
from auralnav.errors import AuralNavError, MissingDependencyError

CONFIG = parse_config(
    "name: t\n"
    'env: {id: "tiny_world:TinyBell-v0", num_envs: 2}\n'
    "train: {total_steps: 200, eval_every: 0, log_every: 50}\n"
    "dqn: {learning_starts: 50, batch_size: 8}\n"
)


def test_a_missing_wandb_is_one_line_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'auralnav\[track\]'"):
        start(CONFIG, tmp_path / "run", track=True)
    assert not (tmp_path / "run").exists()


def test_a_key_is_found_in_its_variable_or_netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    assert not has_key()
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password none\n")
    (tmp_path / ".netrc").chmod(0o600)
    assert has_key()
    (tmp_path / ".netrc").unlink()
    monkeypatch.setenv("WANDB_API_KEY", "none")
    assert has_key()


@pytest.mark.filterwarnings("default")
def test_without_a_key_figures_are_kept_offline_under_one_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_MODE", raising=False)
    console = Console(record=True, width=300, file=StringIO())
    start(CONFIG, tmp_path / "run", track=True, console=console)
    resume(tmp_path / "run", ("train.total_steps=400",), track=True, console=console)
    folders = [path.name for path in (tmp_path / "run" / "wandb").glob("offline-run-*")]
    assert len(folders) == 2
    assert len({name.rpartition("-")[2] for name in folders}) == 1
    assert console.export_text().count("no key, so offline; send it later with: wandb sync") == 2


def test_a_tracker_that_cannot_begin_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    wandb = pytest.importorskip("wandb")

    def unreachable(**_: object) -> None:
        raise wandb.errors.CommError("Run initialization has timed out\nafter 90 s")

    monkeypatch.setattr(wandb, "init", unreachable)
    with pytest.raises(AuralNavError, match="WANDB_MODE=offline") as caught:
        start(CONFIG, tmp_path / "run", track=True)
    assert "\n" not in str(caught.value)
