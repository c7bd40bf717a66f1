"""When votes may stop: a sequential test of what all planned votes would decide, with a stated error rate.

A comparison is planned to be asked N *rounds*, one vote per order each. The test treats the N rounds as ballots that
are counted in random order, as risk-limiting election audits do (ALPHA: Stark 2023, arXiv 2201.02707, section 2;
sampling without replacement by betting: Waudby-Smith and Ramdas 2024, arXiv 2010.09686). Let x_j in [0, 1] be the
share of round j for the leading answer, and

    mu_j = (N/2 - x_1 - ... - x_(j-1)) / (N - j + 1)

the mean of the rounds not yet counted if all N together are a tie. With a bet eta the capital

    K_n = prod_j [ x_j eta / mu_j + (1 - x_j) (1 - eta) / (1 - mu_j) ]

is a non-negative supermartingale whenever the N rounds average one half or less, so by Ville's inequality it reaches
2/error with probability at most error/2. Votes stop when the capital of either answer does, or when no outcome of the
other rounds could change the verdict (mu < 0). Hence:

    **The probability that a verdict given early differs from the verdict of all N rounds is at most ``error``**,
    for every comparison and judge, however its rounds are distributed, with soft votes (probabilities) as with hard.

The only assumption is that rounds are exchangeable, which independent seeds make them. A vote that is no verdict
counts against the answer that the test is about to declare, in either direction: failures may delay the stop, never
cause it. :func:`~genrm_rl.judging.folding.fold` leaves them out, which only raises the leader's mean, so the bound
holds for what it decides, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from genrm_rl.judging.folding import Aggregate
from genrm_rl.judging.types import Trace

Round = tuple[float | None, ...]  # P(canonical A wins) by each order's vote; None for a non-verdict

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
    if any(vote is not None and not 0 <= vote <= 1 for votes in rounds for vote in votes):
        raise ValueError("votes are probabilities in [0, 1]")
    if len(rounds) == planned:
        return True
    for leader in ("A", "B"):
        shares = [_share(votes, leader) for votes in rounds]
        capital = _capital(shares, planned)
        if math.isinf(capital) or (error > 0 and capital >= 2 / error):
            return True
    return False


def rounds_of(traces: Iterable[Trace], aggregate: Aggregate) -> list[Round]:
    """The votes of one comparison by round (its sample index), as ``aggregate`` counts them: soft, or 0 and 1."""
    rounds: dict[int, list[float | None]] = {}
    for trace in traces:
        soft = trace.canonical_p_a if aggregate == "mean_probability" else None
        hard = float(trace.canonical_verdict.slot == "A") if trace.verdict.is_verdict else None
        rounds.setdefault(trace.sample_index, []).append(hard if soft is None else soft)
    return [tuple(rounds[index]) for index in sorted(rounds)]


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
        if any(decided([*rounds, *[(side,) * width] * count], planned, error) for side in (0.0, 1.0)):
            return count
    return left


def _share(votes: Round, leader: str) -> float:
    """The round's share for ``leader``; what is no verdict counts against it."""
    return math.fsum(0.0 if vote is None else vote if leader == "A" else 1.0 - vote for vote in votes) / len(votes)


def _capital(shares: Sequence[float], planned: int) -> float:
    """K_n of the module docstring; infinite once the other rounds can't change the verdict any more."""
    capital, total = 1.0, 0.0
    for counted, share in enumerate(shares):
        mean = (planned / 2 - total) / (planned - counted)
        total += share
        if ROUNDING < mean < BET:  # outside: settled already, or behind by too much for a bet
            capital *= share * BET / mean + (1 - share) * (1 - BET) / (1 - mean)
    return math.inf if total > planned / 2 + ROUNDING else capital
