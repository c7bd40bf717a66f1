"""Checkpoints on an object store: their shards are uploaded while training goes on, and only a whole one counts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from genrm_rl.config import RunConfig
from genrm_rl.config.bootstrap import RunSettings
from genrm_rl.errors import RunDirectoryError
from genrm_rl.learners.learner import Learner
from genrm_rl.learners.objectives import build_objective
from genrm_rl.learners.run_state import Checkpoints
from genrm_rl.learners.state_upload import StateUpload
from genrm_rl.runtime import lease, object_store
from genrm_rl.runtime.run_directory import RunDirectory
from tests.learners.conftest import FLOAT32, Maker
from tests.s3 import BUCKET, S3Server, use

CONFIG = FLOAT32.model_copy(update={"zero_stage": 2})  # whose state is two files


class OneWorker:
    """A group of one real learner, in this process."""

    def __init__(self, model: Path, seed: int) -> None:
        self.learner, self.upload = Learner(model, CONFIG, seed=seed), StateUpload()

    def save_state(self, directory: Path, tag: str) -> None:
        self.learner.save_state(directory, tag, {})
        self.upload.begin(directory, tag, self.learner.rank)

    def uploaded(self, *, wait: bool) -> bool:
        return self.upload.arrived(wait=wait)

    def load_state(self, directory: Path, tag: str) -> None:
        self.learner.load_state(directory, tag)

    def train(self, steps: int) -> list[float]:
        objective = build_objective("sft", beta=0.1, label_smoothing=0.0, nll_coefficient=0.0)
        return [self.learner.step(Maker().sequences(8), objective, learning_rate=1e-3).loss for _ in range(steps)]


class Gate:
    """Between the workers and the store: shards wait here while it is shut, all but the first ``free``; at a ``cut``
    gate they end like the threads of a killed process."""

    def __init__(self) -> None:
        self.opened, self.free, self.cut = threading.Event(), threading.Semaphore(0), False
        self.opened.set()
        self._put = object_store._put

    def shut(self, free: int = 0) -> None:
        self.free = threading.Semaphore(free)
        self.opened.clear()

    def put(self, file: Path, place: object_store.Stored) -> None:
        if file.suffix == ".pt" and not self.free.acquire(blocking=False):
            assert self.opened.wait(120)
            if self.cut:
                raise KeyError("killed")
        self._put(file, place)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    running = S3Server(tmp_path_factory.mktemp("scratch"))
    yield running
    running.stop()


@pytest.fixture
def root(server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """A folder of runs that no other test uses, and an empty machine."""
    use(server, monkeypatch, tmp_path / "here")
    return f"s3://{BUCKET}/{request.node.name}"


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    made = Gate()
    monkeypatch.setattr(object_store, "_put", made.put)
    yield made
    made.opened.set()


@contextmanager
def loop(root: str, model: Path, seed: int = 1) -> Iterator[tuple[RunDirectory, OneWorker, Checkpoints]]:
    """A run with a learner, as one life of a driver sees them."""
    with RunDirectory(RunConfig(run=RunSettings(id="r", root=root))) as run:
        worker = OneWorker(model, seed)
        yield run, worker, Checkpoints(run, "checkpoints", {"policy": worker}, CONFIG)  # type: ignore[dict-item]
        worker.learner.close()


def whole(server: S3Server, root: str) -> list[int]:
    """Steps of the checkpoints with a marker in the store."""
    keys = server.objects(f"{root.rpartition('/')[2]}/r/checkpoints/")
    return [int(key.split("/")[-2]) for key in keys if key.endswith(object_store.MARKER)]


def kill(run: RunDirectory) -> None:
    """As after kill -9: nothing is released, renewed or finished."""
    assert run._lease is not None
    run._lease._stop.set()
    run._lease._thread.join()
    lease._held.clear()
    run._lock.close()


def another_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GENRM_RL_SCRATCH", str(tmp_path / "there"))
    monkeypatch.setattr(lease, "owner", lambda: "there/1:1")
    monkeypatch.setattr(lease, "EXPIRES_SECONDS", 0.2)


def test_steps_go_on_during_an_upload_and_leave_no_trace_in_it(
    server, root, gate, monkeypatch, tmp_path, tiny_model
) -> None:
    with loop(root, tiny_model.path) as (run, worker, checkpoints):
        worker.train(2)
        gate.shut()
        checkpoints.save(2, {"kl_coefficient": 0.5})
        expected = worker.train(3)  # while the shards wait
        checkpoints.look()
        assert whole(server, root) == [] and checkpoints.latest() is None
        gate.opened.set()
        checkpoints.settle()
        assert whole(server, root) == [2]
        assert not list((run.path / "checkpoints").rglob("*.pt")), "shards leave the disk of the node"
    another_machine(monkeypatch, tmp_path)
    with loop(root, tiny_model.path, seed=2) as (_, worker, checkpoints):
        facts = checkpoints.load(checkpoints.latest())
        assert (facts["step"], facts["kl_coefficient"]) == (2, 0.5)
        assert worker.train(3) == pytest.approx(expected, rel=1e-6)


def test_a_kill_during_an_upload_leaves_the_checkpoint_before_and_the_run_ends_the_same(
    server, root, gate, monkeypatch, tmp_path, tiny_model
) -> None:
    with loop(root, tiny_model.path) as (run, worker, checkpoints):
        expected = worker.train(1)
        checkpoints.save(1, {})
        checkpoints.settle()
        expected += worker.train(1)
        gate.shut(free=1)
        checkpoints.save(2, {})
        expected += worker.train(2)
        kill(run)
        monkeypatch.setattr(run, "close", lambda: None)
        gate.cut = True
        gate.opened.set()
        with pytest.raises(KeyError):
            checkpoints.settle()
    half = [key for key in server.objects(f"{root.rpartition('/')[2]}/r/checkpoints/00002") if key.endswith(".pt")]
    assert len(half) == 1 and whole(server, root) == [1]
    gate.cut = False
    another_machine(monkeypatch, tmp_path)
    with loop(root, tiny_model.path, seed=2) as (_, worker, checkpoints):
        assert checkpoints.load(checkpoints.latest())["step"] == 1
        found = worker.train(1)
        checkpoints.save(2, {})
        checkpoints.settle()
        assert whole(server, root) == [1, 2]
        assert expected[1:] == pytest.approx(found + worker.train(2), rel=1e-6)


def test_an_upload_that_fails_is_raised_at_the_next_look_and_the_run_goes_on_from_before(
    server, root, gate, monkeypatch, tiny_model
) -> None:
    with loop(root, tiny_model.path) as (_, worker, checkpoints):
        checkpoints.save(1, {})
        checkpoints.settle()
        monkeypatch.setenv("GENRM_RL_STORAGE_DEADLINE", "1")
        gate.shut()
        checkpoints.save(2, {})
        server.stop()
        try:
            gate.opened.set()
            worker.train(1)  # nothing is said before somebody looks
            with pytest.raises(RunDirectoryError, match=r"did not answer for .*checkpoints/00002.*goes on from there"):
                checkpoints.settle()
        finally:
            server.start()
    monkeypatch.delenv("GENRM_RL_STORAGE_DEADLINE")
    assert whole(server, root) == [1]
    with loop(root, tiny_model.path) as (_, worker, checkpoints):
        assert checkpoints.load(checkpoints.latest())["step"] == 1
        checkpoints.save(2, {})
        checkpoints.settle()
        assert whole(server, root) == [1, 2]


def test_the_next_checkpoint_waits_and_the_oldest_goes_when_the_newest_is_whole(server, root, gate, tiny_model) -> None:
    with loop(root, tiny_model.path) as (_, _, checkpoints):
        for step in (1, 2):
            checkpoints.save(step, {})
        gate.shut()
        checkpoints.save(3, {})  # 2 has arrived
        assert whole(server, root) == [1, 2]
        waiting = threading.Timer(1.0, gate.opened.set)
        waiting.start()
        checkpoints.save(4, {})
        assert 3 in whole(server, root) and 1 not in whole(server, root)
        checkpoints.settle()
        assert whole(server, root) == [3, 4]
