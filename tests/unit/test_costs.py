"""What a method cost, from the manifests of a run's stages."""

from __future__ import annotations

from pathlib import Path

from genrm_rl.evaluation.costs import Cost, mean_cost, training_cost
from genrm_rl.runtime.storage import publish_directory


def stage(folder: Path, **facts: int) -> None:
    with publish_directory(folder, facts):
        pass


def test_a_method_costs_the_traces_that_it_learned_from(tmp_path: Path) -> None:
    for name, tokens in (
        ("base-part1", 100),
        ("base-part1-rationalized", 30),
        ("base-part2", 7),
        ("star_dpo-1-part2", 50),
    ):
        stage(tmp_path / "traces" / name, completion_tokens=tokens)
    for method, number in (
        ("star_dpo", 1),
        ("star_dpo", 2),
        ("star_sft", 1),
        ("star_rationalizer", 1),
        ("bradley_terry", 1),
    ):
        stage(tmp_path / f"methods/{method}/round{number}/checkpoint", trained_tokens=1000, steps=10)
    stage(tmp_path / "methods/verdict_rl/round1/checkpoint", trained_tokens=500, steps=5, generated_tokens=80)
    expected = {"star_dpo": (150, 2000, 20), "star_sft": (100, 1000, 10), "star_rationalizer": (30, 1000, 10)}
    expected |= {"bradley_terry": (0, 1000, 10), "verdict_rl": (80, 500, 5)}
    assert {method: training_cost(tmp_path, method) for method in expected} == {
        method: Cost(*numbers) for method, numbers in expected.items()
    }
    assert training_cost(tmp_path, "llm_judge") is None
    assert mean_cost([tmp_path, tmp_path / "none"], "verdict_rl") == Cost(80, 500, 5)
