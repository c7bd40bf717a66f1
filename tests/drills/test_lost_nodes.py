"""A whole node of each pool is lost in the middle of an alignment and replaced when the job has said what it waits for,
then the head with every node; submitted again to a new cluster, the run ends like an undisturbed one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from ray.job_submission import JobStatus

from tests.drills.driver import Driver
from tests.drills.real_cluster import Jobs, RealCluster
from tests.drills.test_alignment_kills import SETTINGS, result

pytestmark = [pytest.mark.timeout(3600)]

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "jobs/configs/align_tiny.yaml"
POOLS = ("learner", "rollout", "judge")
WHERE = {"learner.pool": "learner", "rollout.pool": "rollout", "judge-rollout.pool": "judge"}
STEPS = 5
SMALL = {**SETTINGS, "ppo.steps": STEPS, "reward.deadline": 30}
# Which pool's node is lost after which step, and what the job says until another one comes.
LOST = {
    0: ("rollout", "on nodes with label pool=rollout for the engines"),
    1: ("judge", "(the judge has no replica"),
    2: ("learner", "on nodes with label pool=learner for the learners"),
}


def words(settings: dict[str, object]) -> list[str]:
    """Settings as a command line."""
    return [word for name, value in settings.items() for word in (f"--{name}", str(value))]


class Run:
    """An alignment that is submitted to one cluster after the other."""

    def __init__(self, root: Path, run_id: str) -> None:
        self.path = root / run_id
        settings = {**SMALL, **WHERE, "run.root": root, "run.id": run_id}
        self._words = [ROOT / "jobs/align_ppo.py", "--config", CONFIG, *words(settings)]

    def submit(self, cluster: RealCluster) -> None:
        """As `ray job submit`."""
        self._jobs = Jobs(cluster)
        self._job = self._jobs.submit(self._words, "alignment")

    def wait_for(self, step: int) -> None:
        """Until this step is whole."""
        file = self.path / f"steps/{step:05d}/metrics.json"
        status = self._jobs.wait(self._job, file.is_file)
        assert file.is_file(), f"{status} before {file}:\n{self._jobs.logs(self._job)}"

    def wait_until_said(self, text: str) -> None:
        """Until the job has printed this."""
        status = self._jobs.wait(self._job, lambda: self._jobs.said(self._job, text))
        assert self._jobs.said(self._job, text), f"{status} without {text!r}:\n{self._jobs.logs(self._job)}"

    def finish(self) -> None:
        """Until the job has succeeded."""
        assert self._jobs.wait(self._job) == JobStatus.SUCCEEDED, self._jobs.logs(self._job)


@contextmanager
def cluster_of(folder: Path) -> Iterator[RealCluster]:
    """A head and a node for each pool, logs in ``folder``."""
    folder.mkdir()
    cluster = RealCluster(folder, POOLS, cpus=6)
    try:
        yield cluster
    finally:
        cluster.close()


def test_whatever_node_is_lost_the_run_ends_the_same(tmp_path, recoveries):
    run = Run(tmp_path / "runs", "disturbed")
    with cluster_of(tmp_path / "cluster") as cluster:
        run.submit(cluster)
        for step, (pool, said) in LOST.items():
            run.wait_for(step)
            cluster.lose(pool)
            what = "a line that says what is missing"
            recoveries.wait(f"{pool} node", "an alignment", what, lambda said=said: run.wait_until_said(said))
            cluster.join(pool)
            after = step + 1
            recoveries.wait(
                f"{pool} node, another came",
                "an alignment",
                "the next whole step",
                lambda after=after: run.wait_for(after),
            )
        cluster.lose_all()
    with cluster_of(tmp_path / "another-cluster") as cluster:
        run.submit(cluster)
        recoveries.wait("head and all nodes", "an alignment", "the next whole step", lambda: run.wait_for(STEPS - 1))
        run.finish()

    undisturbed = Driver(tmp_path / "runs", "undisturbed", ["align", "--config", str(CONFIG), *words(SMALL)])
    undisturbed.finish()
    (expected, measured, steps), (found, again, same) = map(result, (undisturbed.run, run.path))
    assert expected.keys() == found.keys()
    assert all(np.array_equal(expected[name], found[name]) for name in expected)
    assert again == measured
    assert same == steps
