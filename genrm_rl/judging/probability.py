"""How sure a verdict is: log-odds and P(A wins) from the log-probabilities of the two verdict tokens."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence


def verdict_position(
    token_ids: Sequence[int], verdict_token_ids: tuple[int, int], ignorable: Callable[[int], bool]
) -> int | None:
    """Index of the verdict token in a completion: its last token that is not ``ignorable`` (blank, end of turn).

    None when that token is neither of the two verdict tokens (A's, B's).
    """
    for index in range(len(token_ids) - 1, -1, -1):
        if token_ids[index] in verdict_token_ids:
            return index
        if not ignorable(token_ids[index]):
            return None
    return None


def log_odds_of(logprob_a: float, logprob_b: float) -> float:
    """Log-odds of A's verdict token against B's, in nats; infinite where one of them is impossible.

    Raises ValueError for NaN, +inf, or twice -inf.
    """
    if math.isnan(logprob_a) or math.isnan(logprob_b):
        raise ValueError(f"log-probability of a verdict token is NaN (A {logprob_a}, B {logprob_b})")
    if math.inf in (logprob_a, logprob_b):
        raise ValueError(f"log-probability of a verdict token is infinite (A {logprob_a}, B {logprob_b})")
    if logprob_a == logprob_b == -math.inf:
        raise ValueError("both verdict tokens have probability zero")
    return logprob_a - logprob_b


def verdict_log_odds(
    token_ids: Sequence[int],
    logprobs_TK: Sequence[Sequence[float]],
    verdict_token_ids: tuple[int, int],
    ignorable: Callable[[int], bool],
) -> float | None:
    """Log-odds (nats) that slot A wins, at the verdict token of a completion.

    ``logprobs_TK`` has one row per token and the columns (A's verdict token, B's verdict token), in nats. None when the
    completion has no verdict token or no log-probabilities were asked for. Raises ValueError when the rows do not
    match the tokens, and as :func:`log_odds_of` does.
    """
    if not logprobs_TK:
        return None
    if len(logprobs_TK) != len(token_ids):
        raise ValueError(f"{len(token_ids)} tokens came with {len(logprobs_TK)} rows of log-probabilities")
    position = verdict_position(token_ids, verdict_token_ids, ignorable)
    if position is None:
        return None
    row = logprobs_TK[position]
    if len(row) != 2:
        raise ValueError(f"expected the log-probabilities of 2 verdict tokens, got {len(row)}")
    return log_odds_of(row[0], row[1])


def logit(p: float) -> float:
    """Log-odds of a probability in nats; infinite for 0 and 1."""
    return -math.inf if p <= 0 else math.inf if p >= 1 else math.log(p) - math.log1p(-p)


def sigmoid(log_odds: float) -> float:
    """The probability of log-odds in nats, stable for large arguments."""
    if log_odds >= 0:
        return 1.0 / (1.0 + math.exp(-log_odds))
    odds = math.exp(log_odds)
    return odds / (1.0 + odds)
