"""Everything that lives during an alignment is killed (-9), one after the other; it ends like an undisturbed run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.drills.driver import Driver, assert_ended_the_same

pytestmark = [pytest.mark.timeout(3600)]

ROOT = Path(__file__).parents[2]
STEPS = 8
SETTINGS = {
    "serving.checkpoint": "base", "ppo.steps": STEPS, "ppo.prompts-per-step": 6, "ppo.samples-per-prompt": 3,
    "checkpoint-every": 1, "evaluation.every": 0, "evaluation.prompts": 8, "evaluation.probes": 0,
    "evaluation.decoding": "[greedy]", "rollout.kv-cache-gib": 0.25, "judge-rollout.kv-cache-gib": 0.25,
    "reward.attempts": 30, "tracking.tensorboard": "false",
}  # fmt: skip
# What is killed after which step, by the title of its process, and what then goes on.
KILLS = {
    0: ("policy engine", "ray::EngineActor"),
    1: ("judge replica", "ray::ServeReplica:genrm_rl.judge1:Judge"),
    2: ("Serve proxy", "ray::ProxyActor"),
    3: ("Serve controller", "ray::ServeController"),
    4: ("learner", "ray::LearnerActor"),
}


def start(folder: Path, run_id: str) -> Driver:
    """One driver of the run."""
    words = ["align", "--config", str(ROOT / "jobs/configs/align_tiny.yaml")]
    return Driver(folder, run_id, [*words, *(w for name, value in SETTINGS.items() for w in (f"--{name}", str(value)))])


def measured(run: Path) -> list[dict]:
    """What the policy came to."""
    return json.loads((run / "report.json").read_text(encoding="utf-8"))["evaluation"]


def test_whatever_dies_the_run_ends_the_same(tmp_path, recoveries):
    start(tmp_path, "undisturbed").finish()

    driver = start(tmp_path, "killed")
    driver.kill_after_steps(KILLS, recoveries, "an alignment", "the next whole step")
    driver.wait_until("answers", lambda: len(list(driver.run.glob("steps/*/rollout/_COMPLETE.json"))) == STEPS)
    driver.kill()  # between the last answers and what is learned from them
    killed, driver = [driver], start(tmp_path, "killed")
    last = f"steps/{STEPS - 1:05d}/metrics.json"
    recoveries.wait("driver", "an update", "that update", lambda: driver.wait_for(last))
    driver.wait_until("the last checkpoint", lambda: (driver.run / f"checkpoints/{STEPS:05d}/_COMPLETE.json").is_file())
    driver.kill()  # while the policy is measured
    killed.append(driver)
    driver = start(tmp_path, "killed")
    recoveries.wait("driver", "a measurement", "the kept policy", lambda: driver.wait_for("policy/_COMPLETE.json"))
    driver.finish()

    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "killed"
    assert_ended_the_same(undisturbed, disturbed)
    assert measured(disturbed) == measured(undisturbed)
    for driver in killed:
        driver.check_nothing_is_left()
