from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from auralnav.envs.acoustics.head import MEASURED_DIRECTIONS, measured_head
from auralnav.envs.acoustics.images import FRONT_GUARD, back_guard, ear_responses
from auralnav.envs.acoustics.measure import interaural
from auralnav.envs.acoustics.sofa import LEAD_SECONDS, load_sofa
from auralnav.errors import MissingDependencyError, SoundError

h5py = pytest.importorskip("h5py", reason="SOFA files need h5py (pip install h5py)")
RATE = 48_000
# Spherical positions, degrees and metres: front, left, back, right, above.
PLACES = np.array([[0, 0, 1.2], [90, 0, 1.2], [180, 0, 1.2], [270, 0, 1.2], [0, 90, 1.2]], dtype=float)


def write_sofa(path: Path, **changes) -> Path:
    """A head of five directions: the near ear hears 30 samples earlier (at 48 kHz) and twice as loud."""
    n = 400
    irs = np.zeros((5, 2, n))
    for m, (left, right) in enumerate([(0, 0), (-15, 15), (0, 0), (15, -15), (0, 0)]):
        for ear, shift in enumerate((left, right)):
            gain = 2.0 if shift < 0 else 1.0
            irs[m, ear, 50 + shift : 151 + shift] = gain * np.sinc(np.arange(-50, 51) / 4) * np.hanning(101)
    fields = {
        "Data.IR": irs,
        "SourcePosition": PLACES,
        "Data.SamplingRate": np.array([float(RATE)]),
        "Data.Delay": np.zeros((1, 2)),
        "ReceiverPosition": np.array([[0, 0.09, 0], [0, -0.09, 0]])[:, :, None],
        **{name: value for name, value in changes.items() if name not in ("convention", "type")},
    }
    with h5py.File(path, "w") as file:
        file.attrs["SOFAConventions"] = np.bytes_(changes.get("convention", "SimpleFreeFieldHRIR"))
        for name, value in fields.items():
            if value is not None:
                file[name] = value
        if "SourcePosition" in file:
            file["SourcePosition"].attrs["Type"] = np.bytes_(changes.get("type", "spherical"))
    return path


@pytest.fixture
def sofa(tmp_path: Path) -> Path:
    return write_sofa(tmp_path / "head.sofa")


@pytest.mark.parametrize("fs", [16_000, 44_100, 48_000])
def test_directions_delays_and_levels_come_through(sofa: Path, fs: int) -> None:
    head = load_sofa(sofa, fs)
    expected = [[1, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0], [0, 0, 1]]
    np.testing.assert_allclose(head.directions, expected, atol=1e-12)
    assert head.irs.dtype == np.float32
    assert head.irs.shape[:2] == (5, 2)
    for row, ild, delay in [(0, 0.0, 0.0), (1, 6.02, 30.0), (3, -6.02, -30.0)]:
        level, itd = interaural(head.irs[row], fs, phat=False)
        assert level == pytest.approx(ild, abs=0.05)
        assert itd == pytest.approx(delay / RATE, abs=2e-6)


def test_the_common_delay_is_cut_and_the_mean_energy_is_one(sofa: Path) -> None:
    head = load_sofa(sofa, RATE)
    earliest = np.abs(head.irs).max(axis=(0, 1)).argmax()
    # The onset, −20 dB of the first peak, lies a few samples before the peak of the band-limited pulse.
    assert LEAD_SECONDS * RATE <= earliest <= LEAD_SECONDS * RATE + 30
    assert np.square(head.irs).sum(axis=-1).mean() == pytest.approx(1.0, rel=1e-5)


def test_resampling_keeps_the_frequency_response(sofa: Path) -> None:
    gains = []
    for fs in (16_000, RATE):
        ir = load_sofa(sofa, fs, normalise=False).irs[0, 0]
        times = np.arange(len(ir)) / fs
        gains.append([abs(np.sum(ir * np.exp(-2j * np.pi * f * times))) for f in (500, 2000, 4000)])
    np.testing.assert_allclose(gains[0], gains[1], rtol=0.01)


def test_nearest_direction(sofa: Path) -> None:
    head = load_sofa(sofa, 16_000)
    wanted = [[5.0, 1.0, 0.0], [0.1, 0.2, 0.0], [-1.0, 0.1, 0.1], [0.0, -3.0, 1.0], [0.1, 0.0, 0.4]]
    np.testing.assert_array_equal(head.nearest(wanted), [0, 1, 2, 3, 4])
    assert head.nearest(np.reshape(wanted, (5, 1, 3))).shape == (5, 1)


def test_cartesian_positions_swapped_receivers_and_listed_delays(tmp_path: Path) -> None:
    plain = load_sofa(write_sofa(tmp_path / "a.sofa"), RATE)
    places = np.array([[1.2, 0, 0], [0, 1.2, 0], [-1.2, 0, 0], [0, -1.2, 0], [0, 0, 1.2]])
    cartesian = load_sofa(write_sofa(tmp_path / "b.sofa", SourcePosition=places, type="cartesian"), RATE)
    np.testing.assert_allclose(cartesian.directions, plain.directions, atol=1e-12)
    ears = np.array([[0, -0.09, 0], [0, 0.09, 0]])[:, :, None]
    swapped = load_sofa(write_sofa(tmp_path / "c.sofa", ReceiverPosition=ears), RATE)
    np.testing.assert_array_equal(swapped.irs, plain.irs[:, ::-1])
    late_right = load_sofa(write_sofa(tmp_path / "d.sofa", **{"Data.Delay": np.array([[3.0, 7.5]])}), RATE)
    _, itd = interaural(late_right.irs[0], RATE, phat=False)
    assert itd * RATE == pytest.approx(4.5, abs=0.05)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"convention": "GeneralFIR"}, "GeneralFIR"),
        ({"Data.IR": None}, "Data.IR is missing"),
        ({"Data.IR": np.zeros((5, 3, 40))}, "Data.IR has shape"),
        ({"Data.IR": np.zeros((5, 2, 400))}, "silent"),
        ({"Data.IR": np.full((5, 2, 400), np.nan)}, "not finite"),
        ({"Data.IR": "words"}, "numbers"),
        ({"SourcePosition": PLACES[:3]}, "SourcePosition has shape"),
        ({"SourcePosition": PLACES * [1, 1, 0]}, "head's centre"),
        ({"Data.SamplingRate": np.array([0.0])}, "SamplingRate"),
        ({"Data.Delay": np.zeros((2, 2))}, "Data.Delay has shape"),
    ],
)
def test_a_broken_file_is_named_in_one_line(tmp_path: Path, changes: dict, words: str) -> None:
    path = write_sofa(tmp_path / "broken.sofa", **changes)
    with pytest.raises(SoundError, match=words) as caught:
        load_sofa(path, 16_000)
    assert "\n" not in str(caught.value)
    assert "broken.sofa" in str(caught.value)


def test_no_file_no_hdf5_and_a_truncated_file(tmp_path: Path, sofa: Path) -> None:
    with pytest.raises(SoundError, match="no such file"):
        load_sofa(tmp_path / "none.sofa", 16_000)
    text = tmp_path / "text.sofa"
    text.write_text("not a SOFA file")
    with pytest.raises(SoundError, match="HDF5"):
        load_sofa(text, 16_000)
    half = tmp_path / "half.sofa"
    half.write_bytes(sofa.read_bytes()[:6000])
    with pytest.raises(SoundError, match="HDF5"):
        load_sofa(half, 16_000)


def test_without_h5py_the_error_names_the_install_command(
    sofa: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingDependencyError, match="pip install h5py"):
        load_sofa(sofa, 16_000)


def test_thousands_of_directions_are_quantised_to_a_bounded_table(tmp_path: Path) -> None:
    """Each direction is heard through a measurement at most 6° away, and the diffuse field weighs all alike."""
    rng = np.random.default_rng(0)
    az, el = np.meshgrid(np.arange(0, 360, 3), np.arange(-87, 90, 3), indexing="ij")
    places = np.column_stack([az.ravel(), el.ravel(), np.full(az.size, 1.2)]).astype(float)
    irs = np.zeros((len(places), 2, 64))
    # The lateral angle is the delay; the upper half of the sphere is twice as loud as the lower.
    left = np.sin(np.deg2rad(places[:, 0])) * np.cos(np.deg2rad(places[:, 1]))
    taps = np.arange(64)
    for ear, side in enumerate((1, -1)):
        irs[:, ear] = np.sinc(taps - 32 + 8 * side * left[:, None]) * np.hanning(64)
    irs[places[:, 1] > 0] *= 2.0
    path = write_sofa(tmp_path / "dense.sofa", **{"Data.IR": irs, "SourcePosition": places})
    head = measured_head(str(path), RATE)
    rows = len(head.table)
    assert len(places) > 7000 and 1200 < rows <= 2 * MEASURED_DIRECTIONS
    assert head.table.nbytes < 160e6
    assert head.direction_bins.max() == rows - 1
    for _ in range(200):
        azimuth, height = rng.uniform(-np.pi, np.pi), rng.uniform(-1, 1)
        flat = np.sqrt(1 - height**2)
        place = 3.0 * np.array([[flat * np.cos(azimuth), flat * np.sin(azimuth), height]])
        out = np.zeros((1, 2, FRONT_GUARD + 800 + back_guard(head)), dtype=np.float32)
        images = (place, np.ones(1), np.zeros(1, dtype=np.int32))
        ear_responses(images, (0.0, 0.0, 0.0, 0.0), head, out, 800)
        _, itd = interaural(out[0], RATE, phat=False)
        wanted = 16 * flat * np.sin(azimuth)
        assert itd * RATE == pytest.approx(wanted, abs=16 * np.deg2rad(6.0) + 0.1)
    # Below and above in front, both measured as one impulse: the level of the other half is twice as high.
    lower, upper = (np.square(head.table[head.direction_bins[0, j, 0], 0]).sum() for j in (2, 16))
    assert upper / lower == pytest.approx(4.0, rel=0.02)
    # At a quarter of fs/2, over the solid angle; the measurements crowd at the poles.
    gains = np.square(np.abs(irs @ np.exp(-2j * np.pi * 16 / 128 * taps))).mean(axis=1)
    solid = np.cos(np.deg2rad(places[:, 1]))
    assert head.power_gain[16] / lower == pytest.approx(solid @ gains / solid.sum(), rel=0.05)
