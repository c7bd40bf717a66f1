"""Over how many workers a training state is spread. DeepSpeed's ZeRO can't divide a state anew, so a resumed fit or
alignment keeps these two settings until it is done; every other setting of memory and speed may change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from genrm_rl.config.model import LearnerConfig
from genrm_rl.errors import ConfigError
from placement.memory import effective_stage


def state_layout(config: LearnerConfig) -> dict[str, int]:
    """What a state records of the workers that write it."""
    return {"workers": config.workers, "zero_stage": effective_stage(config, config.workers)}


def check_layout(path: Path, manifest: dict[str, Any], config: LearnerConfig) -> None:
    """Raise ConfigError if the state at ``path`` was written by workers between which it can't be divided now."""
    written, now = manifest["layout"], state_layout(config)
    if written != now and (written["zero_stage"] or now["zero_stage"]):
        raise ConfigError(
            f"{path} was written by {written['workers']} workers at ZeRO stage {written['zero_stage']}, which "
            f"DeepSpeed can't divide among {now['workers']} at stage {now['zero_stage']}; set learner.workers and "
            f"learner.zero_stage back until this is done, or delete {path.parent} to begin it again"
        )
