"""One turn of the closed loop on real Ray, vLLM, Serve and DeepSpeed, cut off once and then halted for a person."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from genrm_rl.closed_loop.job import run_loop
from genrm_rl.closed_loop.label_file import ALLOWED
from genrm_rl.config.loading import load_config
from genrm_rl.config.loop import LoopConfig
from genrm_rl.errors import DataError
from genrm_rl.preferences.dedup import prompt_key
from genrm_rl.preferences.sources import load_sources
from genrm_rl.preferences.types import as_messages
from genrm_rl.runtime.storage import is_complete, read_json, read_manifest

YAML = """
judge:
  model: {name: tiny, max_context: 320, dtype: float32}
  judge: {template: compact, max_rationale: 96}
  data:
    train: [{world: train, limit: 60}]
    gate: [{world: gate, limit: 16}]
    test: [{world: id, limit: 8}]
  rollout: {max_in_flight: 128, kv_cache_gib: 0.25}
  learner: {tokens_per_microbatch: 2048, precision: float32}
  bootstrap: {methods: [llm_judge, star_dpo], iterations: 1, gate_pairs: 16}
  evaluation: {bootstrap_resamples: 200, decoding: [sampled], probe_pairs: 1}
policy:
  model: {name: tiny, max_context: 128, dtype: float32}
  prompts: {train: [{world: train, limit: 60}], test: [{world: test, limit: 8}]}
  rollout: {max_in_flight: 64, kv_cache_gib: 0.25}
  learner: {tokens_per_microbatch: 2048, precision: float32, cpus_per_worker: 1}
  judge_rollout: {max_in_flight: 64, kv_cache_gib: 0.25}
  ppo: {steps: 1, prompts_per_step: 6, samples_per_prompt: 3}
  evaluation: {prompts: 8, probes: 0, decoding: [sampled], bootstrap_resamples: 200}
comparisons: {questions: 24, samples_per_question: 3}
labels: {source: both, votes: 1, min_verdicts: 2, min_probability: 0.6}
"""


class CutOff(Console):
    """A console whose process ends, as by Ctrl-C, when it is to say certain words."""

    def __init__(self, words: str) -> None:
        super().__init__(quiet=True)
        self.words = words

    def print(self, *objects: object, **options: object) -> None:
        if any(self.words in str(text) for text in objects):
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> LoopConfig:
    root = tmp_path_factory.mktemp("closed")
    (root / "loop.yaml").write_text(YAML, encoding="utf-8")
    return load_config(LoopConfig, root / "loop.yaml", ["--run.root", str(root), "--run.id", "small"])


@pytest.fixture(scope="module")
def waiting(config: LoopConfig, ray_cluster) -> tuple[Path, dict[Path, int]]:
    """Cut off at the end of the first bootstrap, before the loop has recorded it, then gone on until a person is
    wanted; with what was finished at the cut, and when."""
    with pytest.raises(KeyboardInterrupt):
        run_loop(config, CutOff("report: "))
    root = Path(config.run.root) / config.run.id
    assert not (root / "turn1/stages/bootstrap").exists()
    before = finished(root)
    return run_loop(config, Console(quiet=True), must_exist=True), before


@pytest.fixture(scope="module")
def labelled(config: LoopConfig, waiting) -> Path:
    """The loop after a person has chosen a for one comparison, b for one, and skipped one."""
    path = waiting[0] / "turn1/label_me.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for row, label in zip(rows, ALLOWED, strict=False):
        row["label"] = label
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return run_loop(config, Console(quiet=True))


def finished(root: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in root.rglob("_COMPLETE.json")}


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_loop_that_was_cut_off_goes_on_without_doing_anything_twice(waiting):
    root, before = waiting
    assert root / "turn1/bootstrap/methods/star_dpo/round1/checkpoint/_COMPLETE.json" in before
    assert before.items() <= finished(root).items()
    assert is_complete(root / "turn1/align/policy")


def test_it_halts_where_a_person_is_wanted(waiting, config):
    root, _ = waiting
    report = read_json(root / "loop.json")
    assert report["status"] == "waiting for labels"
    assert report["turns"][0]["waiting_for"] == str(root / "turn1/label_me.jsonl")
    assert not (root / "turn1/judge").exists()
    rows = lines(root / "turn1/label_me.jsonl")
    assert len(rows) > 3 and all(row["label"] == "" and row["answer_a"] != row["answer_b"] for row in rows)
    before = finished(root)
    run_loop(config, Console(quiet=True))  # nobody has labelled anything yet
    assert finished(root) == before


def test_a_bad_label_is_named_by_its_line(waiting, config):
    path = waiting[0] / "turn1/label_me.jsonl"
    good = path.read_text(encoding="utf-8")
    path.write_text(good.replace('"label": ""', '"label": "c"', 1), encoding="utf-8")
    with pytest.raises(DataError, match=r"label_me.jsonl:1: label 'c' is none of a, b, skip"):
        run_loop(config, Console(quiet=True))
    path.write_text(good, encoding="utf-8")


def test_the_next_judge_learns_from_the_union_and_from_nothing_held_out(labelled, config):
    rows = lines(labelled / "turn1/preferences/labels/labels.jsonl")
    assert [row["by"] for row in rows[:2]] == ["human", "human"] and rows[2]["reason"] == "skipped"
    pairs = {row["id"]: row for row in lines(labelled / "turn1/preferences/labels/pairs.jsonl")}
    assert rows[2]["id"] not in pairs
    assert pairs[rows[0]["id"]]["chosen"] == rows[0]["answer_a"] and pairs[rows[1]["id"]]["label_source"] == "human"
    assert pairs[rows[1]["id"]]["chosen"] == rows[1]["answer_b"]
    data = read_json(labelled / "turn1/judge/data.json")
    assert data["sizes"]["train"] == 60 + len(pairs)
    splits = load_sources(config.judge.data, config.run.seed)
    held_out = {prompt_key(pair.prompt) for side in (splits.gate, *splits.test.values()) for pair in side}
    assert not {prompt_key(as_messages(row["prompt"])) for row in pairs.values()} & held_out


def test_every_stage_names_its_parents(labelled):
    stages = {
        name: read_manifest(labelled / f"turn1/stages/{name}") for name in ("bootstrap", "align", "judge", "gate")
    }
    assert stages["align"]["parents"]["judge"] == stages["bootstrap"]["judge"]
    assert stages["judge"]["parents"]["pairs"][1:] == ["turn1/preferences/labels/pairs.jsonl"]
    assert stages["gate"]["parents"] == {"current": stages["bootstrap"]["judge"], "candidate": stages["judge"]["judge"]}
    assert stages["gate"]["served"] in stages["gate"]["parents"].values()
    assert read_manifest(labelled / "turn1/preferences/comparisons")["policy"] == stages["align"]["policy"]
    assert stages["align"]["weights"] not in (None, stages["bootstrap"]["weights"])


def test_one_page_leads_to_everything(labelled):
    report = read_json(labelled / "loop.json")
    assert report["status"] == "finished" and "--serving.checkpoint" in report["served"]["command"]
    assert [row["set"] for row in report["turns"][0]["policy"]] == ["test_short"]
    assert report["turns"][0]["stages"]["labels"]["labelled"]["human"] == 2
    page = (labelled / "report.html").read_text(encoding="utf-8")
    links = re.findall(r'href="([^"#]+)"', page)
    assert links and all((labelled / link).is_file() for link in links)
    assert "<script" not in page and "STaR-DPO" in page


def test_a_finished_loop_is_only_read(labelled, config):
    before, report = finished(labelled), read_json(labelled / "loop.json")
    run_loop(config, Console(quiet=True), must_exist=True)
    assert finished(labelled) == before
    assert read_json(labelled / "loop.json") == report
