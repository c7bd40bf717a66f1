"""Many traces to one judgment: both orders, k votes, ties and non-verdicts, all by stated rules.

The one fold of the project: rewards, labels, win rates, evaluation and every contract of the service use it.

1. **An order** speaks for the answer that most of its votes name (letters of the verdicts); equal numbers are a tie of
   the order. How sure it is, is the mean over its votes of P(A). Where the letters balance, or that mean is not on the
   side that the letters name (a letter drawn against its own odds), the order is worth one half.
2. **Two orders that name different answers** contradict each other: a tie, worth exactly one half.
3. **An order without any verdict** leaves no judgment: ``ONE_ORDER``, or, if neither order gave one, the most frequent
   non-verdict. ``orders="one"`` is for people who ask in one order on purpose.
4. Else ``p_a`` is the mean of both orders, of their probabilities or of their log-odds. It is on the side of the
   verdict, or exactly one half, which is a tie. ``majority`` takes the share of the votes for P(A) of an order.

Exchanging the two answers mirrors every part of a judgment.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from genrm_rl.config.model import JudgeConfig
from genrm_rl.judging.probability import logit, sigmoid
from genrm_rl.judging.types import Judgment, Trace, Verdict

Aggregate = Literal["mean_probability", "mean_log_odds", "majority"]
Orders = Literal["both", "one"]
TIE_TOLERANCE = 1e-9  # a probability this close to one half is a tie; exchanging the answers must not break it
_DEFAULT = JudgeConfig()


@dataclass(frozen=True, slots=True)
class OrderVerdict:
    """What one order says, in the canonical orientation. ``log_odds`` (nats) are on the side of ``verdict``; 0 where
    the order is undecided. ``spoke`` is False if none of its votes was a verdict."""

    verdict: Verdict
    log_odds: float = 0.0
    spoke: bool = True

    @classmethod
    def of(cls, verdict: Verdict, log_odds: float) -> OrderVerdict:
        """A verdict with its log-odds, which count nothing if they speak against it."""
        against = verdict is Verdict.PREFERS_B
        agrees = sigmoid(-log_odds if against else log_odds) > 0.5 + TIE_TOLERANCE
        return cls(verdict, log_odds if verdict.is_verdict and agrees else 0.0)


def fold(
    traces: Sequence[Trace], aggregate: Aggregate = _DEFAULT.aggregate, orders: Orders = _DEFAULT.orders
) -> Judgment:
    """Fold all traces of one pair, in any mixture of orders, into the pair's canonical orientation.

    Non-verdicts are left out; ``votes`` counts the traces that gave a verdict. A vote without log-probabilities counts
    as 1 or 0. Each order weighs the same, however many of its traces gave a verdict. Raises ValueError for no traces,
    or traces of different pairs.
    """
    if len({trace.pair_id for trace in traces}) != 1:
        raise ValueError(
            f"expected the traces of one pair, got {len(traces)} traces of {len({t.pair_id for t in traces})} pairs"
        )
    asked = {swapped: [trace for trace in traces if trace.swapped == swapped] for swapped in (False, True)}
    ab, ba = (_order(asked[swapped], aggregate) if asked[swapped] else None for swapped in (False, True))
    given = [order for order in (ab, ba) if order is not None and order.spoke]
    verdict, p_a = Verdict.ONE_ORDER, None
    if not given:
        verdict = _most_frequent(traces)
    elif len(given) == 2 or orders == "one":
        verdict, p_a = fold_orders(given, aggregate)
    return Judgment(
        pair_id=traces[0].pair_id,
        verdict=verdict,
        p_a=p_a,
        verdict_ab=ab and ab.verdict,
        verdict_ba=ba and ba.verdict,
        consistent=agreement(ab, ba),
        votes=sum(trace.verdict.is_verdict for trace in traces),
        tie=p_a is not None and not verdict.is_verdict,
        traces=tuple(traces),
    )


def fold_all(
    traces: Iterable[Trace], aggregate: Aggregate = _DEFAULT.aggregate, orders: Orders = _DEFAULT.orders
) -> dict[str, Judgment]:
    """:func:`fold` per pair, keyed by pair id in order of first appearance."""
    by_pair: dict[str, list[Trace]] = {}
    for trace in traces:
        by_pair.setdefault(trace.pair_id, []).append(trace)
    return {pair_id: fold(group, aggregate, orders) for pair_id, group in by_pair.items()}


def fold_orders(given: Sequence[OrderVerdict], aggregate: Aggregate) -> tuple[Verdict, float]:
    """Verdict and P(A) of one or two orders that spoke: rules 2 and 4. A tie is ABSTAINED and exactly one half."""
    sides = {found.verdict for found in given if found.verdict.is_verdict}
    if aggregate == "mean_log_odds":
        p_a = sigmoid(_mean([found.log_odds for found in given])) if len(sides) == 1 else 0.5
    else:
        p_a = _mean([sigmoid(found.log_odds) for found in given])
    if len(sides) != 1 or abs(p_a - 0.5) <= TIE_TOLERANCE:
        return Verdict.ABSTAINED, 0.5
    return sides.pop(), p_a


def agreement(ab: OrderVerdict | None, ba: OrderVerdict | None) -> bool | None:
    """Whether both orders name the same answer; None unless both name one."""
    if ab is None or ba is None or not (ab.verdict.is_verdict and ba.verdict.is_verdict):
        return None
    return ab.verdict is ba.verdict


def tie_of_equals(pair_id: str) -> Judgment:
    """The judgment of two equal answers: a tie, and nobody has to be asked."""
    return Judgment(pair_id, Verdict.ABSTAINED, 0.5, None, None, None, 0, tie=True)


def _order(asked: Sequence[Trace], aggregate: Aggregate) -> OrderVerdict:
    """Rule 1 for the traces of one order, of which there is at least one."""
    votes = [trace for trace in asked if trace.verdict.is_verdict]
    if not votes:
        return OrderVerdict(_most_frequent(asked), spoke=False)
    for_a = sum(trace.canonical_verdict is Verdict.PREFERS_A for trace in votes)
    if 2 * for_a == len(votes):
        return OrderVerdict(Verdict.ABSTAINED)
    verdict = Verdict.PREFERS_A if 2 * for_a > len(votes) else Verdict.PREFERS_B
    if aggregate == "majority":
        return OrderVerdict.of(verdict, logit(for_a / len(votes)))
    strengths = [_log_odds(trace) for trace in votes]
    a, b = (math.fsum(sigmoid(sign * each) for each in strengths) for sign in (1, -1))
    return OrderVerdict.of(verdict, math.inf if b == 0 else -math.inf if a == 0 else math.log(a) - math.log(b))


def _log_odds(trace: Trace) -> float:
    """Log-odds that canonical A wins, of a trace that gave a verdict."""
    known = trace.canonical_log_odds
    return known if known is not None else math.inf if trace.canonical_verdict.slot == "A" else -math.inf


def _most_frequent(traces: Sequence[Trace]) -> Verdict:
    """The most frequent kind of verdict; among equals, the first in :class:`Verdict`."""
    kinds: Mapping[Verdict, int] = Counter(trace.verdict for trace in traces)
    return max(Verdict, key=lambda kind: kinds.get(kind, 0))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
