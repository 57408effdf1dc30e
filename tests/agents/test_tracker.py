from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

import auralnav
from auralnav.agents.baselines import make_baseline, task_settings
from auralnav.agents.belief import PlaceBelief
from auralnav.agents.evaluate import evaluate, summarise
from auralnav.agents.steering import Steering, interaural_phase
from auralnav.agents.walking import BACKWARD, FORWARD, TURN_LEFT, TURN_RIGHT, Walker
from auralnav.configs.schema import AudioEnvConfig
from auralnav.errors import ConfigError

FS = 16_000


def free_field(azimuth: float, head: str, seed: int = 0) -> np.ndarray:
    """Noise from one direction with the phases of a head model, float32 [2, 4000]."""
    n = 4000
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(n))
    phase = interaural_phase(np.array([azimuth]), np.fft.rfftfreq(n, 1 / FS), head, FS)[0]
    half = np.exp(0.5j * phase)
    ears = [np.fft.irfft(spectrum * half, n), np.fft.irfft(spectrum / half, n)]
    return np.stack(ears).astype(np.float32)


@pytest.mark.parametrize("head", ["none", "sphere"])
@pytest.mark.parametrize("degrees", [-90, -60, -15, 0, 33, 75, 120, 171])
def test_the_response_peaks_at_the_source_or_its_mirror(head, degrees):
    steering = Steering(fs=FS, head=head)
    response = steering.response(free_field(np.radians(degrees), head))
    assert response is not None
    heard = np.degrees(2 * np.pi / steering.azimuths * np.argmax(response))
    mirror = 180 - degrees
    error = min(abs((heard - x + 180) % 360 - 180) for x in (degrees, mirror))
    # At the ear's axis the phases hardly change with the angle.
    assert error <= (9 if abs(np.sin(np.radians(degrees))) > 0.96 else 4)
    assert response.max() > 0.9


def test_left_is_positive_as_the_environment_renders_it():
    auralnav.register_envs()
    env = gym.make("AuralNav-Anechoic-v0", num_sources=1)
    steering = Steering(fs=FS, head="none")
    for heading, azimuth in ((0.0, 90.0), (np.pi, -90.0), (np.pi / 2, 0.0)):
        env.reset(seed=1, options={"pose": [4.0, 3.0, heading], "sources": [[4.0, 6.0]]})
        observation, *_ = env.step(TURN_LEFT)
        response = steering.response(observation["audio"])
        assert response is not None
        heard = np.degrees(2 * np.pi / steering.azimuths * np.argmax(response))
        wanted = azimuth - 30.0
        assert min(abs((heard - x + 180) % 360 - 180) for x in (wanted, 180 - wanted)) < 6
    env.close()


def test_front_and_back_sound_alike_and_silence_says_nothing():
    steering = Steering(fs=FS)
    response = steering.response(free_field(0.4, "sphere"))
    assert response is not None
    k = np.arange(steering.azimuths)
    mirrored = response[(steering.azimuths // 2 - k) % steering.azimuths]
    np.testing.assert_allclose(response, mirrored, atol=1e-3)
    assert steering.response(np.zeros((2, 4000), np.float32)) is None
    with pytest.raises(ConfigError, match="heads"):
        Steering(head="cat")


def test_a_turn_resolves_front_and_back_and_a_walk_the_distance():
    """No sound here: exact responses of a source at a known place."""
    belief = PlaceBelief(memory=1.0)
    source = np.array([-3.0, 2.0])  # behind, to the left

    def hear(x: float, y: float, heading: float) -> None:
        azimuth = np.arctan2(source[1] - y, source[0] - x) - heading
        grid = np.arange(120) * 2 * np.pi / 120
        belief.hear(np.exp(-np.square(np.sin(grid) - np.sin(azimuth)) / 0.01), x, y, heading)

    hear(0, 0, 0)
    score = belief.log + belief.prior
    mirror = score[np.argmin(abs(belief.x[:, 0] - 3)), np.argmin(abs(belief.y[0] - 2))]
    behind = score[np.argmin(abs(belief.x[:, 0] + 3)), np.argmin(abs(belief.y[0] - 2))]
    assert abs(mirror - behind) < 0.1
    hear(0, 0, np.pi / 6)
    x, y, _ = belief.best()
    assert abs(np.degrees(np.arctan2(y, x) - np.arctan2(source[1], source[0]))) < 6
    for step in range(1, 5):
        hear(0, 0.5 * step, np.pi / 2)
    x, y, _ = belief.best()
    assert np.hypot(x - source[0], y - source[1]) < 0.5


def test_a_visited_place_is_ruled_out_and_opens_again_for_moving_sources():
    for forget, again in ((None, False), (3, True)):
        belief = PlaceBelief(forget_visits=forget)
        flat = np.ones(120)
        belief.hear(flat, 0, 0, 0)
        belief.visit(0.0, 0.0, 0.9)
        centre = belief.x.shape[0] // 2
        assert not belief.open_places()[centre, centre]
        for _ in range(5):
            belief.hear(flat, 0, 0, 0)
        assert bool(belief.open_places()[centre, centre]) is again


def walk(walker: Walker, goal, near, blocked=lambda x, y: False, limit=60) -> int:
    """Walk to the goal among walls; the number of actions used, or the limit."""
    heading = 0.0
    for count in range(limit):
        if np.hypot(goal[0] - walker.x, goal[1] - walker.y) < near:
            return count
        action = walker.next_action(goal, near)
        bumped = False
        if action in (FORWARD, BACKWARD):
            sign = 1 if action == FORWARD else -1
            share = np.linspace(0, 0.5, 11) * sign
            path = zip(walker.x + share * np.cos(heading), walker.y + share * np.sin(heading), strict=True)
            bumped = any(blocked(x, y) for x, y in path)
        else:
            heading += np.radians(30) * (1 if action == TURN_LEFT else -1)
        walker.moved(action, bumped, heading)
    return limit


@pytest.mark.parametrize(
    ("goal", "most"),
    [((3.0, 0.0), 5), ((-3.0, 0.0), 5), ((0.0, 3.0), 8), ((0.0, -3.0), 8), ((3.5, 2.0), 8), ((-4, 2.4), 9)],
)
def test_the_walker_takes_about_the_fewest_actions_in_the_open(goal, most):
    assert walk(Walker(0.5, np.radians(30)), goal, 0.85) <= most


def test_the_walker_finds_its_way_around_a_wall():
    walker = Walker(0.5, np.radians(30))
    used = walk(walker, (4.0, 0.0), 0.85, lambda x, y: 1.4 < x < 1.7 and -1.6 < y < 1.2, limit=80)
    assert used < 80
    assert walker.blocked.any()


def test_the_tracker_finds_a_source_in_an_anechoic_room():
    """The bar of the specification: success ≥ 0.9 on one anechoic source."""
    env = AudioEnvConfig(id="AuralNav-Anechoic-v0", num_sources=1)
    summary = summarise(evaluate(make_baseline("gcc-phat", task_settings(env)), env, 30))
    assert summary["success_60"].mean >= 0.9
    assert summary["spl"].mean >= 0.7


def test_the_tracker_works_from_what_it_hears_alone():
    """Two trackers fed the same recorded observations act alike; one whose ears are swapped turns away."""
    auralnav.register_envs()
    env = gym.make("AuralNav-Easy-v0")
    task = task_settings(AudioEnvConfig(id="AuralNav-Easy-v0"))
    observation, _ = env.reset(seed=3, options={"pose": [2.5, 2.5, 0.0], "sources": [[2.5, 4.5]]})
    tracker, twin, swapped = (make_baseline("gcc-phat", task) for _ in range(3))
    for agent in (tracker, twin, swapped):
        agent.reset(1)
    start = np.ones(1, dtype=bool)
    firsts = []
    for step in range(6):
        batch = {key: value[None] for key, value in observation.items()}
        action = int(tracker.act(batch, start)[0])
        assert int(twin.act({k: v.copy() for k, v in batch.items()}, start)[0]) == action
        if step == 0:
            firsts = [action, int(swapped.act({**batch, "audio": batch["audio"][:, ::-1]}, start)[0])]
        start = np.zeros(1, dtype=bool)
        observation, _, found, *_ = env.step(action)
        if found:
            break
    assert sorted(firsts) == [TURN_LEFT, TURN_RIGHT]
    env.close()


def test_the_tracker_says_what_it_needs():
    env = AudioEnvConfig(id="AuralNav-v0")
    agent = make_baseline("gcc-phat", task_settings(env))
    agent.reset(1)
    with pytest.raises(ConfigError, match="obs_mode='waveform'"):
        agent.act({"cues": np.zeros((1, 4)), "agent_info": np.zeros((1, 4))}, np.ones(1, bool))
    with pytest.raises(ConfigError, match="continuous=False"):
        make_baseline("gcc-phat", {"continuous": True})
    with pytest.raises(ConfigError, match="random, gcc-phat, oracle"):
        make_baseline("omniscient", {})
