"""What is written twice must say the same."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from auralnav import __version__
from auralnav.envs.registration import ENTRIES

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pairs}


def requirements() -> list[Requirement]:
    extras = PROJECT["optional-dependencies"]
    listed = (*PROJECT["dependencies"], *extras["dev"], *extras["track"], *extras["separation"])
    return [Requirement(text) for text in listed]


@pytest.mark.parametrize("requirement", requirements(), ids=lambda requirement: requirement.name)
def test_every_dependency_is_pinned_inside_its_range(requirement):
    pin = pins().get(canonicalize_name(requirement.name))
    assert pin is not None, f"{requirement.name} is missing from constraints.txt"
    assert pin in requirement.specifier


def test_pins_fit_the_extra_that_is_not_installed_here():
    for text in PROJECT["optional-dependencies"]["distributed"]:
        requirement = Requirement(text)
        pin = pins().get(canonicalize_name(requirement.name))
        assert pin is None or pin in requirement.specifier, f"{text} against {pin}"


def test_the_versions_agree():
    assert PROJECT["version"] == __version__
    assert __version__ in (ROOT / "CHANGELOG.md").read_text()


def test_the_readme_lists_the_environments_as_they_are_registered():
    rows = r"^\| `((?:AuralNav|Dogfight)[^`]*-v\d)` \| (.*) \|$"
    table = re.findall(rows, (ROOT / "README.md").read_text(), re.MULTILINE)
    assert table == [(entry.id, entry.summary) for entry in ENTRIES]


def test_links_and_pictures_of_the_readme_exist():
    targets = re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text())
    missing = [target for target in targets if "://" not in target and not (ROOT / target).exists()]
    assert missing == []


def test_no_module_outgrows_six_hundred_lines():
    sizes = {path.name: len(path.read_text().splitlines()) for path in (ROOT / "auralnav").rglob("*.py")}
    assert {name: size for name, size in sizes.items() if size > 600} == {}
