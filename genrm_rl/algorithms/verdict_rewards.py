"""What a trace of a judge earns when the label of its pair is known, on plain numbers; a masked trace earns None.

Axes: G traces of one pair in one order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TraceOutcome:
    """What became of one trace. ``length`` is its share of the longest trace allowed, 0 to 1."""

    right: bool
    has_verdict: bool
    length: float
    masked: bool = False  # failed or late: it says nothing about the judge


def verdict_rewards(
    outcomes_G: Sequence[TraceOutcome], other_G: Sequence[TraceOutcome], format_penalty: float, length_penalty: float
) -> list[float | None]:
    """Rewards of the traces of one order, given those of the other order of the same pair.

    A pair of traces, one in each order, is worth 1 only if both are right (J1, arXiv 2505.10320). A trace gets the mean
    of that over all unmasked traces of the other order: its own correctness times the other order's. The expectation is
    that of pairing it with one of them; the draw of which one is no noise in it, and a masked trace takes no partner
    away. Without any unmasked trace in the other order nothing is known, and all of this order is masked too.
    """
    known = [float(other.right) for other in other_G if not other.masked]
    if not known:
        return [None] * len(outcomes_G)
    other_right = math.fsum(known) / len(known)
    return [
        None
        if outcome.masked
        else outcome.right * other_right
        - format_penalty * (not outcome.has_verdict)
        - length_penalty * min(1.0, outcome.length)
        for outcome in outcomes_G
    ]


def share_right_in_both(first_G: Sequence[TraceOutcome], second_G: Sequence[TraceOutcome]) -> float | None:
    """Share of the pairs of traces, one in each order, that are right in both; None if an order has no unmasked one."""
    shares = []
    for outcomes in (first_G, second_G):
        known = [float(outcome.right) for outcome in outcomes if not outcome.masked]
        if not known:
            return None
        shares.append(math.fsum(known) / len(known))
    return shares[0] * shares[1]
