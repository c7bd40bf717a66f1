"""Five kills (-9) in one run: driver, engine and learner at different points. It ends like an undisturbed run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from genrm_rl.evaluation.schema import Report
from genrm_rl.runtime.storage import read_json

pytestmark = [pytest.mark.drill, pytest.mark.timeout(3600)]

YAML = """
model: {name: tiny, max_context: 320, dtype: float32}
judge: {template: compact, max_rationale: 96}
data:
  train: [{world: train, limit: 120}]
  gate: [{world: gate, limit: 16}]
  test: [{world: id, limit: 40}]
rollout: {max_in_flight: 32, kv_cache_gib: 0.5}
learner: {tokens_per_microbatch: 2048, precision: float32, checkpoint_every: 4}
bootstrap: {methods: [llm_judge, star_dpo], iterations: 1, samples_per_order: 4, gate_pairs: 16, dpo: {batch_size: 8}}
evaluation: {bootstrap_resamples: 200, decoding: [sampled]}
"""
PATIENCE_SECONDS = 1500.0  # against a hang, not a limit on speed


class Driver:
    """One ``genrm-rl bootstrap`` process and everything below it."""

    def __init__(self, folder: Path, run_id: str) -> None:
        self.run = folder / run_id
        self.left: list[psutil.Process] = []
        self.log = folder / f"{run_id}.log"
        words = ["bootstrap", "--config", str(folder / "drill.yaml"), "--run.root", str(folder), "--run.id", run_id]
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

    def shards(self, stage: str) -> int:
        """Journal shards of a sampling stage that is not finished."""
        return len(list((self.run / "work" / stage).glob("part-*.parquet")))


def test_five_kills_change_nothing(tmp_path: Path):
    (tmp_path / "drill.yaml").write_text(YAML, encoding="utf-8")
    undisturbed = Driver(tmp_path, "undisturbed")
    undisturbed.finish()

    killed = [driver := Driver(tmp_path, "killed")]
    driver.wait_until("sampled traces", lambda: driver.shards("traces/base-part1") >= 1)
    driver.kill()  # 1: driver, in the middle of sampling

    killed.append(driver := Driver(tmp_path, "killed"))
    driver.wait_until("an engine at work", lambda: driver.said("engine 0 ready") == 2)
    assert driver.shards("traces/base-part1"), "sampling was over before the engine could be killed"
    driver.below("VLLM::EngineCore")[0].kill()  # 2: engine, in the middle of sampling

    checkpoint = driver.run / "methods/star_dpo/round1/checkpoint"
    in_fit = lambda: list(checkpoint.parent.glob("**/step*")) or list(checkpoint.parent.glob("**/checkpoint_*"))  # noqa: E731
    driver.wait_until("a checkpoint inside the fit", lambda: bool(in_fit()))
    learners = driver.below("ray::RayTrainWorker") or driver.below("ray::_RayTrainWorker")
    assert learners, "no learner process found"
    learners[0].kill()  # 3: learner, in the middle of the fit
    driver.wait_until(
        "a new learner", lambda: any(p.pid != learners[0].pid for p in driver.below("ray::RayTrainWorker"))
    )
    driver.kill()  # 4: driver, in the middle of the fit

    killed.append(driver := Driver(tmp_path, "killed"))
    driver.wait_until("evaluation", lambda: (driver.run / "work/evaluation/star_dpo").is_dir())
    driver.kill()  # 5: driver, in the middle of the evaluation

    last = Driver(tmp_path, "killed")
    last.finish()
    expected, found = (
        Report.model_validate(read_json(tmp_path / run / "report.json")) for run in ("undisturbed", "killed")
    )
    assert found.results == expected.results
    assert found.differences == expected.differences
    assert [row.reasons for row in found.selection] == [row.reasons for row in expected.selection]
    assert [row.accuracy_strict for row in found.learning_curve] == [
        row.accuracy_strict for row in expected.learning_curve
    ]
    for driver in killed:
        driver.check_nothing_is_left()
