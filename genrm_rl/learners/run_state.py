"""Checkpoints inside a reinforcement-learning run: its learners' weights and optimizers, what its loop remembers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genrm_rl.config.model import LearnerConfig
from genrm_rl.learners.group import LearnerGroup
from genrm_rl.learners.layout import check_layout, state_layout
from genrm_rl.runtime.run_directory import RunDirectory
from genrm_rl.runtime.storage import is_complete, read_manifest, remove_tree

KEPT = 2


def save_checkpoint(
    run: RunDirectory,
    folder: str,
    step: int,
    groups: Mapping[str, LearnerGroup],
    config: LearnerConfig,
    memory: Mapping[str, Any],
) -> Path:
    """Everything that a run needs to go on after ``step`` steps; the data position and all seeds follow from the step.

    ``folder`` of the run holds the checkpoints, of which the last two are kept.
    """

    def compute(directory: Path) -> dict[str, Any]:
        for tag, group in groups.items():
            group.save_state(directory, tag)
        return {"step": step, "layout": state_layout(config), **memory}

    path = run.stage(f"{folder}/{step:05d}", compute)
    for old in _complete(run, folder)[:-KEPT]:
        remove_tree(old)
    return path


def latest_checkpoint(run: RunDirectory, folder: str) -> Path | None:
    """The newest complete checkpoint."""
    found = _complete(run, folder)
    return found[-1] if found else None


def load_checkpoint(path: Path, groups: Mapping[str, LearnerGroup], config: LearnerConfig) -> dict[str, Any]:
    """Restore learners; returns what the loop remembered, with ``step``. Raises ConfigError if the workers of now can't
    take the state up."""
    manifest = read_manifest(path)
    check_layout(path, manifest, config)
    for tag, group in groups.items():
        group.load_state(path, tag)
    return manifest


def step_folders(folder: Path) -> list[Path]:
    """Folders that are named by a number of steps, in order."""
    return sorted(folder.glob("[0-9]*"))


def _complete(run: RunDirectory, folder: str) -> list[Path]:
    return [path for path in step_folders(run.path / folder) if is_complete(path)]
