"""The side panel of the top view: step counter, what has been found, level meters and the two waveforms."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from auralnav.envs.audio import palette
from auralnav.envs.fonts import font

SILENCE_DB = -60.0


def level_db(audio: np.ndarray) -> np.ndarray:
    """RMS level of each channel [2] in dBFS of `audio` [2, N], floored at −120 dB."""
    power = np.mean(np.square(np.asarray(audio, dtype=np.float64)), axis=-1)
    return 10.0 * np.log10(np.maximum(power, 1e-12))


def _bar(
    draw: ImageDraw.ImageDraw, box: tuple[float, float, float, float], share: float, colour: Any
) -> None:
    """A rounded bar filled to `share` in 0..1."""
    x0, y0, x1, y1 = box
    radius = (y1 - y0) / 2
    draw.rounded_rectangle(box, radius, fill=palette.FAINT)
    if share > 0.01:
        draw.rounded_rectangle(
            (x0, y0, max(x0 + 2 * radius, x0 + share * (x1 - x0)), y1), radius, fill=colour
        )


def _wave(
    draw: ImageDraw.ImageDraw,
    box: tuple[float, float, float, float],
    signal: np.ndarray,
    scale: float,
    colour: Any,
) -> None:
    """One channel as a filled min–max envelope inside `box`."""
    x0, y0, x1, y1 = box
    middle, half = (y0 + y1) / 2, (y1 - y0) / 2 - 4
    columns = max(2, int(x1 - x0) // 2)
    draw.rounded_rectangle(box, 8, fill=palette.WHITE, outline=palette.FAINT, width=2)
    draw.line((x0 + 4, middle, x1 - 4, middle), fill=palette.FAINT, width=2)
    if signal.size < 2:
        return
    edges = np.linspace(0, signal.size, columns + 1).astype(int)[:-1]
    high = np.maximum.reduceat(signal, edges) / scale
    low = np.minimum.reduceat(signal, edges) / scale
    x = np.linspace(x0 + 6, x1 - 6, columns)
    top = np.stack([x, middle - half * np.clip(high, -1, 1) - 1], 1)
    bottom = np.stack([x, middle - half * np.clip(low, -1, 1) + 1], 1)
    draw.polygon(np.concatenate([top, bottom[::-1]]).ravel().tolist(), fill=colour)


def status_line(scene: dict[str, Any]) -> tuple[str, palette.Colour]:
    """What the step came to, as (text, colour)."""
    found = np.asarray(scene["found"], dtype=bool)
    if found.size and found.all():
        return f"all found in {scene['step']} steps", palette.GOOD
    if scene["step"] >= scene["horizon"]:
        return "time is up", palette.WARN
    if scene.get("bumped"):
        return "bumped into something", palette.WARN
    return "listening", palette.SOFT_INK


def _write(picture: Image.Image, s: float) -> tuple[ImageDraw.ImageDraw, Any]:
    """A drawing face on `picture` and a text function in pixels whose sizes are in design units."""
    draw = ImageDraw.Draw(picture, "RGBA")

    def text(x: float, y: float, words: str, size: float, colour: Any, anchor: str = "la") -> None:
        draw.text((x, y), words, fill=colour, font=font(max(6, round(size * s))), anchor=anchor)

    return draw, text


def draw_panel_background(picture: Image.Image, left: int, s: float) -> None:
    """Draw what never changes in the panel: its face, title and headings."""
    draw, text = _write(picture, s)
    x0, x1 = left + 24 * s, picture.width - 24 * s
    draw.rectangle((left, 0, picture.width, picture.height), fill=palette.PANEL)
    draw.line((left, 0, left, picture.height), fill=(214, 219, 227), width=round(s))
    text(x0, 22 * s, "AuralNav", 24, palette.INK)
    text(x0, 276 * s, "level at the ears", 13, palette.SOFT_INK)
    text(x1, 276 * s, "dBFS", 12, palette.SOFT_INK, "ra")
    for row, (side, colour) in enumerate((("L", palette.LEFT), ("R", palette.RIGHT))):
        text(x0, (311.0 + 30.0 * row) * s, side, 15, colour, "lm")
    text(x0, 404 * s, "what the ears hear", 13, palette.SOFT_INK)


def draw_panel(picture: Image.Image, scene: dict[str, Any], left: int, s: float) -> None:
    """Draw the panel's live part from x = `left` to the right edge.

    `s` is pixels per design unit; the panel is designed as 320 × 640 units.
    """
    draw, text = _write(picture, s)
    x0, x1 = left + 24 * s, picture.width - 24 * s
    found = np.asarray(scene["found"], dtype=bool)
    classes = [palette.pretty(name) for name in scene["classes"]][: found.size]
    text(x1, 30 * s, f"step {scene['step']} / {scene['horizon']}", 14, palette.SOFT_INK, "ra")
    _bar(draw, (x0, 60 * s, x1, 66 * s), min(1.0, scene["step"] / max(1, scene["horizon"])), palette.SOFT_INK)
    words, colour = status_line(scene)
    text(x0, 80 * s, words, 16, colour)

    text(x0, 122 * s, f"sources: {int(found.sum())} of {found.size} found", 13, palette.SOFT_INK)
    y = 146.0
    for name, done in zip(classes, found, strict=False):
        tint = palette.FOUND_GREY if done else palette.class_colour(name)
        cx, cy, r = x0 + 7 * s, (y + 9) * s, 6 * s
        draw.ellipse((cx - r, cy - r, cx + r, cy + r), fill=tint)
        if done:
            tick = [(cx - 3.2 * s, cy + 0.2 * s), (cx - 0.8 * s, cy + 2.8 * s), (cx + 3.4 * s, cy - 2.6 * s)]
            draw.line(tick, fill=palette.WHITE, width=max(1, round(2 * s)), joint="curve")
        text(x0 + 24 * s, (y + 9) * s, name, 15, palette.FOUND_GREY if done else palette.INK, "lm")
        y += 26.0

    audio = np.atleast_2d(np.asarray(scene["audio"], dtype=np.float32))
    levels = level_db(audio)
    for row, colour in enumerate((palette.LEFT, palette.RIGHT)):
        y = 304.0 + 30.0 * row
        share = float(np.clip(1.0 - levels[row] / SILENCE_DB, 0.0, 1.0))
        _bar(draw, (x0 + 24 * s, y * s, x1 - 48 * s, (y + 14) * s), share, colour)
        shown = f"{levels[row]:.0f}" if levels[row] > SILENCE_DB else "silent"
        text(x1, (y + 7) * s, shown, 13, palette.INK, "rm")
    difference = float(levels[0] - levels[1])
    if levels.max() > SILENCE_DB:
        side = "left" if difference > 0 else "right"
        words = (
            "both ears alike" if abs(difference) < 0.5 else f"{side} ear louder by {abs(difference):.1f} dB"
        )
        text(x0 + 24 * s, 362 * s, words, 13, palette.SOFT_INK)

    text(x1, 404 * s, f"{1000 * audio.shape[1] / scene['fs']:.0f} ms", 12, palette.SOFT_INK, "ra")
    # One scale for both channels, so that the louder ear looks louder; quiet steps are magnified to a limit.
    scale = max(float(np.abs(audio).max(initial=0.0)) * 1.05, 0.02)
    for row, (side, colour) in enumerate((("left", palette.LEFT), ("right", palette.RIGHT))):
        top = (428.0 + 96.0 * row) * s
        _wave(draw, (x0, top, x1, top + 84 * s), audio[row], scale, colour)
        draw.rounded_rectangle(
            (x0 + 5 * s, top + 4 * s, x0 + 47 * s, top + 22 * s), 9 * s, fill=(*palette.WHITE, 215)
        )
        text(x0 + 26 * s, top + 13 * s, side, 12, colour, "mm")
