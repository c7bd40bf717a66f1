"""A cluster started by hand with a token: strangers stay outside, its owner submits and joins."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from genrm_rl.errors import EnvironmentProblem
from genrm_rl.runtime.entries import target_of, try_entries
from genrm_rl.runtime.ray_access import TOKEN, TOKEN_PATH, access_to, knock
from tests.drills.real_cluster import RAY, RealCluster

JOIN = (
    "from genrm_rl.runtime.session import ray_session\n"
    "with ray_session() as session: print('JOINED', session.started, session.cpus)"
)


@pytest.fixture(autouse=True)
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a token for all its clusters."""
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    running = RealCluster(tmp_path_factory.mktemp("logs"), (), 0)
    yield running
    running.close()


def ray_job(cluster: RealCluster, environment: dict[str, str], *words: str) -> subprocess.CompletedProcess:
    command = [RAY, "job", "submit", "--address", cluster.jobs, "--", *words]
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_a_job_needs_the_token(cluster: RealCluster, tmp_path: Path):
    proof = tmp_path / "proof"
    refused = ray_job(cluster, {**os.environ}, "touch", str(proof))
    assert refused.returncode != 0 and "Authentication required" in refused.stdout and not proof.exists()
    wrong = {**cluster.environment, TOKEN: "0" * 64}
    refused = ray_job(cluster, wrong, "touch", str(proof))
    assert refused.returncode != 0 and "Authentication failed" in refused.stdout and not proof.exists()
    done = ray_job(cluster, cluster.environment, "touch", str(proof))
    assert done.returncode == 0, done.stdout
    assert proof.exists()


def test_strangers_stay_outside(cluster: RealCluster):
    target = target_of(cluster.head.pid)
    entries = {entry.kind: entry for entry in try_entries(target)}
    del entries["from the network"]  # nodes on other machines must reach it
    assert [where for entry in entries.values() for where in entry.entered] == []
    assert all(entry.refused for entry in entries.values()), entries


def test_whoever_joins_without_the_token_is_told(cluster: RealCluster, tmp_path: Path, monkeypatch):
    assert knock(cluster.address) == "no token"
    with pytest.raises(EnvironmentProblem, match="asks for a token and this process has none; keep"):
        access_to(cluster.address).__enter__()
    monkeypatch.setenv(TOKEN, "1" * 64)
    with pytest.raises(EnvironmentProblem, match=f"refuses the token from {TOKEN}, which is another cluster's"):
        access_to(cluster.address).__enter__()
    monkeypatch.delenv(TOKEN)
    monkeypatch.setenv(TOKEN_PATH, str(tmp_path / "none"))
    with pytest.raises(EnvironmentProblem, match="can't be read or is empty"):
        access_to(cluster.address).__enter__()


def test_a_job_joins_with_the_token_alone(cluster: RealCluster):
    environment = {name: value for name, value in cluster.environment.items() if name != "RAY_AUTH_MODE"}
    environment |= {"RAY_ADDRESS": cluster.address, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", JOIN], env=environment, capture_output=True, text=True)
    assert "JOINED False 0.0" in done.stdout, done.stdout + done.stderr
