"""A Ray cluster of separate `ray start` processes on this machine, each under a handle of the test, and jobs on it."""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil
from ray.job_submission import JobStatus, JobSubmissionClient

from genrm_rl.runtime.machine_checks import free_port
from genrm_rl.runtime.ray_access import MODE, TOKEN_PATH

RAY = str(Path(sys.executable).with_name("ray"))
STARTED = "Ray runtime started"
OBJECT_STORE = 150_000_000


class RealCluster:
    """A head that takes no work and one worker per pool, with a token; ends what it started, and nothing else.

    ``private`` is a folder that every node has for itself alone (needs the right to mount); ``variables`` are added to
    the environment.
    """

    def __init__(
        self,
        folder: Path,
        pools: tuple[str, ...],
        cpus: int,
        private: Path | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self._logs, self._private = folder, private
        self._nodes: dict[str, subprocess.Popen] = {}
        self._cpus = cpus
        gcs, dashboard = free_port(), free_port()
        self.address = f"127.0.0.1:{gcs}"
        self.jobs = f"http://127.0.0.1:{dashboard}"
        self._temp = Path(tempfile.mkdtemp(prefix="genrm-drill-", dir="/tmp"))  # Ray's sockets need a short path
        self.token = secrets.token_hex(32)
        (self._temp / "token").write_text(self.token)
        self.environment = os.environ | dict(variables or {}) | {MODE: "token", TOKEN_PATH: str(self._temp / "token")}
        head = ["--head", "--port", str(gcs), "--dashboard-host", "127.0.0.1", "--dashboard-port", str(dashboard)]
        self._start("head", [*head, "--num-cpus", "0", "--temp-dir", str(self._temp / "ray")])
        while not listens(dashboard):  # on a busy machine it comes long after the rest
            assert self.head.poll() is None, "the head has ended"
            time.sleep(0.2)
        for pool in pools:
            self.join(pool)

    @property
    def head(self) -> subprocess.Popen:
        """The process of `ray start --head`."""
        return self._nodes["head"]

    def join(self, pool: str) -> None:
        """A node with this label comes, as an autoscaler or a person would bring it."""
        self._start(pool, ["--address", self.address, "--num-cpus", str(self._cpus)])

    def lose(self, pool: str) -> None:
        """The node loses power: all its processes are gone, and none of them could report the end of another."""
        node = self._nodes.pop(pool)
        processes = [psutil.Process(node.pid), *psutil.Process(node.pid).children(recursive=True)]
        for end in (signal.SIGSTOP, signal.SIGKILL):
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(end)
        node.wait()
        _, alive = psutil.wait_procs(processes, timeout=60)
        assert not alive, f"the {pool} node outlives its loss: {alive}"

    def lose_all(self) -> None:
        """The head and every node; what they leave on the disk stays until :meth:`close`."""
        for pool in list(self._nodes):
            self.lose(pool)

    def _start(self, pool: str, options: list[str]) -> None:
        """Nodes start one after the other: on one machine they share a session folder."""
        log = self._logs / f"ray-{pool}.log"
        command = [
            RAY, "start", "--block", "--node-ip-address", "127.0.0.1", "--labels", f"pool={pool}",
            "--object-store-memory", str(OBJECT_STORE), "--dashboard-agent-listen-port", str(free_port()), *options,
        ]  # fmt: skip
        if self._private is not None:
            mounted = ["sh", "-c", 'mount -t tmpfs private "$0" && exec "$@"', str(self._private)]
            command = ["unshare", "--mount", *mounted, *command]
        with log.open("w") as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
                env={**self.environment, "RAY_USAGE_STATS_ENABLED": "0"},
            )  # fmt: skip
        self._nodes[pool] = process
        while STARTED not in log.read_text(encoding="utf-8", errors="replace"):
            if process.poll() is not None:
                self.close()
                raise RuntimeError(f"the {pool} node did not start: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.2)

    def close(self) -> None:
        """Workers first, then the head."""
        for process in reversed(self._nodes.values()):
            process.send_signal(signal.SIGTERM)
        for process in reversed(self._nodes.values()):
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        shutil.rmtree(self._temp, ignore_errors=True)


def listens(port: int) -> bool:
    """Whether somebody takes connections there."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


class Jobs:
    """What `ray job submit` speaks."""

    def __init__(self, cluster: RealCluster) -> None:
        self.client = JobSubmissionClient(cluster.jobs, headers={"Authorization": f"Bearer {cluster.token}"})

    def submit(self, words: Sequence[object], submission: str) -> str:
        """Run this command, a script of ``jobs/`` and its settings, on the head."""
        command = shlex.join(map(str, [sys.executable, *words]))
        return self.client.submit_job(entrypoint=command, submission_id=submission)

    def wait(self, job: str, until: Callable[[], bool] = lambda: False) -> JobStatus:
        """Until the job has ended, or ``until`` is true."""
        while not (status := self.client.get_job_status(job)).is_terminal() and not until():
            time.sleep(0.25)
        return status

    def stop(self, job: str) -> None:
        """As `ray job stop`."""
        assert self.client.stop_job(job)
        assert self.wait(job) == JobStatus.STOPPED, self.logs(job)

    def said(self, job: str, text: str) -> bool:
        """Whether it has printed this, however its lines were broken."""
        return " ".join(text.split()) in " ".join(self.client.get_job_logs(job).split())

    def logs(self, job: str) -> str:
        """The end of its output."""
        return self.client.get_job_logs(job)[-3000:]
