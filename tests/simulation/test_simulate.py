"""The simulator on real Ray: every answer arrives once, is rewarded, and the same seed gives the same lengths."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from genrm_rl.config.alignment import AlignConfig
from genrm_rl.config.loading import load_config
from genrm_rl.simulation.scale import check_records, simulate
from genrm_rl.simulation.tables import curve, table
from genrm_rl.simulation.workload import Workload

ROOT = Path(__file__).parents[2]
WORK = Workload(
    groups=2, samples=3, max_tokens=64, mean_tokens=32, token=0.004, judge=0.1, train=0.1, publish=0.02
)  # seconds


def config_of(root: Path, run: str) -> AlignConfig:
    words = {
        "run.root": root, "run.id": run, "model.max-context": 128, "sampling.max-tokens": WORK.max_tokens,
        "rollout.engines": 4, "rollout.cpus-per-engine": 0.01, "rollout.max-in-flight": 4,
        "reward.max-in-flight": 3, "ppo.steps": 2, "ppo.prompts-per-step": 8, "ppo.samples-per-prompt": 3,
    }  # fmt: skip
    given = [word for name, value in words.items() for word in (f"--{name}", str(value))]
    return load_config(AlignConfig, ROOT / "jobs/configs/align_tiny.yaml", given)


def lengths(run: Path) -> list[int]:
    return [len(row["token_ids"]) for row in pq.read_table(run / "steps/00001/rollout/answers.parquet").to_pylist()]


@pytest.mark.drill
def test_the_real_loop_goes_over_sleeping_engines(ray_cluster, tmp_path):
    quiet = Console(file=io.StringIO())
    config = config_of(tmp_path, "a")
    costs = simulate(config, WORK, quiet)
    assert check_records(tmp_path / "a", config) == 2 * 8 * 3
    assert all(cost.overhead > 0 and cost.driver_cpu > 0 and cost.events == 8 * 4 for cost in costs)
    assert all(abs(cost.seconds - sum_of_parts(cost)) < 0.01 for cost in costs)
    simulate(config_of(tmp_path, "b"), WORK, quiet)
    assert lengths(tmp_path / "a") == lengths(tmp_path / "b") and len(set(lengths(tmp_path / "a"))) > 3
    with pytest.raises(ValueError, match="24 answers, 24 different; 27 expected"):
        ppo = config.ppo.model_copy(update={"prompts_per_step": 9})
        check_records(tmp_path / "a", config.model_copy(update={"ppo": ppo}))
    text = table({4: costs}, WORK, "here")
    assert "| 4 | 24 |" in text and "<svg" in curve({4: costs, 8: [replace(costs[0], events=1)]})


def sum_of_parts(cost) -> float:
    return cost.generate + cost.judge + cost.train + cost.publish + cost.outside
