"""The errors this package raises on purpose: one line each, naming the cause and the fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AuralNavError(Exception):
    """Base of every deliberate error of the package."""


class ConfigError(AuralNavError, ValueError):
    """A configuration key or value is wrong."""


class SoundError(AuralNavError, ValueError):
    """A sound, a sound file or a sound folder cannot be used."""


class RoomError(AuralNavError, ValueError):
    """A room cannot be built or cannot hold what was asked for."""


class ActionError(AuralNavError, ValueError):
    """An action lies outside the action space."""


class ShapeError(AuralNavError, ValueError):
    """A tensor has a shape or dtype that a network cannot take."""


class CheckpointError(AuralNavError):
    """A checkpoint is damaged, incomplete or belongs to something else."""


class ReplayError(AuralNavError, ValueError):
    """A recorded game is damaged, of another version, or not what it claims to be."""


class MissingDependencyError(AuralNavError, ImportError):
    """An optional library is needed and not installed."""


def last_line(error: BaseException) -> str:
    """The last line of what an error says; where torch lists what does not fit, the last of its list."""
    return str(error).strip().splitlines()[-1].strip()


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """"; did you mean X?" with the known name nearest to a mistyped one, "" where none is near."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""
