from __future__ import annotations

import subprocess
import sys

import pytest

from auralnav import __version__, provenance


def test_versions_name_what_is_installed_and_leave_out_what_is_not():
    versions = provenance.package_versions(("auralnav", "numpy", "no-such-package-of-ours"))
    assert versions["auralnav"] == __version__
    assert set(versions) == {"python", "auralnav", "numpy"}


def test_a_checkout_names_its_commit_and_a_plain_folder_none(tmp_path, monkeypatch):
    package = tmp_path / "auralnav"
    package.mkdir()
    module = package / "provenance.py"
    module.write_text("")
    monkeypatch.setattr(provenance, "__file__", str(module))
    assert provenance.source_commit() == {"commit": None, "modified": None}

    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false")
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "--no-verify", "-m", "x")
    assert provenance.source_commit() == {"commit": git("rev-parse", "HEAD"), "modified": False}
    module.write_text("changed")
    assert provenance.source_commit()["modified"] is True


def test_the_hardware_says_how_much_there_is():
    machine = provenance.hardware()
    assert machine["processor"] and machine["cores"] >= 1 and machine["memory_gib"] > 0


@pytest.mark.parametrize(
    "program", ["/opt/venv/bin/auralnav", "/opt/venv/lib/site-packages/auralnav/__main__.py", "auralnav"]
)
def test_a_command_names_its_program_not_where_it_lies(monkeypatch, program):
    monkeypatch.setattr(sys, "argv", [program, "train", "a b"])
    assert provenance.command_line() == "auralnav train 'a b'"
