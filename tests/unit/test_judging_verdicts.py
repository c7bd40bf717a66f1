"""The verdict grammar: exact, total, and deaf to everything but the judge's own last line."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrm_rl.judging.probability import log_odds_of, logit, sigmoid, verdict_log_odds, verdict_position
from genrm_rl.judging.templates import GRAMMARS
from genrm_rl.judging.types import Verdict
from genrm_rl.judging.verdicts import parse_verdict
from tests.unit.judging_cases import NASTY

COMPACT, MT_BENCH = GRAMMARS["compact"], GRAMMARS["mt_bench"]
grammars = st.sampled_from([COMPACT, MT_BENCH])
finishes = st.sampled_from(["stop", "length", "deadline", "failed"])
lines = st.sampled_from([*NASTY, "Verdict: A", "Verdict: B", "verdict: A", "verdict: B", "", "  ", "so it is A", "\r"])
texts = st.one_of(st.text(), st.lists(lines).map("\n".join))


@pytest.mark.parametrize(
    ("text", "verdict", "rationale"),
    [
        ("B is wrong.\nVerdict: A", Verdict.PREFERS_A, "B is wrong."),
        ("one\ntwo\nVerdict: B", Verdict.PREFERS_B, "one\ntwo"),
        ("Verdict: B", Verdict.PREFERS_B, ""),
        ("x\n  Verdict: A \r\n\n", Verdict.PREFERS_A, "x"),
        ("x\nVerdict: tie", Verdict.ABSTAINED, "x"),
        ("x\nVerdict: Neither.", Verdict.ABSTAINED, "x"),
        ("x\nVerdict: C", Verdict.ABSTAINED, "x"),
        ("A is better, so A.", Verdict.UNPARSEABLE, "A is better, so A."),
        ("Verdict: A\nbecause", Verdict.UNPARSEABLE, "Verdict: A\nbecause"),
        ("x\nverdict: A", Verdict.UNPARSEABLE, "x\nverdict: A"),
        ("x\nVerdict: a", Verdict.UNPARSEABLE, "x\nVerdict: a"),
        ("x\nVerdict:  A", Verdict.UNPARSEABLE, "x\nVerdict:  A"),
        ("x\nVerdict: A.", Verdict.UNPARSEABLE, "x\nVerdict: A."),
        ("x\nVerdict: \u0391", Verdict.UNPARSEABLE, "x\nVerdict: \u0391"),
        ("x\n\u00a0Verdict: A", Verdict.UNPARSEABLE, "x\n\u00a0Verdict: A"),
        ("x\u2028Verdict: A", Verdict.UNPARSEABLE, "x\u2028Verdict: A"),
        ("", Verdict.UNPARSEABLE, ""),
    ],
)
def test_last_line_decides_exactly(text: str, verdict: Verdict, rationale: str) -> None:
    assert parse_verdict(text, "stop", MT_BENCH) == (verdict, rationale)


def test_quoted_line_is_no_verdict_and_a_contradiction_is_refused() -> None:
    assert parse_verdict('It says "Verdict: B".\nVerdict: A', "stop", MT_BENCH).verdict is Verdict.PREFERS_A
    assert parse_verdict("Verdict: A\nyes.\nVerdict: A", "stop", MT_BENCH).verdict is Verdict.PREFERS_A
    assert parse_verdict("Verdict: B\nno.\nVerdict: A", "stop", MT_BENCH).verdict is Verdict.UNPARSEABLE
    assert parse_verdict("Verdict: B\nno.\nVerdict: A", "length", MT_BENCH).verdict is Verdict.UNPARSEABLE


def test_finish_reason_names_the_non_verdict() -> None:
    assert parse_verdict("thinking", "length", COMPACT).verdict is Verdict.TRUNCATED
    assert parse_verdict("verdict: ", "length", COMPACT).verdict is Verdict.TRUNCATED
    assert parse_verdict("x\nverdict: A", "length", COMPACT).verdict is Verdict.PREFERS_A
    assert parse_verdict("x\nverdict: A", "deadline", COMPACT).verdict is Verdict.TIMED_OUT
    assert parse_verdict("x\nverdict: A", "failed", COMPACT).verdict is Verdict.JUDGE_FAILED


@given(texts, finishes, grammars)
def test_any_text_gives_a_verdict_and_letters_only_from_the_last_line(text, finish, grammar) -> None:
    verdict, rationale = parse_verdict(text, finish, grammar)
    assert isinstance(verdict, Verdict)
    if verdict.slot is not None:
        last = text.rstrip(" \t\r\n").split("\n")[-1].strip(" \t\r")
        assert last == grammar.line(verdict.slot)
        assert text.startswith(rationale)
    if finish in ("deadline", "failed"):
        assert not verdict.is_verdict


@given(st.text(alphabet=st.characters(exclude_characters="\n")), st.sampled_from("AB"), grammars)
def test_written_verdict_is_read_back(rationale: str, slot, grammar) -> None:
    assert parse_verdict(f"{rationale}\n{grammar.line(slot)}", "stop", grammar).verdict in (
        Verdict.of(slot),
        Verdict.UNPARSEABLE,  # a rationale that is itself the other verdict line
    )


@given(st.floats(max_value=0, allow_nan=False), st.floats(max_value=0, allow_nan=False))
def test_probability_is_a_probability_and_mirrors(logprob_a: float, logprob_b: float) -> None:
    if logprob_a == logprob_b == -math.inf:
        with pytest.raises(ValueError, match="zero"):
            log_odds_of(logprob_a, logprob_b)
        return
    odds = log_odds_of(logprob_a, logprob_b)
    assert odds == -log_odds_of(logprob_b, logprob_a)
    p = sigmoid(odds)
    assert 0 <= p <= 1
    assert p == pytest.approx(1 - sigmoid(-odds), abs=1e-12)
    if max(logprob_a, logprob_b) > -600:  # the textbook softmax, where it does not underflow
        weights = math.exp(logprob_a), math.exp(logprob_b)
        assert p == pytest.approx(weights[0] / sum(weights), abs=1e-9)


def test_impossible_probabilities_are_errors_not_numbers() -> None:
    for bad in ((math.nan, -1.0), (-1.0, math.nan), (math.inf, -1.0)):
        with pytest.raises(ValueError):
            log_odds_of(*bad)


@given(st.floats(0, 1))
def test_log_odds_and_probability_are_the_same_thing(p: float) -> None:
    assert sigmoid(logit(p)) == pytest.approx(p, abs=1e-12)


def test_log_odds_still_tell_where_probabilities_are_saturated() -> None:
    assert sigmoid(40.0) == sigmoid(50.0) == 1.0 and log_odds_of(-0.0, -50.0) > log_odds_of(-0.0, -40.0)


def test_probability_is_read_at_the_last_letter_token() -> None:
    a, b, end, blank = 10, 11, 2, 3
    rows = ((-9.0, -1.0), (-0.1, -2.0), (-5.0, -5.0), (-5.0, -5.0))
    ignorable = {end, blank}.__contains__
    assert verdict_position((b, a, blank, end), (a, b), ignorable) == 1
    assert verdict_log_odds((b, a, blank, end), rows, (a, b), ignorable) == pytest.approx(1.9)
    assert verdict_log_odds((b, 7, blank, end), rows, (a, b), ignorable) is None
    assert verdict_log_odds((b, a), (), (a, b), ignorable) is None
    with pytest.raises(ValueError, match="2 tokens came with 4 rows"):
        verdict_log_odds((b, a), rows, (a, b), ignorable)
