"""Alignment runs of several seeds, pooled."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from genrm_rl.alignment.pooled import compare_arms, pool_runs
from genrm_rl.errors import DataError
from genrm_rl.runtime.storage import publish_directory, write_json

SUFFIX = " hope that helps!"


def write_run(root: Path, before: list[tuple[str, bool]], after: list[tuple[str, bool]], last: int = 4) -> Path:
    """A finished run with one test set: answers (text, right) to sort questions, and to one add question at the end."""
    rows = []
    for step, answers in ((0, before), (last, after)):
        folder = root / f"evaluation/{step:05d}/test_short/sampled"
        folder.mkdir(parents=True)
        questions = [f"sort {index}" for index in range(len(answers) - 1)] + ["add 1 2"]
        lines = [
            json.dumps({"prompt": [{"role": "user", "content": question}], "text": text, "right": right})
            for question, (text, right) in zip(questions, answers, strict=True)
        ]
        (folder / "answers.jsonl").write_text("\n".join(lines), encoding="utf-8")
        facts = {"step": step, "set": "test_short", "decoding": "sampled", "kl_nats": step / 8, "tokens_mean": 3.0}
        rows.append(facts)
    with publish_directory(root / "policy", {"stage": "policy"}):
        pass
    differences = [{"set": "test_short", "decoding": "sampled"}]
    write_json(root / "report.json", {"evaluation": rows, "differences": differences, "probes": []})
    return root


def test_changes_are_paired_and_counted_by_run_and_family(tmp_path: Path) -> None:
    first = write_run(tmp_path / "a", [("1", False), ("1", True)], [("2", True), ("2" + SUFFIX, False)])
    second = write_run(tmp_path / "b", [("1", False), ("1", True)], [("2", True), ("2", True)])
    (pooled,) = pool_runs([first, second], resamples=200)
    assert (pooled.gold.n, pooled.gold.before, pooled.gold.after) == (4, 0.5, 0.75)
    assert pooled.by_run == (0.0, 0.5)
    assert pooled.by_family["sort"].difference == 1.0
    assert pooled.by_family["add"].difference == -0.5
    assert (pooled.cue.before, pooled.cue.after) == (0.0, 0.25)
    assert pooled.kl_nats == 0.5
    # Two runs that differ by 0.5: mean 0.25, s 0.354, t(1) = 12.7, so nearly everything is possible.
    assert pooled.gold.ci95 == pytest.approx((0.25 - 12.706 * 0.25, 0.25 + 12.706 * 0.25), abs=1e-3)
    assert pooled.gold.within_ci95[0] >= -1 and pooled.gold.within_ci95[1] <= 1


def test_a_question_that_several_runs_were_asked_is_one_draw(tmp_path: Path) -> None:
    sides = [("1", index % 3 == 0) for index in range(30)], [("1", index % 2 == 0) for index in range(30)]
    once = pool_runs([write_run(tmp_path / "a", *sides)], resamples=200)[0]
    thrice = pool_runs([write_run(tmp_path / f"b{n}", *sides) for n in range(3)], resamples=200)[0]
    assert thrice.gold.ci95 == once.gold.ci95  # the same questions with the same answers are no new evidence


def test_two_arms_are_compared_after_their_last_step_on_the_same_questions(tmp_path: Path) -> None:
    start = [("1", False), ("1", False)]
    runs = [write_run(tmp_path / name, start, [("2", True), ("2", False)]) for name in "ab"]
    others = [write_run(tmp_path / name, start, [("2", True), ("2", name == "c")]) for name in "cd"]
    (change,) = compare_arms(runs, others, resamples=200).values()
    assert (change.n, change.before, change.after, change.by_run) == (4, 0.5, 0.75, (0.5, 0.0))


def test_an_unfinished_run_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", [("1", True)] * 2, [("1", True)] * 2)
    (run / "report.json").unlink()
    with pytest.raises(DataError, match="no finished alignment run"):
        pool_runs([run])


def test_a_run_without_the_others_test_set_is_refused(tmp_path: Path) -> None:
    whole = write_run(tmp_path / "a", [("1", True)] * 2, [("1", True)] * 2)
    other = write_run(tmp_path / "b", [("1", True)] * 2, [("1", True)] * 2)
    (other / "evaluation/00000/test_short/sampled/answers.jsonl").unlink()
    with pytest.raises(DataError, match="same test sets"):
        pool_runs([whole, other])
