"""Judges without words: what a scalar model reads about a comparison, and what its two scores say."""

from __future__ import annotations

import math
from fractions import Fraction

from genrm_rl.judging.encoding import JudgeEncoder
from genrm_rl.judging.folding import Aggregate, OrderVerdict, agreement, fold_orders
from genrm_rl.judging.judge import ORDER_FREE, JudgeKind
from genrm_rl.judging.probability import logit, sigmoid
from genrm_rl.judging.types import Judgment, Verdict
from genrm_rl.preferences.types import Comparison

Sequences = tuple[tuple[int, ...], tuple[int, ...]]


def scalar_sequences(kind: JudgeKind, comparison: Comparison, encoder: JudgeEncoder) -> Sequences:
    """The two token sequences to score: the conversation with answer A and with answer B (Bradley-Terry), the prompts
    that ask for points of each (points), or the pair in both orders (PairRM)."""
    if kind == "points":
        return encoder.point_ids(comparison), encoder.point_ids(comparison.swap())
    if kind == "pairrm":
        return encoder.pair_ids(comparison), encoder.pair_ids(comparison.swap())
    return (
        encoder.conversation_ids(comparison.prompt, comparison.response_a),
        encoder.conversation_ids(comparison.prompt, comparison.response_b),
    )


def scalar_misfit(kind: JudgeKind, comparison: Comparison, encoder: JudgeEncoder) -> str | None:
    """Why this judge can't read the comparison in full, or None if it can. Raises DataError or ModelError for turns
    that its template does not take."""
    longest, room = max(map(len, scalar_sequences(kind, comparison, encoder))), encoder.max_context
    return None if longest <= room else f"it needs {longest} tokens and the context has {room}"


def scalar_probabilities(kind: JudgeKind, first: float, second: float) -> tuple[float, float | None]:
    """P(A wins) when A is shown first, and when B is: None for Bradley-Terry and points, which know no order (arXiv
    2410.12832, Eq. 2; a point is a nat)."""
    if kind == "pairrm":
        return sigmoid(first), 1.0 - sigmoid(second)
    return sigmoid(first - second), None


def scalar_judgment(kind: JudgeKind, pair_id: str, first: float, second: float, aggregate: Aggregate) -> Judgment:
    """The judgment that two scores come to: one vote per order, no traces. Scores that are no numbers (a broken
    checkpoint) are JUDGE_FAILED."""
    if not (math.isfinite(first) and math.isfinite(second)):
        return Judgment(pair_id, Verdict.JUDGE_FAILED, None, Verdict.JUDGE_FAILED, None, None, 0)
    given = [_order(p) for p in scalar_probabilities(kind, first, second) if p is not None]
    ab, ba = (*given, None)[:2]
    verdict, p_a = fold_orders(given, aggregate)
    ba_verdict = None if ba is None else ba.verdict
    agree = agreement(ab, ba)
    return Judgment(
        pair_id,
        verdict,
        p_a,
        ab.verdict,
        ba_verdict,
        agree,
        len(given),
        tie=not verdict.is_verdict,
        points=(first, second) if kind in ORDER_FREE else None,
    )


def fold_probabilities(p_ab: float, p_ba: float | None, aggregate: Aggregate) -> float:
    """P(canonical A wins) of one vote per order, or of the only one; folded as verdicts in words are."""
    return fold_orders([_order(p) for p in (p_ab, p_ba) if p is not None], aggregate)[1]


def verdict_of(p_a: float) -> Verdict:
    """The more likely answer; exactly one half is an abstention."""
    return Verdict.ABSTAINED if p_a == 0.5 else Verdict.PREFERS_A if p_a > 0.5 else Verdict.PREFERS_B


def _order(p_a: float) -> OrderVerdict:
    """One vote; exactly one half names no answer."""
    return OrderVerdict(Verdict.ABSTAINED, Fraction(1, 2)) if p_a == 0.5 else OrderVerdict.of([logit(p_a)], [p_a > 0.5])
