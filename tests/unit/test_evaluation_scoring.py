from __future__ import annotations

from dataclasses import replace

import pytest

from genrm_rl.errors import DataError
from genrm_rl.evaluation.metrics import summarise
from genrm_rl.evaluation.scoring import REWARDBENCH_SECTIONS, score_judgebench, score_rewardbench, score_rm_bench
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


def test_rm_bench_is_strict_and_follows_the_label():
    rows = [styled("x", i, j, 0.5) for i in range(3) for j in range(3)]
    assert score_rm_bench(rows).overall == 0.0
    rows = [styled("x", i, j, 0.1, label="B") for i in range(3) for j in range(3)]
    assert score_rm_bench(rows).overall == 1.0


def test_rm_bench_names_what_is_missing():
    with pytest.raises(DataError, match=r"meta\.chosen_style"):
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
