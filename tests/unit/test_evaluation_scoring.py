from __future__ import annotations

import math
from dataclasses import replace

import pytest

from genrm_rl.errors import DataError
from genrm_rl.evaluation.best_of import score_rewardbench2, score_rmb
from genrm_rl.evaluation.metrics import summarise
from genrm_rl.evaluation.scoring import (
    REWARDBENCH_SECTIONS,
    check_scoring,
    score_judgebench,
    score_rewardbench,
    score_rm_bench,
    whole_items,
)
from genrm_rl.preferences.types import PreferencePair
from tests.unit.evaluation_rows import row


def test_rewardbench_weights_subsets_by_count_and_sections_equally():
    rows = [
        row("a", "A", "AA", category="alpacaeval-easy"),
        row("b", "A", "AA", category="alpacaeval-easy"),
        row("c", "A", "AA", category="alpacaeval-easy"),
        row("d", "A", "BB", category="mt-bench-med"),
        row("e", "A", "??", category="donotanswer"),
        row("f", "B", "==", category="donotanswer"),
    ]
    score = score_rewardbench(rows)
    assert score.detail == {"alpacaeval-easy": 1.0, "mt-bench-med": 0.0, "donotanswer": 0.5}
    assert score.sections == {"Chat": 0.75, "Safety": 0.5}
    assert score.overall == 0.625


def test_rewardbench_weights_math_like_all_code():
    rows = [row("m", "A", "BB", category="math-prm")]
    rows += [row(f"c{i}", "A", "AA", category="hep-go") for i in range(9)]
    assert score_rewardbench(rows).sections == {"Reasoning": 0.5}
    assert score_rewardbench(rows[:1]).sections == {"Reasoning": 0.0}


def test_rewardbench_does_not_show_long_conversations_to_a_generative_judge():
    rows = [replace(row(f"p{n}", "A", "AA"), meta={"messages": n}) for n in (2, 4, 6)]
    assert score_rewardbench(rows).overall == pytest.approx(2.5 / 3)
    assert score_rewardbench([replace(each, order_free=True) for each in rows]).overall == 1


def test_rewardbench_has_its_23_subsets():
    assert {section: len(members) for section, members in REWARDBENCH_SECTIONS.items()} == {
        "Chat": 5, "Chat Hard": 6, "Safety": 5, "Reasoning": 7,
    }  # fmt: skip


def test_rewardbench_slot_is_random_but_seeded():
    rows = [row(f"p{i}", "A", "AB") for i in range(400)]  # right in order ab, wrong in order ba
    first = score_rewardbench(rows, seed=1)
    assert 0.42 < first.overall < 0.58
    assert first == score_rewardbench(list(reversed(rows)), seed=1)
    assert first != score_rewardbench(rows, seed=2)


def styled(domain, chosen, rejected, p_a, index=0, label="A"):
    meta = {"chosen_style": chosen, "rejected_style": rejected}
    return row(f"{domain}{chosen}{rejected}{index}", label, "AA", p_a, category=domain, meta=meta)


def test_rm_bench_levels_by_hand():
    # A judge that likes style: wins if the chosen answer is at least as decorated.
    rows = [styled("chat", i, j, 0.9 if i >= j else 0.1) for i in range(3) for j in range(3)]
    rows += [styled("math", i, j, 0.9) for i in range(3) for j in range(3)]
    score = score_rm_bench(rows)
    assert score.sections == pytest.approx({"chat": 2 / 3, "math": 1.0})
    assert score.detail == pytest.approx({"easy": 1.0, "normal": 1.0, "hard": 0.5})
    assert score.overall == pytest.approx(5 / 6)
    assert score.matrix[0] == pytest.approx((1.0, 0.5, 0.5))
    assert score.matrix[2] == pytest.approx((1.0, 1.0, 1.0))


def test_the_halves_of_safety_are_one_domain():
    wins = {"chat": 0.9, "safety-refuse": 0.9, "safety-response": 0.1}
    rows = [styled(domain, i, j, p_a) for domain, p_a in wins.items() for i in range(3) for j in range(3)]
    score = score_rm_bench(rows)
    assert score.sections == {"chat": 1.0, "safety": 0.5} and score.overall == 0.75


def test_rm_bench_is_strict_and_follows_the_label():
    rows = [styled("x", i, j, 0.5) for i in range(3) for j in range(3)]
    assert score_rm_bench(rows).overall == 0.0
    rows = [styled("x", i, j, 0.1, label="B") for i in range(3) for j in range(3)]
    assert score_rm_bench(rows).overall == 1.0


def test_rm_bench_names_what_is_missing():
    with pytest.raises(DataError, match="needs `chosen_style`"):
        score_rm_bench([row("a", "A", "AA")])
    with pytest.raises(DataError, match="chosen_style 0 and rejected_style 1"):
        score_rm_bench([styled("x", 0, 0, 0.9)])


@pytest.mark.parametrize(
    ("verdicts", "won"),
    [("AA", 1), ("A=", 1), ("A?", 1), ("AB", 0), ("==", 0), ("B=", 0), ("BB", 0), ("A-", 1), ("B-", 0)],
)
def test_judgebench_games(verdicts, won):
    assert score_judgebench([row("a", "A", verdicts)]).overall == won


def test_judgebench_overall_weights_pairs_not_categories():
    rows = [
        row("a", "A", "AA", category="math"),
        row("b", "A", "BB", category="code"),
        row("c", "A", "BB", category="code"),
    ]
    score = score_judgebench(rows)
    assert score.overall == pytest.approx(1 / 3)
    assert score.sections == {"math": 1.0, "code": 0.0}


def test_the_rule_is_selected_by_the_configuration():
    result = summarise([row("a", "A", "A=")], resamples=100, scoring="judgebench")
    assert result.benchmark.rule == "judgebench"
    assert result.benchmark.overall == 1.0
    assert result.accuracy_strict == 0.5
    assert summarise([row("a", "A", "A=")], resamples=100).benchmark is None


def answers(item, chosen, rejected, p_a, category="Factuality", **meta):
    """A comparison of good answer ``chosen`` with bad answer ``rejected`` of one question; the good one is A."""
    ids = {"chosen_id": f"c{chosen}", "rejected_id": f"r{rejected}"}
    verdicts = "??" if p_a is None else "AA" if p_a > 0.5 else "AB" if p_a == 0.5 else "BB"
    meta = {"item": item, **ids, **meta}
    return row(f"{category}{item}{chosen}{rejected}", "A", verdicts, p_a, category=category, meta=meta)


def best_of_four(item, *p_chosen, **more):
    return [answers(item, 0, i, p, correct=1, incorrect=3, **more) for i, p in enumerate(p_chosen)]


@pytest.mark.parametrize(
    ("p_chosen", "credit"),
    [
        ((0.9, 0.8, 0.7), 1.0),
        ((0.9, 0.5, 0.7), 1 / 2),  # shares the first place with one other
        ((0.5, 0.5, 0.5), 1 / 4),
        ((None, None, None), 1 / 4),  # as an answer that can't be read
        ((0.9, 0.5, 0.2), 0.0),  # a better one is there
    ],
)
def test_rewardbench2_best_of_four(p_chosen, credit):
    assert score_rewardbench2(best_of_four("1", *p_chosen)).overall == pytest.approx(credit)


def test_rewardbench2_weights_questions_in_a_subset_and_subsets_equally_and_leaves_torn_questions_out():
    rows = best_of_four("1", 0.9, 0.9, 0.9) + best_of_four("2", 0.1, 0.9, 0.9) + best_of_four("3", 0.9, 0.9, 0.9)
    rows += best_of_four("1", 0.9, 0.9, 0.9, category="Math") + best_of_four(
        "4", 0.9, 0.9
    )  # its third answer is missing
    score = score_rewardbench2(rows)
    assert score.sections == pytest.approx({"Factuality": 2 / 3, "Math": 1.0})
    assert (score.overall, score.left_out) == (pytest.approx(5 / 6), 1)


def sigmoid(log_odds):
    return 1 / (1 + math.exp(-log_odds))


def test_rewardbench2_ties_by_hand():
    def question(kind, margins):
        return [
            answers(f"{kind}:7", c, r, sigmoid(m), category="Ties", correct=len(margins), incorrect=len(margins[0]))
            for c, row_ in enumerate(margins)
            for r, m in enumerate(row_)
        ]

    # Good answers against bad ones in nats: means 3 and 4, so a spread of 1; margin 2 (tied) and 1.5 (ref).
    score = score_rewardbench2(question("tied", [[2.0, 4.0], [3.0, 5.0]]) + question("ref", [[1.5, 2.5]]))
    assert score.sections["Ties"] == pytest.approx(0.3 + 0.3 + 0.2 + 0.2 + 0.01 * math.tanh(1.5 / 1 - 1))
    # Spread 6 is wider than both margins: the judge prefers some good answers to others by more than good to bad.
    score = score_rewardbench2(question("tied", [[1.0, 1.0], [7.0, 7.0]]) + question("ref", [[1.5, 2.5]]))
    assert score.sections["Ties"] == pytest.approx(0.3 + 0.3 + 0.01 * math.tanh(1 / 6 - 1))
    # One good answer loses: no tied accuracy; margin -1 is below the spread (mean 0.5 and 3).
    score = score_rewardbench2(question("tied", [[-1.0, 2.0], [3.0, 3.0]]) + question("ref", [[1.5, 2.5]]))
    assert score.sections["Ties"] == pytest.approx(0.3 + 0.01 * math.tanh(-1 / 2.5 - 1))
    with pytest.raises(DataError, match="no question"):
        score_rewardbench2(question("ref", [[1.5, 2.5]]))


def test_rmb_wants_the_best_answer_before_all_others():
    rows = best_of_four("1", 0.9, 0.8, 0.7, category="Helpfulness") + best_of_four(
        "2", 0.9, 0.5, 0.7, category="Helpfulness"
    )
    rows += best_of_four("3", 0.9, 0.8, 0.7, category="Harmlessness", subset="a/b")
    score = score_rmb(rows)
    assert score.sections == {"Helpfulness": 0.5, "Harmlessness": 1.0}
    assert (score.overall, score.detail) == (0.75, {"a/b": 1.0, "all": 0.5})
    with pytest.raises(DataError, match="a column `item`"):
        score_rmb([row("a", "A", "AA", 0.9)])


def pair(number=0, category="", **meta):
    return PreferencePair.create(f"q{number}", "good", f"bad {number}", category=category, meta=meta)


def test_what_a_rule_lacks_is_said_before_anything_is_judged():
    styles = [pair(3 * i + j, "chat", chosen_style=i, rejected_style=j) for i in range(3) for j in range(3)]
    check_scoring("t", styles, "rm_bench")
    check_scoring("t", [pair()], "pairs")
    with pytest.raises(DataError, match="domain chat has no pair with chosen_style 2 and rejected_style 2"):
        check_scoring("t", styles[:-1], "rm_bench")
    with pytest.raises(DataError, match=r"set\.jsonl:4: the RM-Bench rule needs `chosen_style` as 0, 1 .*found None"):
        check_scoring("t", [*styles, pair(99, "chat", file="set.jsonl", line=4)], "rm_bench")
    with pytest.raises(DataError, match="t:.*a column `item`"):
        check_scoring("t", [pair()], "rewardbench2")


@pytest.mark.parametrize(("most", "kept"), [(1, 3), (3, 3), (4, 3), (5, 5), (6, 6), (9, 6)])
def test_a_question_of_several_pairs_is_not_torn(most, kept):
    pairs = [pair(0, item="a"), pair(1, item="a"), pair(2, item="a"), pair(3, item="b"), pair(4, item="b"), pair(5)]
    assert len(whole_items(pairs, most)) == kept
