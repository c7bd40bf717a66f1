"""Whole nodes are lost in the middle of a job and replaced: of each pool in an alignment, which then loses its head too
and is submitted again to a new cluster, and of both pools in a bootstrap. The runs end like undisturbed ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ray.job_submission import JobStatus

from tests.drills.driver import Driver, assert_ended_the_same
from tests.drills.real_cluster import Jobs, RealCluster
from tests.drills.test_alignment_kills import SETTINGS, measured
from tests.drills.test_kill_and_resume import YAML, outcome

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
    1: ("judge", "generation pauses until it is back"),
    2: ("learner", "on nodes with label pool=learner for the learners"),
}


def words(settings: dict[str, object]) -> list[str]:
    """Settings as a command line."""
    return [word for name, value in settings.items() for word in (f"--{name}", str(value))]


class Run:
    """A run that is submitted to one cluster after the other."""

    def __init__(self, root: Path, script: str, config: Path, settings: dict[str, object]) -> None:
        self.path = root / "disturbed"
        settings = {**settings, "run.root": root, "run.id": self.path.name}
        self._words = [ROOT / "jobs" / script, "--config", config, *words(settings)]

    def submit(self, cluster: RealCluster) -> None:
        """As `ray job submit`."""
        self._jobs = Jobs(cluster)
        self._job = self._jobs.submit(self._words, "job")

    def wait_for(self, pattern: str) -> None:
        """Until the run has such a file."""
        self._wait(pattern, lambda: any(self.path.glob(pattern)))

    def wait_for_step(self, step: int) -> None:
        """Until this step is whole."""
        self.wait_for(f"steps/{step:05d}/metrics.json")

    def wait_until_said(self, text: str) -> None:
        """Until the job has printed this."""
        self._wait(text, lambda: self._jobs.said(self._job, text))

    def _wait(self, what: str, reached: Callable[[], bool]) -> None:
        status = self._jobs.wait(self._job, reached)
        assert reached(), f"{status} without {what!r}:\n{self._jobs.logs(self._job)}"

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


def test_whatever_node_an_alignment_loses_it_ends_the_same(tmp_path, recoveries):
    run = Run(tmp_path / "runs", "align_ppo.py", CONFIG, SMALL | WHERE)
    with cluster_of(tmp_path / "cluster") as cluster:
        run.submit(cluster)
        for step, (pool, said) in LOST.items():
            run.wait_for_step(step)
            cluster.lose(pool)
            what = "a line that says what is missing"
            recoveries.wait(f"{pool} node", "an alignment", what, lambda said=said: run.wait_until_said(said))
            cluster.join(pool)
            after = step + 1
            recoveries.wait(
                f"{pool} node, another came",
                "an alignment",
                "the next whole step",
                lambda after=after: run.wait_for_step(after),
            )
        cluster.lose_all()
    with cluster_of(tmp_path / "another-cluster") as cluster:
        run.submit(cluster)
        recoveries.wait(
            "head and all nodes", "an alignment", "the next whole step", lambda: run.wait_for_step(STEPS - 1)
        )
        run.finish()

    undisturbed = Driver(tmp_path / "runs", "undisturbed", ["align", "--config", str(CONFIG), *words(SMALL)])
    undisturbed.finish()
    assert_ended_the_same(undisturbed.run, run.path)
    assert measured(run.path) == measured(undisturbed.run)


def test_whatever_node_a_bootstrap_loses_it_ends_the_same(tmp_path, recoveries):
    """The engines' node while traces are sampled, and the learner's in the middle of a fit."""
    config = tmp_path / "drill.yaml"
    config.write_text(YAML, encoding="utf-8")
    run = Run(tmp_path / "runs", "bootstrap_genrm.py", config, {"rollout.pool": "judge", "learner.pool": "learner"})
    with cluster_of(tmp_path / "cluster") as cluster:
        run.submit(cluster)
        run.wait_for("work/traces/base-part1/part-*.parquet")
        cluster.lose("judge")
        run.wait_until_said("on nodes with label pool=judge for the engines")
        cluster.join("judge")
        sampled = lambda: run.wait_for("traces/base-part1/_COMPLETE.json")  # noqa: E731
        recoveries.wait("judge node, another came", "sampling of traces", "the sampled traces", sampled)
        run.wait_for("methods/star_dpo/round1/.checkpoint.fit/*/step-*/_COMPLETE.json")
        cluster.lose("learner")
        cluster.join("learner")
        trained = lambda: run.wait_for("methods/star_dpo/round1/checkpoint/_COMPLETE.json")  # noqa: E731
        recoveries.wait("learner node, another came", "a fit", "the finished fit", trained)
        run.finish()
    undisturbed = Driver(tmp_path / "runs", "undisturbed", ["bootstrap", "--config", str(config)])
    undisturbed.finish()
    assert outcome(run.path) == outcome(undisturbed.run)
