"""The page of an alignment: the last step's rewards, each below its question."""

from __future__ import annotations

from pathlib import Path

from genrm_rl.alignment.report import build_align_report, examples, render
from genrm_rl.config.alignment import AlignConfig
from genrm_rl.config.loading import load_config
from genrm_rl.runtime.run_directory import FinishedStages
from tests.unit import run_examples
from tests.unit.reader_runs import ANSWERS, QUESTION, aligned_run


def shown(run: Path) -> list[dict]:
    return examples(FinishedStages(run), load_config(AlignConfig, run / "config.yaml", []))


def test_rewards_of_the_last_step_stand_below_their_question_beside_what_a_verifier_says(tmp_path):
    aligned_run(tmp_path / "run")
    (group,) = shown(tmp_path / "run")
    assert group["question"] == [["user", QUESTION]]
    assert [(answer["text"], answer["right"]) for answer in group["answers"]] == [
        (ANSWERS[0], True), (ANSWERS[1], False), (ANSWERS[2], False)
    ]  # fmt: skip
    report = build_align_report(FinishedStages(run_examples.alignment(tmp_path / "page")), AlignConfig())
    page = render(report | {"examples": [group]})
    assert page.index(f'<span class="q">{QUESTION}</span>') < page.index('<td class="text">right</td><td>0.250</td>')


def test_rewards_are_shown_also_where_their_question_is_gone(tmp_path):
    aligned_run(tmp_path / "run")
    (tmp_path / "run/questions.jsonl").unlink()
    (group,) = shown(tmp_path / "run")
    assert group["question"] is None and [answer["right"] for answer in group["answers"]] == [None] * 3
    assert [answer["reward"] for answer in group["answers"]] == [0.25, 0.75, None]
