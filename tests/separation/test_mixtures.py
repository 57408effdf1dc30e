from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.signal import fftconvolve

from auralnav.envs.acoustics.fractional import SPEED_OF_SOUND
from auralnav.envs.acoustics.loops import REFERENCE_RMS
from auralnav.envs.acoustics.measure import decay_time
from auralnav.envs.acoustics.sounds import CLASSES, TEST_SEEDS, TRAIN_SEEDS, synthesise
from auralnav.separation import room_pool as rooms_module
from auralnav.separation.clip_pool import VALIDATION_SEEDS, clip_pool, training_seeds
from auralnav.separation.mixtures import MixtureRecipe, MixtureRenderer, draw_mixtures
from auralnav.separation.room_pool import RoomRecipe, render_room, room_pool

FS = 16_000
DRY = RoomRecipe(rooms=3, sources=4, rt60=(0.3, 0.3), anechoic_share=1.0, sample_rate=FS, seed=7)
WET = replace(DRY, anechoic_share=0.0)


@pytest.fixture(scope="module")
def responses() -> np.ndarray:
    return room_pool(replace(WET, rooms=6, anechoic_share=0.5), None)


@pytest.fixture(scope="module")
def clips() -> np.ndarray:
    """Four classes of noise, two instances, a second long."""
    return np.random.default_rng(0).standard_normal((4, 2, FS)).astype(np.float32)


@pytest.fixture(scope="module")
def renderer(responses, clips) -> MixtureRenderer:
    return MixtureRenderer(responses, clips, np.random.default_rng(1).standard_normal((2, FS)).astype(np.float32), FS)


def drawn(renderer: MixtureRenderer, recipe: MixtureRecipe, batch: int = 16, samples: int = FS, seed: int = 0):
    rng = np.random.default_rng(seed)
    return draw_mixtures(rng, recipe, batch, samples, 4, renderer.room_shape, renderer.clip_shape, FS)


def test_a_source_without_reflections_arrives_when_and_as_loud_as_its_distance_says():
    for response in render_room(DRY, 0)[:, 0].mean(axis=1):
        distance = np.argmax(np.abs(response)) / FS * SPEED_OF_SOUND
        assert 0.4 < distance < 15.0
        # The head shadows no bass: the sum over time is 1/d, the ears' delays against its centre move the peak.
        assert response.sum() == pytest.approx(1.0 / distance, rel=0.35 / distance + 0.03)


def test_reverberant_rooms_decay_as_asked():
    times = [decay_time(response, FS) for room in range(3) for response in render_room(WET, room)[:, 0].mean(axis=1)]
    assert np.median(times) == pytest.approx(0.3, rel=0.12)


def test_rooms_follow_from_seed_and_number_alone():
    pool = room_pool(WET, None)
    np.testing.assert_array_equal(pool, room_pool(WET, None, threads=2))
    np.testing.assert_array_equal(pool[2], render_room(WET, 2).astype(np.float16))
    other = room_pool(replace(WET, seed=8), None)
    assert len({room.tobytes() for room in (*pool, *other)}) == 6
    assert not pool.flags.writeable


def test_a_pool_is_rendered_once_for_each_recipe(tmp_path, monkeypatch):
    told = []
    pool = np.array(room_pool(WET, tmp_path, report=told.append))
    assert told == [WET.rooms]
    assert len(list(tmp_path.iterdir())) == 1
    room_pool(replace(WET, seed=9), tmp_path)
    monkeypatch.setattr(rooms_module, "render_room", None)
    np.testing.assert_array_equal(room_pool(WET, tmp_path), pool)


def test_an_interrupted_rendering_leaves_no_pool(tmp_path, monkeypatch):
    monkeypatch.setattr(rooms_module, "render_room", lambda recipe, number: 1 / (2 - number))
    with pytest.raises(ZeroDivisionError):
        room_pool(WET, tmp_path)
    assert not list(tmp_path.iterdir())


def test_instances_of_training_validation_and_test_are_disjoint():
    training = training_seeds(200)
    assert training[: len(TRAIN_SEEDS)] == list(TRAIN_SEEDS)
    assert len(set(training)) == 200
    assert not set(training) & {*TEST_SEEDS, *VALIDATION_SEEDS}
    assert not set(TEST_SEEDS) & set(VALIDATION_SEEDS)


def test_clips_are_those_of_the_soundbank_and_cached(tmp_path):
    told = []
    pool = clip_pool([3], FS, tmp_path, told.append)
    assert told == list(range(1, len(CLASSES) + 1))
    np.testing.assert_array_equal(pool[2, 0], synthesise(CLASSES[2], 3, FS))
    np.testing.assert_array_equal(clip_pool([3], FS, tmp_path, told.append), pool)
    assert len(told) == len(CLASSES)


def test_draws_follow_from_the_generator_and_hold_what_the_recipe_says(renderer):
    recipe = MixtureRecipe((0.25, 0.25, 0.25, 0.25), 5.0, 0.5, 0.5, 0.5, 0.5, 0.5)
    draw, again = drawn(renderer, recipe, 2_000), drawn(renderer, recipe, 2_000)
    for key, value in vars(draw).items():
        np.testing.assert_array_equal(value, getattr(again, key))
    counts = (draw.places >= 0).sum(1)
    assert np.bincount(counts, minlength=5)[1:] / 2_000 == pytest.approx(np.full(4, 0.25), abs=0.04)
    for row, count in zip(draw.places, counts, strict=True):
        assert len(set(row[:count])) == count
        assert (row[count:] == -1).all()
    same = draw.sounds[counts > 1]
    assert (same[:, 0] == same[:, 1]).mean() == pytest.approx(1 / 4, abs=0.04)
    for flags in (np.isnan(draw.levels[:, 0]), draw.cold > 0, ~np.isnan(draw.walks), np.isfinite(draw.noise_snr)):
        assert flags.mean() == pytest.approx(0.5, abs=0.04)
    gated = (draw.begins > 0) | (draw.ends < FS)
    assert gated.mean() == pytest.approx(0.5, abs=0.04)
    assert not ((draw.begins > 0) & (draw.ends < FS)).any()


def test_there_may_be_more_outputs_than_places_in_a_room(renderer):
    rng, recipe = np.random.default_rng(0), MixtureRecipe((0.5, 0.0, 0.0, 0.5))
    draw = draw_mixtures(rng, recipe, 32, FS, 6, renderer.room_shape, renderer.clip_shape, FS)
    assert sorted(set((draw.places >= 0).sum(1))) == [1, 4]
    assert draw.places.shape == (32, 6) and (draw.places[:, 4:] == -1).all()
    audio, targets = renderer.render(draw)
    torch.testing.assert_close(audio.mean(1), targets.sum(1))
    assert not targets[:, 4:].any()


def test_a_mixture_is_the_sum_of_its_images_and_places_without_a_source_are_zero(renderer):
    draw = drawn(renderer, MixtureRecipe((0.3, 0.3, 0.2, 0.2), 5.0, 0.3, 0.3, 0.2, 0.5))
    audio, targets = renderer.render(draw)
    torch.testing.assert_close(audio.mean(1), targets.sum(1))
    assert (targets[torch.from_numpy(draw.places < 0)] == 0).all()
    assert torch.isfinite(audio).all()
    assert audio.dtype == torch.float32 and audio.shape == (16, 2, FS)


@pytest.mark.parametrize("when", ["always", "begins", "ends", "cold"])
def test_an_image_is_the_clip_through_the_response(renderer, responses, clips, when):
    draw = drawn(renderer, MixtureRecipe((1.0,), natural_share=1.0), batch=2)
    draw.rooms[:], draw.places[:, 0] = (1, 4), (2, 3)
    if when == "cold":
        draw.cold[:] = 5_000
    elif when != "always":
        getattr(draw, when)[:, 0] = 6_000
    audio, targets = renderer.render(draw)
    for b in range(2):
        taps = responses.shape[4]
        time = np.arange(-taps, FS)
        dry = clips[draw.sounds[b, 0], draw.instances[b, 0], (draw.starts[b, 0] + time) % FS].astype(np.float64)
        dry[(time < draw.begins[b, 0]) | (time >= draw.ends[b, 0])] = 0
        ears = responses[draw.rooms[b], draw.places[b, 0], 0].astype(np.float64)
        wanted = fftconvolve(dry[None], ears, axes=1)[:, taps : taps + FS]
        wanted[:, : draw.cold[b]] = 0
        np.testing.assert_allclose(audio[b], REFERENCE_RMS * wanted, atol=2e-6)
        np.testing.assert_allclose(targets[b, 0], REFERENCE_RMS * wanted.mean(axis=0), atol=2e-6)


def test_walking_crossfades_between_the_poses_every_quarter_second(clips):
    responses = np.zeros((1, 4, 2, 2, 100), dtype=np.float16)
    responses[:, :, 0, :, 0], responses[:, :, 1, :, 0] = 1.0, 3.0
    renderer = MixtureRenderer(responses, np.ones_like(clips), clips[0], FS)
    draw = drawn(renderer, MixtureRecipe((1.0,), natural_share=1.0, walk_share=1.0), batch=1)
    draw.walks[:] = 1_000.0
    _, targets = renderer.render(draw)
    heard = targets[0, 0].numpy() / REFERENCE_RMS
    # The first step has lasted 1 000 of its 4 000 samples; 320 samples of crossfade begin each step.
    np.testing.assert_allclose(heard[:3_000], 1.0, atol=1e-4)
    np.testing.assert_allclose(heard[3_000:3_321], 1.0 + 2.0 * np.arange(321) / 320, atol=1e-4)
    np.testing.assert_allclose(heard[3_320:7_000], 3.0, atol=1e-4)
    np.testing.assert_allclose(heard[7_320:11_000], 1.0, atol=1e-4)


def test_levelled_sources_lie_within_the_range_and_natural_ones_do_not(renderer):
    def spread(recipe: MixtureRecipe) -> np.ndarray:
        _, targets = renderer.render(drawn(renderer, recipe, 64))
        level = 10 * torch.log10(targets.square().mean(-1))
        return (level[:, :2].amax(1) - level[:, :2].amin(1)).numpy()

    levelled = spread(MixtureRecipe((0.0, 1.0), level_db=2.5))
    assert levelled.max() <= 5.01
    assert levelled.max() > 3.0
    assert spread(MixtureRecipe((0.0, 1.0), level_db=2.5, natural_share=1.0)).max() > 6.0


def test_levelling_keeps_the_common_level(renderer):
    recipe = MixtureRecipe((0.0, 1.0), level_db=0.0)
    levelled, natural = drawn(renderer, recipe), drawn(renderer, recipe)
    natural.levels[:] = np.nan

    def mean_level(draw) -> torch.Tensor:
        return 10 * torch.log10(renderer.render(draw)[1][:, :2].square().mean(-1)).mean(1)

    torch.testing.assert_close(mean_level(levelled), mean_level(natural), atol=0.01, rtol=0)


def test_noise_is_in_the_mixture_at_its_ratio_and_in_no_target(renderer):
    recipe = MixtureRecipe((0.5, 0.5), natural_share=1.0)
    noisy = drawn(renderer, recipe)
    noisy.noise_snr[:] = 10.0
    audio, targets = renderer.render(noisy)
    _, clean = renderer.render(drawn(renderer, recipe))
    torch.testing.assert_close(targets, clean)
    noise = audio.mean(1) - targets.sum(1)
    ratio = 10 * torch.log10(targets.sum(1).square().mean(-1) / noise.square().mean(-1))
    torch.testing.assert_close(ratio, torch.full_like(ratio, 10.0), atol=0.01, rtol=0)


def test_a_source_that_nobody_can_hear_is_left_out(renderer):
    draw = drawn(renderer, MixtureRecipe((0.0, 1.0), level_db=0.0))
    draw.levels[:, 1] = -35.0
    audio, targets = renderer.render(draw)
    assert (targets[:, 1] == 0).all()
    torch.testing.assert_close(audio.mean(1), targets[:, 0])
