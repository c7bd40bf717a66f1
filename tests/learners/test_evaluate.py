"""Any judge on any pairs under one run id: figures belong to the weights and the data that they are printed for."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file

from genrm_rl.config import RunConfig
from genrm_rl.config.loading import load_config
from genrm_rl.errors import DataError
from genrm_rl.evaluation.benchmark import benchmark_config, run_benchmark
from genrm_rl.evaluation.choosing import best_of_config, choose_best
from genrm_rl.learners.checkpoint import SCORE_HEAD_FILE, SCORE_HEAD_KEY
from genrm_rl.runtime.storage import MARKER, publish_directory, read_json
from genrm_rl.stories.evaluate_genrm import evaluate_judge

YAML = """
run: {id: same}
model: {name: tiny, max_context: 320, dtype: float32}
judge: {template: compact, max_rationale: 64}
data: {test: [{path: pairs.jsonl, name: pairs}]}
learner: {tokens_per_microbatch: 2048, precision: float32}
evaluation: {bootstrap_resamples: 100, probe_pairs: 2}
"""

JOB = ("--model.max-context", "320", "--learner.precision", "float32")


def pairs(*, exchanged: bool = False) -> list[dict]:
    """Nine pairs with the styles of RM-Bench."""
    rows = []
    for i in range(3):
        for j in range(3):
            right, wrong = f"the answer is {i + j}" + " x" * i, f"{i + j + 1}" + " y" * j
            chosen, rejected = (wrong, right) if exchanged else (right, wrong)
            styles = {"chosen_style": i, "rejected_style": j}
            row = {"prompt": f"add {i} {j}", "chosen": chosen, "rejected": rejected, "category": "chat"}
            rows.append(row | styles)
    return rows


def scorer(folder: Path, model: Path, seed: int) -> Path:
    """A Bradley-Terry checkpoint with a random head; all of them are called `judge`."""
    path = folder / f"run{seed}" / "judge" / "round1" / "checkpoint"
    with publish_directory(path, {"objective": "bradley_terry", "version": f"bt-{seed}"}) as partial:
        shutil.copytree(model, partial, dirs_exist_ok=True)
        size = read_json(model / "config.json")["hidden_size"]
        head = torch.randn(1, size, generator=torch.Generator().manual_seed(seed))
        save_file({SCORE_HEAD_KEY: head}, partial / SCORE_HEAD_FILE)
    return path


@pytest.fixture
def evaluate(tmp_path, ray_cluster):
    """Evaluate a checkpoint on the pairs as they are now; returns its only row and where it was measured."""

    def run(checkpoint: Path, *words: str) -> tuple[dict, set[Path]]:
        (tmp_path / "job.yaml").write_text(YAML, encoding="utf-8")
        places = ["--run.root", str(tmp_path / "runs"), "--data.root", str(tmp_path)]
        config = load_config(RunConfig, tmp_path / "job.yaml", [*places, *words])
        directory = evaluate_judge(config, str(checkpoint), "cot", Console(quiet=True))
        (row,) = read_json(directory / "results.json")["results"]
        return row, set((directory / "evaluation").rglob(MARKER))

    return run


def write(folder: Path, rows: list[dict]) -> None:
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def test_one_run_id_never_gives_another_judges_or_another_files_figures(tmp_path, tiny_model, evaluate):
    first, second = (scorer(tmp_path, tiny_model.path, seed) for seed in (1, 2))
    write(tmp_path, pairs())
    one, measured = evaluate(first)
    two, both = evaluate(second)
    assert one["judge"] == two["judge"] and one["brier"] != two["brier"] and measured < both
    assert two == evaluate(second, "--run.id", "fresh")[0]
    assert evaluate(first) == (one, both)  # only read

    write(tmp_path, pairs(exchanged=True))
    edited, _ = evaluate(first)
    assert edited["tie_rate"] == 0 and edited["accuracy_strict"] == pytest.approx(1 - one["accuracy_strict"])

    write(tmp_path, [row | {"category": "math"} for row in pairs()])
    recategorised, _ = evaluate(first, "--evaluation.scoring", "rm_bench")
    assert list(recategorised["benchmark"]["sections"]) == ["math"]


def test_another_scoring_rule_scores_what_was_judged(tmp_path, tiny_model, evaluate):
    checkpoint = scorer(tmp_path, tiny_model.path, 3)
    write(tmp_path, pairs())
    plain, measured = evaluate(checkpoint)
    assert plain["benchmark"] is None
    scored, after = evaluate(checkpoint, "--evaluation.scoring", "rm_bench")
    assert after == measured and scored["benchmark"]["rule"] == "rm_bench"
    assert scored["benchmark"]["overall"] == pytest.approx(sum(map(sum, scored["benchmark"]["matrix"])) / 9)
    assert scored | {"benchmark": None} == plain
    write(tmp_path, [{key: value for key, value in row.items() if key != "chosen_style"} for row in pairs()])
    with pytest.raises(DataError, match=r"pairs\.jsonl:\d: the RM-Bench rule needs `chosen_style`"):
        evaluate(checkpoint, "--evaluation.scoring", "rm_bench")


def test_a_benchmark_prints_its_headline_first_and_goes_on_where_it_was(tmp_path, tiny_model, ray_cluster):
    checkpoint = scorer(tmp_path, tiny_model.path, 4)
    rows = [
        {"id": str(n), "prompt": f"add {n} 1", "chosen": [str(n + 1)], "rejected": [str(n), str(n + 2), "no"],
         "num_correct": 1, "num_incorrect": 3, "subset": subset}
        for n, subset in enumerate(["Math", "Math", "Focus"])
    ]  # fmt: skip
    write(tmp_path, rows)
    (tmp_path / "job.yaml").write_text(YAML, encoding="utf-8")
    words = ["--run.root", str(tmp_path / "runs"), "--run.id", "bench"]
    config = benchmark_config(
        "rewardbench2", str(checkpoint), [tmp_path / "pairs.jsonl"], [tmp_path / "job.yaml"], words
    )
    shown = []
    for _ in range(2):
        console = Console(record=True, width=200, file=io.StringIO())
        board = run_benchmark(config, "rewardbench2", str(checkpoint), "cot", console)
        shown.append(console.export_text().splitlines())
    headline = next(line for line in shown[0] if line.startswith("RewardBench 2: "))
    assert shown[0] == shown[1] and shown[0].index(headline) == 1  # after the line that says what is measured
    figures = read_json(board)
    assert figures["model"] == "bt-4" and figures["model_type"] == "Seq. Classifier"
    (row,) = read_json(board.parent / "results.json")["results"]
    assert row["n"] == 9 and row["prompt_tokens"] > 0 and row["completion_tokens"] is None
    assert headline.split(" (")[0] == f"RewardBench 2: {50 * (figures['Math'] + figures['Focus']):.1f}"


def test_the_best_of_every_prompt_is_chosen_in_any_order_and_by_any_rule(tmp_path, tiny_model, ray_cluster):
    checkpoint = scorer(tmp_path, tiny_model.path, 5)
    (tmp_path / "job.yaml").write_text(YAML, encoding="utf-8")
    rows = [{"prompt": f"add {n} 1", "responses": [str(n), str(n + 1), "no", str(n)]} for n in range(4)]

    def choose(name: str, rows: list[dict], rule: str | None) -> list[dict]:
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        words = ["--run.root", str(tmp_path / "runs")]
        config = best_of_config(str(checkpoint), tmp_path / f"{name}.jsonl", None, [*words, *JOB])
        out = tmp_path / f"{name}.winners"
        choose_best(config, str(checkpoint), "cot", rule, out, Console(quiet=True))  # type: ignore[arg-type]
        return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]

    by_points = choose("plain", rows, None)
    turned = choose("turned", [row | {"responses": row["responses"][::-1]} for row in rows], None)
    assert [row["response"] for row in by_points] == [row["response"] for row in turned]
    for row in by_points:
        assert row["rewards"][0] == row["rewards"][3] and row["masks"] == [None] * 4
        assert row["rewards"][row["best"]] == max(row["rewards"]) and row["responses"][row["best"]] == row["response"]
    # Scores are transitive: whoever has the highest one wins every comparison, and every bracket.
    for rule in ("round_robin", "knockout"):
        assert [row["response"] for row in choose("plain", rows, rule)] == [row["response"] for row in by_points]
    with pytest.raises(DataError, match=r"bad\.jsonl:2: the field `responses` is missing"):
        choose("bad", [rows[0], {"prompt": "x", "text": "y"}], None)
    with pytest.raises(DataError, match="compares with a reference"):
        choose("plain", rows, "log_odds")
