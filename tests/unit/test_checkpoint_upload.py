"""Checkpoints on an object store: their shards are uploaded while the loop goes on, and only a whole one counts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from genrm_rl.config.model import LearnerConfig
from genrm_rl.errors import RunDirectoryError
from genrm_rl.learners.state_upload import StateUpload
from genrm_rl.runtime.object_store import fetch
from tests.s3 import BUCKET, S3Server, use
from tests.uploads import Gate, another_machine, kill, loop, whole

CONFIG = LearnerConfig()
FILES = ("mp_rank_00_model_states.pt", "zero_pp_rank_0_mp_rank_00_optim_states.pt")


class Worker:
    """A group of one worker that learns without a model: its state is a chaotic number, in two files as DeepSpeed names
    them."""

    def __init__(self) -> None:
        self.state, self.upload = np.float64(0.3), StateUpload()

    def train(self, steps: int) -> list[float]:
        found = []
        for _ in range(steps):
            self.state = 3.9 * self.state * (1 - self.state)
            found.append(float(self.state))
        return found

    def save_state(self, directory: Path, tag: str) -> None:
        (directory / tag).mkdir()
        for file in FILES:
            (directory / tag / file).write_bytes(self.state.tobytes())
        self.upload.begin(directory, tag, 0)

    def uploaded(self, *, wait: bool) -> bool:
        return self.upload.arrived(wait=wait)

    def load_state(self, directory: Path, tag: str) -> None:
        fetch(directory)
        first, second = ((directory / tag / file).read_bytes() for file in FILES)
        assert first == second
        self.state = np.frombuffer(first)[0]


@pytest.fixture
def server(s3_server: S3Server) -> S3Server:
    return s3_server


@pytest.fixture
def root(server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """A folder of runs that no other test uses, and an empty machine."""
    use(server, monkeypatch, tmp_path / "here")
    return f"s3://{BUCKET}/{request.node.name}"


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    made = Gate(monkeypatch)
    yield made
    made.opened.set()


def test_a_checkpoint_counts_when_all_of_it_has_arrived(server, root, gate):
    worker = Worker()
    with loop(root, worker, CONFIG) as (run, checkpoints):
        gate.shut(free=1)
        checkpoints.save(2, {"kl_coefficient": 0.5})
        worker.train(3)
        checkpoints.look()
        assert whole(server, root) == [] and checkpoints.latest() is None
        gate.opened.set()
        checkpoints.settle()
        assert whole(server, root) == [2] and run.manifest("checkpoints/00002")["kl_coefficient"] == 0.5
        assert not list((run.path / "checkpoints").rglob("*.pt")), "shards leave the disk of the node"


def test_a_kill_during_an_upload_leaves_the_checkpoint_before_and_the_run_ends_the_same(
    server, root, gate, monkeypatch, tmp_path
):
    worker = Worker()
    with loop(root, worker, CONFIG) as (run, checkpoints):
        expected = worker.train(1)
        checkpoints.save(1, {})
        checkpoints.settle()
        expected += worker.train(1)
        gate.shut(free=1)
        checkpoints.save(2, {})
        expected += worker.train(2)
        kill(run, monkeypatch)
        gate.cut = True
        gate.opened.set()
        with pytest.raises(KeyError):
            checkpoints.settle()
    half = [key for key in server.objects(f"{root.rpartition('/')[2]}/r/checkpoints/00002") if key.endswith(".pt")]
    assert len(half) == 1 and whole(server, root) == [1]
    gate.cut = False
    another_machine(monkeypatch, tmp_path / "there")
    worker = Worker()
    with loop(root, worker, CONFIG) as (_, checkpoints):
        assert checkpoints.load(checkpoints.latest())["step"] == 1
        found = worker.train(1)
        checkpoints.save(2, {})
        checkpoints.settle()
        assert whole(server, root) == [1, 2]
        assert expected == expected[:1] + found + worker.train(2)


def test_an_upload_that_fails_is_raised_at_the_next_look_and_the_run_goes_on_from_before(
    server, root, gate, monkeypatch
):
    worker = Worker()
    with loop(root, worker, CONFIG) as (_, checkpoints):
        checkpoints.save(1, {})
        checkpoints.settle()
        gate.shut()
        checkpoints.save(2, {})
        with monkeypatch.context() as away:
            away.setenv("GENRM_RL_STORAGE_DEADLINE", "1")
            server.stop()
            try:
                gate.opened.set()
                worker.train(1)  # nothing is said before somebody looks
                with pytest.raises(RunDirectoryError, match=r"did not answer for .*/00002/.*goes on from there"):
                    checkpoints.settle()
            finally:
                server.start()
    assert whole(server, root) == [1]
    with loop(root, worker, CONFIG) as (_, checkpoints):
        assert checkpoints.load(checkpoints.latest())["step"] == 1
        checkpoints.save(2, {})
        checkpoints.settle()
        assert whole(server, root) == [1, 2]


def test_the_next_checkpoint_waits_and_the_oldest_goes_when_the_newest_is_whole(server, root, gate):
    with loop(root, Worker(), CONFIG) as (_, checkpoints):
        for step in (1, 2, 3):
            if step == 3:
                checkpoints.settle()
                gate.shut()
            checkpoints.save(step, {})
        assert whole(server, root) == [1, 2]
        waiting = threading.Timer(1.0, gate.opened.set)
        waiting.start()
        checkpoints.save(4, {})
        assert {2, 3} <= set(whole(server, root)) and 1 not in whole(server, root)
        checkpoints.settle()
        assert whole(server, root) == [3, 4]


def test_on_a_disk_a_checkpoint_is_whole_at_once(tmp_path):
    worker = Worker()
    with loop(str(tmp_path), worker, CONFIG) as (_, checkpoints):
        worker.train(2)
        checkpoints.save(2, {})
        checkpoints.settle()
        assert checkpoints.latest() is not None
        assert {file.name for file in checkpoints.latest().rglob("*.pt")} == set(FILES)
