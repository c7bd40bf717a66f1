"""Labels: when the judge's own count, whose label wins, and what is said about a file that was filled wrongly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from genrm_rl.closed_loop.comparisons import NewComparison
from genrm_rl.closed_loop.label_file import read_label_file, write_label_file
from genrm_rl.closed_loop.labels import Unlabelled, judge_label, label_comparisons, label_facts
from genrm_rl.config.loop import LabelsConfig
from genrm_rl.errors import DataError
from genrm_rl.judging.folding import fold
from genrm_rl.judging.types import Verdict
from genrm_rl.preferences.types import PreferencePair
from tests.unit.judging_cases import trace

CONFIG = LabelsConfig(votes=2, min_verdicts=3, min_probability=0.8)


def judgment_of(*votes: tuple[bool, Verdict, float | None]):
    """A judgment from (swapped, verdict in that order, P(slot A) in that order)."""
    return fold([trace(verdict, p_a, swapped=swapped, index=i) for i, (swapped, verdict, p_a) in enumerate(votes)])


A, B, NONE = Verdict.PREFERS_A, Verdict.PREFERS_B, Verdict.UNPARSEABLE
SURE_A = ((False, A, 0.95), (False, A, 0.9), (True, B, 0.05), (True, B, 0.1))


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        (SURE_A, "a"),
        (((False, B, 0.1), (False, B, 0.05), (True, A, 0.9), (True, A, 0.95)), "b"),
        (((False, A, 0.95), (False, NONE, None), (True, B, 0.05), (True, B, 0.1)), "a"),  # three verdicts are enough
        (((False, A, 0.95), (False, NONE, None), (True, NONE, None), (True, B, 0.1)), Unlabelled.TOO_FEW_VERDICTS),
        (((False, A, 0.99), (False, A, 0.99), (False, A, 0.99)), Unlabelled.ONE_ORDER),
        (((False, A, 0.99), (False, A, 0.99), (True, NONE, None), (True, NONE, None)), Unlabelled.ONE_ORDER),
        (((False, A, 0.99), (False, A, 0.99), (True, A, 0.9), (True, A, 0.9)), Unlabelled.ORDERS_DISAGREE),
        (((False, A, 0.7), (False, A, 0.7), (True, B, 0.3), (True, B, 0.3)), Unlabelled.UNSURE),
        (((False, A, 0.7), (False, B, 0.3), (True, B, 0.3), (True, A, 0.7)), Unlabelled.TIE),
    ],
)
def test_the_judge_labels_only_what_it_is_sure_of_in_both_orders(votes, expected):
    assert judge_label(judgment_of(*votes), CONFIG) == expected


def comparisons() -> list[NewComparison]:
    return [
        NewComparison(PreferencePair.create(f"max {n} 3", "3", str(n), category="max"), world="") for n in (1, 2, 0)
    ]


def test_a_persons_label_wins_and_a_skip_is_no_label():
    first, second, third = asked = comparisons()
    sure = judgment_of(*SURE_A)
    rows = label_comparisons(asked, {c.id: sure for c in asked}, {first.id: "b", second.id: "skip"}, CONFIG)
    assert [(row.label, row.by, row.reason) for row in rows] == [
        ("b", "human", None),
        (None, None, Unlabelled.SKIPPED),
        ("a", "ai", None),
    ]
    assert [row.pair() is None for row in rows] == [False, True, False]
    facts = label_facts(rows)
    assert facts["labelled"] == {"ai": 1, "human": 1} and facts["unlabelled"] == {"skipped": 1}
    assert facts["person_and_judge"] == {"decided": 1, "agree": 0} and facts["gold"] == {"ai": None, "human": None}
    assert rows[2].pair().chosen == third.answers[0] and rows[2].pair().label_source == "ai"


def test_without_a_judge_what_a_person_left_open_stays_open():
    first, *_ = asked = comparisons()
    rows = label_comparisons(asked, {}, {first.id: "a"}, CONFIG)
    assert [row.reason for row in rows] == [None, Unlabelled.NOT_ASKED, Unlabelled.NOT_ASKED]


def test_agreement_with_the_verifier_counts_only_what_it_can_decide():
    from genrm_rl.preferences.world.families import solve
    from genrm_rl.preferences.world.pairs import questions

    (question,) = questions("train", 1, 0)
    right = solve(question)
    pairs = [(right, f"{right}0"), (right, f"{right} hope that helps!"), (f"{right}0", f"{right}00")]
    asked = [NewComparison(PreferencePair.create(question, *texts), world=question) for texts in pairs]
    label = "a" if asked[0].answers[0] == right else "b"
    other = {"a": "b", "b": "a"}[label]
    for said, agree in ((label, 1), (other, 0)):
        rows = label_comparisons(asked, {}, {asked[0].id: said, asked[1].id: "a", asked[2].id: "a"}, CONFIG)
        assert label_facts(rows)["gold"] == {"human": {"decided": 1, "agree": agree}}


def written(tmp_path: Path) -> tuple[Path, list[NewComparison], list[dict]]:
    path, asked = tmp_path / "label_me.jsonl", comparisons()
    write_label_file(path, asked, "human", "genrm-rl loop --run.id x")
    return path, asked, [json.loads(line) for line in path.read_text().splitlines()]


def fill(path: Path, rows: list[dict | str]) -> None:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))


def test_the_file_says_what_to_do_and_is_never_written_over(tmp_path):
    path, asked, rows = written(tmp_path)
    assert [row["label"] for row in rows] == ["", "", ""]
    assert [(row["answer_a"], row["answer_b"]) for row in rows] == [c.answers for c in asked]
    how = (tmp_path / "HOW_TO_LABEL.txt").read_text()
    assert "label_me.jsonl" in how and "genrm-rl loop --run.id x" in how and "skip" in how
    rows[0]["label"] = "a"
    fill(path, rows)
    write_label_file(path, asked, "human", "genrm-rl loop")
    assert read_label_file(path, asked) == {asked[0].id: "a"}


def test_labels_are_read_whatever_their_case_and_order(tmp_path):
    path, asked, rows = written(tmp_path)
    for row, label in zip(rows, ("A", " b ", "SKIP"), strict=True):
        row["label"] = label
    fill(path, rows[::-1])
    assert read_label_file(path, asked) == {asked[0].id: "a", asked[1].id: "b", asked[2].id: "skip"}


@pytest.mark.parametrize(
    ("spoil", "line", "words"),
    [
        (lambda rows: rows[1].update(label="c"), 2, "label 'c' is none of a, b, skip"),
        (lambda rows: rows[2].pop("label"), 3, "label None is none of a, b, skip"),
        (lambda rows: rows[0].update(answer_a="better"), 1, "`answer_a` of comparison"),
        (lambda rows: rows[1].update(id="elsewhere"), 2, "there is no comparison elsewhere in this turn"),
        (lambda rows: rows.append(dict(rows[0])), 4, "was on line 1 already"),
        (lambda rows: rows.__setitem__(1, "{"), 2, "not valid JSON"),
        (lambda rows: rows.__setitem__(0, "[]"), 1, "the line has no `id`"),
    ],
)
def test_a_file_filled_wrongly_is_refused_with_its_line(tmp_path, spoil, line, words):
    path, asked, rows = written(tmp_path)
    spoil(rows)
    fill(path, rows)
    with pytest.raises(DataError) as refused:
        read_label_file(path, asked)
    message = str(refused.value)
    assert message.startswith(f"{path}:{line}: ") and words in message and "mend the file" in message


def test_more_bad_lines_are_counted(tmp_path):
    path, asked, rows = written(tmp_path)
    for row in rows:
        row["label"] = "maybe"
    fill(path, rows)
    with pytest.raises(DataError, match=r":1: .*and 2 more bad lines"):
        read_label_file(path, asked)
