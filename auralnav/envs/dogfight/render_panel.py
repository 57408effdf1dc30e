"""The panel beside the map: the clock, both teams' tallies, and a row for each ship."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from auralnav.envs.dogfight import palette
from auralnav.envs.dogfight.scene import Scene
from auralnav.envs.fonts import font

PANEL_SHARE = 0.4
"""The least width of a panel, in heights of the picture."""

POWER_NAMES = ("coast", "boost", "reverse")
TURN_NAMES = ("straight", "left", "right", "sharp left", "sharp right", "brake", "sharp brake")


def action_words(action: np.ndarray) -> str:
    """An action [3] in words, for example "boost, sharp left, fire"."""
    power, turn, shoot = (int(choice) for choice in action)
    words = [POWER_NAMES[power]]
    if turn:
        words.append(TURN_NAMES[turn])
    if shoot:
        words.append("fire")
    return ", ".join(words)


def draw_panel(picture: Image.Image, scene: Scene, left: int, s: float) -> None:
    """Draw the panel from x = `left` to the right edge; `s` is pixels per design unit, 720 of them high."""
    draw = ImageDraw.Draw(picture, "RGBA")
    x0, x1 = left + 26 * s, picture.width - 26 * s

    def text(x: float, y: float, words: str, size: float, colour: Any, anchor: str = "la") -> None:
        draw.text((x, y), words, fill=colour, font=font(max(6, round(size * s))), anchor=anchor)

    def bar(x: float, y: float, width: float, height: float, share: float, colour: Any) -> None:
        draw.rounded_rectangle((x, y, x + width, y + height), height / 2, fill=palette.TRACK)
        if share * width > 1:
            long = max(height, share * width)
            draw.rounded_rectangle((x, y, x + long, y + height), height / 2, fill=colour)

    draw.rectangle((left, 0, picture.width, picture.height), fill=palette.PANEL)
    draw.line((left, 0, left, picture.height), fill=palette.LINE, width=round(s))
    text(x0, 24 * s, "Dogfight", 25, palette.INK)
    text(x1, 26 * s, f"{scene.tick * scene.arena.tick_seconds:.1f} s", 18, palette.INK, "ra")
    text(x1, 49 * s, f"tick {int(scene.tick)} of {scene.last_tick}", 12.5, palette.SOFT_INK, "ra")
    bar(x0, 74 * s, x1 - x0, 4 * s, scene.tick / max(1, scene.last_tick), palette.SOFT_INK)

    row = min(62.0, (720 - 100 - 2 * 78) / max(1, len(scene.names)))
    y = 100.0
    for team in (0, 1):
        ships = np.flatnonzero(scene.team == team)
        if ships.size == 0:
            continue
        colour = palette.TEAMS[team]
        alive = int((scene.dead_for[ships] < 0).sum())
        hits, shots = int(scene.hits[ships].sum()), int(scene.shots[ships].sum())
        names = " + ".join(dict.fromkeys(scene.names[ship] for ship in ships))
        draw.rounded_rectangle((x0, y * s, x0 + 5 * s, (y + 40) * s), 2.5 * s, fill=colour)
        tally = f"{alive} of {ships.size} alive"
        room = x1 - x0 - 28 * s - draw.textlength(tally, font=font(round(15 * s)))
        text(x0 + 15 * s, y * s, _shortened(draw, names, 17 * s, room), 17, colour)
        text(x1, (y + 1) * s, tally, 15, palette.INK, "ra")
        text(x0 + 15 * s, (y + 23) * s, f"{hits} hits of {shots} shots", 13, palette.SOFT_INK)
        y += 54
        for ship in ships:
            _draw_row(text, bar, scene, int(ship), (x0, x1), y, s)
            y += row
        y += 24


def _draw_row(text: Any, bar: Any, scene: Scene, ship: int, span: tuple[float, float], y: float, s: float) -> None:
    """A ship: its number, health and power as bars and numbers, and what it does."""
    x0, x1 = span
    dead = scene.dead_for[ship] >= 0
    number = palette.WRECK if dead else palette.TEAMS[scene.team[ship]]
    text(x0 + 15 * s, (y + 8) * s, str(ship + 1), 15, number, "lm")
    x, width = x0 + 42 * s, x1 - x0 - 84 * s
    if dead:
        text(x, (y + 8) * s, f"shot down {scene.dead_for[ship]:.1f} s ago", 13, palette.WRECK, "lm")
        return
    health, power = scene.health[ship], scene.power[ship]
    share = health / scene.arena.max_health
    bar(x, (y + 4) * s, width, 8 * s, share, palette.health_colour(share))
    text(x1, (y + 8) * s, f"{health:.0f}", 13, palette.INK, "rm")
    bar(x, (y + 17) * s, width, 5 * s, power / scene.arena.max_power, palette.POWER)
    text(x1, (y + 20) * s, f"{power:.0f}", 11.5, palette.SOFT_INK, "rm")
    speed = float(np.hypot(*scene.velocity[ship]))
    text(x, (y + 33) * s, f"{speed:.0f} u/s, {action_words(scene.action[ship])}", 11.5, palette.SOFT_INK, "lm")


def _shortened(draw: ImageDraw.ImageDraw, words: str, size: float, room: float) -> str:
    """The words, cut with an ellipsis where they are longer than `room` pixels."""
    typeface = font(round(size))
    if draw.textlength(words, font=typeface) <= room:
        return words
    while words and draw.textlength(words + "…", font=typeface) > room:
        words = words[:-1]
    return words.rstrip() + "…"
