"""One turn of the closed loop on real Ray, vLLM, Serve and DeepSpeed, cut off once and then halted for a person."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from genrm_rl.errors import DataError
from genrm_rl.preferences.dedup import prompt_key
from genrm_rl.preferences.sources import load_sources
from genrm_rl.preferences.types import as_messages
from genrm_rl.runtime.storage import is_complete, read_json, read_manifest
from genrm_rl.stories.close_loop import run_loop
from tests.loop.conftest import finished


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_loop_that_was_cut_off_goes_on_without_doing_anything_twice(cut_off, waiting):
    assert waiting / "turn1/bootstrap/methods/star_dpo/round1/checkpoint/_COMPLETE.json" in cut_off
    assert cut_off.items() <= finished(waiting).items()
    assert is_complete(waiting / "turn1/align/policy")


def test_it_halts_where_a_person_is_wanted(waiting, loop_config):
    root = waiting
    report = read_json(root / "loop.json")
    assert report["status"] == "waiting for labels"
    assert report["turns"][0]["waiting_for"] == str(root / "turn1/label_me.jsonl")
    assert not (root / "turn1/judge").exists()
    rows = lines(root / "turn1/label_me.jsonl")
    assert len(rows) > 3 and all(row["label"] == "" and row["answer_a"] != row["answer_b"] for row in rows)
    before = finished(root)
    run_loop(loop_config, Console(quiet=True))  # nobody has labelled anything yet
    assert finished(root) == before


def test_a_bad_label_is_named_by_its_line(waiting, loop_config):
    path = waiting / "turn1/label_me.jsonl"
    good = path.read_text(encoding="utf-8")
    path.write_text(good.replace('"label": ""', '"label": "c"', 1), encoding="utf-8")
    with pytest.raises(DataError, match=r"label_me.jsonl:1: label 'c' is none of a, b, skip"):
        run_loop(loop_config, Console(quiet=True))
    path.write_text(good, encoding="utf-8")


def test_the_next_judge_learns_from_the_union_and_from_nothing_held_out(labelled, loop_config):
    rows = lines(labelled / "turn1/preferences/labels/labels.jsonl")
    assert [row["by"] for row in rows[:2]] == ["human", "human"] and rows[2]["reason"] == "skipped"
    pairs = {row["id"]: row for row in lines(labelled / "turn1/preferences/labels/pairs.jsonl")}
    assert rows[2]["id"] not in pairs
    assert pairs[rows[0]["id"]]["chosen"] == rows[0]["answer_a"] and pairs[rows[1]["id"]]["label_source"] == "human"
    assert pairs[rows[1]["id"]]["chosen"] == rows[1]["answer_b"]
    data = read_json(labelled / "turn1/judge/data.json")
    assert data["sizes"]["train"] == 60 + len(pairs)
    splits = load_sources(loop_config.judge.data, loop_config.run.seed)
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


def test_jobs_that_follow_on_each_other_share_their_engines(labelled, loop_console):
    words = loop_console.file.getvalue()
    assert words.count("engine 0 ready") == 2  # the policy's answer for the comparisons, the labelling judge's go on


def test_one_page_leads_to_everything(labelled):
    report = read_json(labelled / "loop.json")
    assert report["status"] == "finished" and "--serving.checkpoint" in report["served"]["command"]
    assert [row["set"] for row in report["turns"][0]["policy"]] == ["test_short"]
    assert report["turns"][0]["stages"]["labels"]["labelled"]["human"] == 2
    page = (labelled / "report.html").read_text(encoding="utf-8")
    links = re.findall(r'href="([^"#]+)"', page)
    assert links and all((labelled / link).is_file() for link in links)
    assert "<script" not in page and "STaR-DPO" in page


def test_a_finished_loop_is_only_read(labelled, loop_config):
    before, report = finished(labelled), read_json(labelled / "loop.json")
    run_loop(loop_config, Console(quiet=True), must_exist=True)
    assert finished(labelled) == before
    assert read_json(labelled / "loop.json") == report
