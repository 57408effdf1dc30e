"""A replay as one HTML page that plays it: no other file, no request, readable from a disk.

The page's policy allows its own script and style by their SHA-256 and nothing else. The replay stands in a block of
JSON that is never run, with `<`, `>` and `&` escaped, and its words reach the page as text only: a pilot's name cannot
become markup.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from auralnav.envs.dogfight import palette
from auralnav.envs.dogfight.render import star_places
from auralnav.envs.dogfight.replay import Replay
from auralnav.envs.dogfight.replay_steps import step_of, whole_arrays
from auralnav.files import write_text

SCRIPTS = ("scene.js", "draw.js", "player.js")


def write_page(path: str | os.PathLike[str], replay: Replay) -> Path:
    """Write the page of a replay atomically.

    Raises:
        ReplayError: the replay does not fit the format of replay files, which the page shares.
        OSError: the file cannot be written.
    """
    target = Path(path)
    write_text(target, page(replay))
    return target


def page(replay: Replay) -> str:
    """The page as text."""
    folder = files("auralnav.envs.dogfight") / "player"
    style = (folder / "page.css").read_text(encoding="utf-8")
    script = "".join((folder / name).read_text(encoding="utf-8") for name in SCRIPTS)
    data = json.dumps(_data(replay), allow_nan=False, separators=(",", ":"))
    for letter in "<>&":
        data = data.replace(letter, f"\\u{ord(letter):04x}")
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    parts = {
        "policy": policy,
        "title": html.escape(f"Dogfight: {replay.team_name(0)} against {replay.team_name(1)}"),
        "style": style,
        "data": data,
        "script": script,
    }
    # One pass: what a part holds is never taken for a place of another.
    pieces = (folder / "page.html").read_text(encoding="utf-8").split("{")
    text = pieces[0]
    for piece in pieces[1:]:
        name, _, rest = piece.partition("}")
        text += parts[name] + rest
    return text


def _digest(text: str) -> str:
    """A source of the page's policy that allows exactly this text."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _data(replay: Replay) -> dict[str, Any]:
    """What the page's script needs, as JSON values."""
    killers = [int(replay.bullets.owner[k]) if k >= 0 else -1 for k in replay.killing_bullet]
    frames, bullets = whole_arrays(replay)
    return {
        "names": replay.names,
        "sides": [replay.team_name(0), replay.team_name(1)],
        "arena": asdict(replay.arena),
        "result": replay.result,
        "finished": replay.finished,
        "seed": replay.seed,
        "settings": dict(replay.settings),
        "versions": dict(replay.versions),
        "death": replay.death_tick.tolist(),
        "killer": killers,
        "frames": {name: _packed(name, array, replay) for name, array in frames.items()},
        "bullets": {name: _packed(name, array, replay) for name, array in bullets.items()},
        "stars": np.round(star_places(), 4).tolist(),
        "palette": {name.lower(): value for name, value in vars(palette).items() if name.isupper()},
    }


def _packed(name: str, array: np.ndarray, replay: Replay) -> dict[str, Any]:
    """A whole-number array in base64, with its type and the step of its numbers (None: they are what they are)."""
    small = array.astype(array.dtype.newbyteorder("<"))
    block = base64.b64encode(np.ascontiguousarray(small).tobytes()).decode()
    return {"type": array.dtype.str[1:], "step": step_of(name, replay.arena), "block": block}
