from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from auralnav.agents.replay_film import write_film, write_still
from auralnav.agents.video import count_frames, read_audio
from auralnav.envs.dogfight.recorder import record_game
from auralnav.envs.dogfight.render import draw_scene
from auralnav.envs.dogfight.scene import scene_at
from auralnav.envs.dogfight.world import DogfightWorld
from auralnav.errors import AuralNavError, ReplayError

SMALL = (240, 160)


@pytest.fixture(scope="module")
def replay():
    world = DogfightWorld(1, (1, 1), horizon=60)
    world.command("pursuit")
    return record_game(world, ["a", "b"], 3)


@pytest.mark.parametrize("fps", [15.0, 24.0, 60.0])
def test_a_film_runs_in_real_time_and_a_little_longer(replay, tmp_path, fps):
    done = []
    path = write_film(
        tmp_path / "film.mp4", replay, fps=fps, size=SMALL, on_frame=lambda *progress: done.append(progress)
    )
    count, rate = count_frames(path)
    assert rate == pytest.approx(fps) and count == 1 + round(2.5 * fps)  # one second of game, 1.5 of aftermath
    assert done == [(k + 1, count) for k in range(count)]
    with pytest.raises(AuralNavError, match="no sound track"):
        read_audio(path)


def test_the_pictures_of_a_film_are_those_of_the_scene(replay, tmp_path):
    import av

    path = write_film(tmp_path / "film.mp4", replay, fps=30.0, size=SMALL, follow=1)
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    for index in (0, 11, 29):
        wanted = draw_scene(scene_at(replay, 2 * index), SMALL, follow=1)
        assert np.abs(frames[index].astype(int) - wanted).mean() < 3
    assert np.abs(frames[0].astype(int) - frames[29]).mean() > 1


def test_a_still_is_the_moment_asked_for(replay, tmp_path):
    path = write_still(tmp_path / "still.png", replay, 0.4)
    with Image.open(path) as still:
        np.testing.assert_array_equal(np.asarray(still), draw_scene(scene_at(replay, 24)))


def test_what_cannot_be_shown_is_named(replay, tmp_path):
    with pytest.raises(ReplayError, match=r"lasts from 0 to 1\.00 s, there is nothing at 1\.1 s"):
        write_still(tmp_path / "a.png", replay, 1.1)
    with pytest.raises(ReplayError, match="no ship 3 to follow: the game has 2"):
        write_film(tmp_path / "a.mp4", replay, follow=2)
    with pytest.raises(AuralNavError, match=r"fps=0\.5"):
        write_film(tmp_path / "a.mp4", replay, fps=0.5)
    assert list(tmp_path.iterdir()) == []
