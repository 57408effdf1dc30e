"""Image-source room impulse responses of shoeboxes: the reference renderer.

Allen & Berkley, "Image method for efficiently simulating small-room acoustics", JASA 65 (1979). An image
n = (nx, ny, nz) lies at n·L + s (n even) or n·L + L − s (n odd) on each axis and has been reflected
|nx| + |ny| + |nz| times; the number of images up to order N is 2N² + 2N + 1 in a plane and
(2N + 1)(2N² + 2N + 3)/3 in space.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import njit

from auralnav.envs.acoustics.fractional import HALF_TAPS, PHASES, SPEED_OF_SOUND, add_taps, sinc_table
from auralnav.errors import RoomError

_GUARD = 160  # samples around the response, so that the kernel never tests a tap's bounds


def image_count(max_order: int, dimensions: int = 3) -> int:
    """Number of image sources up to `max_order` (the source itself included) in 2 or 3 dimensions."""
    n = max_order
    return 2 * n * n + 2 * n + 1 if dimensions == 2 else (2 * n + 1) * (2 * n * n + 2 * n + 3) // 3


def shoebox_rirs(
    room_size: np.ndarray,
    sources: np.ndarray,
    mics: np.ndarray,
    reflection: float | np.ndarray,
    max_order: int,
    fs: int,
    n_samples: int | None = None,
    c: float = SPEED_OF_SOUND,
) -> np.ndarray:
    """Impulse responses h(t) = Σ gᵢ/(4π dᵢ) · δ(t − dᵢ/c) of a shoebox room, band-limited to fs/2.

    No delay is added: an image at distance d peaks at sample d·fs/c, and the half of its windowed sinc that
    would fall before sample 0 is cut off.

    Args:
        room_size: [3] or [2] m (a plane room has no floor and no ceiling).
        sources: [S, 3] or [S, 2] m, inside the room.
        mics: [M, 3] or [M, 2] m, inside the room.
        reflection: amplitude coefficient of the walls in [0, 1], scalar or [2·dimensions] in the order
            x0 x1 y0 y1 z0 z1.
        max_order: highest number of reflections.
        fs: sampling rate, Hz.
        n_samples: length of the responses; None keeps the last image whole.
        c: speed of sound, m/s.

    Returns:
        float32 [S, M, n].

    Raises:
        RoomError: sizes, positions or coefficients that describe no room, or an order, rate, speed or length out
            of range.
    """
    size = np.asarray(room_size, dtype=np.float64).reshape(1, -1)
    batch = shoebox_rirs_batch(
        size,
        np.asarray(sources, dtype=np.float64)[None],
        np.asarray(mics, dtype=np.float64)[None],
        np.asarray(reflection, dtype=np.float64).reshape(1, -1),
        max_order,
        fs,
        n_samples,
        c,
    )
    return batch[0]


def shoebox_rirs_batch(
    room_sizes: np.ndarray,
    sources: np.ndarray,
    mics: np.ndarray,
    reflections: np.ndarray,
    max_order: int,
    fs: int,
    n_samples: int | None = None,
    c: float = SPEED_OF_SOUND,
    threads: int = 1,
) -> np.ndarray:
    """The responses of many rooms at once; see :func:`shoebox_rirs`.

    Args:
        room_sizes: [B, D] m, D = 2 or 3.
        sources: [B, S, D] m.
        mics: [B, M, D] m.
        reflections: [B], [B, 1] or [B, 2·D].
        max_order: as in :func:`shoebox_rirs`.
        fs: as there.
        n_samples: as there; None: the longest room sets the length.
        c: as there.
        threads: rooms are shared among this many threads (the kernel releases the GIL).

    Returns:
        float32 [B, S, M, n].

    Raises:
        RoomError: as in :func:`shoebox_rirs`.
    """
    sizes = np.asarray(room_sizes, dtype=np.float64)
    if sizes.ndim != 2 or sizes.shape[1] not in (2, 3):
        raise RoomError(f"room_size has shape {sizes.shape}; give 2 or 3 side lengths in metres a room")
    rooms, dimensions = sizes.shape
    if not (np.isfinite(sizes) & (sizes > 0)).all():
        raise RoomError("room_size must be positive and finite, in metres")
    walls = np.asarray(reflections, dtype=np.float64).reshape(rooms, -1)
    if walls.shape[1] not in (1, 2 * dimensions):
        raise RoomError(f"reflection has {walls.shape[1]} values a room; give 1 or {2 * dimensions}")
    if not ((walls >= 0) & (walls <= 1)).all():
        raise RoomError("reflection must lie in [0, 1] (an amplitude coefficient)")
    if max_order < 0 or not (fs > 0 and c > 0) or (n_samples is not None and n_samples < 1):
        raise RoomError("max_order must be >= 0, fs and c > 0, and n_samples >= 1 or None")
    sources3 = _places("sources", sources, sizes)
    mics3 = _places("mics", mics, sizes)
    sizes3 = np.zeros((rooms, 3))
    sizes3[:, :dimensions] = sizes
    walls6 = np.zeros((rooms, 6))
    walls6[:, : 2 * dimensions] = walls
    length = n_samples
    if length is None:
        length = _whole_length(sizes, max_order, fs, c)
    out = np.zeros((rooms, sources3.shape[1], mics3.shape[1], length), dtype=np.float32)
    table = sinc_table()

    def render(start: int, stop: int) -> None:
        _rooms_kernel(
            sizes3, sources3, mics3, walls6, max_order, dimensions, float(fs), c, table, out, start, stop
        )

    if threads <= 1 or rooms == 1:
        render(0, rooms)
    else:
        edges = np.linspace(0, rooms, min(threads, rooms) + 1).astype(int)
        with ThreadPoolExecutor(len(edges) - 1) as pool:
            list(pool.map(render, edges[:-1], edges[1:]))
    return out


def _places(name: str, points: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Checked positions as [B, n, 3], with z = 0 in plane rooms."""
    points = np.asarray(points, dtype=np.float64)
    rooms, dimensions = sizes.shape
    if points.ndim != 3 or points.shape[0] != rooms or points.shape[2] != dimensions:
        raise RoomError(f"{name} has shape {points.shape}; expected [{rooms}, n, {dimensions}]")
    if not ((points >= 0) & (points <= sizes[:, None, :])).all():
        raise RoomError(f"{name} must lie inside the room")
    places = np.zeros((rooms, points.shape[1], 3))
    places[:, :, :dimensions] = points
    return places


def _whole_length(sizes: np.ndarray, max_order: int, fs: float, c: float) -> int:
    """Samples that hold the last image of every pair.

    All reflections spent on one axis reach farthest: (order + 1)·L on it and at most L on the others.
    """
    squares = sizes**2
    stretched = squares * ((max_order + 1) ** 2 - 1)
    farthest = math.sqrt(float((squares.sum(axis=1) + stretched.max(axis=1)).max()))
    return math.ceil(farthest * fs / c) + HALF_TAPS + 1


# Its own fastmath: Numba gives a function without one that of whichever caller is compiled first, and so other bits.
@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def axis_images(length, position, order, low, high, places, gains):
    """Positions and reflection products of the images −order..order along one axis."""
    for n in range(-order, order + 1):
        if n % 2 == 0:
            places[n + order] = n * length + position
        else:
            places[n + order] = n * length + length - position
        steps = abs(n)
        first = (steps + 1) // 2
        second = steps // 2
        # Going up the high wall comes first, going down the low one.
        gains[n + order] = high**first * low**second if n > 0 else low**first * high**second


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _rooms_kernel(sizes, sources, mics, walls, max_order, dimensions, fs, c, table, out, start, stop):
    width = 2 * max_order + 1
    places = np.empty((3, width))
    gains = np.empty((3, width))
    n_sources = sources.shape[1]
    n_mics = mics.shape[1]
    length = out.shape[3]
    buffers = np.zeros((n_mics, length + 2 * _GUARD), dtype=np.float32)
    delays = np.empty(width)
    amplitudes = np.empty(width)
    per_metre = fs / c
    for room in range(start, stop):
        for source in range(n_sources):
            buffers[:] = np.float32(0.0)
            for axis in range(3):
                axis_images(
                    sizes[room, axis],
                    sources[room, source, axis],
                    max_order,
                    walls[room, 2 * axis],
                    walls[room, 2 * axis + 1],
                    places[axis],
                    gains[axis],
                )
            for nx in range(-max_order, max_order + 1):
                rest_x = max_order - abs(nx)
                for ny in range(-rest_x, rest_x + 1):
                    rest = rest_x - abs(ny) if dimensions == 3 else 0
                    gain_xy = gains[0, nx + max_order] * gains[1, ny + max_order] / (4.0 * math.pi)
                    if gain_xy == 0.0:
                        continue
                    for m in range(n_mics):
                        dx = places[0, nx + max_order] - mics[room, m, 0]
                        dy = places[1, ny + max_order] - mics[room, m, 1]
                        flat = dx * dx + dy * dy
                        out_row = buffers[m]
                        # Two passes: the first vectorises over nz, the second only draws taps.
                        count = 2 * rest + 1
                        column = places[2, max_order - rest : max_order + rest + 1]
                        column_gains = gains[2, max_order - rest : max_order + rest + 1]
                        height = mics[room, m, 2]
                        for k in range(count):
                            dz = column[k] - height
                            # A microphone on the source itself would give infinite pressure: 1 mm is the least.
                            distance = max(math.sqrt(flat + dz * dz), 1e-3)
                            delays[k] = distance * per_metre
                            amplitudes[k] = gain_xy * column_gains[k] / distance
                        for k in range(count):
                            whole = int(delays[k])
                            if whole - HALF_TAPS >= length:
                                continue
                            position = (delays[k] - whole) * PHASES
                            phase = int(position)
                            weight = np.float32(position - phase)
                            start_tap = whole - HALF_TAPS + _GUARD
                            add_taps(out_row, start_tap, table, phase, weight, np.float32(amplitudes[k]))
            for m in range(n_mics):
                out[room, source, m] = buffers[m, _GUARD : _GUARD + length]
