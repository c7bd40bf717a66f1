"""Checkpoints inside a reinforcement-learning run: its learners' weights and optimizers, what its loop remembers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from genrm_rl.config.model import LearnerConfig
from genrm_rl.learners.group import LearnerGroup
from genrm_rl.learners.layout import check_layout, state_layout
from genrm_rl.runtime.run_directory import RunDirectory
from genrm_rl.runtime.storage import is_complete, read_manifest, remove_tree

KEPT = 2


class Checkpoints:
    """Checkpoints of one loop, in ``folder`` of its run: its ``groups``, and what it remembers. The last two are kept.

    :meth:`save` waits until the shards are on the disks of the workers' nodes. On an object store the workers upload
    them while the loop goes on, and the checkpoint is complete when a later :meth:`look` or :meth:`settle` finds that
    all have arrived; whatever ends the run before that leaves the checkpoint before it as the last.
    """

    def __init__(
        self, run: RunDirectory, folder: str, groups: Mapping[str, LearnerGroup], config: LearnerConfig
    ) -> None:
        self._run, self._folder, self._groups, self._config = run, folder, groups, config
        self._open: ExitStack | None = None

    def save(self, step: int, memory: Mapping[str, Any]) -> None:
        """Everything that the run needs to go on after ``step`` steps; the data position and all seeds follow from the
        step. Waits for the checkpoint before."""
        self.settle()
        name = f"{self._folder}/{step:05d}"
        if self._run.done(name):
            return
        began = time.perf_counter()
        with ExitStack() as stage:
            directory, manifest = stage.enter_context(self._run.open_stage(name))
            for tag, group in self._groups.items():
                group.save_state(directory, tag)
            manifest |= {"step": step, "layout": state_layout(self._config), **memory}
            manifest["seconds"] = round(time.perf_counter() - began, 3)
            self._open = stage.pop_all()
        self.look()

    def look(self) -> None:
        """Complete the checkpoint that is on its way if it has arrived. Raises RunDirectoryError if it can't."""
        self._complete(wait=False)

    def settle(self) -> None:
        """Wait until no checkpoint is on its way. Raises RunDirectoryError if it can't arrive."""
        self._complete(wait=True)

    def latest(self) -> Path | None:
        """The newest complete checkpoint."""
        found = self._finished()
        return found[-1] if found else None

    def load(self, path: Path) -> dict[str, Any]:
        """Restore the learners; returns what the loop remembered, with ``step``. Raises ConfigError if the workers of
        now can't take the state up."""
        manifest = read_manifest(path)
        check_layout(path, manifest, self._config)
        for tag, group in self._groups.items():
            group.load_state(path, tag)
        return manifest

    def _complete(self, *, wait: bool) -> None:
        if self._open is None:
            return
        with self._open as stage:
            self._open = None
            if not all([group.uploaded(wait=wait) for group in self._groups.values()]):
                self._open = stage.pop_all()
                return
        for old in self._finished()[:-KEPT]:
            remove_tree(old)

    def _finished(self) -> list[Path]:
        return [path for path in step_folders(self._run.path / self._folder) if is_complete(path)]


def step_folders(folder: Path) -> list[Path]:
    """Folders that are named by a number of steps, in order."""
    return sorted(folder.glob("[0-9]*"))
