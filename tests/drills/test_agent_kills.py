"""What lives while an agent is trained is killed (-9), one after the other; it ends like an undisturbed run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.agents.test_agents_learn import CONFIG, SAMPLES, SETTINGS, TASKS
from tests.drills.driver import Driver

pytestmark = [pytest.mark.timeout(3600)]

STEPS = 6
# What is killed after which step, by the title of its process.
KILLS = {0: ("policy engine", "ray::EngineActor"), 1: ("learner", "ray::LearnerActor")}


def words(command: str, *more: str) -> list[str]:
    return [command, "--config", str(CONFIG), *SETTINGS, "--ppo.steps", str(STEPS), *more]


def result(run: Path) -> tuple[dict[str, np.ndarray], dict, list[dict]]:
    """Weights, measurements, and what each step's episodes came to."""
    steps = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(run.glob("steps/*/metrics.json"))]
    kept = [{name: value for name, value in step.items() if not name.startswith("seconds/")} for step in steps]
    measured = {file.name: json.loads(file.read_text(encoding="utf-8")) for file in run.glob("evaluation/*/0*.json")}
    return load_file(run / "policy/model.safetensors"), measured, kept


def test_whatever_dies_the_policy_ends_the_same(tmp_path, recoveries):
    own = ["--run.root", str(tmp_path), "--run.id", "clone"]
    subprocess.run([sys.executable, "-m", "genrm_rl.cli", *words("clone-agent"), *own], check=True)

    def start(run_id: str) -> Driver:
        return Driver(tmp_path, run_id, words("train-agent", "--model.name", str(tmp_path / "clone/policy")))

    def wait_for(driver: Driver, file: str) -> None:
        driver.wait_until(file, (driver.run / file).is_file)

    start("undisturbed").finish()

    driver = start("killed")
    for step, (name, title) in KILLS.items():
        wait_for(driver, f"steps/{step:05d}/metrics.json")
        victims = driver.below(title)
        assert victims, f"no process {title}"
        victims[0].kill()
        after = f"steps/{step + 1:05d}/metrics.json"
        recoveries.wait(name, "an agent's step", "the next step", lambda file=after: wait_for(driver, file))
    wait_for(driver, "steps/00003/episodes/_COMPLETE.json")
    driver.kill()  # between the episodes and what is learned from them
    killed, driver = [driver], start("killed")
    recoveries.wait("driver", "an update", "that update", lambda: wait_for(driver, "steps/00003/metrics.json"))
    driver.kill()  # while the next episodes are played
    killed.append(driver)
    driver = start("killed")
    recoveries.wait("driver", "episodes", "a whole step", lambda: wait_for(driver, "steps/00004/metrics.json"))
    driver.finish()

    (expected, measured, steps), (found, again, same) = (result(tmp_path / run) for run in ("undisturbed", "killed"))
    assert len(steps) == STEPS and all(step["rollout/episodes"] == TASKS * SAMPLES for step in steps)
    assert expected.keys() == found.keys()
    assert all(np.array_equal(expected[name], found[name]) for name in expected)
    assert again == measured
    assert same == steps
    for driver in killed:
        driver.check_nothing_is_left()
