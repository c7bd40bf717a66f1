"""When votes may stop: a sequential test of what all planned votes would decide, with a stated error rate.

A comparison is planned to be asked N *rounds*, one vote per order each. The test treats the N rounds as ballots that
are counted in random order, as risk-limiting election audits do (ALPHA: Stark 2023, arXiv 2201.02707, section 2;
sampling without replacement by betting: Waudby-Smith and Ramdas 2024, arXiv 2010.09686). Let x_j in [0, 1] be the
share of round j for one answer in one count, and

    mu_j = (N/2 - x_1 - ... - x_(j-1)) / (N - j + 1)

the mean of the rounds not yet counted if all N together are a tie. With a bet eta the capital

    K_n = prod_j [ x_j eta / mu_j + (1 - x_j) (1 - eta) / (1 - mu_j) ]

is a non-negative supermartingale whenever the N rounds average one half or less, so by Ville's inequality it reaches
2/error with probability at most error/2. A count is *won* by an answer when the capital does, or when no outcome of the
other rounds could change who wins it (mu < 0).

:func:`~genrm_rl.judging.folding.fold` decides by the letters, and calls it a tie where the probabilities stand against
them. So two counts are kept, of the letters and of the probabilities, and votes stop when both are won by the same
answer. That is wrong only if one of them was won although all N rounds do not give it, and whatever all N rounds say,
at most one count for each answer can mislead by itself. Hence:

    **The probability that a verdict given early differs from the verdict of all N rounds is at most ``error``**,
    for every comparison and judge, however its rounds are distributed.

The only assumption is that rounds are exchangeable, which independent seeds make them. A vote that is no verdict
counts against the answer that the test is about to declare, in either direction: failures may delay the stop, never
cause it. The fold leaves them out, which only raises the leader's mean, so the bound holds for what it decides, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from genrm_rl.judging.folding import probability_of
from genrm_rl.judging.types import Trace, Verdict


class Vote(NamedTuple):
    """One vote for canonical A: its letter (0 or 1), and its P(A) as the fold counts it."""

    letter: float
    probability: float


Round = tuple[Vote | None, ...]  # one vote per order, always in the same order of orders; None for a non-verdict

BET = 0.95  # the share that a clear leader is expected to have; any value in (1/2, 1) keeps the error rate
ROUNDING = 1e-9  # sums of float votes; a tie within it is a tie, as in folding


def decided(rounds: Sequence[Round], planned: int, error: float) -> bool:
    """Whether ``rounds`` settle what all ``planned`` rounds would decide, at an error rate of ``error`` in [0, 1/2).

    ``error`` 0 stops only when no outcome of the other rounds could change the verdict. Raises ValueError for more
    rounds than planned, an error rate outside its range, or votes outside [0, 1].
    """
    if not 0 <= error < 0.5:
        raise ValueError(f"the error rate must be in [0, 0.5), not {error}")
    if len(rounds) > planned:
        raise ValueError(f"{len(rounds)} rounds were counted and {planned} planned")
    if any(vote is not None and not all(0 <= each <= 1 for each in vote) for votes in rounds for vote in votes):
        raise ValueError("votes are probabilities in [0, 1]")
    if len(rounds) == planned:
        return True
    return any(
        all(_won([_share(votes, of, side) for votes in rounds], planned, error) for of in ("letter", "probability"))
        for side in ("A", "B")
    )


def rounds_of(traces: Iterable[Trace]) -> list[Round]:
    """The votes of one comparison by round (its sample index); within a round by order, the canonical one first."""
    rounds: dict[int, dict[bool, Vote | None]] = {}
    for trace in traces:
        vote = None
        if trace.verdict.is_verdict:
            letter = 0.5 if trace.verdict is Verdict.TIED else float(trace.canonical_verdict.slot == "A")
            vote = Vote(letter, probability_of(trace))
        rounds.setdefault(trace.sample_index, {})[trace.swapped] = vote
    return [tuple(votes[order] for order in sorted(votes)) for _, votes in sorted(rounds.items())]


def next_rounds(rounds: Sequence[Round], planned: int, error: float | None) -> int:
    """How many rounds to ask next: the fewest that could settle the verdict if they all agree; 0 when it is settled.

    Fewer could not stop anything, more might be wasted. ``error`` None asks all planned rounds at once.
    """
    left = planned - len(rounds)
    if error is None or left == 0:
        return left
    if rounds and decided(rounds, planned, error):
        return 0
    width = len(rounds[0]) if rounds else 1
    for count in range(1, left):
        if any(decided([*rounds, *[(Vote(side, side),) * width] * count], planned, error) for side in (0.0, 1.0)):
            return count
    return left


def _won(shares: Sequence[float], planned: int, error: float) -> bool:
    capital = _capital(shares, planned)
    return math.isinf(capital) or (error > 0 and capital >= 2 / error)


def _share(votes: Round, of: str, side: str) -> float:
    """The round's share for ``side``; what is no verdict counts against it."""
    for_a = [None if vote is None else getattr(vote, of) for vote in votes]
    return math.fsum(0.0 if each is None else each if side == "A" else 1 - each for each in for_a) / len(votes)


def _capital(shares: Sequence[float], planned: int) -> float:
    """K_n of the module docstring; infinite once the other rounds can't change the outcome any more."""
    capital, total = 1.0, 0.0
    for counted, share in enumerate(shares):
        mean = (planned / 2 - total) / (planned - counted)
        total += share
        if ROUNDING < mean < BET:  # outside: settled already, or behind by too much for a bet
            capital *= share * BET / mean + (1 - share) * (1 - BET) / (1 - mean)
    return math.inf if total > planned / 2 + ROUNDING else capital
