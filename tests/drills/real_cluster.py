"""A Ray cluster of separate `ray start` processes on this machine, each under a handle of the test."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from genrm_rl.runtime.machine_checks import free_port

RAY = str(Path(sys.executable).with_name("ray"))
STARTED = "Ray runtime started"
OBJECT_STORE = 150_000_000


class RealCluster:
    """A head that takes no work and one worker per pool; ends what it started, and nothing else."""

    def __init__(self, folder: Path, pools: tuple[str, ...], cpus: int) -> None:
        self._logs = folder
        self._processes: list[subprocess.Popen] = []
        gcs, dashboard = free_port(), free_port()
        self.jobs = f"http://127.0.0.1:{dashboard}"
        temp = Path("/tmp") / f"genrm-drill-{os.getpid()}"  # Ray's sockets need a short path
        head = ["--head", "--port", str(gcs), "--dashboard-host", "127.0.0.1", "--dashboard-port", str(dashboard)]
        self._start("head", [*head, "--num-cpus", "0", "--temp-dir", str(temp)])
        for pool in pools:
            self._start(pool, ["--address", f"127.0.0.1:{gcs}", "--num-cpus", str(cpus)])
        self._temp = temp

    def _start(self, pool: str, options: list[str]) -> None:
        """Nodes start one after the other: on one machine they share a session folder."""
        log = self._logs / f"ray-{pool}.log"
        command = [
            RAY, "start", "--block", "--node-ip-address", "127.0.0.1", "--labels", f"pool={pool}",
            "--object-store-memory", str(OBJECT_STORE), "--dashboard-agent-listen-port", str(free_port()), *options,
        ]  # fmt: skip
        with log.open("w") as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
                env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"},
            )  # fmt: skip
        self._processes.append(process)
        while STARTED not in log.read_text(encoding="utf-8", errors="replace"):
            if process.poll() is not None:
                self.close()
                raise RuntimeError(f"the {pool} node did not start: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.2)

    def close(self) -> None:
        """Workers first, then the head."""
        for process in reversed(self._processes):
            process.send_signal(signal.SIGTERM)
        for process in reversed(self._processes):
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        shutil.rmtree(getattr(self, "_temp", "/nonexistent"), ignore_errors=True)
