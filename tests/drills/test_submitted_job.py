"""`ray job submit` of the closed loop on a cluster of four nodes: stopped twice and submitted again, it ends the
same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.job_submission import JobStatus
from ray.util.state import list_actors, list_nodes

from genrm_rl.learners.checkpoint import weights_hash
from genrm_rl.runtime.storage import read_json, read_manifest
from tests.drills.real_cluster import Jobs, RealCluster

ROOT = Path(__file__).parents[2]
CONFIG = Path(__file__).with_name("loop_drill.yaml")
POOLS = ("learner", "rollout", "judge")
# Where the actors of each stage must live; a fit's workers have names of Ray Train's own.
WHERE = {"LearnerActor": "learner", "EngineActor": "rollout", "ServeReplica:genrm_rl.judge1:Judge": "judge"}
WHERE_IN_FIT = {"RayTrainWorker": "learner", "EngineActor": "judge"}
IRRELEVANT = {"config_hash", "seconds", "seconds_by_phase", "finished", "sampling_seconds", "recovered_traces"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    """A head and three workers."""
    running = RealCluster(tmp_path_factory.mktemp("cluster"), POOLS, cpus=6)
    yield running
    running.close()


def command(root: Path, run: str) -> list[object]:
    """The command of docs/cluster.md, small."""
    return [ROOT / "jobs/close_loop.py", "--config", CONFIG, "--run.root", root, "--run.id", run]


def pools_in_use(cluster: RealCluster) -> dict[str, set[str]]:
    """On which pools' nodes the actors of each class live."""
    pools = {node.node_id: (node.labels or {}).get("pool", "?") for node in list_nodes(address=cluster.jobs)}
    found: dict[str, set[str]] = {}
    for actor in list_actors(address=cluster.jobs, filters=[("state", "=", "ALIVE")], limit=1000):
        found.setdefault(actor.class_name, set()).add(pools.get(actor.node_id, "?"))
    return found


def fitting(run: Path) -> bool:
    """In the middle of the first judge's fit."""
    return any(run.glob("turn1/bootstrap/methods/star_dpo/round1/.checkpoint.fit/*/step-*/_COMPLETE.json"))


def first_step(run: Path) -> bool:
    """The policy's first answers are judged, and its second are not."""
    steps = list(run.glob("turn1/align/steps/*/rollout/_COMPLETE.json"))
    return len(steps) == 1


def outcome(run: Path) -> dict[str, Any]:
    """What a loop came to: weights of judges and policy, labelled pairs, measurements, the gate."""
    gate = {key: value for key, value in read_manifest(run / "turn1/stages/gate").items() if key not in IRRELEVANT}
    return {
        "weights": {
            name: weights_hash(run / name)
            for name in (
                "turn1/bootstrap/methods/star_dpo/round1/checkpoint",
                "turn1/align/policy",
                "turn1/judge/methods/star_dpo/round1/checkpoint",
            )
        },
        "pairs": (run / "turn1/preferences/labels/pairs.jsonl").read_text(encoding="utf-8"),
        "evaluation": read_json(run / "turn1/align/report.json")["evaluation"],
        "judges": [read_json(run / f"turn1/{name}/report.json")["results"] for name in ("bootstrap", "judge")],
        "gate": gate,
    }


def test_stopped_twice_and_submitted_again_the_loop_ends_the_same(cluster, tmp_path, recoveries):
    jobs = Jobs(cluster)
    whole, seen = tmp_path / "whole", {}

    def look() -> bool:
        for stage, reached in (("fit", fitting), ("align", first_step)):
            if stage not in seen and reached(whole):
                seen[stage] = pools_in_use(cluster)
        return False

    job = jobs.submit(command(tmp_path, "whole"), "whole")
    assert jobs.wait(job, look) == JobStatus.SUCCEEDED, jobs.logs(job)
    assert {name: seen["align"].get(name) for name in WHERE} == {name: {pool} for name, pool in WHERE.items()}
    assert {name: seen["fit"].get(name) for name in WHERE_IN_FIT} == {n: {pool} for n, pool in WHERE_IN_FIT.items()}

    cut = tmp_path / "cut"
    job = jobs.submit(command(tmp_path, "cut"), "cut")
    jobs.wait(job, lambda: fitting(cut))
    jobs.stop(job)
    with pytest.raises(RuntimeError, match="already exists"):
        jobs.submit(command(tmp_path, "cut"), "cut")
    job = jobs.submit(command(tmp_path, "cut"), "cut-again")
    trained = cut / "turn1/bootstrap/methods/star_dpo/round1/checkpoint/_COMPLETE.json"
    recoveries.wait("job", "a judge's fit", "the fit", lambda: jobs.wait(job, trained.exists))
    jobs.wait(job, lambda: first_step(cut))
    jobs.stop(job)
    job = jobs.submit(command(tmp_path, "cut"), "cut-third")
    metrics = cut / "turn1/align/steps/00000/metrics.json"
    recoveries.wait("job", "the policy's first step", "the update", lambda: jobs.wait(job, metrics.exists))
    assert jobs.wait(job) == JobStatus.SUCCEEDED, jobs.logs(job)
    assert outcome(cut) == outcome(whole)
