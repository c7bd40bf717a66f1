"""The closed loop on four nodes that share no folder: what a run keeps and the policy's model go through the store."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.job_submission import JobStatus

from genrm_rl.models.resolve import TINY
from genrm_rl.runtime.object_store import fetch
from genrm_rl.runtime.storage import is_complete, read_json
from genrm_rl.runtime.store_paths import working_path
from tests.drills.real_cluster import Jobs, RealCluster
from tests.s3 import BUCKET, S3Server, use

ROOT = Path(__file__).parents[2]
CONFIG = Path(__file__).with_name("loop_drill.yaml")
RUNS, MODELS = f"s3://{BUCKET}/runs", f"s3://{BUCKET}/models"
MAY_MOUNT = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[S3Server]:
    running = S3Server(tmp_path / "scratch")
    yield running
    running.stop()


@pytest.fixture
def cluster(server: S3Server, tmp_path: Path) -> Iterator[RealCluster]:
    """Every node has working copies of its own, under the same path."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    pools = ("learner", "rollout", "judge")
    running = RealCluster(tmp_path, pools, cpus=6, private=scratch, variables=server.environment)
    yield running
    running.close()


@pytest.mark.skipif(not MAY_MOUNT, reason="only who may mount can give each node a folder of its own")
def test_the_closed_loop_needs_no_folder_that_two_nodes_see(server, cluster, tmp_path, monkeypatch):
    model = shutil.copytree(TINY, tmp_path / "model")
    words = [ROOT / "jobs/close_loop.py", "--config", CONFIG, "--run.root", RUNS, "--run.id", "r"]
    words += ["--policy.model.name", model, "--policy.model.cache-dir", MODELS]
    # Enough groups that an untrained judge, which may be the one that is served, does not call them all ties.
    words += ["--policy.ppo.prompts-per-step", "16", "--policy.ppo.samples-per-prompt", "6"]
    jobs = Jobs(cluster)
    job = jobs.submit(words, "r")
    assert jobs.wait(job) == JobStatus.SUCCEEDED, jobs.logs(job)
    assert not any((tmp_path / "scratch").iterdir()), "the nodes worked in folders of their own"

    use(server, monkeypatch, tmp_path / "elsewhere")
    run = working_path(RUNS) / "r"
    fetch(run)
    assert any(key.endswith("/model.safetensors") for key in server.objects("models/")), "kept for all nodes"
    for name in ("turn1/align/policy", "turn1/judge/methods/star_dpo/round1/checkpoint"):
        assert is_complete(run / name) and (run / name / "model.safetensors").is_file()
    assert read_json(run / "turn1/align/report.json")["evaluation"]
