"""The simulator on real Ray: every answer arrives once, is rewarded, and the same seed gives the same lengths."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from genrm_rl.alignment.answers import read_answers
from genrm_rl.alignment.ppo import steps_of, version_of
from genrm_rl.config.alignment import AlignConfig
from genrm_rl.config.loading import load_config
from genrm_rl.simulation.scale import check_records, simulate
from genrm_rl.simulation.tables import curve, overlap_table, table
from genrm_rl.simulation.workload import Workload

ROOT = Path(__file__).parents[2]
WORK = Workload(
    groups=2, samples=3, max_tokens=64, mean_tokens=32, token=0.004, judge=0.1, train=0.1, publish=0.02
)  # seconds


def config_of(root: Path, run: str, **changes: int) -> AlignConfig:
    words = {
        "run.root": root, "run.id": run, "model.max-context": 128, "sampling.max-tokens": WORK.max_tokens,
        "rollout.engines": 4, "rollout.cpus-per-engine": 0.01, "rollout.max-in-flight": 4,
        "reward.max-in-flight": 3, "ppo.steps": 2, "ppo.prompts-per-step": 8, "ppo.samples-per-prompt": 3,
    } | {f"ppo.{name}": value for name, value in changes.items()}  # fmt: skip
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


@pytest.mark.drill
def test_overlapped_steps_learn_from_the_same_questions_within_the_bound(ray_cluster, tmp_path):
    """Longest answers of many steps' time: they go on across publications, and no token is older than the bound."""
    quiet, work = Console(file=io.StringIO()), replace(WORK, token=0.01, judge=0.05, train=0.05)
    bound, steps = 2, 6
    configs = {name: config_of(tmp_path, name, steps=steps, staleness=n) for name, n in (("sync", 0), ("ahead", bound))}
    costs = {name: simulate(config, work, quiet) for name, config in configs.items()}
    for name, config in configs.items():
        assert check_records(tmp_path / name, config) == steps * 8 * 3
    for step in range(steps):
        sync, ahead = (read_answers(tmp_path / name / f"steps/{step:05d}/rollout/answers.parquet") for name in configs)
        assert asked(sync) == asked(ahead), "the same questions and seeds, whichever the weights"
        assert all(answer.weight_version == version_of(step) and not answer.later_versions for answer in answers(sync))
        ages = [step - steps_of(name) for answer in answers(ahead) for name, _ in answer.tokens_by_version()]
        assert min(ages) >= 0 and max(ages) <= min(step, bound)
        assert all(tokens > 0 for answer in answers(ahead) for _, tokens in answer.tokens_by_version())
    assert any(answer.later_versions for answer in answers(ahead)), "some were carried over a publication"
    assert costs["ahead"][-1].staleness[1] <= bound and costs["ahead"][-1].carried > 0
    assert "| 4 | 24 |" in overlap_table({4: costs["sync"]}, {4: costs["ahead"]}, bound, work, "here")


def answers(groups):
    return [judged.answer for group in groups for judged in group]


def asked(groups):
    return [(answer.prompt_id, answer.index, answer.token_ids) for answer in answers(groups)]
