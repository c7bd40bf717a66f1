"""Votes that stop early: the stated error rate, and that nothing is stopped that could not be."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrm_rl.judging.folding import fold
from genrm_rl.judging.stopping import Round, Vote, decided, next_rounds, rounds_of
from genrm_rl.judging.types import Verdict
from tests.unit.judging_cases import trace

LETTERS = st.sampled_from([0.0, 1.0])
VOTES = st.one_of(
    st.none(),
    st.builds(lambda p: Vote(float(p > 0.5), p), st.floats(0, 1)),
    st.builds(Vote, LETTERS, st.just(0.5)),  # drawn against its own odds
)


def soft(*probabilities: float | None) -> Round:
    """A round whose letters follow from their probabilities."""
    return tuple(None if p is None else Vote(float(p > 0.5), p) for p in probabilities)


A, B, FIRST = soft(1.0, 1.0), soft(0.0, 0.0), soft(1.0, 0.0)


def asked_of(rounds: Sequence[Round], error: float | None) -> int:
    """Rounds that are asked before it stops."""
    asked = 0
    while more := next_rounds(rounds[:asked], len(rounds), error):
        asked += more
    return asked


def verdict_of(rounds: Sequence[Round]) -> Verdict:
    """What the service would answer after ``rounds``."""
    traces = [
        trace(Verdict.TRUNCATED, index=index, swapped=swapped)
        if vote is None
        else trace(
            Verdict.PREFERS_A if vote.letter != swapped else Verdict.PREFERS_B,
            1 - vote.probability if swapped else vote.probability,
            index=index,
            swapped=swapped,
        )
        for index, votes in enumerate(rounds)
        for swapped, vote in zip((False, True), votes, strict=True)
    ]
    return fold(traces).verdict


def test_without_an_error_rate_all_votes_are_asked_at_once() -> None:
    assert next_rounds([], 8, None) == 8 and next_rounds([A] * 8, 8, None) == 0


@pytest.mark.parametrize(("planned", "error", "unanimous"), [(1, 0.1, 1), (4, 0.05, 3), (8, 0.05, 4), (16, 0.05, 5)])
def test_agreeing_votes_stop_early(planned: int, error: float, unanimous: int) -> None:
    assert asked_of([A] * planned, error) == asked_of([B] * planned, error) == unanimous
    assert asked_of([A] * planned, 0) == planned // 2 + 1, "without error: once the majority is certain"


def test_votes_that_only_name_the_first_answer_never_stop() -> None:
    assert asked_of([FIRST] * 16, 0.1) == 16


def test_votes_whose_letters_are_against_their_probabilities_never_stop() -> None:
    assert asked_of([(Vote(1.0, 0.2), Vote(1.0, 0.2))] * 16, 0.1) == 16


def test_one_order_stops_by_itself() -> None:
    rounds = [soft(1.0)] * 8
    assert next_rounds([], 8, 0.05) == 4 and next_rounds(rounds[:4], 8, 0.05) == 0


def test_failures_delay_the_stop_and_never_cause_it() -> None:
    assert asked_of([soft(None, None)] * 8, 0.1) == 8
    assert asked_of([soft(1.0, None)] * 8, 0.1) == 8
    assert asked_of([soft(None, None), *[A] * 15], 0.05) > asked_of([A] * 16, 0.05)


@given(st.lists(st.tuples(VOTES, VOTES), min_size=1, max_size=10))
def test_with_error_zero_the_verdict_is_always_that_of_all_votes(rounds: list[Round]) -> None:
    assert verdict_of(rounds[: asked_of(rounds, 0)]) == verdict_of(rounds)


@given(st.lists(st.tuples(VOTES, VOTES), min_size=1, max_size=10), st.floats(0, 0.49))
def test_exchanging_the_answers_asks_the_same_votes(rounds: list[Round], error: float) -> None:
    exchanged = [
        tuple(None if vote is None else Vote(1 - vote.letter, 1 - vote.probability) for vote in votes)
        for votes in rounds
    ]
    assert asked_of(rounds, error) == asked_of(exchanged, error)


@pytest.mark.parametrize("hard", [[A] * 4 + [B] * 4, [A] * 3 + [B] * 5, [A] * 2 + [FIRST] * 3 + [B] * 3])
@pytest.mark.parametrize("error", [0.05, 0.2])
def test_the_error_rate_is_exact_over_all_orders_of_the_votes(hard: list[Round], error: float) -> None:
    """Exchangeable rounds: every order of the same votes is equally likely, so all of them are counted."""
    truth = verdict_of(hard)
    orders = set(itertools.permutations(hard))
    wrong = sum(verdict_of(each[: asked_of(each, error)]) != truth for each in orders)
    assert wrong / len(orders) <= error


@pytest.mark.parametrize("judge", ["coin", "leaning", "first", "soft", "failing"])
def test_the_error_rate_holds_in_simulation(judge: str) -> None:
    draws = random.Random(judge)
    error, planned, repeats = 0.1, 16, 300
    wrong = asked = 0
    for _ in range(repeats):
        rounds = [_round(draws, judge) for _ in range(planned)]
        stopped = asked_of(rounds, error)
        wrong += verdict_of(rounds[:stopped]) != verdict_of(rounds)
        asked += stopped
    assert wrong / repeats <= error + 3 * (error * (1 - error) / repeats) ** 0.5
    assert asked < repeats * planned, "something is saved even for a coin"


def _round(draws: random.Random, judge: str) -> Round:
    share = {"coin": (0.5, 0.5), "leaning": (0.6, 0.6), "first": (0.9, 0.15)}.get(judge, (0.6, 0.6))
    if judge == "soft":
        return soft(*(draws.betavariate(1.2, 1.0) for _ in share))
    votes = [float(draws.random() < each) for each in share]
    return soft(*(None if judge == "failing" and draws.random() < 0.1 else vote for vote in votes))


def test_rounds_come_from_traces_as_they_are_folded() -> None:
    traces = [
        trace(Verdict.PREFERS_B, 0.25, index=0),
        trace(Verdict.PREFERS_B, 0.25, index=0, swapped=True),
        trace(Verdict.TRUNCATED, index=1, swapped=True),
        trace(Verdict.PREFERS_A, index=1),
    ]
    assert rounds_of(traces[::-1]) == [(Vote(0.0, 0.25), Vote(1.0, pytest.approx(0.75))), (Vote(1.0, 1.0), None)]


@pytest.mark.parametrize(
    ("rounds", "planned", "error", "says"),
    [([A], 0, 0.1, "1 rounds"), ([A], 2, 0.5, "error rate"), ([soft(1.5, 0.0)], 2, 0.1, "probabilities")],
)
def test_impossible_questions_are_refused(rounds: list[Round], planned: int, error: float, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        decided(rounds, planned, error)
