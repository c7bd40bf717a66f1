"""Folding: both orders, votes, ties, non-verdicts."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrm_rl.config.model import JudgeConfig
from genrm_rl.judging.folding import fold, fold_all, tie_of_equals
from genrm_rl.judging.probability import logit, sigmoid
from genrm_rl.judging.types import Verdict
from tests.unit.judging_cases import trace

A, B, NONE = Verdict.PREFERS_A, Verdict.PREFERS_B, Verdict.UNPARSEABLE
NON_VERDICTS = [kind for kind in Verdict if not kind.is_verdict and kind is not Verdict.ONE_ORDER]
AGGREGATES = ["mean_probability", "mean_log_odds", "majority"]


@st.composite
def any_trace(draw):
    """Letters and their log-odds need not agree: a sampled letter may be drawn against its own odds."""
    verdict = draw(st.sampled_from([A, B, *NON_VERDICTS]))
    odds = draw(st.one_of(st.none(), st.floats(-60, 60), st.sampled_from([0.0, 1e-10, math.inf, -math.inf])))
    odds = odds if verdict.is_verdict else None
    made = trace(verdict, None if odds is None else sigmoid(odds), swapped=draw(st.booleans()))
    return replace(made, log_odds=odds)


trace_lists = st.lists(any_trace(), min_size=1, max_size=8)
aggregates = st.sampled_from(AGGREGATES)
asked_orders = st.sampled_from(["both", "one"])


@given(trace_lists, aggregates, asked_orders)
def test_exchanging_the_answers_mirrors_the_judgment(traces, aggregate, orders) -> None:
    judgment = fold(traces, aggregate, orders)
    mirrored = fold([replace(entry, swapped=not entry.swapped) for entry in traces], aggregate, orders)
    assert mirrored.verdict is judgment.verdict.swap()
    assert mirrored.tie == judgment.tie
    assert mirrored.consistent == judgment.consistent
    assert mirrored.verdict_ab == (judgment.verdict_ba and judgment.verdict_ba.swap())
    assert (mirrored.p_a is None) == (judgment.p_a is None)
    if judgment.p_a is not None:
        assert mirrored.p_a == pytest.approx(1 - judgment.p_a, abs=1e-9)


@given(trace_lists, aggregates, asked_orders)
def test_verdict_probability_and_tie_always_say_the_same(traces, aggregate, orders) -> None:
    judgment = fold(traces, aggregate, orders)
    voted = {entry.swapped for entry in traces if entry.verdict.is_verdict}
    assert judgment.votes == sum(entry.verdict.is_verdict for entry in traces)
    assert (judgment.p_a is not None) == (len(voted) == 2 or (orders == "one" and bool(voted)))
    if judgment.p_a is None:
        assert judgment.verdict in [*NON_VERDICTS, Verdict.ONE_ORDER] and not judgment.tie
        assert (judgment.verdict is Verdict.ONE_ORDER) == (len(voted) == 1)
    else:
        assert judgment.tie == (judgment.p_a == 0.5) == (judgment.verdict is Verdict.ABSTAINED)
        assert judgment.tie or (judgment.p_a > 0.5) == (judgment.verdict is A)
    if judgment.consistent is False and judgment.votes == 2:
        assert judgment.tie, "orders that contradict each other have no winner"


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_a_verdict_in_one_order_is_no_judgment(aggregate) -> None:
    half = [trace(A, 0.99), trace(A, 0.99, index=1), trace(NONE, swapped=True)]
    judgment = fold(half, aggregate)
    assert (judgment.verdict, judgment.p_a, judgment.tie) == (Verdict.ONE_ORDER, None, False)
    assert (judgment.verdict_ab, judgment.verdict_ba, judgment.consistent) == (A, NONE, None)
    assert fold(half[:2], aggregate).verdict is Verdict.ONE_ORDER, "an order that was never asked"
    assert fold([trace(Verdict.TIMED_OUT), trace(A, 0.9, swapped=True)], aggregate).verdict is Verdict.ONE_ORDER
    for asked in (half, half[:2]):
        assert fold(asked, aggregate, "one").verdict is A, "people who ask in one order on purpose"


@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize(("p_ab", "p_ba"), [(0.9991, 0.001), (0.999, 0.0028), (0.6, 0.05), (1.0, 0.0)])
def test_a_contradiction_is_exactly_one_half_however_sure_either_order_is(aggregate, p_ab, p_ba) -> None:
    """Both orders name the answer shown first: the sign of what is left over was nearly always wrong."""
    for verdicts in ((A, A), (B, B)):
        first, second = (p_ab, 1 - p_ba) if verdicts[0] is A else (1 - p_ab, p_ba)
        judgment = fold([trace(verdicts[0], first), trace(verdicts[1], second, swapped=True)], aggregate)
        assert (judgment.verdict, judgment.p_a, judgment.tie) == (Verdict.ABSTAINED, 0.5, True)
        assert judgment.consistent is False


def test_sampled_letters_that_contradict_are_a_tie_also_where_their_probabilities_agree() -> None:
    drawn_against_its_odds = trace(A, 0.02, swapped=True)
    judgment = fold([trace(A, 0.98), drawn_against_its_odds])
    assert (judgment.verdict_ab, judgment.verdict_ba, judgment.p_a, judgment.tie) == (A, B, 0.5, True)


def test_a_letter_drawn_against_its_own_odds_is_worth_one_half() -> None:
    judgment = fold([trace(A, 0.9), trace(B, 0.97, swapped=True)])
    assert (judgment.verdict, judgment.consistent) == (A, True)
    assert judgment.p_a == pytest.approx((0.9 + 0.5) / 2)
    both = fold([trace(A, 0.1), trace(B, 0.9, swapped=True)])
    assert (both.verdict, both.p_a, both.tie) == (Verdict.ABSTAINED, 0.5, True)


@pytest.mark.parametrize("aggregate", ["mean_probability", "mean_log_odds"])
def test_logits_that_are_equal_in_both_orders_are_a_tie(aggregate) -> None:
    """bfloat16 has few numbers near 20: both letters get the same logit, and the first one is taken."""
    equal = [replace(trace(A, 0.5, swapped=swapped), log_odds=0.0) for swapped in (False, True)]
    assert fold(equal, aggregate).tie


def test_log_odds_outlast_saturated_probabilities() -> None:
    sure = [replace(trace(A, 1.0), log_odds=45.0), replace(trace(B, 0.4, swapped=True), log_odds=logit(0.4))]
    assert fold(sure, "mean_log_odds").p_a == sigmoid((45.0 + logit(0.6)) / 2) < 1
    assert fold(sure, "mean_probability").p_a == pytest.approx((1.0 + 0.6) / 2)


def test_each_order_weighs_the_same_however_many_votes_it_has() -> None:
    judgment = fold([trace(A, 0.9), trace(A, 0.9, index=1), trace(A, 0.9, index=2), trace(B, 0.2, swapped=True)])
    assert judgment.p_a == pytest.approx((0.9 + 0.8) / 2)
    assert (judgment.verdict_ab, judgment.verdict_ba, judgment.consistent, judgment.votes) == (A, A, True, 4)


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_most_votes_win_each_order_weighing_the_same_and_balanced_votes_are_a_tie(aggregate) -> None:
    """Not the sign of what the probabilities leave over."""
    split = [trace(A, 0.999), trace(B, 0.002, index=1)]
    balanced = fold([*split, trace(A, 0.9, swapped=True), trace(B, 0.3, index=1, swapped=True)], aggregate)
    assert (balanced.verdict_ab, balanced.verdict, balanced.p_a) == (Verdict.ABSTAINED, Verdict.ABSTAINED, 0.5)
    for_b = fold([*split, trace(A, 0.9, swapped=True), trace(A, 0.9, index=1, swapped=True)], aggregate)
    assert for_b.verdict is B and for_b.p_a < 0.5 and for_b.consistent is None
    first = [trace(A, 0.9, index=index) for index in range(4)]
    second = [trace(A if index < 3 else B, 0.9 if index < 3 else 0.1, index=index, swapped=True) for index in range(4)]
    biased = fold([*first, *second], aggregate)
    assert biased.consistent is False and biased.verdict is A and 0.5 < biased.p_a < 0.9
    unanimous = fold([*first, *(replace(entry, swapped=True) for entry in first)], aggregate)
    assert unanimous.tie and unanimous.consistent is False


def test_probabilities_that_stand_against_the_letters_make_a_tie() -> None:
    unsure = [trace(A, 0.51), trace(A, 0.52, index=1), trace(B, 0.01, index=2)]
    mirrored = [replace(entry, verdict=entry.verdict.swap(), p_a=1 - entry.p_a, swapped=True) for entry in unsure]
    for aggregate in ("mean_probability", "mean_log_odds"):
        assert fold([*unsure, *mirrored], aggregate).tie
    assert fold([*unsure, *mirrored], "majority").verdict is A


def test_the_aggregates_are_three_readings_of_the_same_votes() -> None:
    traces = [trace(A, 0.9), trace(A, 0.7, index=1), trace(B, 0.4, index=2), trace(B, 0.2, swapped=True)]
    mean = (0.9 + 0.7 + 0.4) / 3
    assert fold(traces, "mean_probability").p_a == pytest.approx((mean + 0.8) / 2)
    assert fold(traces, "mean_log_odds").p_a == pytest.approx(sigmoid((logit(mean) + logit(0.8)) / 2))
    assert fold(traces, "majority").p_a == pytest.approx((2 / 3 + 1) / 2)


def test_non_verdicts_are_left_out_and_named() -> None:
    judgment = fold([trace(Verdict.TRUNCATED), trace(A, 0.8, index=1), trace(B, 0.2, swapped=True), trace(NONE)])
    assert (judgment.verdict, judgment.votes) == (A, 2) and judgment.p_a == pytest.approx(0.8)
    lost = [trace(Verdict.TRUNCATED), trace(Verdict.TIMED_OUT, index=1), trace(Verdict.TIMED_OUT, index=2)]
    assert fold(lost).verdict is Verdict.TIMED_OUT
    assert fold(lost).verdict_ba is None


def test_equal_answers_are_a_tie_of_nobody() -> None:
    judgment = tie_of_equals("p")
    assert (judgment.p_a, judgment.tie, judgment.verdict, judgment.votes) == (0.5, True, Verdict.ABSTAINED, 0)


def test_traces_of_two_pairs_are_refused_but_fold_all_sorts_them() -> None:
    traces = [trace(A, 0.9), trace(B, 0.1, pair_id="p1"), trace(B, 0.1, swapped=True)]
    with pytest.raises(ValueError, match="2 pairs"):
        fold(traces)
    with pytest.raises(ValueError, match="0 traces"):
        fold([])
    assert [(key, judgment.verdict, judgment.votes) for key, judgment in fold_all(traces).items()] == [
        ("p0", A, 2),
        ("p1", Verdict.ONE_ORDER, 1),
    ]


def test_what_the_configuration_leaves_out_is_what_the_fold_does() -> None:
    traces, config = [trace(A, 0.9), trace(B, 0.4, swapped=True)], JudgeConfig()
    assert fold(traces) == fold(traces, config.aggregate, config.orders)
