"""Checkpoints of an alignment run: weights and optimizers of policy and critic, and what the loop remembers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from genrm_rl.alignment.hosts import Hosts
from genrm_rl.learners.layout import check_layout, state_layout
from genrm_rl.runtime.run_directory import RunDirectory
from genrm_rl.runtime.storage import is_complete, read_manifest, remove_tree

KEPT = 2


def save_checkpoint(hosts: Hosts, step: int, memory: dict[str, Any]) -> Path:
    """Everything that a run needs to go on after ``step`` steps; the data position and all seeds follow from the step.

    The last two are kept.
    """

    def compute(directory: Path) -> dict[str, Any]:
        hosts.policy.save_state(directory, "policy")
        if hosts.critic is not None:
            hosts.critic.save_state(directory, "critic")
        return {"step": step, "layout": state_layout(hosts.config.learner), **memory}

    path = hosts.run.stage(f"checkpoints/{step:05d}", compute)
    for old in _complete(hosts.run)[:-KEPT]:
        remove_tree(old)
    return path


def latest_checkpoint(run: RunDirectory) -> Path | None:
    """The newest complete checkpoint."""
    found = _complete(run)
    return found[-1] if found else None


def load_checkpoint(hosts: Hosts, path: Path) -> dict[str, Any]:
    """Restore learners; returns what the loop remembered, with ``step``. Raises ConfigError if the workers of now can't
    take the state up."""
    manifest = read_manifest(path)
    check_layout(path, manifest, hosts.config.learner)
    hosts.policy.load_state(path, "policy")
    if hosts.critic is not None:
        hosts.critic.load_state(path, "critic")
    return manifest


def step_folders(folder: Path) -> list[Path]:
    """Folders that are named by a number of steps, in order."""
    return sorted(folder.glob("[0-9]*"))


def _complete(run: RunDirectory) -> list[Path]:
    return [path for path in step_folders(run.path / "checkpoints") if is_complete(path)]
