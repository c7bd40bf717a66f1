"""New comparisons: which answers meet, and what is left out before anybody is asked for a label."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrm_rl.alignment.prompts import PolicyPrompt
from genrm_rl.closed_loop.comparisons import NewComparison, pair_answers, usable_comparisons
from genrm_rl.closed_loop.label_file import write_label_file
from genrm_rl.closed_loop.preferences import _comparison, _comparison_row, _pair_row
from genrm_rl.closed_loop.settings import next_judge_settings
from genrm_rl.config.loading import load_config
from genrm_rl.config.loop import LoopConfig
from genrm_rl.config.rubric import read_rubric
from genrm_rl.preferences.data_report import DataReport
from genrm_rl.preferences.guide import Guide
from genrm_rl.preferences.sources import DataSplits, load_source
from genrm_rl.preferences.types import PreferencePair, as_messages

QUICKSTART = Path(__file__).resolve().parents[2] / "jobs/configs/quickstart.yaml"
QUESTION = PolicyPrompt("q1", as_messages("add 1 2"), (1, 2), world="add 1 2")


def fits(pair: PreferencePair) -> str | None:
    return "too long" if len(pair.chosen) > 50 else None


def splits_with(gate: list[PreferencePair], test: list[PreferencePair]) -> DataSplits:
    return DataSplits([], gate, {"id": test}, DataReport())


@given(st.lists(st.sampled_from(["3", "4", " 3", "5 ", "", "  "]), max_size=8), st.integers(1, 4), st.integers(0, 9))
def test_only_distinct_answers_with_content_meet(answers, pairs, seed):
    found = pair_answers(QUESTION, answers, pairs=pairs, seed=seed)
    distinct = {answer.strip() for answer in answers if answer.strip()}
    assert len(found) == min(pairs, len(distinct) * (len(distinct) - 1) // 2)
    assert len({comparison.id for comparison in found}) == len(found)
    for comparison in found:
        first, second = comparison.answers
        assert first.strip() != second.strip() and first in answers and second in answers


def test_pairs_are_the_same_whenever_they_are_drawn_again():
    answers = ["1", "2", "3", "4", "5"]
    first, again = (pair_answers(QUESTION, answers, pairs=2, seed=7) for _ in range(2))
    assert [c.answers for c in first] == [c.answers for c in again]
    others = {tuple(c.answers for c in pair_answers(QUESTION, answers, pairs=2, seed=seed)) for seed in range(8)}
    assert len(others) > 1


def test_a_label_chooses_the_answer_that_was_shown_under_it():
    (comparison,) = pair_answers(QUESTION, ["3", "4"], pairs=1, seed=0)
    answer_a, answer_b = comparison.answers
    chose_a, chose_b = comparison.labelled("a", "human"), comparison.labelled("b", "ai")
    assert (chose_a.chosen, chose_a.rejected, chose_a.label_source) == (answer_a, answer_b, "human")
    assert (chose_b.chosen, chose_b.rejected, chose_b.label_source) == (answer_b, answer_a, "ai")
    assert chose_a.id == chose_b.id == comparison.id
    assert chose_a.comparison() == comparison.pair.comparison(), "what is shown must not depend on the label"


def new(prompt: str, first: str, second: str) -> NewComparison:
    return NewComparison(PreferencePair.create(prompt, first, second))


def test_held_out_prompts_known_pairs_and_misfits_are_left_out_and_counted():
    words = "please sort these seven words by their length and then give"
    gate = [PreferencePair.create("what is in the gate", "x", "y")]
    test = [PreferencePair.create(f"{words} me the last one of them", "x", "y")]
    known = PreferencePair.create("asked before", "u", "v")
    usable = new("a fresh question", "1", "2")
    found = [
        usable,
        new("What is in  the gate", "1", "2"),
        new(f"{words} me the last one of those", "1", "2"),
        new("asked before", "v", "u"),
        new("a long one", "1" * 51, "2"),
    ]
    result = usable_comparisons(found, splits_with(gate, test), {known.id: known}, fits, threshold=0.8)
    assert result.kept == [usable]
    assert result.left_out == {"labelled already": 1, "does not fit the judge": 1, "prompt is held out": 2}


@pytest.mark.parametrize("threshold", [0.8, 1.0])
def test_without_leaks_nothing_is_counted(threshold):
    found = [new("a fresh question", "1", "2")]
    result = usable_comparisons(found, splits_with([], []), {}, fits, threshold)
    assert result.kept == found and result.left_out == {}


def test_what_a_judge_was_told_goes_on_with_the_pair_to_the_next_judge(tmp_path):
    """Question, comparison, label file, labelled pair, and the pair as the next bootstrap reads it."""
    own = read_rubric(["be short"])
    question = replace(QUESTION, guide=Guide(own), known_answer="3")  # the answer is known and was not shown
    endless = "<think>\n3 or"
    (found,) = pair_answers(question, ["3", endless, "4"], pairs=4, seed=0)
    assert set(found.answers) == {"3", "4"}, "an answer that never ends its thinking is none"
    kept = _comparison(_comparison_row(found))
    assert (kept.id, kept.answers, kept.pair.guide) == (found.id, found.answers, Guide(own, "3"))
    write_label_file(tmp_path / "label_me.jsonl", [found], "human", "again")
    shown = json.loads((tmp_path / "label_me.jsonl").read_text())
    assert shown["rubric"][0]["description"] == "be short" and shown["known_answer"] == "3"
    pair = found.labelled("a", "human")
    bare = PreferencePair.create("add 2 2", "4", "5")
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(_pair_row(each)) + "\n" for each in (pair, bare)))
    loop = load_config(LoopConfig, QUICKSTART)
    settings = next_judge_settings(loop, tmp_path, "turn2/judge", {"turn 1": "pairs.jsonl"})
    again, _ = load_source(settings.data.train[-1], settings.data, 0)
    assert {each.id: each.guide for each in again} == {pair.id: Guide(own, "3"), bare.id: Guide()}
