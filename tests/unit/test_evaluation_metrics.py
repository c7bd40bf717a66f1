"""Every number here was computed by hand."""

from __future__ import annotations

import dataclasses

import pytest

from genrm_rl.errors import DataError
from genrm_rl.evaluation.differences import compare, compare_all
from genrm_rl.evaluation.metrics import summarise
from genrm_rl.evaluation.records import record_from_judgment, record_from_probability
from genrm_rl.judging.folding import fold
from genrm_rl.judging.types import Judgment, Trace, Verdict
from genrm_rl.preferences.types import PreferencePair
from tests.unit.evaluation_rows import row, votes

SIX = [
    row("p1", "A", "AA", 0.9),  # right twice
    row("p2", "A", "AB", 0.5),  # flips: a tie; says "first" both times: ab shows A first, ba shows B first
    row("p3", "B", "AA", 0.8),  # wrong twice
    row("p4", "B", "B?", verdict=Verdict.ONE_ORDER),  # right, unparseable: no judgment
    row("p5", "A", "//", verdict=Verdict.TRUNCATED),  # truncated twice
    row("p6", "B", "=B", 0.45),  # tie, right
]


def summary(rows, **settings):
    return summarise(rows, resamples=200, seed=1, **settings)


def test_both_orders_count_once_each():
    result = summary(SIX)
    assert (result.n, result.judgments) == (6, 12)
    assert result.accuracy_strict == pytest.approx(5 / 12)  # 2 + 1 + 0 + 1 + 0 + 1
    assert result.accuracy_flexible == pytest.approx(7 / 12)  # + half of ?, /, /, =
    assert result.accuracy_decided == pytest.approx(5 / 8)  # 8 verdicts were given
    assert result.right_in_both == pytest.approx(1 / 6)  # p1
    assert result.consistent == pytest.approx(2 / 6)  # p1 and p3, which is wrong twice
    assert result.flip_rate == pytest.approx(1 / 3)  # p1, p2, p3 have verdicts in both orders
    assert result.non_verdict_rate == pytest.approx(4 / 12)
    assert result.non_verdicts == pytest.approx({"unparseable": 1 / 12, "truncated": 2 / 12, "tie": 1 / 12})
    low, high = result.ci95
    assert 0 <= low < 5 / 12 < high <= 1


def test_first_position_counts_the_shown_slot_not_the_canonical_one():
    # Verdicts: p1 A(first) A(second), p2 A(first) B(first), p3 A(first) A(second), p4 B(second), p6 B in ba (first).
    assert summary(SIX).first_position_rate == pytest.approx(5 / 8)
    always_first = [row("x", "A", "AB"), row("y", "B", "AB")]
    assert summary(always_first).first_position_rate == 1.0
    assert summary(always_first).flip_rate == 1.0


def test_folded_a_tie_is_one_half_and_no_judgment_is_nothing():
    # Right: p1 (0.9, A), p6 (0.45, B). A tie: p2. Wrong: p3. No judgment: p4 (one order), p5.
    result = summary(SIX)
    assert result.accuracy_folded == pytest.approx(2.5 / 6)
    assert (result.tie_rate, result.unjudged_rate) == pytest.approx((1 / 6, 2 / 6))
    assert result.unjudged == pytest.approx({"one_order": 1 / 6, "truncated": 1 / 6})
    assert result.n_with_probability == 4


def test_a_judge_that_is_wrong_in_both_orders_is_consistent_and_never_right():
    result = summary([row("a", "A", "BB", 0.1), row("b", "B", "AA", 0.9)])
    assert (result.consistent, result.right_in_both, result.flip_rate, result.tie_rate) == (1.0, 0.0, 0.0, 0.0)


def test_a_judge_that_always_names_the_first_answer_is_all_ties():
    result = summary([row("a", "A", "AB", 0.5), row("b", "B", "AB", 0.5)])
    assert (result.tie_rate, result.accuracy_folded, result.accuracy_strict, result.consistent) == (1.0, 0.5, 0.5, 0.0)


def test_pairs_of_one_prompt_are_resampled_together():
    # 40 prompts of 5 pairs, each prompt all right or all wrong: as uncertain as 40 single pairs, not as 200.
    def rows(copies):
        return [
            row(f"{i}.{k}", "A", "AA" if i % 2 else "BB", 0.9 if i % 2 else 0.1, prompt_id=f"q{i}")
            for i in range(40)
            for k in range(copies)
        ]

    five, one = summary(rows(5)), summary(rows(1))
    assert (five.n, five.prompts, one.prompts) == (200, 40, 40)
    assert five.ci95 == one.ci95
    alone = summary([dataclasses.replace(each, prompt_id="") for each in rows(5)])
    width = alone.ci95[1] - alone.ci95[0]
    assert five.ci95[1] - five.ci95[0] > 1.8 * width  # sqrt(5) = 2.2, less noise


def test_mcnemar_tests_the_decisions_of_the_metric_by_prompt():
    # By order: x gains one order on p1 and p2 (one prompt), loses one on p3: +2 against -1 by prompt.
    x = [row("p1", "A", "AA", 0.9, prompt_id="q"), row("p2", "A", "AA", 0.9, prompt_id="q"), row("p3", "A", "AB", 0.5)]
    y = [row("p1", "A", "AB", 0.5, prompt_id="q"), row("p2", "A", "BA", 0.5, prompt_id="q"), row("p3", "A", "AA", 0.8)]
    y = [dataclasses.replace(each, judge="y") for each in y]
    strict = compare(x, y, resamples=100)
    assert (strict.n, strict.prompts, strict.difference) == (3, 2, pytest.approx(1 / 6))
    assert (strict.prompts_judge_better, strict.prompts_baseline_better) == (1, 1)
    assert strict.mcnemar_p == 1.0  # all four ways to exchange give 1 or 3 halves: none is nearer to zero than 1
    both = compare(x, y, resamples=100, metric="right_in_both")
    assert (both.prompts_judge_better, both.prompts_baseline_better, both.mcnemar_p) == (1, 1, 1.0)


def test_calibration_by_hand():
    result = summary(
        [row("a", "A", "AA", 0.9), row("b", "B", "AA", 0.9), row("c", "B", "BB", 0.3), row("d", "A", "AA", 1.0)]
    )
    # Bins: [0.9, 1] holds 0.9, 0.9, 1.0 (mean 2.8/3, share of A 2/3); [0.3, 0.4) holds 0.3 (share 0).
    assert result.ece == pytest.approx(3 / 4 * (2.8 / 3 - 2 / 3) + 1 / 4 * 0.3)
    assert result.brier == pytest.approx((0.01 + 0.81 + 0.09 + 0.0) / 4)
    assert [b.n for b in result.calibration] == [0, 0, 0, 1, 0, 0, 0, 0, 0, 3]
    assert result.calibration[0].mean_p is None


def test_without_probabilities_calibration_does_not_exist():
    result = summary([row("a", "A", "AA"), row("b", "B", "AB")])
    assert (result.ece, result.brier, result.accuracy_folded, result.calibration) == (None, None, 0.0, ())


def test_bradley_terry_has_no_order():
    pair = PreferencePair.create("q", "good", "bad")
    p_a = 0.8 if pair.label() == "A" else 0.2
    record = record_from_probability(pair, p_a, judge="bradley_terry", test_set="id")
    result = summary([record])
    assert (result.n, result.judgments, result.accuracy_strict) == (1, 1, 1.0)
    assert result.right_in_both is None
    assert result.right_in_both_ci95 is None
    assert result.consistent is None
    assert result.flip_rate is None
    assert result.first_position_rate is None
    assert result.decoding == "deterministic"


def test_pair_classifier_keeps_both_orders():
    pair = PreferencePair.create("q", "good", "bad")
    right, wrong = (0.8, 0.4) if pair.label() == "A" else (0.2, 0.6)
    result = summary([record_from_probability(pair, right, wrong, judge="pairrm", test_set="id")])
    assert (result.accuracy_strict, result.right_in_both, result.flip_rate) == (0.5, 0.0, 1.0)
    assert (result.accuracy_folded, result.tie_rate) == (0.5, 1.0), "a contradiction is a tie, whichever order is surer"


@pytest.mark.parametrize("p_a", [float("nan"), -0.1, 1.1])
def test_a_broken_score_is_refused(p_a):
    pair = PreferencePair.create("q", "good", "bad")
    with pytest.raises(ValueError, match=pair.id):
        record_from_probability(pair, p_a, judge="bradley_terry", test_set="id")


def test_equal_scores_are_a_tie():
    record = record_from_probability(PreferencePair.create("q", "good", "bad"), 0.5, judge="bt", test_set="id")
    result = summary([record])
    assert (result.accuracy_strict, result.accuracy_flexible, result.non_verdicts) == (0.0, 0.5, {"tie": 1.0})


def test_length_bias():
    result = summary(
        [
            row("a", "A", "AA", chars_chosen=20, chars_rejected=5),  # longer chosen, right twice: prefers longer twice
            row("b", "A", "BA", chars_chosen=5, chars_rejected=20),  # longer rejected: wrong = longer, right = shorter
            row("c", "A", "BB"),  # equal length: left out
        ]
    )
    assert result.length.pairs == 2
    assert result.length.prefers_longer == pytest.approx(3 / 4)
    assert result.length.chosen_is_longer == 0.5
    assert (result.length.accuracy_chosen_longer, result.length.accuracy_chosen_shorter) == (1.0, 0.5)
    assert summary([row("c", "A", "BB")]).length is None


def test_majority_curve_by_hand():
    rows = [
        row("a", "A", "AA", votes_ab=votes("AABA"), votes_ba=votes("BBBB")),
        row("b", "B", "BB", votes_ab=votes("BB??"), votes_ba=votes("BABA")),
    ]
    curve = {point.k: point for point in summary(rows).majority_curve}
    assert sorted(curve) == [1, 2, 4]
    # k=1: a/ab 3 right of 4, a/ba 0, b/ab 2 right 2 without verdict, b/ba 2 right of 4.
    assert curve[1].accuracy_strict == pytest.approx((3 + 0 + 2 + 2) / 16)
    assert curve[1].accuracy_flexible == pytest.approx((3 + 0 + 3 + 2) / 16)
    # k=2: a/ab AA right, BA tie; a/ba wrong, wrong; b/ab BB right, ?? tie; b/ba tie, tie.
    assert curve[2].accuracy_strict == pytest.approx(2 / 8)
    assert curve[2].accuracy_flexible == pytest.approx((1 + 0.5 + 1 + 0.5 + 0.5 + 0.5) / 8)
    # k=4: a/ab 3:1 right, a/ba wrong, b/ab 2:0 right, b/ba tie.
    assert curve[4].accuracy_strict == pytest.approx(2 / 4)
    assert curve[4].accuracy_flexible == pytest.approx(2.5 / 4)
    assert curve[4].accuracy_mean_probability is None


def test_mean_probability_beats_the_vote_it_outweighs():
    rows = [row("a", "A", "A-", votes_ab=votes("BA", [0.45, 0.95]))]
    curve = {point.k: point for point in summary(rows).majority_curve}
    assert curve[2].accuracy_strict == 0.0  # 1:1
    assert curve[2].accuracy_mean_probability == 1.0  # mean 0.7
    assert curve[1].accuracy_mean_probability == 0.5


def test_categories():
    result = summary(
        [
            row("a", "A", "AA", category="add"),
            row("b", "A", "BB", category="sort"),
            row("c", "A", "AB", category="sort"),
        ]
    )
    assert {c.category: (c.n, c.accuracy_strict) for c in result.by_category} == {"add": (1, 1.0), "sort": (2, 0.25)}


def test_several_suites_or_a_doubled_pair_are_refused():
    with pytest.raises(DataError, match="several suites"):
        summary([row("a", "A", "AA"), row("b", "A", "AA", decoding="greedy")])
    with pytest.raises(DataError, match="judged twice"):
        summary([row("a", "A", "AA"), row("a", "A", "AA")])
    with pytest.raises(DataError, match="empty"):
        summary([])


def test_difference_uses_common_pairs_only_and_keeps_its_sign():
    good = [row(f"p{i}", "A", "AA", 0.9, judge="good") for i in range(40)]
    bad = [row(f"p{i}", "A", "AB" if i % 2 else "BB", 0.4, judge="bad") for i in range(10, 50)]
    difference = compare(good, bad, resamples=500, seed=3)
    assert difference.n == 30
    assert difference.difference == pytest.approx(1 - 0.25)
    assert difference.ci95[0] > 0.6
    assert (difference.prompts_judge_better, difference.prompts_baseline_better) == (30, 0)
    assert difference.mcnemar_p == pytest.approx(2 / 2**30)
    assert compare(bad, good, resamples=500, seed=3).difference == pytest.approx(-0.75)


def test_labels_must_agree():
    with pytest.raises(DataError, match="different labels"):
        compare([row("a", "A", "AA")], [row("a", "B", "AA", judge="other")], resamples=100)


def test_identical_judges_differ_by_nothing():
    mirror = [dataclasses.replace(record, judge="mirror") for record in SIX]
    difference = compare(mirror, SIX, resamples=300)
    assert (difference.difference, difference.ci95, difference.mcnemar_p) == (0.0, (0.0, 0.0), None)


def test_all_comparisons_pair_decodings_and_let_scalar_judges_meet_both():
    sampled = [row("a", "A", "AA")]
    greedy = [row("a", "A", "AB", decoding="greedy")]
    scalar = [row("a", "A", "A-", judge="bt", decoding="deterministic", order_free=True)]
    rows = compare_all([sampled, greedy, scalar], resamples=100)
    assert {(r.judge, r.decoding, r.baseline, r.baseline_decoding) for r in rows} == {
        ("bt", "deterministic", "judge", "sampled"),
        ("bt", "deterministic", "judge", "greedy"),
    }
    assert {r.metric for r in rows} == {"accuracy_strict", "accuracy_folded"}  # a scalar judge has no two orders


def trace(pair, swapped, verdict, p_a, index):
    return Trace(
        trace_id=f"{swapped}{index}", pair_id=pair.id, swapped=swapped, form="cot", text="", rationale="",
        verdict=verdict, p_a=p_a, prompt_token_ids=(1,), completion_token_ids=(1, 2), finish_reason="stop",
        judge_version="v0", temperature=1.0, top_p=1.0, seed=0, sample_index=index,
    )  # fmt: skip


def test_a_row_speaks_in_the_canonical_orientation():
    pair = PreferencePair.create("q", "good", "bad", source="src", meta={"style": 1, "nested": {"x": 1}})
    traces = (
        trace(pair, True, Verdict.PREFERS_B, 0.1, 0),  # shown swapped: prefers canonical A with 0.9
        trace(pair, False, Verdict.PREFERS_A, 0.7, 0),
    )
    judgment = Judgment(pair.id, Verdict.PREFERS_A, 0.8, Verdict.PREFERS_A, Verdict.PREFERS_A, True, 1, traces=traces)
    record = record_from_judgment(pair, judgment, judge="j", test_set="id", decoding="sampled")
    assert (record.p_a_ab, record.p_a_ba) == (0.7, pytest.approx(0.9))
    assert record.votes_ba[0].verdict is Verdict.PREFERS_A
    assert (record.category, record.completion_tokens, record.meta["style"], record.meta["messages"]) == (
        "src",
        4,
        1,
        2,
    )


def test_balanced_votes_are_a_tie_and_an_unreadable_one_is_not():
    pair = PreferencePair.create("q", "good", "bad")
    traces = (
        trace(pair, False, Verdict.PREFERS_A, 0.7, 0),
        trace(pair, False, Verdict.PREFERS_B, 0.2, 1),
        trace(pair, True, Verdict.UNPARSEABLE, None, 0),
        trace(pair, True, Verdict.UNPARSEABLE, None, 1),
    )
    judgment = Judgment(
        pair.id, Verdict.ABSTAINED, 0.45, Verdict.ABSTAINED, Verdict.UNPARSEABLE, None, 2, tie=True, traces=traces
    )
    record = record_from_judgment(pair, judgment, judge="j", test_set="id", decoding="sampled")
    assert (record.tie_ab, record.tie_ba) == (True, False)
    assert summary([record]).non_verdicts == {"tie": 0.5, "unparseable": 0.5}


def test_one_sampled_vote_is_its_letter_and_not_the_side_of_its_probability():
    pair = PreferencePair.create("q", "good", "bad")
    letter = Verdict.of(pair.label())
    p_of_letter = 0.3  # drawn against its own odds
    p_a = p_of_letter if letter is Verdict.PREFERS_A else 1 - p_of_letter
    traces = (trace(pair, False, letter, p_a, 0), trace(pair, True, letter.swap(), 1 - p_a, 0))
    record = record_from_judgment(pair, fold(traces), judge="j", test_set="id", decoding="sampled")
    assert (record.verdict_ab, record.verdict_ba) == (letter, letter)
    assert summary([record]).accuracy_strict == 1.0


def test_label_and_judgment_must_belong_together():
    pair = PreferencePair.create("q", "good", "bad")
    with pytest.raises(ValueError, match="can't be scored"):
        record_from_judgment(
            pair,
            Judgment("other", Verdict.PREFERS_A, 0.8, None, None, None, 1),
            judge="j",
            test_set="id",
            decoding="greedy",
        )
