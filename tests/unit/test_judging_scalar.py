"""Scalar judges: what they read, and what their scores say."""

from __future__ import annotations

import math

import pytest

from genrm_rl.judging.encoding import JudgeEncoder
from genrm_rl.judging.scalar import fold_probabilities, scalar_judgment, scalar_probabilities, scalar_sequences
from genrm_rl.judging.types import Verdict
from genrm_rl.models import ResolvedModel, load_tokenizer
from genrm_rl.preferences.types import Comparison, as_messages

COMPARISON = Comparison("p", as_messages("sort cdbge"), "bcdeg", "the answer is bcdig")


def test_bradley_terry_reads_each_answer_alone_and_pairrm_both_in_both_orders(tiny_model: ResolvedModel) -> None:
    encoder = JudgeEncoder(load_tokenizer(tiny_model.path), "compact", max_context=320, max_rationale=96)
    first, second = scalar_sequences("bradley_terry", COMPARISON, encoder)
    again, _ = scalar_sequences("bradley_terry", COMPARISON.swap(), encoder)
    assert again == second != first
    ab, ba = scalar_sequences("pairrm", COMPARISON, encoder)
    assert scalar_sequences("pairrm", COMPARISON.swap(), encoder) == (ba, ab)


def test_bradley_terry_knows_no_order() -> None:
    judgment = scalar_judgment("bradley_terry", "p", 2.0, 0.5, "mean_probability")
    assert judgment.p_a == pytest.approx(1 / (1 + math.exp(-1.5)))
    assert (judgment.verdict, judgment.verdict_ba, judgment.consistent) == (Verdict.PREFERS_A, None, None)
    assert judgment.votes == 1


def test_pairrm_that_names_the_first_answer_contradicts_itself() -> None:
    judgment = scalar_judgment("pairrm", "p", 1.0, 1.01, "mean_log_odds")
    assert (judgment.verdict, judgment.p_a, judgment.tie) == (Verdict.ABSTAINED, 0.5, True)
    assert (judgment.verdict_ab, judgment.verdict_ba) == (Verdict.PREFERS_A, Verdict.PREFERS_B)
    assert judgment.consistent is False


def test_pairrm_is_folded_by_the_same_rules_as_words() -> None:
    probabilities = scalar_probabilities("pairrm", 2.0, -1.0)
    for aggregate in ("mean_probability", "mean_log_odds"):
        judgment = scalar_judgment("pairrm", "p", 2.0, -1.0, aggregate)
        assert judgment.p_a == pytest.approx(fold_probabilities(*probabilities, aggregate))
    assert judgment.p_a == pytest.approx(1 / (1 + math.exp(-1.5))) and judgment.consistent is True


def test_equal_scores_abstain() -> None:
    judgment = scalar_judgment("bradley_terry", "p", 1.0, 1.0, "mean_probability")
    assert judgment.tie and judgment.verdict is Verdict.ABSTAINED and judgment.p_a == 0.5


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_score_that_is_no_number_is_no_probability(broken: float) -> None:
    judgment = scalar_judgment("bradley_terry", "p", broken, 0.0, "mean_probability")
    assert (judgment.verdict, judgment.p_a, judgment.votes) == (Verdict.JUDGE_FAILED, None, 0)
