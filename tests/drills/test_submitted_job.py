"""`ray job submit` on a cluster of four nodes: stopped in the middle and submitted again, the job ends the same."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from ray.job_submission import JobStatus, JobSubmissionClient
from ray.util.state import list_actors, list_nodes
from safetensors.numpy import load_file

from tests.drills.real_cluster import RealCluster

ROOT = Path(__file__).parents[2]
POOLS = ("learner", "rollout", "judge")
SETTINGS = {
    "ppo.steps": 2, "ppo.prompts-per-step": 4, "ppo.samples-per-prompt": 4, "checkpoint-every": 1,
    "evaluation.prompts": 8, "evaluation.probes": 0, "evaluation.decoding": "[greedy]",
    "tracking.tensorboard": "false", "learner.pool": "learner", "rollout.pool": "rollout",
    "judge-rollout.pool": "judge", "rollout.kv-cache-gib": 0.25, "judge-rollout.kv-cache-gib": 0.25,
}  # fmt: skip
WHERE = {"LearnerActor": "learner", "EngineActor": "rollout", "ServeReplica:genrm_rl.judge1:Judge": "judge"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    """A head and three workers."""
    running = RealCluster(tmp_path_factory.mktemp("cluster"), POOLS, cpus=6)
    yield running
    running.close()


@pytest.fixture(scope="module")
def jobs(cluster: RealCluster) -> JobSubmissionClient:
    """What `ray job submit` speaks."""
    return JobSubmissionClient(cluster.jobs)


def entrypoint(root: Path, run_id: str) -> str:
    """The command of docs/cluster.md, small."""
    words = [sys.executable, ROOT / "jobs/align_ppo.py", "--config", ROOT / "jobs/configs/align_tiny.yaml"]
    words += ["--run.root", root, "--run.id", run_id]
    words += [word for name, value in SETTINGS.items() for word in (f"--{name}", value)]
    return shlex.join(map(str, words))


def wait(jobs: JobSubmissionClient, job: str, until: Callable[[], bool] = lambda: False) -> JobStatus:
    """Until the job has ended, or ``until`` is true."""
    while not (status := jobs.get_job_status(job)).is_terminal() and not until():
        time.sleep(0.5)
    return status


def pools_in_use(cluster: RealCluster) -> dict[str, set[str]]:
    """On which pools' nodes the actors of each class live."""
    pools = {node.node_id: (node.labels or {}).get("pool", "?") for node in list_nodes(address=cluster.jobs)}
    found: dict[str, set[str]] = {}
    for actor in list_actors(address=cluster.jobs, filters=[("state", "=", "ALIVE")], limit=1000):
        found.setdefault(actor.class_name, set()).add(pools.get(actor.node_id, "?"))
    return found


def steps_done(run: Path) -> int:
    """Steps whose answers are on disk."""
    return len(list(run.glob("steps/*/rollout/_COMPLETE.json")))


def test_stopped_and_submitted_again_it_ends_the_same(cluster, jobs, tmp_path):
    whole = jobs.submit_job(entrypoint=entrypoint(tmp_path, "whole"), submission_id="whole")
    seen: dict[str, set[str]] = {}

    def look() -> bool:
        if steps_done(tmp_path / "whole") == 1 and not seen:
            seen.update(pools_in_use(cluster))
        return False

    assert wait(jobs, whole, look) == JobStatus.SUCCEEDED, jobs.get_job_logs(whole)[-3000:]
    assert {name: seen.get(name) for name in WHERE} == {name: {pool} for name, pool in WHERE.items()}

    cut = jobs.submit_job(entrypoint=entrypoint(tmp_path, "cut"), submission_id="cut")
    wait(jobs, cut, lambda: steps_done(tmp_path / "cut") == 1)
    assert jobs.stop_job(cut)
    assert wait(jobs, cut) == JobStatus.STOPPED
    with pytest.raises(RuntimeError, match="already exists"):
        jobs.submit_job(entrypoint=entrypoint(tmp_path, "cut"), submission_id="cut")
    again = jobs.submit_job(entrypoint=entrypoint(tmp_path, "cut"), submission_id="cut-again")
    assert wait(jobs, again) == JobStatus.SUCCEEDED, jobs.get_job_logs(again)[-3000:]

    first, second = (load_file(tmp_path / run / "policy" / "model.safetensors") for run in ("whole", "cut"))
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)
    reports = [json.loads((tmp_path / run / "report.json").read_text(encoding="utf-8")) for run in ("whole", "cut")]
    assert reports[0]["evaluation"] == reports[1]["evaluation"]
