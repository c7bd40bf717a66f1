"""Kills (-9) of driver, engine and learner at different points of a run. It ends like an undisturbed run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from genrm_rl.evaluation.schema import Report
from genrm_rl.runtime.storage import read_json
from tests.drills.driver import Driver

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
evaluation: {bootstrap_resamples: 200, decoding: [sampled], probe_pairs: 1}
"""


def start(folder: Path, run_id: str) -> Driver:
    """One driver of the run."""
    return Driver(folder, run_id, ["bootstrap", "--config", str(folder / "drill.yaml")])


def shards(driver: Driver, stage: str) -> int:
    """Journal shards of a sampling stage that is not finished."""
    return len(list((driver.run / "work" / stage).glob("part-*.parquet")))


def outcome(run: Path) -> dict[str, Any]:
    """What a bootstrap came to: measurements, differences, the reasons of the selection, the learning curve."""
    report = Report.model_validate(read_json(run / "report.json"))
    return {
        "results": report.results,
        "differences": report.differences,
        "reasons": [row.reasons for row in report.selection],
        "curve": [row.accuracy_strict for row in report.learning_curve],
    }


def test_five_kills_change_nothing(tmp_path: Path, recoveries):
    (tmp_path / "drill.yaml").write_text(YAML, encoding="utf-8")
    undisturbed = start(tmp_path, "undisturbed")
    undisturbed.finish()

    killed = [driver := start(tmp_path, "killed")]
    driver.wait_until("sampled traces", lambda: shards(driver, "traces/base-part1") >= 1)
    driver.kill()  # 1: driver, in the middle of sampling

    killed.append(driver := start(tmp_path, "killed"))
    at_work = lambda: driver.wait_until("an engine at work", lambda: driver.said("engine 0 ready") == 2)  # noqa: E731
    recoveries.wait("driver", "sampling of traces", "an engine at work", at_work)
    assert shards(driver, "traces/base-part1"), "sampling was over before the engine could be killed"
    driver.below("VLLM::EngineCore")[0].kill()  # 2: engine, in the middle of sampling
    replaced = lambda: driver.wait_until("another engine", lambda: driver.said("engine 0 ready") == 3)  # noqa: E731
    recoveries.wait("judge's engine", "sampling of traces", "another engine at work", replaced)

    checkpoint = driver.run / "methods/star_dpo/round1/checkpoint"
    in_fit = lambda: list(checkpoint.parent.glob("**/step*")) or list(checkpoint.parent.glob("**/checkpoint_*"))  # noqa: E731
    driver.wait_until("a checkpoint inside the fit", lambda: bool(in_fit()))
    learners = driver.below("ray::RayTrainWorker") or driver.below("ray::_RayTrainWorker")
    assert learners, "no learner process found"
    learners[0].kill()  # 3: learner, in the middle of the fit
    is_new = lambda: any(p.pid != learners[0].pid for p in driver.below("ray::RayTrainWorker"))  # noqa: E731
    recoveries.wait("learner", "a fit", "a new learner", lambda: driver.wait_until("a new learner", is_new))
    driver.kill()  # 4: driver, in the middle of the fit

    killed.append(driver := start(tmp_path, "killed"))
    trained = lambda: driver.wait_until("the judge", (checkpoint / "_COMPLETE.json").is_file)  # noqa: E731
    recoveries.wait("driver", "a fit", "the finished fit", trained)
    driver.wait_until("evaluation", lambda: (driver.run / "work/evaluation/star_dpo").is_dir())
    driver.kill()  # 5: driver, in the middle of the evaluation

    last = start(tmp_path, "killed")
    recoveries.wait("driver", "an evaluation", "the report", last.finish)
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "undisturbed")
    for driver in killed:
        driver.check_nothing_is_left()


RL = """
bootstrap:
  methods: [verdict_rl]
  gate_pairs: 16
  verdict_rl: {steps: 5, pairs_per_step: 12, samples_per_order: 3, checkpoint_every: 2}
"""


def steps(driver: Driver, what: str) -> int:
    """Steps of verdict RL of which there is ``what``."""
    return len(list(driver.run.glob(f"methods/verdict_rl/round1/steps/*/{what}")))


def test_kills_inside_reinforcement_learning_change_nothing(tmp_path: Path, recoveries):
    before, _, after = YAML.partition("bootstrap: {methods")
    text = before + RL.lstrip() + after.partition("\n")[2]
    (tmp_path / "drill.yaml").write_text(text, encoding="utf-8")
    undisturbed = start(tmp_path, "undisturbed")
    undisturbed.finish()

    driver = start(tmp_path, "killed")
    driver.wait_until("three steps", lambda: steps(driver, "metrics.json") >= 3)
    learners = driver.below("ray::LearnerActor")
    assert learners, "no learner process found"
    learners[0].kill()  # 1: learner, one step after its checkpoint
    again = lambda: driver.wait_until("a new learner", lambda: driver.said("continuing after step 2") >= 1)  # noqa: E731
    recoveries.wait("learner", "reinforcement learning", "the step after its checkpoint", again)
    driver.wait_until("four steps' traces", lambda: steps(driver, "traces/_COMPLETE.json") >= 4)
    driver.kill()  # 2: driver

    last = start(tmp_path, "killed")
    recoveries.wait("driver", "reinforcement learning", "the report", last.finish)
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "undisturbed")
    driver.check_nothing_is_left()
