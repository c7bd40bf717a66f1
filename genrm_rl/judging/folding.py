"""Many traces to one judgment: both orders, k votes, ties and non-verdicts, all by stated rules.

The one fold of the project: rewards, labels, win rates, evaluation and every contract of the service use it.

1. **The letters say who wins**: the answer that more than half of the votes name, each order weighing the same. Votes
   that balance are a tie, worth exactly one half. So with one vote per order, orders that contradict each other are
   always a tie, however sure either of them is.
   A vote for a tie (``judge.ties``) is half a vote for each.
2. **The probabilities say how sure**: P(A) of an order is the mean over its votes, ``p_a`` the mean of both orders, of
   their probabilities or of their log-odds; ``majority`` takes the share of the votes instead. A letter drawn against
   its own odds is worth one half. Probabilities that stand against the letters make a tie.
3. **An order without any verdict** leaves no judgment: ``ONE_ORDER``, or, if neither order gave one, the most frequent
   non-verdict. ``orders="one"`` is for people who ask in one order on purpose.

Exchanging the two answers mirrors every part of a judgment.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from genrm_rl.config.model import JudgeConfig
from genrm_rl.judging.probability import sigmoid
from genrm_rl.judging.types import Judgment, Trace, Verdict

Aggregate = Literal["mean_probability", "mean_log_odds", "majority"]
Orders = Literal["both", "one"]
TIE_TOLERANCE = 1e-9  # a probability this close to one half is a tie; exchanging the answers must not break it
_DEFAULT = JudgeConfig()


@dataclass(frozen=True, slots=True)
class OrderVerdict:
    """What one order says, in the canonical orientation: the answer that most of its votes name (ABSTAINED if they
    balance, the most frequent non-verdict if there are none), the ``share`` of the votes for A (None without votes),
    and the log-odds of the mean P(A) of its votes, in nats."""

    verdict: Verdict
    share: Fraction | None = None
    log_odds: float = 0.0

    @classmethod
    def of(cls, log_odds: Sequence[float], for_a: Sequence[bool | None]) -> OrderVerdict:
        """From the log-odds and the letters of the votes, of which there is at least one; None is a vote for a tie."""
        share = sum((Fraction(1, 2) if vote is None else Fraction(vote) for vote in for_a), Fraction(0)) / len(for_a)
        counted = [_counted(odds, letter) for odds, letter in zip(log_odds, for_a, strict=True)]
        a, b = (math.fsum(sigmoid(sign * each) for each in counted) for sign in (1, -1))
        return cls(_side(share), share, math.inf if b == 0 else -math.inf if a == 0 else math.log(a) - math.log(b))


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
    ab, ba = (_order(asked[swapped]) if asked[swapped] else None for swapped in (False, True))
    given = [order for order in (ab, ba) if order is not None and order.share is not None]
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
    """Verdict and P(A) of one or two orders that spoke: rules 1 and 2. A tie is ABSTAINED and exactly one half."""
    share = sum((order.share for order in given if order.share is not None), Fraction(0)) / len(given)
    verdict = _side(share)
    if not verdict.is_verdict:
        return verdict, 0.5
    if aggregate == "majority":
        p_a = float(share)
    elif aggregate == "mean_log_odds":
        p_a = sigmoid(_mean([order.log_odds for order in given]))
    else:
        p_a = _mean([sigmoid(order.log_odds) for order in given])
    sure = p_a - 0.5 if verdict is Verdict.PREFERS_A else 0.5 - p_a
    return (verdict, p_a) if sure > TIE_TOLERANCE else (Verdict.ABSTAINED, 0.5)


def agreement(ab: OrderVerdict | None, ba: OrderVerdict | None) -> bool | None:
    """Whether both orders name the same answer; None unless both name one."""
    if ab is None or ba is None or not (ab.verdict.is_verdict and ba.verdict.is_verdict):
        return None
    return ab.verdict is ba.verdict


def tie_of_equals(pair_id: str) -> Judgment:
    """The judgment of two equal answers: a tie, and nobody has to be asked."""
    return Judgment(pair_id, Verdict.ABSTAINED, 0.5, None, None, None, 0, tie=True)


def no_answer(pair_id: str) -> Judgment:
    """The judgment of two answers of which one never ends its thinking: nobody has to be asked, and nobody has won."""
    return Judgment(pair_id, Verdict.NO_ANSWER, None, None, None, None, 0)


def _order(asked: Sequence[Trace]) -> OrderVerdict:
    """What the traces of one order say, of which there is at least one."""
    votes = [trace for trace in asked if trace.verdict.is_verdict]
    if not votes:
        return OrderVerdict(_most_frequent(asked))
    letters = [_letter(trace) for trace in votes]
    return OrderVerdict.of([_log_odds(trace) for trace in votes], letters)


def _side(share: Fraction) -> Verdict:
    """The answer with more than half of the votes."""
    half = Fraction(1, 2)
    return Verdict.ABSTAINED if share == half else Verdict.PREFERS_A if share > half else Verdict.PREFERS_B


def probability_of(trace: Trace) -> float:
    """P(canonical A wins) as one vote counts: 1 or 0 where it is not known, one half for a letter drawn against its own
    odds. The trace must have given a verdict."""
    return sigmoid(_counted(_log_odds(trace), _letter(trace)))


def _log_odds(trace: Trace) -> float:
    """Log-odds that canonical A wins, of a trace that gave a verdict."""
    if trace.verdict is Verdict.TIED:
        return 0.0
    known = trace.canonical_log_odds
    return known if known is not None else math.inf if trace.canonical_verdict.slot == "A" else -math.inf


def _letter(trace: Trace) -> bool | None:
    """Whether a vote is for canonical A; None for a tie."""
    return None if trace.verdict is Verdict.TIED else trace.canonical_verdict is Verdict.PREFERS_A


def _counted(log_odds: float, for_a: bool | None) -> float:
    if for_a is None:
        return 0.0
    return max(log_odds, 0.0) if for_a else min(log_odds, 0.0)


def _most_frequent(traces: Sequence[Trace]) -> Verdict:
    """The most frequent kind of verdict; among equals, the first in :class:`Verdict`."""
    kinds: Mapping[Verdict, int] = Counter(trace.verdict for trace in traces)
    return max(Verdict, key=lambda kind: kinds.get(kind, 0))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
