"""The settings that a run recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from genrm_rl.errors import RunDirectoryError


def settings_of(path: Path) -> dict[str, Any]:
    """Its resolved settings. Raises RunDirectoryError."""
    file = path / "config.yaml"
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, yaml.YAMLError) as problem:
        raise RunDirectoryError(
            f"{file} can't be read ({type(problem).__name__}); give the directory of a run"
        ) from problem
    if not isinstance(found, dict):
        raise RunDirectoryError(f"{file} holds no settings; give the directory of a run")
    return found
