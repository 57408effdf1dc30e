from __future__ import annotations

import pickle
from importlib.metadata import entry_points

import gymnasium
import pytest

import auralnav
from auralnav.envs.audio.settings import AudioSettings
from auralnav.envs.dogfight.settings import DogfightSettings
from auralnav.envs.registration import ENTRIES, register_envs


def test_registering_again_changes_nothing_and_warns_of_nothing():
    before = {entry.id: gymnasium.spec(entry.id) for entry in ENTRIES}
    auralnav.register_envs()
    assert all(gymnasium.spec(name) is spec for name, spec in before.items())


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.id)
def test_specs_carry_their_arguments_and_no_time_limit(entry):
    spec = gymnasium.spec(entry.id)
    assert spec.max_episode_steps is None
    assert spec.kwargs == dict(entry.kwargs)
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert entry.summary and "\n" not in entry.summary


def test_arguments_of_the_variants_exist_and_are_spec_s():
    for entry in ENTRIES:
        (AudioSettings if entry.id.startswith("AuralNav") else DogfightSettings).make(entry.kwargs)
    kwargs = {entry.id: dict(entry.kwargs) for entry in ENTRIES}
    assert AudioSettings().num_sources == 2 and kwargs["AuralNav-v0"] == {}
    assert kwargs["AuralNav-Easy-v0"]["num_sources"] == 1
    anechoic = kwargs["AuralNav-Anechoic-v0"]
    assert (
        tuple(anechoic["room_size"][:2]) == (8.0, 8.0)
        and anechoic["rt60"] == 0.0
        and anechoic["head"] == "none"
    )
    hard = kwargs["AuralNav-Hard-v0"]
    assert (hard["num_sources"], hard["rt60"], hard["noise_snr_db"]) == (4, 0.6, 10.0)
    assert DogfightSettings().teams == (2, 2) and kwargs["Dogfight-v0"] == {}
    assert (kwargs["Dogfight-1v1-v0"]["teams"], kwargs["Dogfight-4v4-v0"]["teams"]) == ((1, 1), (4, 4))


def test_the_installed_entry_point_names_the_register_function():
    found = [point for point in entry_points(group="gymnasium.envs") if point.value.startswith("auralnav.")]
    assert [(point.name, point.load()) for point in found] == [("__root__", register_envs)]
