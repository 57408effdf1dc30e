"""What the ears hear: sides, levels, continuity. Faults of the ancestors are among these."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

import auralnav
from auralnav.envs.acoustics.measure import interaural
from auralnav.envs.audio.vector import AudioVectorEnv

auralnav.register_envs()

POSE = (4.0, 4.0, 0.0)  # facing +x


def make(**kwargs):
    defaults = {"num_sources": 1, "room_size": (8.0, 8.0, 3.0), "rt60": 0.0, "found_radius": 0.3}
    return gym.make("AuralNav-v0", disable_env_checker=True, **{**defaults, **kwargs}).unwrapped


def hear(env, place, seed=0) -> np.ndarray:
    return env.reset(seed=seed, options={"pose": POSE, "sources": [place]})[0]["audio"]


@pytest.mark.parametrize("rt60", [0.0, 0.3])
@pytest.mark.parametrize("head", ["sphere", "none"])
def test_a_source_to_the_left_is_heard_at_the_left(head: str, rt60: float) -> None:
    """OtoWorld's ears lay in front of and behind the agent."""
    env = make(head=head, rt60=rt60)
    sides = {}
    for name, place in {"left": [4.0, 5.5], "right": [4.0, 2.5], "front": [5.5, 4.0]}.items():
        measured = np.array([interaural(hear(env, place, seed), env.settings.fs) for seed in range(6)])
        sides[name] = np.median(measured, axis=0)
    largest = 675e-6 if head == "sphere" else 0.18 / 343
    assert sides["left"][1] == pytest.approx(largest, abs=6e-5)
    assert sides["right"][1] == pytest.approx(-largest, abs=6e-5)
    assert abs(sides["front"][1]) < 3e-5
    least = 3.0 if head == "sphere" and rt60 == 0 else 0.3
    assert sides["left"][0] > least and sides["right"][0] < -least


@pytest.mark.parametrize("degrees", [-150, -90, -45, -15, 15, 30, 60, 90, 120, 165])
@pytest.mark.parametrize("fs", [16000, 48000])
def test_the_rendered_stereo_has_woodworths_delay_and_the_shadows_side(degrees: int, fs: int) -> None:
    env = make(fs=fs)
    azimuth = np.deg2rad(degrees)
    place = [4.0 + 2.0 * np.cos(azimuth), 4.0 + 2.0 * np.sin(azimuth), 1.5]
    measured = np.array([interaural(hear(env, place, seed), fs) for seed in range(5)])
    level, delay = np.median(measured, axis=0)
    side = np.arcsin(np.sin(azimuth))
    # The shadow's own group delay adds to Woodworth's (a/c)(θ + sin θ).
    assert delay == pytest.approx(0.09 / 343 * (side + np.sin(side)), abs=7e-5)
    assert level * side > 0
    energy = np.sum(np.square(hear(env, place).astype(float)), axis=1)
    assert (energy[0] > energy[1]) == (degrees > 0)


def test_turning_left_moves_a_source_ahead_to_the_right() -> None:
    env = make()
    hear(env, [5.5, 4.0])
    for _ in range(3):
        observation, *_ = env.step(2)
    assert interaural(observation["audio"], 16000)[1] < -5e-4


def test_one_metre_in_the_free_field_is_minus_26_dbfs() -> None:
    env = make(head="none")
    energy = []
    for seed in range(40):
        state_height = hear(env, [4.0 + 1.0, 4.0], seed)  # ears 1.5 m high, sources at 1.0 to 1.8 m
        rise = env.state()["source_heights"][0] - 1.5
        energy.append(np.mean(state_height.astype(float) ** 2) * (1 + rise**2))
    # Clips have RMS 1 over their whole loop; a quarter second of one varies.
    assert 10 * np.log10(np.mean(energy)) == pytest.approx(-26.0, abs=1.0)


@pytest.mark.parametrize("rt60", [0.0, 0.3])
def test_sound_runs_on_across_steps(rt60: float) -> None:
    """The ancestors restarted the clip at every step. Standing still, blocks must join into one signal."""
    env = make(rt60=rt60)
    blocks = [hear(env, [5.5, 5.0])]
    for _ in range(7):
        blocks.append(env.step(1 if len(blocks) % 2 else 0)[0]["audio"])
    assert not np.allclose(blocks[0][:, :400], blocks[2][:, :400], atol=1e-3)
    # A wall in the back: bumping leaves the agent where it is.
    env.reset(seed=0, options={"pose": (0.3, 4.0, 0.0), "sources": [[5.5, 5.0]]})
    still = np.concatenate([env.step(1)[0]["audio"] for _ in range(8)], axis=1).astype(float)
    assert env.state()["bumps"] == 8
    steps = np.abs(np.diff(still, axis=1))
    seams = steps[:, 3999::4000]
    assert seams.max() <= steps.max(), "no jump at a seam exceeds those within the sound"
    assert seams.mean() < 3 * steps.mean()


def test_crossfade_has_no_click() -> None:
    """A turn by 90° between blocks: the seam's jumps stay within the signal's own."""
    env = make(turn_deg=90.0, rt60=0.2)
    parts = [hear(env, [4.0, 5.5])] + [env.step(2)[0]["audio"] for _ in range(12)]
    sound = np.concatenate(parts, axis=1).astype(float)
    jumps = np.abs(np.diff(sound, axis=1))
    seams = np.concatenate([jumps[:, k - 1 : k + 320] for k in range(4000, sound.shape[1], 4000)], axis=1)
    assert seams.max() <= 1.5 * jumps.max()
    assert seams.mean() < 2 * jumps.mean()


def test_reset_gives_steady_state() -> None:
    env = make(rt60=0.5)
    levels = []
    for seed in range(12):
        first = hear(env, [6.0, 6.0], seed)
        half = first.shape[1] // 2
        levels.append([np.mean(np.square(first[:, :half])), np.mean(np.square(first[:, half:]))])
    early, late = np.mean(levels, axis=0)
    assert early > 0.4 * late, "reverberation has been building up before the first sample"


@pytest.mark.parametrize(("rt60", "silent_after"), [(0.0, 2), (0.6, 5)])
def test_a_found_source_falls_silent_and_rings_out(rt60: float, silent_after: int) -> None:
    env = make(rt60=rt60, num_sources=2, found_radius=1.0)
    env.reset(seed=1, options={"pose": POSE, "sources": [[5.4, 4.0], [1.0, 1.0]]})
    *_, info = env.step(0)
    assert info["num_found"] == 1
    levels = [float(np.mean(np.square(env.source_images()[0])))]
    for _ in range(6):
        env.step(2)
        levels.append(float(np.mean(np.square(env.source_images()[0]))))
    assert levels[0] > 0, "heard in the step in which it is found"
    assert levels[1] < 0.2 * levels[0]
    assert levels[1] > 0, "the tail rings out"
    assert levels[silent_after] < 1e-12
    assert np.mean(np.square(env.source_images()[1])) > 1e-8


def test_source_images_add_up_to_what_is_heard() -> None:
    env = make(num_sources=3, rt60=0.4)
    observation, _ = env.reset(seed=2)
    for action in (0, 2, 0, 3):
        images = env.source_images()
        assert images.shape == (3, 2, 4000)
        assert np.abs(images.sum(axis=0) - observation["audio"]).max() < 2e-6
        observation, *_ = env.step(action)


def test_noise_is_at_the_ratio_asked_for() -> None:
    env = make(rt60=0.6, noise_snr_db=10.0, num_sources=4, room_size=((5, 10), (5, 10), (2.4, 3.5)))
    ratios = []
    for seed in range(20):
        observation, _ = env.reset(seed=seed)
        clean = env.source_images().sum(axis=0)
        ratios.append(np.mean(np.square(clean)) / np.mean(np.square(observation["audio"] - clean)))
    assert 10 * np.log10(np.median(ratios)) == pytest.approx(10.0, abs=0.5)


def test_an_anechoic_room_draws_one_image_a_source() -> None:
    """The ancestor computed 220 silent images."""
    env = make(num_sources=2)
    env.reset(seed=0)
    images = env.world.sound._images(0, (*POSE[:2], 1.5, 0.0))
    assert len(images[1]) == 2


def test_moving_sources_move_and_stand_on_free_floor() -> None:
    env = gym.make("AuralNav-Moving-v0", disable_env_checker=True, horizon=100).unwrapped
    env.reset(seed=0)
    before = env.scene()["sources"]
    for _ in range(40):
        env.step(2)
    after = env.scene()
    moved = np.linalg.norm(after["sources"] - before, axis=1)
    assert (moved > 0.05).all() and (moved <= 40 * 0.25 * 1.0).all()
    assert after["plan"].contains(after["sources"], 0.15).all()


@pytest.mark.parametrize("fs", [8000, 16000, 44100, 48000])
@pytest.mark.parametrize("seconds", [0.05, 0.25, 2.0])
def test_other_rates_and_step_lengths(fs: int, seconds: float) -> None:
    """2 s at 16 kHz are the seed document's 32 000 samples."""
    env = make(fs=fs, step_duration=seconds, rt60=0.2, obs_mode="all")
    observation, _ = env.reset(seed=0)
    assert observation["audio"].shape == (2, round(fs * seconds))
    observation, *_ = env.step(0)
    assert env.observation_space.contains(observation)
    assert np.abs(observation["audio"]).max() > 1e-4


def test_images_of_many_worlds_are_those_of_single_ones() -> None:
    worlds = AudioVectorEnv(3, threads=2, num_sources=2, distractors=1)
    with pytest.raises(gym.error.ResetNeeded):
        worlds.source_images()
    worlds.reset(seed=5)
    worlds.step(np.array([0, 2, 1]))
    images = worlds.source_images()
    assert images.shape == (3, 3, 2, 4000)
    for one, world in zip(images, worlds.worlds, strict=True):
        assert np.array_equal(one, world.sound.source_images())
    assert np.array_equal(worlds.source_images(np.array([False, True, False])), images[1:2])
    worlds.close()
