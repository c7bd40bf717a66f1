"""A job as a person starts it, in a process that a drill can kill, with everything below it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil
from safetensors.numpy import load_file

if TYPE_CHECKING:
    from tests.drills.conftest import Recoveries

PATIENCE_SECONDS = 1500.0  # against a hang, not a limit on speed


class Driver:
    """One ``genrm-rl`` process and everything below it; ``words`` are its command and settings."""

    def __init__(self, folder: Path, run_id: str, words: Sequence[str]) -> None:
        self.run = folder / run_id
        self.left: list[psutil.Process] = []
        self.log = folder.parent / f"{folder.name}-{run_id}.log"
        words = [*words, "--run.root", str(folder), "--run.id", run_id]
        environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "genrm_rl.cli", *words], stdout=log, stderr=subprocess.STDOUT, env=environment
            )

    def below(self, title: str) -> list[psutil.Process]:
        """Processes of this driver whose command line starts with ``title``."""
        found = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            try:
                if " ".join(child.cmdline()).startswith(title):
                    found.append(child)
            except (psutil.NoSuchProcess, psutil.ZombieProcess):
                continue
        return found

    def wait_until(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait for a point of the run; the run ending first, or never getting there, is a failure of the drill."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert self.process.poll() is None, f"the run ended before {what}:\n{self.tail()}"
            assert time.monotonic() < deadline, f"no {what} after {PATIENCE_SECONDS:g} s:\n{self.tail()}"
            time.sleep(0.05)

    def wait_for(self, file: str) -> None:
        """Wait for a file of the run."""
        self.wait_until(file, (self.run / file).is_file)

    def kill_after_steps(
        self, kills: Mapping[int, tuple[str, str]], recoveries: Recoveries, during: str, goes_on: str
    ) -> None:
        """After each step of ``kills`` kill -9 the process of that (name, title), and wait for the step after it."""
        for step, (name, title) in kills.items():
            self.wait_for(f"steps/{step:05d}/metrics.json")
            victims = self.below(title)
            assert victims, f"no process {title}"
            victims[0].kill()
            after = f"steps/{step + 1:05d}/metrics.json"
            recoveries.wait(name, during, goes_on, lambda file=after: self.wait_for(file))

    def kill(self) -> None:
        """kill -9 of the driver; what it started has to go too (see :meth:`check_nothing_is_left`)."""
        self.left = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def check_nothing_is_left(self) -> None:
        """Ray's own agents outlive a killed driver by a minute or more, so this is asked at the end."""
        _, alive = psutil.wait_procs(self.left, timeout=PATIENCE_SECONDS)
        assert not alive, f"left behind: {[child.cmdline() for child in alive if child.is_running()]}"

    def finish(self) -> None:
        """Wait for success."""
        try:
            assert self.process.wait(PATIENCE_SECONDS) == 0, self.tail()
        finally:
            if self.process.poll() is None:
                self.kill()

    def tail(self) -> str:
        """The end of the log."""
        return self.log.read_text(errors="replace")[-4000:]

    def said(self, words: str) -> int:
        """How often the drivers of this run have printed ``words``."""
        return self.log.read_text(errors="replace").count(words)


def steps_of(run: Path) -> list[dict]:
    """What each step came to but its seconds."""
    steps = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(run.glob("steps/*/metrics.json"))]
    return [{name: value for name, value in step.items() if not name.startswith("seconds/")} for step in steps]


def assert_ended_the_same(undisturbed: Path, disturbed: Path) -> None:
    """The kept policies bit for bit, and every step's figures."""
    expected, found = (load_file(run / "policy/model.safetensors") for run in (undisturbed, disturbed))
    assert expected.keys() == found.keys()
    assert all(np.array_equal(expected[name], found[name]) for name in expected)
    assert steps_of(disturbed) == steps_of(undisturbed)
