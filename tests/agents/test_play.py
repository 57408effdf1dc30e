from __future__ import annotations

import io
import sys

import gymnasium as gym
import numpy as np
import pytest
import soundfile
from rich.console import Console

import auralnav
from auralnav.agents import speaker as speakers
from auralnav.agents.baselines import make_baseline, task_settings
from auralnav.agents.filming import film
from auralnav.agents.play import PlaySession, save_recording, scripted_keys, terminal_keys, text_map
from auralnav.agents.speaker import PipeSpeaker, open_speaker
from auralnav.agents.video import Recorder, count_frames, read_audio
from auralnav.configs.schema import AudioEnvConfig
from auralnav.errors import AuralNavError


@pytest.fixture
def env():
    auralnav.register_envs()
    world = gym.make("AuralNav-Anechoic-v0", num_sources=1)
    yield world
    world.close()


def test_keys_walk_and_what_was_heard_is_recorded(env, tmp_path):
    screen = io.StringIO()
    recorder = Recorder()
    session = PlaySession(env, Console(file=screen, width=100), recorder=recorder)
    session.run(scripted_keys("wadq"), seed=4)
    assert len(recorder.scenes) == 4  # reset and three steps; q ends
    assert "step 3/200" in screen.getvalue() and "█" in screen.getvalue()
    samples, rate = soundfile.read(save_recording(recorder, tmp_path / "walk.wav"), dtype="float32")
    assert rate == 16_000
    np.testing.assert_allclose(samples.T, recorder.audio, atol=1 / 32_000)
    with pytest.raises(AuralNavError, match=r"\.mp4 or \.wav"):
        save_recording(recorder, tmp_path / "walk.ogg")


def test_blind_play_shows_no_map(env):
    screen = io.StringIO()
    PlaySession(env, Console(file=screen, width=100), blind=True).run(scripted_keys("w"), seed=1)
    assert "·" not in screen.getvalue() and "dBFS" in screen.getvalue()


def test_an_interrupt_ends_the_walk_and_keeps_what_was_recorded(env):
    def impatient():
        yield "w"
        raise KeyboardInterrupt

    recorder = Recorder()
    PlaySession(env, Console(file=io.StringIO(), width=100), recorder=recorder).run(impatient(), seed=1)
    assert len(recorder.scenes) == 2


def test_unknown_keys_and_a_missing_terminal_are_named(monkeypatch):
    with pytest.raises(AuralNavError, match="'x' is no key"):
        list(scripted_keys("wx"))
    monkeypatch.setattr(sys, "stdin", io.StringIO("w"))
    with pytest.raises(AuralNavError, match="--keys"), terminal_keys():
        pass


def test_the_text_map_has_the_agent_and_the_source_in_their_places(env):
    env.reset(seed=1, options={"pose": [2.0, 4.0, np.pi / 2], "sources": [[6.0, 4.0]]})
    scene = env.unwrapped.scene()
    lines = text_map(scene).plain.split("\n")
    row = next(i for i, line in enumerate(lines) if "↑" in line)
    initial = scene["classes"][0][0].upper()
    assert lines[row].index("↑") < lines[row].index(initial)
    assert abs(row - len(lines) / 2) <= 1.5


def test_a_player_gets_the_samples_left_ear_first(tmp_path):
    out = tmp_path / "played"
    player = PipeSpeaker("cat", ["sh", "-c", f"cat > {out}"])
    audio = np.stack([np.full(1000, 0.5), np.full(1000, -0.25)]).astype(np.float32)
    assert player.play(audio)
    player.close()
    samples = np.frombuffer(out.read_bytes(), "<i2").reshape(-1, 2)
    assert samples.shape == (1000, 2)
    assert (samples[0] == [16383, -8191]).all()


def test_a_player_that_dies_leaves_the_walk_in_silence(env):
    screen = io.StringIO()
    player = PipeSpeaker("mute", ["true"])
    player._process.wait()
    session = PlaySession(env, Console(file=screen, width=100), speaker=player)
    session.run(scripted_keys("www"), seed=2)
    assert screen.getvalue().count("mute has stopped playing") == 1
    player.close()


def test_a_machine_without_a_player_says_so(monkeypatch):
    monkeypatch.setattr(speakers, "player_command", lambda fs: None)
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    player, words = open_speaker(16_000)
    assert player is None and "--record" in words


def delay_in_samples(track: np.ndarray) -> int:
    size = 2 * track.shape[1]
    cross = np.fft.irfft(np.fft.rfft(track[1], size) * np.conj(np.fft.rfft(track[0], size)), size)
    lags = np.arange(-12, 13)
    return int(lags[np.argmax(cross[lags])])


@pytest.mark.parametrize("side", [1, -1])
def test_the_recorded_sound_pans_to_the_side_of_the_source(tmp_path, side):
    """A reverberant room and a spherical head, all the way through the codec."""
    auralnav.register_envs()
    env = gym.make("AuralNav-Easy-v0", room_size=(7.0, 7.0, 3.0), rt60=0.3)
    recorder = Recorder(size=(480, 320))
    env.reset(seed=5, options={"pose": [3.5, 3.5, 0.0], "sources": [[3.5, 3.5 + 2.0 * side]]})
    recorder.add(env.unwrapped.scene())
    for action in (0, 1, 0, 1):  # forth and back: the source stays abeam
        env.step(action)
        recorder.add(env.unwrapped.scene())
    track, rate = read_audio(recorder.write(tmp_path / "pan.mp4"))
    assert rate == 16_000
    heard = track[:, : 5 * 4000]
    level = 20 * np.log10(np.linalg.norm(heard[0]) / np.linalg.norm(heard[1]))
    assert side * level > 2.0
    assert 4 <= side * delay_in_samples(heard) <= 11
    env.close()


def test_a_film_of_an_episode_lasts_as_long_as_its_steps(tmp_path):
    config = AudioEnvConfig(id="AuralNav-Anechoic-v0", num_sources=1)
    with pytest.raises(AuralNavError, match="AuralNav environments only"):
        film(make_baseline("random", {}), AudioEnvConfig(id="CartPole-v1"))
    recorder, metrics = film(make_baseline("gcc-phat", task_settings(config)), config)
    assert metrics["success"] == 1.0
    recorder.size = (320, 214)
    steps = len(recorder.scenes)
    assert recorder.audio.shape == (2, 4000 * steps)
    assert count_frames(recorder.write(tmp_path / "film.mp4")) == (3 * steps + 12, 12.0)
