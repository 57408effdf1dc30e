"""Weights & Biases, on request: online with a key, else offline with one line that says so."""

from __future__ import annotations

import json
import netrc
import os
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.logger import KVWriter, filter_excluded_keys

from auralnav.configs.load import Experiment
from auralnav.errors import AuralNavError, MissingDependencyError
from auralnav.files import write_json

_ID_FILE = "wandb.json"


def has_key() -> bool:
    """Whether Weights & Biases has a key to log in with (its variable, or its entry in ~/.netrc)."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators("api.wandb.ai") is not None
    except (OSError, netrc.NetrcParseError):
        return False


def import_wandb() -> Any:
    """The wandb module.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import wandb
    except ImportError as error:
        raise MissingDependencyError("--track needs wandb; install it: pip install 'auralnav[track]'") from error
    return wandb


class WandbLog(KVWriter):
    """SB3 log writer that sends scalars to Weights & Biases, under one id over all resumes of a run.

    Args:
        config: the experiment; its `tracking` section names project, entity and tags.
        folder: the run's folder.

    Raises:
        MissingDependencyError: wandb is not installed.
        AuralNavError: it cannot begin, for example without the network or with a wrong key.
    """

    def __init__(self, config: Experiment, folder: Path) -> None:
        wandb = import_wandb()
        self.mode = os.environ.get("WANDB_MODE") or ("online" if has_key() else "offline")
        path = folder / _ID_FILE
        known = json.loads(path.read_text(encoding="utf-8"))["id"] if path.is_file() else None
        try:
            self._run: Any = wandb.init(
                project=config.tracking.project,
                entity=config.tracking.entity,
                tags=config.tracking.tags,
                name=folder.name,
                dir=str(folder),
                config=config.model_dump(mode="json"),
                id=known,
                resume="allow",
                mode=self.mode,
                settings=wandb.Settings(silent=True),
            )
        except wandb.Error as error:
            reason = " ".join(str(error).split())
            raise AuralNavError(
                f"--track: Weights & Biases cannot begin ({reason}); set WANDB_MODE=offline or leave out --track"
            ) from error
        if known is None:
            write_json(path, {"id": self._run.id})

    def describe(self) -> str:
        """One line that says where the figures go."""
        if self.mode == "online":
            return f"Weights & Biases: {self._run.url}"
        if self.mode == "offline":
            folder = Path(self._run.dir).parent
            why = "WANDB_MODE says offline" if os.environ.get("WANDB_MODE") else "no key, so offline"
            return f"Weights & Biases: {why}; send it later with: wandb sync {folder}"
        return f"Weights & Biases: {self.mode} (WANDB_MODE)"

    def write(
        self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0
    ) -> None:
        """Send one step's scalars (SB3's interface)."""
        values = filter_excluded_keys(key_values, key_excluded, "wandb")
        scalars = {
            key: float(value) for key, value in values.items() if isinstance(value, (int, float, np.number))
        }
        self._run.log({**scalars, "global_step": step}, step=step)

    def close(self) -> None:
        """Finish the run; what is not sent yet is sent."""
        self._run.finish()
