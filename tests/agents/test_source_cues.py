"""What separates: alike in training and evaluation, right at the borders of episodes, exact on resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from tiny_separator import save_tiny, tiny_separator

from auralnav.agents.evaluate import PolicyAgent, evaluate
from auralnav.agents.sb3_env import make_vector_adapter, make_worlds
from auralnav.agents.source_cues import HeardWorlds, SourceCues
from auralnav.agents.tensor_tree import decode, encode
from auralnav.agents.train import make_training_env, start, with_absolute_paths
from auralnav.cli import main
from auralnav.configs.load import load_config, parse_config
from auralnav.configs.schema import ExperimentConfig
from auralnav.errors import CheckpointError, ConfigError, ShapeError, SoundError
from auralnav.separation.streaming import StreamingSeparator

TEXT = """\
name: heard
env: {num_envs: 3, history: 2, previous_action: true, horizon: 4, num_sources: 2}
separation: {separator: frozen, masks: mixture, sources: 2}
"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("separator") / "tiny.safetensors")


def config(*overrides: str, weights: Path | None = None) -> ExperimentConfig:
    learned = () if weights is None else ("separation.masks=learned", f"separation.weights={weights}")
    return parse_config(TEXT, (*learned, *overrides))


def heard_worlds(experiment: ExperimentConfig) -> HeardWorlds:
    worlds = make_worlds(experiment.env)
    return HeardWorlds(worlds, SourceCues(experiment.separation, worlds))


def assert_same(mine: Any, its: Any, atol: float = 0.0) -> None:
    """Observations, or what else is an array or a dict of arrays."""
    if not isinstance(mine, dict):
        mine, its = {"": mine}, {"": its}
    assert mine.keys() == its.keys()
    for key, part in mine.items():
        np.testing.assert_allclose(part, its[key], rtol=0, atol=atol, err_msg=key)


ROWS = np.random.default_rng(0).integers(0, 4, (11, 3))


@pytest.mark.parametrize("masks", ["learned", "oracle", "mixture"])
@pytest.mark.parametrize("cues", ["masked", "seed"])
def test_observations_lie_in_the_declared_space(masks: str, cues: str, weights: Path):
    env = heard_worlds(config(f"separation.masks={masks}", f"separation.cues={cues}", f"separation.weights={weights}"))
    space = env.single_observation_space
    assert isinstance(space, spaces.Dict) and set(space.spaces) == {"mixture", "sources", "attended", "agent_info"}
    columns = 9 + 2 if cues == "masked" else 3
    assert space["sources"].shape == (2, columns) and space["mixture"].shape == (columns,)
    assert space["sources"].dtype == space["mixture"].dtype == np.float32
    observations = [env.reset(seed=0)[0]] + [env.step(row)[0] for row in ROWS[:3]]
    for observation in observations:
        assert env.observation_space.contains(observation)
        assert np.abs(observation["sources"]).max() > 0
        assert (observation["attended"].sum(axis=2) == 1).all()


@pytest.mark.parametrize("masks", ["learned", "oracle", "mixture"])
@pytest.mark.parametrize("cues", ["masked", "seed"])
def test_a_timbre_is_added_to_every_row_and_nothing_else_changes(masks: str, cues: str, weights: Path):
    form = (f"separation.masks={masks}", f"separation.cues={cues}", f"separation.weights={weights}")
    plain, more = heard_worlds(config(*form)), heard_worlds(config(*form, "separation.timbre=16"))
    count = 9 if cues == "masked" else 3
    observations = [[env.reset(seed=0)[0]] + [env.step(row)[0] for row in ROWS[:3]] for env in (plain, more)]
    for few, many in zip(*observations, strict=True):
        assert more.observation_space.contains(many)
        rows, timbre = many["sources"], slice(count, count + 16)
        np.testing.assert_array_equal(np.delete(rows, timbre, axis=2), few["sources"])
        np.testing.assert_array_equal(many["mixture"], few["mixture"])
        silent = ~rows[..., :count].any(axis=2)
        assert not rows[silent, timbre].any() and rows[~silent, timbre].any(axis=1).all()


@pytest.mark.parametrize("masks", ["learned", "oracle"])
def test_single_worlds_side_by_side_are_observed_as_native_ones(masks: str, weights: Path):
    """Films are made of them."""
    experiment = config(f"separation.masks={masks}", f"separation.weights={weights}", "env.num_envs=2")
    native = make_worlds(experiment.env)
    disabled = {"autoreset_mode": gym.vector.AutoresetMode.DISABLED}
    single = gym.make_vec(
        "AuralNav-v0", 2, vectorization_mode="sync", vector_kwargs=disabled, **experiment.env.task_kwargs()
    )
    listeners = [SourceCues(experiment.separation, worlds) for worlds in (native, single)]
    observations = [worlds.reset(seed=3)[0] for worlds in (native, single)]
    for row in ROWS[:3, :2]:
        both = [each.hear(seen, row < 0) for each, seen in zip(listeners, observations, strict=True)]
        for key in ("mixture", "sources"):
            np.testing.assert_array_equal(both[0][key], both[1][key])
        observations = [worlds.step(row)[0] for worlds in (native, single)]
    single.close()
    native.close()


def test_a_terminal_observation_is_separated_with_its_own_episode_and_the_next_one_starts_afresh(weights: Path):
    """Against a separator that is fed by hand, episode after episode, one world at a time."""
    experiment = config("env.threads=2", weights=weights)
    env, raw = make_training_env(experiment).venv, make_vector_adapter(experiment.env)
    env.seed(7)
    raw.seed(7)
    by_hand = SourceCues(experiment.separation, raw.venv)

    def features(stream: StreamingSeparator, audio: np.ndarray, start: bool) -> np.ndarray:
        with torch.no_grad():
            heard = stream.push(torch.from_numpy(audio[None]), torch.tensor([start]))
            return by_hand._cues(heard.audio, heard.sources).numpy()[0]

    streams = [StreamingSeparator(tiny_separator(), 4000, experiment.separation.window_seconds) for _ in range(3)]
    mine, sound = cast(Any, env.reset()), cast(Any, raw.reset())
    for world in range(3):
        first = features(streams[world], sound["audio"][world], True)
        np.testing.assert_allclose(mine["sources"][world][:, :9], first, atol=1e-5)
    ended = 0
    for row in ROWS:
        mine, _, dones, infos = cast(Any, env.step(row))
        sound, _, _, raw_infos = cast(Any, raw.step(row))
        for world in range(3):
            if dones[world]:
                ended += 1
                last = features(streams[world], raw_infos[world]["terminal_observation"]["audio"], False)
                final = infos[world]["terminal_observation"]["sources"]
                np.testing.assert_allclose(final[:, :9], last, atol=1e-5)
            expected = features(streams[world], sound["audio"][world], bool(dones[world]))
            np.testing.assert_allclose(mine["sources"][world][:, :9], expected, atol=1e-5)
    assert ended >= 6


@pytest.mark.parametrize("masks", ["learned", "oracle", "mixture"])
def test_evaluation_sees_what_training_sees(masks: str, weights: Path):
    """Frames that the agent stacks in an evaluation, against the training's wrapper one world at a time."""
    experiment = config(f"separation.masks={masks}", f"separation.weights={weights}")

    class Recording:
        """Acts by the step's number, and keeps what it saw."""

        def __init__(self, space: spaces.Space) -> None:
            self.observation_space, self.seen = space, []

        def predict(self, observation: np.ndarray, memory: Any, start: np.ndarray, deterministic: bool):
            self.seen.append((observation, start))
            return np.full(len(start), len(self.seen) % 4), memory

    env = make_training_env(experiment.model_copy(update={"env": experiment.env.model_copy(
        update={"num_envs": 1, "split": "test"})}))  # fmt: skip
    policy = Recording(env.observation_space)
    evaluate(PolicyAgent(policy, experiment), experiment.env, 1, seed=4, num_envs=1)
    env.seed(4)
    observation = env.reset()
    for number, (seen, begins) in enumerate(policy.seen):
        assert begins[0] == (number == 0)
        assert_same(observation, seen)
        observation, _, dones, _ = env.step(np.array([(number + 1) % 4]))
    assert dones[0]


@pytest.mark.parametrize("masks", ["learned", "oracle"])
def test_worlds_continue_bit_for_bit_from_the_bytes_of_their_state(masks: str, weights: Path):
    experiment = config(f"separation.masks={masks}", f"separation.weights={weights}")
    env, other = make_training_env(experiment), make_training_env(experiment)
    env.seed(1)
    env.reset()
    other.reset()
    for row in ROWS[:6]:
        env.step(row)
    other.restore(decode(encode(env.state()), "state")[0])
    for row in ROWS[6:]:
        for mine, its in zip(env.step(row)[:3], other.step(row)[:3], strict=True):
            assert_same(mine, its)


def test_true_images_tell_left_from_right_and_the_mixture_is_one_source():
    experiment = config(
        "env.id=AuralNav-Anechoic-v0", "env.head=sphere", "env.num_envs=1", "separation.masks=oracle",
        "separation.sources=3", "env.horizon=20",
    )  # fmt: skip
    env = heard_worlds(experiment)
    mixed = heard_worlds(config("env.id=AuralNav-Anechoic-v0", "env.head=sphere", "env.num_envs=1"))
    # Far to the right, near to the left: the louder one comes first, and stays there when the other one is nearer.
    places = {"pose": (4.0, 4.0, 0.0), "sources": [[4.2, 0.7], [4.2, 5.2]]}
    observation = env.reset(seed=0, options=places)[0]
    rows, attended = observation["sources"][0], [int(observation["attended"][0].argmax())]
    assert rows[0, 7] > 0.7 and rows[1, 7] < -0.7, "lateral angles of two sources, by true masks"
    assert not rows[2].any(), "a row that no source needs"
    for action in (3, 3, 3, 0, 0, 0, 0, 2, 2, 2):  # two metres to the right, facing as before
        observation = env.step(np.array([action]))[0]
        rows = observation["sources"][0]
        attended.append(int(observation["attended"][0].argmax()))
    assert rows[0, 7] > 0.7 and rows[1, 7] < -0.7 and rows[1, 6] > rows[0, 6] + 0.02
    assert attended == [0] * 7 + [1] * 4, "the loudest, until the other is 6 dB louder"
    whole = mixed.reset(seed=0, options=places)[0]
    assert whole["sources"][0, 0].any() and not whole["sources"][0, 1].any()
    np.testing.assert_array_equal(whole["sources"][:, 0], whole["mixture"])
    np.testing.assert_allclose(env.reset(seed=0, options=places)[0]["mixture"], whole["mixture"], atol=1e-6)


def test_turning_tells_a_source_behind_from_one_in_front_and_an_episode_begins_without_bearings():
    """The two are heard alike; by their bearings, ahead and left, they are told apart after a turn."""
    experiment = config(
        "env.id=AuralNav-Anechoic-v0", "env.head=sphere", "env.num_envs=2", "separation.masks=oracle",
        "separation.sources=2", "env.horizon=3",
    )  # fmt: skip
    env = heard_worlds(experiment)
    ahead, left = 9, 10
    # 27° to the left in front, and the mirror image on the other side of the room.
    places = {"pose": (4.0, 4.0, 0.0), "sources": [[6.0, 5.0], [1.5, 5.25]]}
    first = env.reset(seed=0, options=places)[0]["sources"]
    assert np.abs(first[..., ahead]).max() < 1e-6, "no turn, no front"
    assert (first[..., left] > 0.3).all(), "both to the left"
    for _ in range(2):  # 60° to the left
        turned = env.step(np.full(2, 2))[0]["sources"]
    bearings = np.degrees(np.arctan2(turned[0, :, left], turned[0, :, ahead]))
    np.testing.assert_allclose(sorted(bearings), [26.6 - 60, 153.4 - 60], atol=12)
    again = env.reset(options={"reset_mask": np.array([True, False])})[0]["sources"]
    assert np.abs(again[0, :, ahead]).max() < 1e-6, "another episode"
    np.testing.assert_array_equal(again[1], turned[1])


def test_threads_share_the_worlds_and_change_nothing(weights: Path):
    """Also where some worlds begin anew, and after a resume."""
    alone, shared, resumed = (
        make_training_env(config(f"separation.threads={threads}", weights=weights)) for threads in (1, 2, 5)
    )
    for env in (alone, shared):
        env.seed(2)
    assert_same(alone.reset(), shared.reset(), atol=1e-6)
    resumed.reset()
    ended = 0
    for number, row in enumerate(ROWS):
        mine, theirs = alone.step(row), shared.step(row)
        assert_same(mine[0], theirs[0], atol=1e-6)
        if number > 5:
            assert_same(resumed.step(row)[0], mine[0], atol=1e-6)
        if number == 5:
            resumed.restore(cast(Any, shared.state()))
        ended += int(mine[2].sum())
    assert ended


def test_what_a_thread_cannot_separate_is_refused_as_without_threads(weights: Path):
    experiment = config("separation.threads=2", weights=weights)
    worlds = make_worlds(experiment.env)
    observation, _ = worlds.reset(seed=0)
    observation["audio"][2, 0, 17] = np.nan
    with pytest.raises(SoundError, match="NaN"):
        SourceCues(experiment.separation, worlds).hear(observation, np.ones(3, dtype=bool))


def test_the_real_separator_is_asked_once_a_step_for_all_worlds(weights: Path, monkeypatch: pytest.MonkeyPatch):
    batches = []
    advance = StreamingSeparator.advance

    def counted(self: StreamingSeparator, audio: torch.Tensor, *rest: Any) -> Any:
        batches.append(len(audio))
        return advance(self, audio, *rest)

    monkeypatch.setattr(StreamingSeparator, "advance", counted)
    env = make_training_env(config(weights=weights))
    env.reset()
    for row in ROWS[:4]:
        env.step(row)
    # The horizon is 4: after the fourth step every world begins anew, and only then is there a second call.
    assert batches == [3] * 6


# What is wrong is said in one line --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("separation.mask=oracle",), r"separation\.mask: unknown key; did you mean masks\?"),
        (("separation.masks=orcale",), "did you mean oracle"),
        (("separation.separator=frozzen",), "did you mean frozen"),
        (("separation.sources=9",), "at most 8"),
        (("separation.rows=3",), "3 of 2 sources; give at most 2"),
        (("separation.rows=0",), "at least 1"),
        (("separation.timbre=8",), "got 8, wanted 0 or 16"),
        (("separation.separator=finetune",), "mixture has nothing to learn"),
        (("separation.masks=learned", "separation.separator=finetune", "algorithm=ppo"), "use frozen"),
        (("env.obs_mode=cues",), "cues cannot be separated; use waveform"),
        (("env={id: CartPole-v1}",), "has no ears"),
    ],
)  # fmt: skip
def test_a_wrong_separation_section_is_refused(overrides: tuple[str, ...], words: str):
    with pytest.raises(ConfigError, match=words):
        config(*overrides)


def test_more_sources_than_rows_are_refused():
    with pytest.raises(ConfigError, match="2 rows for 4 sources; give 4"):
        make_training_env(config("separation.masks=oracle", "env.num_sources=3", "env.distractors=1"))


def test_sound_of_one_ear_of_another_length_or_with_nan_is_refused(weights: Path):
    for experiment in (config(), config(weights=weights)):
        worlds = make_worlds(experiment.env)
        listener = SourceCues(experiment.separation, worlds)
        observation, _ = worlds.reset(seed=0)
        start = np.ones(3, dtype=bool)
        for cut in (np.s_[:, :1], np.s_[:, :, :3999]):  # one ear, and a sample too few
            with pytest.raises(ShapeError, match="left and right ear"):
                listener.hear({**observation, "audio": observation["audio"][cut]}, start)
        observation["audio"][1, 0, 17] = np.nan
        with pytest.raises(SoundError, match="NaN"):
            listener.hear(observation, start)


@pytest.mark.parametrize("form", ["frozen", "finetune"])
def test_a_separator_that_does_not_fit_is_refused_by_the_command_line(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    def error_of(*overrides: str) -> str:
        sets = [part for key in (*overrides, f"separation.separator={form}") for part in ("--set", key)]
        with pytest.raises(SystemExit) as stopped:
            main(["train", "auralnav-dprnn-dqn", "--run-dir", str(tmp_path / "run"), *sets])
        assert stopped.value.code == 2 and not (tmp_path / "run").exists()
        text = capsys.readouterr().err
        assert text.startswith("error: ") and text.count("\n") == 1
        return text

    good = save_tiny(tmp_path / "good.safetensors", sources=4)
    assert "8000 Hz" in error_of(
        f"separation.weights={save_tiny(tmp_path / 'slow.safetensors', 4, 8000)}", "separation.masks=learned")
    assert "tells 4 sources apart, not 2; set it to 4" in error_of(
        f"separation.weights={good}", "separation.sources=2")
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(good.read_bytes()[:500])
    assert "broken.safetensors: cannot be read" in error_of(f"separation.weights={broken}")
    assert "no such file" in error_of(f"separation.weights={tmp_path / 'nowhere.safetensors'}")
    assert "no such separator" in error_of("separation.weights=seperator-small")


def test_a_run_keeps_the_path_of_its_separator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    relative = config("separation.weights=here/a.safetensors")
    assert with_absolute_paths(relative).separation.weights == str(tmp_path / "here" / "a.safetensors")
    assert with_absolute_paths(config("separation.weights=shipped")).separation.weights == "shipped"


@pytest.mark.parametrize("name", ["auralnav-dprnn-dqn", "auralnav-dprnn-mamba-dqn", "auralnav-dprnn-dqn-finetune"])
def test_an_experiment_without_its_separator_says_so(name: str, tmp_path: Path):
    experiment = load_config(name, ("separation.weights=nowhere/a.safetensors", "env.num_envs=2"))
    with pytest.raises(CheckpointError, match="no such file; give the path"):
        start(experiment, tmp_path / "run")
    assert not (tmp_path / "run").exists()
