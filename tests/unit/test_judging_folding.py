"""Folding: both orders, votes, ties, non-verdicts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrm_rl.judging.folding import fold, fold_all
from genrm_rl.judging.types import Verdict
from tests.unit.judging_cases import trace

A, B = Verdict.PREFERS_A, Verdict.PREFERS_B
NON_VERDICTS = [kind for kind in Verdict if not kind.is_verdict]


@st.composite
def any_trace(draw):
    verdict = draw(st.sampled_from(list(Verdict)))
    p_a = draw(st.one_of(st.none(), st.floats(0, 1))) if verdict.is_verdict else None
    return trace(verdict, p_a, swapped=draw(st.booleans()), index=draw(st.integers(0, 99)))


trace_lists = st.lists(any_trace(), min_size=1, max_size=8)
aggregates = st.sampled_from(["mean_probability", "majority"])


@given(trace_lists, aggregates)
def test_exchanging_the_answers_mirrors_the_judgment(traces, aggregate) -> None:
    judgment = fold(traces, aggregate)
    mirrored = fold([replace(entry, swapped=not entry.swapped) for entry in traces], aggregate)
    assert mirrored.verdict is judgment.verdict.swap()
    assert mirrored.tie == judgment.tie
    assert mirrored.consistent == judgment.consistent
    assert mirrored.verdict_ab == (judgment.verdict_ba and judgment.verdict_ba.swap())
    assert (mirrored.p_a is None) == (judgment.p_a is None)
    if judgment.p_a is not None:
        assert mirrored.p_a == pytest.approx(1 - judgment.p_a, abs=1e-9)


@given(trace_lists, aggregates)
def test_probability_only_from_verdicts(traces, aggregate) -> None:
    judgment = fold(traces, aggregate)
    voted = [entry for entry in traces if entry.verdict.is_verdict]
    assert judgment.votes == len(voted)
    assert (judgment.p_a is None) == (not voted)
    assert judgment.p_a is None or 0 <= judgment.p_a <= 1
    if not voted:
        assert judgment.verdict in NON_VERDICTS and not judgment.tie and judgment.consistent is None
    assert judgment.verdict.is_verdict == (bool(voted) and not judgment.tie)


def test_each_order_weighs_the_same_however_many_votes_it_has() -> None:
    judgment = fold([trace(A, 0.9), trace(A, 0.9, index=1), trace(A, 0.9, index=2), trace(A, 0.8, swapped=True)])
    assert judgment.p_a == pytest.approx((0.9 + 0.2) / 2)
    assert (judgment.verdict_ab, judgment.verdict_ba, judgment.consistent) == (A, B, False)


def test_position_bias_cancels_to_a_stated_tie() -> None:
    judgment = fold([trace(A, 0.7), trace(A, 0.7, swapped=True)])
    assert judgment.verdict is Verdict.ABSTAINED and judgment.tie and judgment.p_a == pytest.approx(0.5)
    assert judgment.consistent is False


def test_mean_and_majority_can_differ() -> None:
    traces = [trace(A, 0.55), trace(A, 0.55, index=1), trace(B, 0.05, index=2)]
    assert fold(traces, "mean_probability").verdict is B
    assert fold(traces, "majority").verdict is A
    assert fold(traces[:1] + traces[2:], "majority").tie


def test_non_verdicts_are_left_out_and_named() -> None:
    judgment = fold([trace(Verdict.TRUNCATED), trace(A, 0.8, index=1), trace(Verdict.UNPARSEABLE, swapped=True)])
    assert (judgment.verdict, judgment.p_a, judgment.votes) == (A, 0.8, 1)
    assert (judgment.verdict_ab, judgment.verdict_ba, judgment.consistent) == (A, Verdict.UNPARSEABLE, None)
    lost = [trace(Verdict.TRUNCATED), trace(Verdict.TIMED_OUT, index=1), trace(Verdict.TIMED_OUT, index=2)]
    assert fold(lost).verdict is Verdict.TIMED_OUT
    assert fold(lost).verdict_ba is None


def test_traces_of_two_pairs_are_refused_but_fold_all_sorts_them() -> None:
    traces = [trace(A, 0.9), trace(B, 0.1, pair_id="p1"), trace(B, 0.1, swapped=True)]
    with pytest.raises(ValueError, match="2 pairs"):
        fold(traces)
    with pytest.raises(ValueError, match="0 traces"):
        fold([])
    assert [(key, judgment.verdict, judgment.votes) for key, judgment in fold_all(traces).items()] == [
        ("p0", A, 2),
        ("p1", B, 1),
    ]
