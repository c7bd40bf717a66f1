"""A worker that hangs is named, its stacks are kept, and a worker that fails does not wait for one that hangs."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest
import ray
from ray.exceptions import RayTaskError

from genrm_rl.errors import StallError
from genrm_rl.learners.group import LearnerGroup
from genrm_rl.runtime import stalls
from genrm_rl.runtime.stalls import Whereabouts, answers, stand_by_for_stacks
from tests.learners.conftest import FLOAT32


@ray.remote(num_cpus=0.1)
class Worker:
    """Does what it is told."""

    def whereabouts(self) -> Whereabouts:
        return stand_by_for_stacks()

    def answer(self, value: int) -> int:
        return value

    def hang_in_a_collective(self) -> None:
        time.sleep(600)

    def fail(self) -> None:
        raise ValueError("rank 1 ran out of memory")


@pytest.fixture
def workers(ray_cluster):
    """Two of them."""
    made = [Worker.remote() for _ in range(2)]
    yield made
    for worker in made:
        ray.kill(worker)


def test_answers_come_in_the_order_of_the_workers(workers):
    calls = [worker.answer.remote(index) for index, worker in enumerate(workers)]
    assert answers(calls, "a call", deadline=60, setting="x", say=print) == [0, 1]


def test_the_one_that_hangs_is_named_and_its_stacks_are_kept(workers, monkeypatch):
    monkeypatch.setattr(stalls, "SAY_EVERY_SECONDS", 1.0)
    places = ray.get([worker.whereabouts.remote() for worker in workers])
    calls = [workers[0].answer.remote(0), workers[1].hang_in_a_collective.remote()]
    said: list[str] = []
    with pytest.raises(
        StallError, match=r"`step` of the policy did not come back .*learner.stall_deadline.*1 of 2"
    ) as seen:
        answers(
            calls, "`step` of the policy", deadline=3, setting="learner.stall_deadline", workers=places, say=said.append
        )
    assert any("1 of 2 workers have not answered" in line for line in said)
    stacks = Path(re.search(r"stacks are in (\S+\.txt)", str(seen.value))[1]).read_text()
    assert f"process {places[1].pid} on node" in stacks
    assert "hang_in_a_collective" in stacks
    assert str(places[0].pid) not in stacks


def test_a_failure_ends_the_wait_for_its_hanging_peer(workers):
    calls = [workers[0].hang_in_a_collective.remote(), workers[1].fail.remote()]
    with pytest.raises(RayTaskError, match="rank 1 ran out of memory"):
        answers(calls, "a step", deadline=500, setting="x", say=print)


@pytest.mark.drill
def test_a_learner_that_stands_still_is_noticed(ray_cluster, tiny_model):
    config = FLOAT32.model_copy(update={"stall_deadline": 3.0})
    with LearnerGroup("policy", tiny_model.path, config) as group:
        group.ready()
        pid = group.processes()[0].pid
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(StallError, match=r"`hold_weights` of the policy did not come back"):
                group.hold("shared_memory")
        finally:
            os.kill(pid, signal.SIGCONT)
