"""The whole job on real Ray, vLLM and DeepSpeed: what it leaves behind, and that a finished run costs nothing again."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from datasets import load_dataset
from rich.console import Console
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from genrm_rl.config import RunConfig
from genrm_rl.evaluation.schema import Report
from genrm_rl.learners.examples import read_examples
from genrm_rl.learners.probe_record import read_record
from genrm_rl.models import resolve_model
from genrm_rl.rollout.trace_store import read_traces
from genrm_rl.runtime.storage import read_json, read_manifest
from genrm_rl.stories.bootstrap_genrm import run_bootstrap

pytestmark = pytest.mark.loop


def report_of(run: Path) -> Report:
    return Report.model_validate(read_json(run / "report.json"))


def test_report_has_every_judge_on_every_test_set(small_run: Path):
    report = report_of(small_run)
    found = {(row.judge, row.test_set, row.decoding) for row in report.results}
    for test_set in ("id", "family_neutral"):
        for judge in ("llm_judge", "star_dpo", "verdict_rl"):
            assert {(judge, test_set, "sampled"), (judge, test_set, "greedy")} <= found
        for judge in ("llm_judge_direct", "longer_answer", "lexical"):
            assert (judge, test_set, "deterministic") in found
    for row in report.results:
        assert row.n == 10
        assert 0 <= row.ci95[0] <= row.accuracy_strict <= row.ci95[1] <= 1
        assert row.accuracy_strict <= row.accuracy_flexible
    by_judge = {row.judge: row for row in report.results}
    assert by_judge["llm_judge_direct"].right_in_both is not None


@pytest.mark.drill
def test_a_judge_without_orders_has_one_row_per_test_set(other_run: Path):
    rows = [row for row in report_of(other_run).results if row.judge == "bradley_terry"]
    assert [(row.test_set, row.decoding) for row in rows] == [
        ("id", "deterministic"),
        ("family_neutral", "deterministic"),
    ]
    assert all(row.right_in_both is None for row in rows)


@pytest.mark.parametrize("which", ["small_run", pytest.param("other_run", marks=pytest.mark.drill)])
def test_trained_judges_go_through_the_probe_gate_and_their_checkpoints_say_so(
    which: str, request: pytest.FixtureRequest
):
    run = request.getfixturevalue(which)
    report = report_of(run)
    trained = {judge.name: judge for judge in report.judges if judge.iteration}
    assert {row.judge for row in report.probes} == set(trained)
    for name, judge in trained.items():
        record = read_record(run / judge.checkpoint)
        assert record.judge_version == judge.judge_version
        rows = {row.probe: row for row in report.probes if row.judge == name}
        assert {kind: (row.wins, row.n) for kind, row in rows.items()} == {
            kind: (tally.wins, tally.judged) for kind, tally in record.tallies.items()
        }
        assert {"empty", "trace", "worn_feeling"} <= set(rows) and rows["empty"].n == 3
    assert 'id="probes"' in (run / "report.html").read_text(encoding="utf-8")


def test_sampled_rows_have_the_majority_curve(small_run: Path):
    row = next(row for row in report_of(small_run).results if row.judge == "star_dpo" and row.decoding == "sampled")
    assert [point.k for point in row.majority_curve] == [1, 2, 4]


def test_page_is_self_contained(small_run: Path):
    page = (small_run / "report.html").read_text(encoding="utf-8")
    assert "STaR-DPO" in page
    for outside in ("http://", "https://cdn", "<link", 'src="http'):
        assert outside not in page.replace("http://www.w3.org", "").replace("https://arxiv.org", "")


def test_every_trace_has_a_reason_and_letters_are_balanced(small_run: Path):
    facts = read_manifest(small_run / "methods/star_dpo/round1/examples")
    assert sum(facts["reasons"].values()) == facts["traces"] == 60 * 2 * 4
    labels = Counter()
    traces = {trace.trace_id: trace for trace in read_traces(small_run / "traces/base-part1/traces.parquet")}
    for example in read_examples(small_run / "methods/star_dpo/round1/examples/examples.arrow"):
        chosen, rejected = (traces[name] for name in example.id.split(">"))
        labels[chosen.verdict] += 1
        assert (chosen.pair_id, chosen.swapped) == (rejected.pair_id, rejected.swapped)
        assert example.chosen_ids[: example.chosen_prompt_length] == chosen.prompt_token_ids
    assert len(set(labels.values())) == 1


def test_the_judge_of_a_round_is_the_mean_of_base_and_fit(small_run: Path, small_config: RunConfig):
    base = load_file(resolve_model(small_config.model).path / "model.safetensors")
    fitted, judge = (
        load_file(small_run / f"methods/star_dpo/round1/{name}/model.safetensors") for name in ("trained", "checkpoint")
    )
    moved = 0
    for name, weights in judge.items():
        assert torch.allclose(weights, 0.1 * base[name].float() + 0.9 * fitted[name].float(), atol=1e-6)
        moved += not torch.equal(fitted[name], base[name])
    assert moved
    facts, kept = (read_manifest(small_run / f"methods/star_dpo/round1/{name}") for name in ("trained", "checkpoint"))
    assert kept["steps"] == facts["steps"] and kept["version"] != facts["version"]


@pytest.mark.drill
def test_the_other_methods_have_their_judges(other_run: Path):
    report = report_of(other_run)
    found = {(row.judge, row.test_set, row.decoding) for row in report.results}
    for test_set in ("id", "family_neutral"):
        for judge in ("star_rationalizer_dpo", "self_distilled"):
            assert {(judge, test_set, "sampled"), (judge, test_set, "greedy")} <= found
        for judge in ("pairrm", "genrm_direct", "genrm_points"):
            assert (judge, test_set, "deterministic") in found
    rows = [(row.method, row.iteration) for row in report.learning_curve]
    methods = ("self_distilled", "star_rationalizer_dpo")
    assert rows == [(method, iteration) for method in methods for iteration in (0, 1)]
    receipts = [json.loads(path.read_text()) for path in sorted((other_run / "sync").glob("*.json"))]
    assert "genrm_direct-1" in {receipt["version"] for receipt in receipts}
    assert all(receipt["passed"] for receipt in receipts)
    assert next(row for row in report.results if row.judge == "pairrm").right_in_both is not None


@pytest.mark.drill
def test_rationalised_traces_are_learnt_without_their_hint(other_run: Path):
    hinted = {
        trace.trace_id: trace for trace in read_traces(other_run / "traces/base-part1-rationalized/traces.parquet")
    }
    plain = read_traces(other_run / "traces/base-part1/traces.parquet")
    cot_prompts = {(trace.pair_id, trace.swapped): trace.prompt_token_ids for trace in plain}
    used = 0
    for example in read_examples(other_run / "methods/star_rationalizer_dpo/round1/examples/examples.arrow"):
        chosen = example.id.split(">")[0]
        if chosen in hinted:
            used += 1
            trace = hinted[chosen]
            prompt = example.chosen_ids[: example.chosen_prompt_length]
            assert prompt == cot_prompts[(trace.pair_id, trace.swapped)] != trace.prompt_token_ids
    assert used


def test_traces_open_with_datasets(small_run: Path, tmp_path: Path):
    files = [str(path) for path in (small_run / "traces").glob("*/traces.parquet")]
    table = load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path))
    assert {"trace_id", "rationale", "verdict", "p_a"} <= set(table.column_names)
    assert len(set(table["trace_id"])) == len(table)


def test_checkpoints_load_and_name_their_parent(small_run: Path):
    path = small_run / "methods/star_dpo/round1/checkpoint"
    assert sum(p.numel() for p in AutoModelForCausalLM.from_pretrained(path).parameters()) > 1e6
    manifest = read_manifest(path)
    assert manifest["parent"]["version"] == "base"
    assert manifest["data_hashes"]


def test_every_publication_is_proved(small_run: Path):
    receipts = [json.loads(path.read_text()) for path in sorted((small_run / "sync").glob("*.json"))]
    assert {receipt["version"] for receipt in receipts} >= {"star_dpo-1", "verdict_rl-step1"}
    assert all(receipt["passed"] for receipt in receipts)


def test_gate_rows_follow_the_rounds(small_run: Path):
    rows = [(row.method, row.iteration) for row in report_of(small_run).learning_curve]
    methods = ("star_dpo", "verdict_rl")
    assert rows == [(method, iteration) for method in methods for iteration in (0, 1)]


def test_verdict_rl_learns_from_its_own_traces_and_starts_from_the_judge_before(small_run: Path):
    folder = small_run / "methods/verdict_rl/round1"
    versions = []
    for step in range(2):
        traces = read_traces(folder / f"steps/{step:05d}/traces/traces.parquet")
        assert len(traces) == 6 * 2 * 3 and {trace.swapped for trace in traces} == {True, False}
        assert all(len(trace.logprobs_T) == len(trace.completion_token_ids) for trace in traces)
        versions += sorted({trace.judge_version for trace in traces})
        row = read_json(folder / f"steps/{step:05d}/metrics.json")
        assert 0 <= row["right_in_both"] <= row["right"] <= 1 and row["train/answers"] > 0
        assert abs(row["train/kl_engine"]) < 1e-3, "engine and learner compute the same policy"
    assert versions == ["star_dpo-1", "verdict_rl-step1"]
    manifest = read_manifest(folder / "checkpoint")
    assert manifest["parent"]["version"] == "star_dpo-1" and manifest["trained_tokens"] > 0
    assert not (folder / "state").exists(), "states of a finished training are of no more use"


@pytest.mark.drill
def test_a_self_distilled_judge_learns_under_its_own_prompt_what_it_says_when_told(other_run: Path):
    folder = other_run / "methods/self_distilled/round1"
    row = read_json(folder / "steps/00000/metrics.json")
    assert row["train/kl_teacher"] > 0 and not row["train/empty"]
    traces = read_traces(folder / "steps/00000/traces/traces.parquet")
    assert {trace.form for trace in traces} == {"cot"}
    assert row["train/tokens"] == sum(len(t.prompt_token_ids) + len(t.completion_token_ids) for t in traces)


def test_a_finished_run_is_only_read(small_run: Path, small_config):
    before = {path: path.stat().st_mtime_ns for path in small_run.rglob("_COMPLETE.json")}
    numbers = report_of(small_run)
    run_bootstrap(small_config, Console(quiet=True), must_exist=True)
    assert {path: path.stat().st_mtime_ns for path in small_run.rglob("_COMPLETE.json")} == before
    again = report_of(small_run)
    assert (again.results, again.differences, again.selection) == (
        numbers.results,
        numbers.differences,
        numbers.selection,
    )
