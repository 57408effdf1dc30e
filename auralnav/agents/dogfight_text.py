"""A dogfight in a terminal: the arena as coloured text about one ship, and how everybody fares."""

from __future__ import annotations

import numpy as np
from rich.text import Text

from auralnav.envs.dogfight import palette
from auralnav.envs.dogfight.render_panel import action_words
from auralnav.envs.dogfight.scene import Scene, wrap

ARROWS = "→↘↓↙←↖↑↗"
"""By eighths of a turn, clockwise as seen: y is down."""
CELLS = 8
"""Squares of the grid on a side of the arena."""


def _style(colour: palette.Colour, more: str = "") -> str:
    return f"{more} rgb({colour[0]},{colour[1]},{colour[2]})".strip()


def text_arena(scene: Scene, ship: int, width: int = 72) -> Text:
    """The whole torus with a ship in its middle: ships as arrows, bullets and grid as dots, wrecks as crosses.

    Args:
        scene: the moment.
        ship: whose view it is; it is drawn in white.
        width: of the map in characters; a line is taken to be twice as high as a character is wide.
    """
    height = width // 2
    cells: list[list[tuple[str, str]]] = [[(" ", "")] * width for _ in range(height)]
    size, centre = scene.arena.size, scene.position[ship]

    def place(point: np.ndarray, mark: str, style: str) -> None:
        x, y = wrap(point - centre, size) / size + 0.5
        cells[min(int(y * height), height - 1)][min(int(x * width), width - 1)] = (mark, style)

    for x in range(CELLS):
        for y in range(CELLS):
            place(np.array([x, y]) * size / CELLS, "·", _style(palette.STAR))
    for point, owner in zip(scene.bullet_position, scene.bullet_owner, strict=True):
        place(point, "•", _style(palette.LIGHT[scene.team[owner]]))
    for point in scene.hit_position:
        place(point, "*", _style(palette.FLAME, "bold"))
    for index in np.argsort(scene.dead_for < 0, kind="stable"):  # the living over the dead
        dead, turn = scene.dead_for[index] >= 0, round(float(scene.attitude[index]) / (np.pi / 4)) % 8
        colour = palette.WRECK if dead else palette.INK if index == ship else palette.TEAMS[scene.team[index]]
        place(scene.position[index], "✕" if dead else ARROWS[turn], _style(colour, "bold"))
    return Text("\n").join(Text.assemble(*row) for row in cells)


def text_status(scene: Scene, ship: int, width: int = 16) -> Text:
    """A line for each ship: number, name, health and power as bars; own deeds, or where the other one is."""
    seconds = scene.tick * scene.arena.tick_seconds
    lines = [Text(f"{seconds:5.1f} s   {action_words(scene.action[ship])}   {scene.result}".rstrip())]
    for index, name in enumerate(scene.names):
        dead = scene.dead_for[index] >= 0
        health, power = scene.health[index] / scene.arena.max_health, scene.power[index] / scene.arena.max_power
        colour = palette.WRECK if dead else palette.TEAMS[scene.team[index]]
        label = Text(f"{index + 1} {name[:12]:12} ", _style(colour))
        if dead:
            lines.append(label.append("shot down"))
            continue
        way = wrap(scene.position[index] - scene.position[ship], scene.arena.size)
        there = ARROWS[round(float(np.arctan2(way[1], way[0])) / (np.pi / 4)) % 8]
        speed = np.hypot(*scene.velocity[index])
        deeds = f"{speed:4.0f} u/s   {scene.hits[index]} hits of {scene.shots[index]}"
        words = deeds if index == ship else f"{there} {np.hypot(*way):4.0f} away"
        lines.append(
            Text.assemble(
                label,
                _bar(health, width, palette.health_colour(health)),
                f" {scene.health[index]:4.0f}  ",
                _bar(power, width // 2, palette.POWER),
                f" {scene.power[index]:4.0f}  {words}",
            )
        )
    return Text("\n").join(lines)


def _bar(share: float, width: int, colour: palette.Colour) -> Text:
    filled = round(share * width)
    return Text("█" * filled + "░" * (width - filled), _style(colour))
