"""Many traces to one judgment: both orders, k votes, ties and non-verdicts, all by stated rules."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Literal

from genrm_rl.judging.types import Judgment, Trace, Verdict

Aggregate = Literal["mean_probability", "majority"]
TIE_TOLERANCE = 1e-9  # a probability this close to one half is a tie; exchanging the answers must not break it


def fold(traces: Sequence[Trace], aggregate: Aggregate = "mean_probability") -> Judgment:
    """Fold all traces of one pair, in any mixture of orders, into the pair's canonical orientation.

    - Non-verdicts are left out; ``votes`` counts the traces that gave a verdict.
    - ``p_a`` is the mean over orders of the mean over votes of P(canonical A wins); a vote without log-probabilities
      counts as 1 or 0. Each order weighs the same, however many of its traces gave a verdict.
    - ``mean_probability`` decides by ``p_a``, ``majority`` by the mean over orders of the share of votes for canonical
      A. Exactly one half is a tie: ``tie`` is True and the verdict ABSTAINED.
    - Without any verdict, the verdict is the most frequent non-verdict (among equals, the first in :class:`Verdict`).
    - ``verdict_ab`` and ``verdict_ba`` follow the same rules within one order; ``consistent`` compares them.

    Raises ValueError for no traces, or traces of different pairs.
    """
    if len({trace.pair_id for trace in traces}) != 1:
        raise ValueError(
            f"expected the traces of one pair, got {len(traces)} traces of {len({t.pair_id for t in traces})} pairs"
        )
    orders = {swapped: [trace for trace in traces if trace.swapped == swapped] for swapped in (False, True)}
    voting = {swapped: [trace for trace in asked if trace.verdict.is_verdict] for swapped, asked in orders.items()}
    asked = [votes for votes in voting.values() if votes]
    p_a = _mean([_mean([_probability(trace) for trace in votes]) for votes in asked]) if asked else None
    verdict, tie = _decide(traces, asked, aggregate)
    verdict_ab, verdict_ba = (
        _decide(orders[swapped], [voting[swapped]] if voting[swapped] else [], aggregate)[0]
        if orders[swapped]
        else None
        for swapped in (False, True)
    )
    comparable = verdict_ab is not None and verdict_ba is not None and verdict_ab.is_verdict and verdict_ba.is_verdict
    return Judgment(
        pair_id=traces[0].pair_id,
        verdict=verdict,
        p_a=p_a,
        verdict_ab=verdict_ab,
        verdict_ba=verdict_ba,
        consistent=verdict_ab == verdict_ba if comparable else None,
        votes=sum(len(votes) for votes in asked),
        tie=tie,
        traces=tuple(traces),
    )


def fold_all(traces: Iterable[Trace], aggregate: Aggregate = "mean_probability") -> dict[str, Judgment]:
    """:func:`fold` per pair, keyed by pair id in order of first appearance."""
    by_pair: dict[str, list[Trace]] = {}
    for trace in traces:
        by_pair.setdefault(trace.pair_id, []).append(trace)
    return {pair_id: fold(group, aggregate) for pair_id, group in by_pair.items()}


def _decide(traces: Sequence[Trace], voting: Sequence[Sequence[Trace]], aggregate: Aggregate) -> tuple[Verdict, bool]:
    """Verdict and tie flag from the votes of each order that gave any; ``traces`` also has the non-verdicts."""
    if not voting:
        kinds = Counter(trace.verdict for trace in traces)
        return max(Verdict, key=lambda kind: kinds[kind]), False
    if aggregate == "majority":
        shares = [Fraction(sum(t.canonical_verdict.slot == "A" for t in votes), len(votes)) for votes in voting]
        balance = float(sum(shares, Fraction(0)) / len(shares) - Fraction(1, 2))
    else:
        balance = _mean([_mean([_probability(trace) for trace in votes]) for votes in voting]) - 0.5
    if abs(balance) <= TIE_TOLERANCE:
        return Verdict.ABSTAINED, True
    return (Verdict.PREFERS_A if balance > 0 else Verdict.PREFERS_B), False


def _probability(trace: Trace) -> float:
    """P(canonical A wins) of a trace that gave a verdict."""
    known = trace.canonical_p_a
    return known if known is not None else float(trace.canonical_verdict.slot == "A")


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
