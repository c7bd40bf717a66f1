"""Judges without words: what a scalar model reads about a comparison, and what its two scores say."""

from __future__ import annotations

import math

from genrm_rl.judging.encoding import JudgeEncoder
from genrm_rl.judging.judge import JudgeKind
from genrm_rl.judging.types import Judgment, Verdict
from genrm_rl.preferences.types import Comparison

Sequences = tuple[tuple[int, ...], tuple[int, ...]]


def scalar_sequences(kind: JudgeKind, comparison: Comparison, encoder: JudgeEncoder) -> Sequences:
    """The two token sequences to score: the conversation with answer A and with answer B (Bradley-Terry), or the pair
    in both orders (PairRM)."""
    if kind == "pairrm":
        return encoder.pair_ids(comparison), encoder.pair_ids(comparison.swap())
    return (
        encoder.conversation_ids(comparison.prompt, comparison.response_a),
        encoder.conversation_ids(comparison.prompt, comparison.response_b),
    )


def scalar_probabilities(kind: JudgeKind, first: float, second: float) -> tuple[float, float | None]:
    """P(A wins) when A is shown first, and when B is: None for Bradley-Terry, which knows no order (arXiv 2410.12832,
    Eq. 2)."""
    if kind == "pairrm":
        return sigmoid(first), 1.0 - sigmoid(second)
    return sigmoid(first - second), None


def scalar_judgment(kind: JudgeKind, pair_id: str, first: float, second: float) -> Judgment:
    """The judgment that two scores come to: one vote per order, no traces. Scores that are no numbers (a broken
    checkpoint) are JUDGE_FAILED."""
    if not (math.isfinite(first) and math.isfinite(second)):
        return Judgment(pair_id, Verdict.JUDGE_FAILED, None, Verdict.JUDGE_FAILED, None, None, 0)
    given = [p for p in scalar_probabilities(kind, first, second) if p is not None]
    ab, ba = (*map(verdict_of, given), None)[:2]
    agree = ab == ba if ba is not None and ab.is_verdict and ba.is_verdict else None
    p_a = math.fsum(given) / len(given)
    return Judgment(pair_id, verdict_of(p_a), p_a, ab, ba, agree, len(given), tie=p_a == 0.5)


def verdict_of(p_a: float) -> Verdict:
    """The more likely answer; exactly one half is an abstention."""
    return Verdict.ABSTAINED if p_a == 0.5 else Verdict.PREFERS_A if p_a > 0.5 else Verdict.PREFERS_B


def sigmoid(value: float) -> float:
    """Logistic function, stable for large arguments."""
    return 1.0 / (1.0 + math.exp(-value)) if value >= 0 else math.exp(value) / (1.0 + math.exp(value))
