from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from auralnav.configs.load import (
    config_names,
    dump_config,
    find_config,
    load_config,
    load_experiment,
    parse_config,
)
from auralnav.configs.schema import RUN_KEYS, AudioEnvConfig
from auralnav.envs.audio.settings import AudioSettings
from auralnav.errors import ConfigError

GOOD = """\
name: test
algorithm: dqn
env:
  id: AuralNav-v0
  num_sources: 1
  rt60: [0.2, 0.4]
train:
  seed: 3
"""


def message(text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, overrides, source="x.yaml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_unknown_key_names_file_line_key_nearest_name_and_allowed_names():
    text = message(GOOD.replace("num_sources", "num_sorces"))
    assert text.startswith("x.yaml:5: env.num_sorces: unknown key; did you mean num_sources?")
    assert "rt60" in text


@pytest.mark.parametrize(
    ("key", "parts"),
    [
        ("algoritm: ppo", ["x.yaml:9", "algoritm", "did you mean algorithm?"]),
        ("dqn: {learning_rat: 1}", ["x.yaml:9", "dqn.learning_rat", "did you mean learning_rate?"]),
        ("dqn: {learning_rate: fast}", ["x.yaml:9", "dqn.learning_rate", "'fast'", "wanted a number"]),
        ("dqn: {learning_rate: 0}", ["x.yaml:9", "dqn.learning_rate", "got 0, wanted above 0"]),
        ("dqn: {learning_rate: .nan}", ["x.yaml:9", "dqn.learning_rate", "finite"]),
        ("policy: {activation: rellu}", ["x.yaml:9", "'relu'", "'tanh'", "did you mean relu?"]),
        ("policy: 3", ["x.yaml:9", "policy", "section"]),
        ("policy: {net_arch: [64, -1]}", ["x.yaml:9", "policy.net_arch", "got -1, wanted at least 1"]),
    ],
)
def test_a_wrong_key_or_value_is_named_in_one_line(key: str, parts: list[str]):
    text = message(f"{GOOD}{key}\n")
    for part in parts:
        assert part in text


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("env.obs_mode=cuees", "did you mean cues?"),
        ("env.obs_mod=cues", "did you mean obs_mode?"),
        ("env.room_size=[5, 8]", "env.room_size"),
        ("trian.seed=3", "did you mean train?"),
        ("env.rt60=-1", "env.rt60: got -1, wanted at least 0"),
        ("env.rt60=long", "env.rt60: got 'long', wanted a number or a list"),
        ("env.rt60=[0.2, 0.3, 0.4]", "got [0.2, 0.3, 0.4], wanted at most 2 items"),
        ("env.rt60=[0.2, -1]", "got -1, wanted above 0"),
        ("env.turn_deg=200", "got 200, wanted at most 180"),
        ("env.num_sources=1.5", "got 1.5, wanted a whole number"),
        ("env.moving=maybe", "got 'maybe', wanted true or false"),
        ("env.sounds=3", "got 3, wanted a text"),
        ("env.kwargs=3", "got 3, wanted a section of keys"),
        ("train.seed", "key.sub=value"),
        ("train.seed=[", "not valid YAML"),
        ("train.seed.deeper=1", "seed is a value"),
    ],
)
def test_a_wrong_override_is_shown_as_it_was_given(override: str, part: str):
    text = message(GOOD, override)
    assert text.startswith(f"--set {override}: ")
    assert part in text


def test_broken_yaml_names_its_line():
    assert message("name: a\nenv: {id: [}\n").startswith("x.yaml:2: ")
    assert "no settings" in message("- just\n- a list\n")


def test_a_key_written_twice_is_refused():
    text = "name: x\nalgorithm: ppo\nenv:\n  id: AuralNav-v0\n  num_envs: 2\n  num_envs: 4\n"
    with pytest.raises(ConfigError, match=r"mine\.yaml:6: key `num_envs` stands here again"):
        parse_config(text, source="mine.yaml")


def test_overrides_are_typed_and_the_last_one_wins():
    config = parse_config(
        GOOD, ["dqn.learning_rate=1e-4", "train.seed=4", "train.seed=5", "env.room_size=[[5, 9], 6, 3]"]
    )
    assert config.dqn.learning_rate == 1e-4
    assert config.train.seed == 5
    assert config.env.task_kwargs() == {
        "num_sources": 1,
        "rt60": (0.2, 0.4),
        "room_size": ((5.0, 9.0), 6.0, 3.0),
    }


def test_the_resolved_config_reads_back_equal():
    config = parse_config(GOOD, ["env.room_size=[[5, 9], 6, 3]", "dqn.learning_rate=1e-5"])
    assert parse_config(dump_config(config)) == config


def test_task_keys_are_refused_for_foreign_ids():
    assert "only AuralNav ids" in message(GOOD, "env.id=CartPole-v1")
    config = parse_config("name: a\nenv: {id: CartPole-v1, kwargs: {sutton_barto_reward: true}}\n")
    assert config.env.task_kwargs() == {"sutton_barto_reward": True}


def test_a_rollout_that_minibatches_do_not_divide_is_refused():
    assert "does not divide" in message("name: a\nalgorithm: ppo\nppo: {n_steps: 10, batch_size: 64}\n")


def test_a_memory_brings_the_previous_action_unless_it_is_refused():
    plain = "name: a\nalgorithm: ppo\n"
    assert not parse_config(plain).env.previous_action
    remembering = parse_config(plain, ["policy.memory=mamba"])
    assert remembering.env.previous_action and remembering.env.history == 1
    assert parse_config(dump_config(remembering)) == remembering
    assert not parse_config(plain, ["policy.memory=mamba", "env.previous_action=false"]).env.previous_action


@pytest.mark.parametrize(
    ("algorithm", "overrides", "part"),
    [
        ("ppo", ["policy.memory=mambo"], "did you mean mamba?"),
        ("ppo", ["policy.core.d_modle=8"], "did you mean d_model?"),
        ("ppo", ["policy.core.d_model=0"], "wanted at least 1"),
        ("ppo", ["policy.core.kwargs={d_model: 8}"], "give it as policy.core.d_model"),
        ("ppo", ["policy.memory=gru", "ppo.window=24"], "ppo.window: 24 does not divide ppo.n_steps 128"),
        ("ppo", ["policy.memory=gru", "ppo.window=64", "ppo.batch_size=32"], "does not divide ppo.batch_size 32"),
        ("ppo", ["ppo.core_learning_rate=1e-4"], "set policy.memory or leave it out"),
        ("dqn", ["dqn.rescale=true"], "set policy.memory or leave it out"),
        ("dqn", ["policy.memory=gru", "dqn.burn_in=32"], "must be below dqn.seq_len = 32"),
        ("dqn", ["policy.memory=gru", "dqn.buffer_size=1000"], "use at least 1024"),
        ("dqn", ["policy.memory=gru", "dqn.learning_starts=100"], "use at least 144"),
    ],
)
def test_memories_that_do_not_fit_are_refused(algorithm: str, overrides: list[str], part: str):
    assert part in message(f"name: a\nalgorithm: {algorithm}\n", *overrides)


def test_every_packaged_config_loads_and_is_named_as_its_file():
    assert config_names()
    for name in config_names():
        assert load_experiment(name).name == name


def test_an_unknown_experiment_names_the_nearest(tmp_path: Path):
    with pytest.raises(ConfigError, match="did you mean auralnav-easy-dqn"):
        find_config("auralnav-easy-dqm")
    with pytest.raises(ConfigError, match="no such file"):
        find_config(tmp_path / "missing.yaml")
    (tmp_path / "config.yaml").write_text(GOOD)
    with pytest.raises(ConfigError, match=f"--resume {tmp_path}"):
        find_config(tmp_path)


def test_the_schema_knows_every_argument_of_the_environment():
    arguments = {field.name for field in fields(AudioSettings)}
    assert set(AudioEnvConfig.model_fields) == set(RUN_KEYS) | arguments


def test_an_experiment_of_a_separator_is_checked_by_its_own_schema_and_is_no_agents():
    assert load_experiment("separator-small").algorithm == "separator"
    with pytest.raises(ConfigError, match=r"train.segmnt: unknown key; did you mean segment"):
        load_experiment("separator-small", ("train.segmnt=1",))
    with pytest.raises(ConfigError, match="separator-small: trains a separator and has no agent"):
        load_config("separator-small")
