"""Bad input to the environments: one line that names the cause and the fix, and nothing lost."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import soundfile

import auralnav
from auralnav.envs.audio.env import AudioEnv
from auralnav.envs.audio.settings import AudioSettings
from auralnav.errors import ActionError, ConfigError, RoomError, SoundError

auralnav.register_envs()


def make(**kwargs):
    return gym.make("AuralNav-Easy-v0", disable_env_checker=True, **{"rt60": 0.0, **kwargs}).unwrapped


def one_line(error: pytest.ExceptionInfo, *words: str) -> None:
    text = str(error.value)
    assert "\n" not in text
    for word in words:
        assert word in text


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"num_source": 2}, ("num_source", "did you mean num_sources?")),
        ({"num_sources": 0}, ("num_sources", "1 to 4")),
        ({"num_sources": 2.5}, ("num_sources",)),
        ({"room": "sphere"}, ("shoebox", "polygon")),
        ({"room_size": (5, 5)}, ("room_size",)),
        ({"room_size": (5, 5, -1)}, ("room_size",)),
        ({"room_size": ((6, 5), 5, 3)}, ("low <= high",)),
        ({"rt60": "long"}, ("rt60",)),
        ({"rt60": float("nan")}, ("rt60",)),
        ({"horizon": 0}, ("horizon",)),
        ({"step_duration": 0.01}, ("step_duration", "0.04")),
        ({"fs": 100}, ("fs",)),
        ({"head": "cube"}, ("head", "sphere")),
        ({"obs_mode": "image"}, ("obs_mode", "cues")),
        ({"source_speed": 3.0}, ("1 m/s",)),
        ({"rt60": 0.01}, ("rt60", "at least 0.05 s")),
        ({"rt60": 30.0}, ("rt60", "at most 3 s")),
        ({"turn_deg": 270}, ("turn_deg",)),
        ({"room_size": 7.0}, ("room_size", "width, depth and height")),
        ({"room_size": (200.0, 5.0, 3.0)}, ("room_size", "at most 100 m")),
        ({"sounds": 3}, ("sounds", "procedural")),
        ({"head": 3}, ("head", "sphere")),
        ({"moving": "no"}, ("moving", "True or False")),
        ({"band_rt60": {1300: 0.5}}, ("band_rt60", "octave centre")),
        ({"band_rt60": {8001: 0.5}}, ("band_rt60", "8000")),
        ({"band_rt60": {4000: 3.0}}, ("band_rt60", "0.25 to 2")),
        ({"band_rt60": {63: 0.5, 62.5: 0.5}}, ("band_rt60", "twice")),
        ({"band_rt60": 0.5}, ("band_rt60", "pairs")),
        ({"band_rt60": {4000: 0.5}, "renderer": "ism"}, ("band_rt60", "hybrid")),
        ({"num_obstacles": 9}, ("num_obstacles", "0 to 3")),
        ({"num_obstacles": 1.5}, ("num_obstacles", "whole number")),
        ({"num_sources": True}, ("num_sources=True", "whole number")),
        ({"num_sources": np.float64(2.0)}, ("num_sources=2.0", "whole number")),
        ({"horizon": np.bool_(True)}, ("horizon=True", "whole number")),
        ({"found_radius": np.bool_(True)}, ("found_radius=True", "finite number")),
        ({"moving": np.int64(1)}, ("moving=1", "True or False")),
        ({"rt60": False}, ("rt60=False", "finite number")),
        ({"rt60": ()}, ("rt60=()", "a pair")),
    ],
)
def test_arguments(kwargs: dict, words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as error:
        make(**kwargs).reset(seed=0)
    one_line(error, *words)


def test_numpy_scalars_are_numbers_like_others() -> None:
    given = {
        "num_sources": np.int64(2), "fs": np.uint16(8000), "found_radius": np.float32(0.5), "moving": np.True_,
        "rt60": (np.float32(0.25), np.int32(1)), "room_size": [np.int8(6), (np.float16(5.5), 7), 3.0],
    }  # fmt: skip
    plain = {
        "num_sources": 2, "fs": 8000, "found_radius": 0.5, "moving": True,
        "rt60": (0.25, 1.0), "room_size": (6, (5.5, 7), 3.0),
    }  # fmt: skip
    settings = AudioSettings.make(given)
    assert settings == AudioSettings.make(plain)
    assert type(settings.num_sources) is int and type(settings.moving) is bool
    assert make(num_sources=np.int64(2)).reset(seed=0)[0].keys() == make(num_sources=2).reset(seed=0)[0].keys()


@pytest.mark.parametrize("action", [4, -1, 1.5, float("nan"), "left", None, np.array([0, 1]), True])
def test_actions_outside_the_space(action) -> None:
    env = make()
    env.reset(seed=0)
    before = env.state()
    with pytest.raises(ActionError) as error:
        env.step(action)
    one_line(error, "give 0 forward")
    after = env.state()
    assert all(np.array_equal(before[key], after[key]) for key in before), "the world has not moved"


@pytest.mark.parametrize(
    ("action", "word"),
    [([np.nan, 0.0], "NaN"), ([2.0, 0.0], "[-1, 1]"), ([0.0], "2 numbers"), ([np.inf, 0.0], "finite")],
)
def test_continuous_actions_outside_the_space(action, word: str) -> None:
    env = make(continuous=True)
    env.reset(seed=0)
    with pytest.raises(ActionError) as error:
        env.step(np.array(action, dtype=np.float32))
    one_line(error, word)
    env.step(np.array([1.0, -1.0], dtype=np.float32))


def test_a_room_too_small_for_the_sources() -> None:
    with pytest.raises(RoomError) as error:
        make(num_sources=4, room_size=(1.5, 1.5, 2.5)).reset(seed=0)
    one_line(error, "cannot hold", "enlarge room_size")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"position": (1, 1)}, ("position", "pose")),
        ({"pose": (1, 1)}, ("pose", "shape")),
        ({"pose": (50.0, 1.0, 0.0)}, ("outside the room",)),
        ({"sources": [[1.0, np.nan]]}, ("finite",)),
        ({"sources": [[1.0, 1.0, 10.0]]}, ("above or below the room",)),
        ({"pose": "middle"}, ("pose", "give numbers")),
    ],
)
def test_reset_options(options: dict, words: tuple[str, ...]) -> None:
    with pytest.raises((ConfigError, RoomError)) as error:
        make().reset(seed=0, options=options)
    one_line(error, *words)


def test_render_mode() -> None:
    with pytest.raises(ConfigError) as error:
        AudioEnv(render_mode="ansi")
    one_line(error, "render_mode", "rgb_array")


def test_step_before_reset() -> None:
    with pytest.raises(gym.error.ResetNeeded):
        make().step(0)


def test_step_after_the_end() -> None:
    env = make(horizon=2)
    env.reset(seed=0)
    env.step(2)
    assert env.step(2)[3]
    end = env.state()
    with pytest.raises(gym.error.ResetNeeded):
        env.step(2)
    env.reset(seed=1)
    env.restore(end)
    with pytest.raises(gym.error.ResetNeeded):
        env.step(2)


@pytest.mark.parametrize("question", ["state", "scene", "source_images", "oracle_actions"])
def test_questions_before_reset(question: str) -> None:
    with pytest.raises(gym.error.ResetNeeded) as error:
        getattr(make(), question)()
    one_line(error, "call reset()")


def test_states_of_something_else() -> None:
    env, other = make(), make(num_sources=2)
    env.reset(seed=0)
    other.reset(seed=0)
    for state in ({"weights": 1}, other.state()):
        with pytest.raises(ConfigError) as error:
            env.restore(state)
        one_line(error, "state()")
    env.step(0)


def test_what_is_drawn_keeps_away_from_fixed_places() -> None:
    env = make(num_sources=2, room_size=(6.0, 6.0, 3.0))
    for seed in range(30):
        env.reset(seed=seed, options={"sources": [[2.0, 3.0], [4.0, 3.0]]})
        assert np.hypot(*(env.state()["sources"] - env.state()["agent"][:2]).T).min() > 1.0
        env.reset(seed=seed, options={"pose": [3.0, 3.0, 0.0]})
        assert np.hypot(*(env.state()["sources"] - (3.0, 3.0)).T).min() > 1.0


def test_sound_folders(tmp_path) -> None:
    with pytest.raises(SoundError) as error:
        make(sounds=str(tmp_path / "nowhere"))
    one_line(error, "nowhere")
    with pytest.raises(SoundError) as error:
        make(sounds=str(tmp_path))
    one_line(error, "no sound files")
    (tmp_path / "noise.wav").write_bytes(b"not a wav")
    with pytest.raises(SoundError) as error:
        make(sounds=str(tmp_path))
    one_line(error, "noise.wav")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16000)
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "good.wav", 0.1 * rng.standard_normal((24000, 2)), 22050)
    with pytest.warns(UserWarning) as warned:
        env = make(sounds=str(tmp_path))
    assert sorted("noise.wav" in str(w.message) for w in warned) == [False, True]
    assert any("empty.wav" in str(w.message) for w in warned)
    observation, _ = env.reset(seed=0)
    assert env.scene()["classes"] == ["good"]
    assert np.abs(observation["audio"]).max() > 1e-4


def test_vector_arguments() -> None:
    from auralnav.envs.audio.vector import AudioVectorEnv

    with pytest.raises(ConfigError):
        AudioVectorEnv(0)
    with pytest.raises(ConfigError):
        AudioVectorEnv(2, autoreset_mode="SameStep")
    envs = AudioVectorEnv(2, rt60=0.0)
    with pytest.raises(gym.error.ResetNeeded):
        envs.step(np.zeros(2, dtype=int))
    envs.reset(seed=0)
    with pytest.raises(ConfigError) as error:
        envs.step(np.zeros(3, dtype=int))
    one_line(error, "one a world")
    with pytest.raises(ActionError):
        envs.step(np.array([0, 9]))
