"""The disk of the runs fills up in the middle: one sentence, nothing half-written is believed, and it goes on."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.drills.driver import Driver

ROOT = Path(__file__).parents[2]
SETTINGS = {
    "ppo.steps": 6, "ppo.prompts-per-step": 8, "ppo.samples-per-prompt": 4, "checkpoint-every": 1,
    "reward.source": "verifier", "evaluation.prompts": 8, "evaluation.probes": 0, "evaluation.decoding": "[greedy]",
    "evaluation.every": 0, "rollout.kv-cache-gib": 0.25, "tracking.tensorboard": "false",
}  # fmt: skip


def start(folder: Path) -> Driver:
    words = ["align", "--config", str(ROOT / "jobs/configs/align_tiny.yaml")]
    return Driver(folder, "r", [*words, *(w for name, value in SETTINGS.items() for w in (f"--{name}", str(value)))])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 MiB of its own, where this user may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", disk], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", disk], check=True)


def fill(disk: Path) -> Path:
    """A file that takes what is left."""
    filler = disk / "filler"
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    with open(filler, "wb") as handle:
        os.posix_fallocate(handle.fileno(), 0, free)
    return filler


def test_a_full_disk_loses_nothing(small_disk, tmp_path, recoveries):
    (tmp_path / "whole").mkdir()
    start(tmp_path / "whole").finish()

    driver = start(small_disk)
    log = driver.log
    driver.wait_until("a checkpoint", (driver.run / "checkpoints/00001/_COMPLETE.json").is_file)
    filler = fill(small_disk)
    assert driver.process.wait() == 2
    filler.unlink()
    assert "is full" in " ".join(log.read_text(errors="replace").split()), driver.tail()

    again = start(small_disk)
    recoveries.wait("disk (full)", "an alignment", "the end, when there is room", again.finish)
    runs = (tmp_path / "whole/r", small_disk / "r")
    expected, found = (load_file(run / "policy/model.safetensors") for run in runs)
    assert all(np.array_equal(expected[name], found[name]) for name in expected)
    reports = [json.loads((run / "report.json").read_text(encoding="utf-8")) for run in runs]
    assert reports[0]["evaluation"] == reports[1]["evaluation"]
