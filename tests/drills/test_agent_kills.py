"""What lives while an agent is trained is killed (-9), one after the other; it ends like an undisturbed run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.agents.test_agents_learn import CONFIG, SAMPLES, SETTINGS, TASKS
from tests.drills.driver import Driver, assert_ended_the_same, steps_of

pytestmark = [pytest.mark.timeout(3600)]

STEPS = 6
# What is killed after which step, by the title of its process.
KILLS = {0: ("policy engine", "ray::EngineActor"), 1: ("learner", "ray::LearnerActor")}


def words(command: str, *more: str) -> list[str]:
    return [command, "--config", str(CONFIG), *SETTINGS, "--ppo.steps", str(STEPS), *more]


def measured(run: Path) -> dict[str, dict]:
    """What the policy came to, by split and step."""
    files = run.glob("evaluation/*/0*.json")
    return {str(file.relative_to(run)): json.loads(file.read_text(encoding="utf-8")) for file in files}


def test_whatever_dies_the_policy_ends_the_same(tmp_path, recoveries):
    own = ["--run.root", str(tmp_path), "--run.id", "clone"]
    subprocess.run([sys.executable, "-m", "genrm_rl.cli", *words("clone-agent"), *own], check=True)

    def start(run_id: str) -> Driver:
        return Driver(tmp_path, run_id, words("train-agent", "--model.name", str(tmp_path / "clone/policy")))

    start("undisturbed").finish()

    driver = start("killed")
    driver.kill_after_steps(KILLS, recoveries, "an agent's step", "the next step")
    driver.wait_for("steps/00003/episodes/_COMPLETE.json")
    driver.kill()  # between the episodes and what is learned from them
    killed, driver = [driver], start("killed")
    recoveries.wait("driver", "an update", "that update", lambda: driver.wait_for("steps/00003/metrics.json"))
    driver.kill()  # while the next episodes are played
    killed.append(driver)
    driver = start("killed")
    recoveries.wait("driver", "episodes", "a whole step", lambda: driver.wait_for("steps/00004/metrics.json"))
    driver.finish()

    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "killed"
    assert [step["rollout/episodes"] for step in steps_of(undisturbed)] == [TASKS * SAMPLES] * STEPS
    assert_ended_the_same(undisturbed, disturbed)
    assert len(measured(undisturbed)) == 4 and measured(disturbed) == measured(undisturbed)
    for driver in killed:
        driver.check_nothing_is_left()
