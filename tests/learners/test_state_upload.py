"""The state of a real learner on an object store: steps that are made during its upload leave no trace in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from genrm_rl.learners.learner import Learner
from genrm_rl.learners.objectives import build_objective
from genrm_rl.learners.state_upload import StateUpload
from tests.learners.conftest import FLOAT32, Maker
from tests.s3 import BUCKET, use
from tests.uploads import Gate, another_machine, loop, whole

CONFIG = FLOAT32.model_copy(update={"zero_stage": 2})


class OneWorker:
    """A group of one learner, in this process."""

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


def test_steps_go_on_during_an_upload_and_a_resume_does_the_same_steps(s3_server, monkeypatch, tmp_path, tiny_model):
    use(s3_server, monkeypatch, tmp_path / "here")
    gate, root = Gate(monkeypatch), f"s3://{BUCKET}/state_upload"
    first = OneWorker(tiny_model.path, seed=1)
    with loop(root, first, CONFIG) as (_, checkpoints):
        first.train(2)
        gate.shut(free=1)
        checkpoints.save(2, {})
        expected = first.train(3)  # while a shard waits
        assert whole(s3_server, root) == []
        gate.opened.set()
        checkpoints.settle()
        assert whole(s3_server, root) == [2]
    first.learner.close()
    another_machine(monkeypatch, tmp_path / "there")
    second = OneWorker(tiny_model.path, seed=2)
    with loop(root, second, CONFIG) as (_, checkpoints):
        checkpoints.load(checkpoints.latest())
        assert second.train(3) == pytest.approx(expected, rel=1e-6)
    second.learner.close()
