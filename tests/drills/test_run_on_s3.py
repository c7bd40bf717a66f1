"""A run in S3: its driver and machine are lost in the middle, the store goes away, and it ends like a local one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from genrm_rl.runtime.object_store import fetch
from genrm_rl.runtime.store_paths import working_path
from tests.s3 import BUCKET, S3Server, use

ROOT = Path(__file__).parents[2]
RUNS = f"s3://{BUCKET}/runs"
SETTINGS = {
    "ppo.steps": 4, "ppo.prompts-per-step": 8, "ppo.samples-per-prompt": 4, "checkpoint-every": 1,
    "reward.source": "verifier", "evaluation.prompts": 8, "evaluation.probes": 0, "evaluation.decoding": "[greedy]",
    "evaluation.every": 0, "rollout.kv-cache-gib": 0.25,
}  # fmt: skip


class Job:
    """``genrm-rl align`` on a machine: a process with working copies of its own."""

    def __init__(self, root: str, scratch: Path, environment: dict[str, str]) -> None:
        words = ["align", "--config", ROOT / "jobs/configs/align_tiny.yaml", "--run.root", root, "--run.id", "r"]
        words += [word for name, value in SETTINGS.items() for word in (f"--{name}", value)]
        scratch.mkdir(exist_ok=True)
        self.log = scratch / "log"
        inherited = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "genrm_rl.cli", *map(str, words)], stdout=log, stderr=subprocess.STDOUT,
                env=inherited | environment | {"GENRM_RL_SCRATCH": str(scratch)},
            )  # fmt: skip

    def wait(self, until: Callable[[], bool]) -> None:
        """Until ``until``, and not beyond the end of the process."""
        while not until():
            assert self.process.poll() is None, self.tail()
            time.sleep(0.1)

    def finish(self) -> None:
        """Wait for success."""
        assert self.process.wait() == 0, self.tail()

    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-4000:]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[S3Server]:
    running = S3Server(tmp_path / "unused")
    yield running
    running.stop()


def results(run: Path) -> tuple[dict[str, np.ndarray], list[dict]]:
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    return load_file(run / "policy" / "model.safetensors"), report["evaluation"]


def test_a_lost_machine_and_a_store_that_goes_away_change_nothing(server, tmp_path, monkeypatch):
    undisturbed = Job(str(tmp_path / "runs"), tmp_path / "local", {})
    undisturbed.finish()

    lost = Job(RUNS, tmp_path / "lost", server.environment)
    lost.wait(lambda: any("checkpoints/00002/_COMPLETE" in key for key in server.objects()))
    lost.process.send_signal(signal.SIGKILL)
    lost.process.wait()

    successor = Job(RUNS, tmp_path / "successor", server.environment)
    successor.wait(lambda: any("steps/00002/rollout/_COMPLETE" in key for key in server.objects()))
    server.stop()
    successor.wait(lambda: "does not answer" in successor.tail())
    server.start()
    successor.finish()

    use(server, monkeypatch, tmp_path / "third")
    run = working_path(RUNS) / "r"
    fetch(run)
    (expected, expected_rows), (found, rows) = results(tmp_path / "runs" / "r"), results(run)
    assert expected.keys() == found.keys()
    assert all(np.array_equal(expected[name], found[name]) for name in expected)
    assert rows == expected_rows
