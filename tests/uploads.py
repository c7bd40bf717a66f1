"""Checkpoints that are on their way to an object store: a gate before the store, and what a killed driver leaves."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from genrm_rl.config import RunConfig
from genrm_rl.config.bootstrap import RunSettings
from genrm_rl.config.model import LearnerConfig
from genrm_rl.learners.run_state import Checkpoints
from genrm_rl.runtime import lease, object_store
from genrm_rl.runtime.run_directory import RunDirectory
from tests.s3 import S3Server


class Gate:
    """Between the workers and the store: shards wait here while it is shut, all but the first ``free``; at a ``cut``
    gate they end like the threads of a killed process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened, self.free, self.cut = threading.Event(), threading.Semaphore(0), False
        self.opened.set()
        self._put = object_store._put
        monkeypatch.setattr(object_store, "_put", self.put)

    def shut(self, free: int = 0) -> None:
        self.free = threading.Semaphore(free)
        self.opened.clear()

    def put(self, file: Path, place: object_store.Stored) -> None:
        if file.suffix == ".pt" and not self.free.acquire(blocking=False):
            self.opened.wait()
            if self.cut:
                raise KeyError("killed")
        self._put(file, place)


@contextmanager
def loop(root: str, worker: object, config: LearnerConfig) -> Iterator[tuple[RunDirectory, Checkpoints]]:
    """A run and its checkpoints, as one life of a driver sees them."""
    with RunDirectory(RunConfig(run=RunSettings(id="r", root=root))) as run:
        yield run, Checkpoints(run, "checkpoints", {"policy": worker}, config)  # type: ignore[dict-item]


def whole(server: S3Server, root: str) -> list[int]:
    """Steps of the checkpoints with a marker in the store."""
    keys = server.objects(f"{root.rpartition('/')[2]}/r/checkpoints/")
    return [int(key.split("/")[-2]) for key in keys if key.endswith(object_store.MARKER)]


def kill(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after kill -9: nothing is released, renewed or finished."""
    assert run._lease is not None
    run._lease._stop.set()
    run._lease._thread.join()
    lease._held.clear()
    run._lock.close()
    monkeypatch.setattr(run, "close", lambda: None)


def another_machine(monkeypatch: pytest.MonkeyPatch, scratch: Path) -> None:
    """From now on: no working copies, another name."""
    monkeypatch.setenv("GENRM_RL_SCRATCH", str(scratch))
    monkeypatch.setattr(lease, "owner", lambda: "there/1:1")
    monkeypatch.setattr(lease, "EXPIRES_SECONDS", 0.2)
