"""What a picture of a dogfight shows: one moment of a replay, also between two frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from auralnav.envs.dogfight.replay import Arena, Replay
from auralnav.envs.dogfight.replay_check import HIT

FLASH_SECONDS = 0.5
"""How long a hit is shown."""


@dataclass(frozen=True, eq=False)
class Scene:
    """One moment: N ships, B bullets in flight, H hits of the last half second.

    Attributes:
        arena: constants of the world.
        tick: the moment, in ticks; may be fractional.
        last_tick: the end of the recording, in ticks.
        team: int8 [N]; names: N names of pilots.
        position: float64 [N, 2] in [0, size); velocity: float64 [N, 2], units/s; attitude: float64 [N], radians.
        health, power: float64 [N].
        action: uint8 [N, 3], held now: power, turn, shoot.
        dead_for: float64 [N], seconds since death, −1 for the living.
        shots, hits: int [N], fired and landed on the other team so far.
        bullet_position: float64 [B, 2]; bullet_velocity: float64 [B, 2]; bullet_age: float64 [B], seconds;
            bullet_owner: int [B].
        hit_position: float64 [H, 2]; hit_age: float64 [H], seconds; hit_owner: int [H].
        result: words of the outcome once the game is over, else "".
    """

    arena: Arena
    tick: float
    last_tick: int
    team: np.ndarray
    names: tuple[str, ...]
    position: np.ndarray
    velocity: np.ndarray
    attitude: np.ndarray
    health: np.ndarray
    power: np.ndarray
    action: np.ndarray
    dead_for: np.ndarray
    shots: np.ndarray
    hits: np.ndarray
    bullet_position: np.ndarray
    bullet_velocity: np.ndarray
    bullet_age: np.ndarray
    bullet_owner: np.ndarray
    hit_position: np.ndarray
    hit_age: np.ndarray
    hit_owner: np.ndarray
    result: str


def wrap(difference: np.ndarray, size: float) -> np.ndarray:
    """The shortest way on a circle of length `size`: each difference brought into [−size/2, size/2)."""
    return (difference + size / 2) % size - size / 2


def scene_at(replay: Replay, tick: float) -> Scene:
    """The scene of a replay at a moment, in ticks; after the end ships and bullets stand still and blasts fade.

    Between two frames, positions follow the cubic that has the frames' positions and velocities (Hermite), the
    shorter way round the torus; velocity, attitude and power go straight; health is the earlier frame's, and the
    action the one that leads to the later frame. Ships that are dead in both frames go straight.
    """
    arena, bullets = replay.arena, replay.bullets
    now = float(np.clip(tick, replay.tick[0], replay.last_tick))
    before = int(np.searchsorted(replay.tick, now, side="right")) - 1
    after = min(before + 1, len(replay.tick) - 1)
    span = float(replay.tick[after] - replay.tick[before])
    share = (now - float(replay.tick[before])) / span if span else 0.0
    position = _positions(replay, before, after, share, span * arena.tick_seconds)
    velocity = _mix(replay.velocity, before, after, share)
    turn = wrap(replay.attitude[after].astype(float) - replay.attitude[before], 2 * np.pi)
    held = after if share > 0 else before

    age = (now - bullets.born) * arena.tick_seconds
    fired = bullets.born <= now
    landed = (bullets.fate == HIT) & (bullets.end <= now)
    flying = fired & (now <= bullets.end) & ~landed
    later = max(now, float(tick))
    since = (later - bullets.end) * arena.tick_seconds
    flash = landed & (since < FLASH_SECONDS)
    enemy = landed & (replay.team[bullets.owner] != replay.team[bullets.victim])
    dead = (replay.death_tick >= 0) & (replay.death_tick <= now)
    over = replay.finished and now >= replay.last_tick
    return Scene(
        arena=arena,
        tick=now,
        last_tick=replay.last_tick,
        team=replay.team,
        names=replay.names,
        position=position,
        velocity=velocity,
        attitude=replay.attitude[before] + share * turn,
        health=np.where(dead, 0.0, replay.health[before]).astype(float),
        power=_mix(replay.power, before, after, share),
        action=replay.action[held],
        dead_for=np.where(dead, (later - replay.death_tick) * arena.tick_seconds, -1.0),
        shots=np.bincount(bullets.owner[fired], minlength=replay.ships),
        hits=np.bincount(bullets.owner[enemy], minlength=replay.ships),
        bullet_position=_flown(replay, age)[flying],
        bullet_velocity=bullets.velocity[flying].astype(float),
        bullet_age=age[flying],
        bullet_owner=bullets.owner[flying].astype(int),
        hit_position=_flown(replay, (bullets.end - bullets.born) * arena.tick_seconds)[flash],
        hit_age=since[flash],
        hit_owner=bullets.owner[flash].astype(int),
        result=replay.result if over else "",
    )


def _mix(values: np.ndarray, before: int, after: int, share: float) -> np.ndarray:
    return (1 - share) * values[before].astype(float) + share * values[after]


def _positions(replay: Replay, before: int, after: int, share: float, seconds: float) -> np.ndarray:
    """Positions [N, 2] at `share` of the way between two frames that are `seconds` apart."""
    size = replay.arena.size
    start = replay.position[before].astype(float)
    way = wrap(replay.position[after] - start, size)
    hermite = (
        share * (1 - share) ** 2 * seconds * replay.velocity[before]
        + share**2 * (3 - 2 * share) * way
        - share**2 * (1 - share) * seconds * replay.velocity[after]
    )
    wrecks = (replay.health[before] <= 0) & (replay.health[after] <= 0)
    return (start + np.where(wrecks[:, None], share * way, hermite)) % size


def _flown(replay: Replay, age: np.ndarray) -> np.ndarray:
    """Where each bullet is at an age in seconds: [K, 2]."""
    bullets = replay.bullets
    return (bullets.position + age[:, None] * bullets.velocity.astype(float)) % replay.arena.size
