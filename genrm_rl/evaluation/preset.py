"""Settings of jobs that are one command: what the job needs, the run that made the judge, and what was typed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from genrm_rl.config import RunConfig
from genrm_rl.config.loading import load_config
from genrm_rl.runtime.run_directory import config_hash

OF_THE_JUDGE = ("model", "judge", "rollout", "learner")  # sections that a checkpoint's run decides


def preset_config(
    preset: Mapping[str, Any], checkpoint: str, files: Sequence[Path] | None, words: Sequence[str]
) -> RunConfig:
    """``preset`` (dotted names) over ``files``, or over the settings of the run that made the checkpoint where there
    are none; ``words`` (``--section.key value``) last.

    The run's id is the preset one with a hash of all settings, so the same command goes on and another one never meets
    it; an id that was typed stays. Raises ConfigError.
    """
    known = dict(preset) if files else settings_of(checkpoint) | dict(preset)
    given = [word for key, value in known.items() for word in (f"--{key}", json.dumps(value))]
    config = load_config(RunConfig, files, [*given, *words])
    if config.run.id != preset["run.id"]:
        return config
    own = f"{config.run.id}-{config_hash(config)[:8]}"
    return config.model_copy(update={"run": config.run.model_copy(update={"id": own})})


def settings_of(checkpoint: str) -> dict[str, Any]:
    """How the run that made a checkpoint asked its judges; nothing for what no run made."""
    for folder in Path(checkpoint).expanduser().absolute().parents:
        file = folder / "config.yaml"
        if file.is_file():
            found = yaml.safe_load(file.read_text(encoding="utf-8"))
            if isinstance(found, dict) and "bootstrap" in found:
                return {key: found[key] for key in OF_THE_JUDGE if key in found}
    return {}
