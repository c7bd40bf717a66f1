"""A Ray session ends what it started, uses what is there, and says in one sentence why it can't."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from genrm_rl.runtime import session
from genrm_rl.runtime.session import ray_session

ROOT = Path(__file__).parents[2]


def test_a_nested_session_uses_the_running_one_and_leaves_it_running(ray_cluster):
    import ray

    with ray_session() as inner:
        assert not inner.started
        assert inner.address == ray_cluster.address
    assert ray.is_initialized()


def test_logical_cpus_leave_room_for_an_engine_beside_a_learner(ray_cluster):
    # On one machine they take turns; an engine that holds its CPU must not keep the learner from being placed.
    assert ray_cluster.cpus >= len(os.sched_getaffinity(0)) + 1


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:9", "no Ray cluster can be joined at 127.0.0.1:9"),
        ("ray://127.0.0.1:10001", "ray job submit"),
    ],
)
def test_an_address_that_can_not_be_used_is_one_sentence(address, message):
    code = (
        "from genrm_rl.errors import EnvironmentProblem\nfrom genrm_rl.runtime.session import ray_session\n"
        "try:\n    with ray_session(): pass\nexcept EnvironmentProblem as problem: print('PROBLEM', problem)"
    )
    environment = {**os.environ, "RAY_ADDRESS": address}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True)
    (problem,) = [line for line in done.stdout.splitlines() if line.startswith("PROBLEM ")]
    assert message in problem


def test_folders_of_killed_processes_are_removed_and_others_kept(tmp_path, monkeypatch):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    monkeypatch.setattr(session.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(session, "LONGEST_TEMP_DIR", 500)
    left, running = (tmp_path / f"{session.TEMP_PREFIX}{pid}-abc" for pid in (ended.pid, os.getpid()))
    left.mkdir()
    running.mkdir()
    made = session._make_temp_dir()
    assert not left.exists()
    assert running.exists() and made.exists() and made.parent == tmp_path


def test_a_long_temporary_folder_is_avoided_because_sockets_would_not_fit(tmp_path, monkeypatch):
    monkeypatch.setattr(session.tempfile, "gettempdir", lambda: str(tmp_path / ("x" * 60)))
    made = session._make_temp_dir()
    made.rmdir()
    assert len(str(made / session.FOLDER)) <= session.LONGEST_TEMP_DIR
