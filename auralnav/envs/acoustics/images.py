"""Image sources as lists, and the kernel that draws them into the two ears of a head."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from auralnav.envs.acoustics.fractional import HALF_TAPS, PHASES, SPEED_OF_SOUND, add_taps
from auralnav.envs.acoustics.head import (
    EAR_DISTANCE,
    HEAD_RADIUS,
    MODE_MEASURED,
    MODE_OPEN,
    SHADOW_BINS,
    HeadModel,
)
from auralnav.envs.acoustics.ism import axis_images, image_count

FRONT_GUARD = 64
"""Samples before time 0 in a response buffer: half a sinc and the near ear's lead."""


def back_guard(head: HeadModel) -> int:
    """Samples after the end of a response that an image may still write to."""
    return head.table.shape[2] + 64


def shoebox_images(
    room_size: np.ndarray, sources: np.ndarray, reflection: np.ndarray, max_order: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All image sources of a shoebox up to `max_order`.

    Args:
        room_size: [3] m.
        sources: [S, 3] m.
        reflection: [6] amplitude coefficients x0 x1 y0 y1 z0 z1.
        max_order: highest number of reflections.

    Returns:
        positions float64 [I, 3] m, gains float64 [I] (products of reflections, without 1/(4πd)), source index
        int32 [I]; I = S · image_count(max_order), or S when every reflection is 0.
    """
    walls = np.asarray(reflection, dtype=np.float64)
    order = max_order if walls.any() else 0
    count = image_count(order) * len(sources)
    positions = np.empty((count, 3))
    gains = np.empty(count)
    owners = np.empty(count, dtype=np.int32)
    _list_images(
        np.asarray(room_size, dtype=np.float64),
        np.asarray(sources, dtype=np.float64),
        walls,
        order,
        positions,
        gains,
        owners,
    )
    return positions, gains, owners


@njit(cache=True, nogil=True)
def _list_images(size, sources, walls, order, positions, gains, owners):
    width = 2 * order + 1
    places = np.empty((3, width))
    factors = np.empty((3, width))
    k = 0
    for s in range(sources.shape[0]):
        for axis in range(3):
            low, high = walls[2 * axis], walls[2 * axis + 1]
            axis_images(size[axis], sources[s, axis], order, low, high, places[axis], factors[axis])
        for nx in range(-order, order + 1):
            for ny in range(-(order - abs(nx)), order - abs(nx) + 1):
                rest = order - abs(nx) - abs(ny)
                for nz in range(-rest, rest + 1):
                    positions[k, 0] = places[0, nx + order]
                    positions[k, 1] = places[1, ny + order]
                    positions[k, 2] = places[2, nz + order]
                    gains[k] = factors[0, nx + order] * factors[1, ny + order] * factors[2, nz + order]
                    owners[k] = s
                    k += 1


def ear_responses(
    images: tuple[np.ndarray, np.ndarray, np.ndarray],
    pose: tuple[float, float, float, float],
    head: HeadModel,
    out: np.ndarray,
    limit: int,
    c: float = SPEED_OF_SOUND,
) -> None:
    """Add the responses of all images arriving before sample `limit` to `out`.

    Args:
        images: positions [I, 3], gains [I], source index [I] (from :func:`shoebox_images` or a polygon room).
        pose: x, y, z of the head's centre in m and heading θ in radians (counter-clockwise from x).
        head: the head model.
        out: float32 [S, 2, FRONT_GUARD + n + back_guard(head)]; ears left, right; time 0 is at FRONT_GUARD.
        limit: images whose arrival at the head's centre is at or past this sample are left out, 0..n.
        c: speed of sound, m/s.
    """
    positions, gains, owners = (part[None] for part in images)
    counts = np.array([positions.shape[1]])
    firsts = np.empty((1, out.shape[0], 2), dtype=np.int64)
    rooms = np.zeros(1, dtype=np.int64)
    poses = np.array([pose], dtype=np.float64)
    draw_responses(positions, gains, owners, counts, poses, rooms, head, limit, out[None], firsts, c)


def draw_responses(
    positions: np.ndarray,
    gains: np.ndarray,
    owners: np.ndarray,
    counts: np.ndarray,
    poses: np.ndarray,
    rooms: np.ndarray,
    head: HeadModel,
    limit: int,
    out: np.ndarray,
    firsts: np.ndarray,
    c: float = SPEED_OF_SOUND,
) -> None:
    """The work of :func:`ear_responses` for the rooms listed, in one call that holds no GIL.

    Args:
        positions: float64 [R, I, 3], of which the first counts[r] are used.
        gains: float64 [R, I].
        owners: int32 [R, I] source index.
        counts: int64 [R].
        poses: float64 [R, 4].
        rooms: int64 [r] which rooms.
        head: the head model.
        limit: as in :func:`ear_responses`.
        out: float32 [R, S, 2, …], added to.
        firsts: int64 [R, S, 2], set to the index in `out` of the first tap of the source's last image (that is, of
            its only one where nothing is reflected).
        c: speed of sound, m/s.
    """
    _rooms_kernel(
        positions,
        gains,
        owners,
        counts,
        poses,
        rooms,
        head.mode,
        head.table,
        head.direction_bins,
        head.fs / c,
        limit,
        out,
        firsts,
    )


@njit(inline="always")
def _arc_cosine(x):
    """Arc cosine to 2e-8 rad (Abramowitz & Stegun 4.4.46), since libm's call would stop vectorising."""
    a = abs(x)
    p = -0.0012624911
    p = p * a + 0.0066700901
    p = p * a - 0.0170881256
    p = p * a + 0.0308918810
    p = p * a - 0.0501743046
    p = p * a + 0.0889789874
    p = p * a - 0.2145988016
    p = p * a + 1.5707963050
    angle = p * math.sqrt(max(1.0 - a, 0.0))
    return angle if x >= 0 else math.pi - angle


_CHUNK = 64


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _ears_kernel(
    positions,
    gains,
    owners,
    x,
    y,
    z,
    cos_h,
    sin_h,
    mode,
    table,
    direction_bins,
    per_metre,
    limit,
    out,
    firsts,
):
    half_ear = 0.5 * EAR_DISTANCE
    radius = HEAD_RADIUS * per_metre
    quarter = 0.5 * math.pi
    per_bin = SHADOW_BINS / math.pi
    near = 1e-2  # m; a head cannot be inside a source
    arrivals = np.empty(_CHUNK)
    delays = np.empty((2, _CHUNK))
    levels = np.empty((2, _CHUNK))
    bins = np.zeros((2, _CHUNK), dtype=np.int64)
    total = positions.shape[0]
    for first in range(0, total, _CHUNK):
        count = min(_CHUNK, total - first)
        # First pass: geometry, vectorised over the images of the chunk.
        for k in range(count):
            dx = positions[first + k, 0] - x
            dy = positions[first + k, 1] - y
            dz = positions[first + k, 2] - z
            distance = max(math.sqrt(dx * dx + dy * dy + dz * dz), near)
            arrivals[k] = distance * per_metre
            level = gains[first + k] / (4.0 * math.pi)
            # The left ear's axis points at heading + 90°.
            across = dy * cos_h - dx * sin_h
            if mode == MODE_OPEN:
                square = distance * distance + half_ear * half_ear
                left = max(math.sqrt(max(square - 2.0 * half_ear * across, 0.0)), near)
                right = max(math.sqrt(max(square + 2.0 * half_ear * across, 0.0)), near)
                delays[0, k] = left * per_metre
                delays[1, k] = right * per_metre
                levels[0, k] = level / left
                levels[1, k] = level / right
            else:
                cosine = min(max(across / distance, -1.0), 1.0)
                angle = _arc_cosine(cosine)
                lead = -radius * abs(cosine)
                lag = radius * abs(quarter - angle)
                delays[0, k] = arrivals[k] + (lead if cosine > 0 else lag)
                delays[1, k] = arrivals[k] + (lag if cosine > 0 else lead)
                levels[0, k] = level / distance
                levels[1, k] = level / distance
                left_bin = min(int(angle * per_bin), SHADOW_BINS - 1)
                bins[0, k] = left_bin
                bins[1, k] = SHADOW_BINS - 1 - left_bin
        if mode == MODE_MEASURED:
            azimuths, elevations = direction_bins.shape[0], direction_bins.shape[1]
            for k in range(count):
                dx = positions[first + k, 0] - x
                dy = positions[first + k, 1] - y
                dz = positions[first + k, 2] - z
                ahead = dx * cos_h + dy * sin_h
                across = dy * cos_h - dx * sin_h
                azimuth = math.atan2(across, ahead)
                elevation = math.atan2(dz, math.sqrt(dx * dx + dy * dy))
                i = int((azimuth / (2.0 * math.pi) + 1.0) * azimuths + 0.5) % azimuths
                j = min(int((elevation / math.pi + 0.5) * (elevations - 1) + 0.5), elevations - 1)
                for ear in range(2):
                    delays[ear, k] = arrivals[k]  # a measured filter holds its own interaural delay
                    bins[ear, k] = direction_bins[i, j, ear]
        # Second pass: draw the taps.
        for k in range(count):
            if arrivals[k] >= limit:
                continue
            owner = owners[first + k]
            for ear in range(2):
                whole = math.floor(delays[ear, k])
                position = (delays[ear, k] - whole) * PHASES
                phase = int(position)
                first_tap = int(whole) - HALF_TAPS + FRONT_GUARD
                firsts[owner, ear] = first_tap
                add_taps(
                    out[owner, ear],
                    first_tap,
                    table[bins[ear, k]],
                    phase,
                    np.float32(position - phase),
                    np.float32(levels[ear, k]),
                )


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _rooms_kernel(
    positions, gains, owners, counts, poses, rooms, mode, table, bins, per_metre, limit, out, firsts
):
    for room in rooms:
        n = counts[room]
        _ears_kernel(
            positions[room, :n],
            gains[room, :n],
            owners[room, :n],
            poses[room, 0],
            poses[room, 1],
            poses[room, 2],
            math.cos(poses[room, 3]),
            math.sin(poses[room, 3]),
            mode,
            table,
            bins,
            per_metre,
            limit,
            out[room],
            firsts[room],
        )
