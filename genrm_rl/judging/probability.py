"""How sure a verdict is: log-odds and P(A wins) from the log-probabilities of the two verdict tokens."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

LETTER_MASS = 0.1  # probability of both letters together below which a one-token answer said something else


def letter_position(
    token_ids: Sequence[int], letters: Sequence[tuple[int, int]], closes: Callable[[int], bool]
) -> tuple[int, int] | None:
    """Place of the verdict's letter in a completion and number of its spelling: the last token that is not one which
    ``closes`` a verdict (blank, end of turn, emphasis).

    None when that token is no letter of ``letters`` (each A's token, B's token).
    """
    for place in range(len(token_ids) - 1, -1, -1):
        for spelling, pair in enumerate(letters):
            if token_ids[place] in pair:
                return place, spelling
        if not closes(token_ids[place]):
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
    letters: Sequence[tuple[int, int]],
    closes: Callable[[int], bool],
) -> float | None:
    """Log-odds (nats) that slot A wins, at the letter of a completion's verdict.

    ``logprobs_TK`` has one row per token and two columns per spelling in ``letters`` (A's token, B's token), in nats.
    None when the verdict's letter is no token of its own, or no log-probabilities were asked for. Raises ValueError
    when the rows do not match the tokens or letters, and as :func:`log_odds_of` does.
    """
    if not logprobs_TK:
        return None
    if len(logprobs_TK) != len(token_ids):
        raise ValueError(f"{len(token_ids)} tokens came with {len(logprobs_TK)} rows of log-probabilities")
    found = letter_position(token_ids, letters, closes)
    if found is None:
        return None
    place, spelling = found
    row = logprobs_TK[place]
    if len(row) != 2 * len(letters):
        raise ValueError(f"expected the log-probabilities of {2 * len(letters)} verdict tokens, got {len(row)}")
    return log_odds_of(row[2 * spelling], row[2 * spelling + 1])


def likelier_letter(logprob_a: float, logprob_b: float) -> int | None:
    """0 for A, 1 for B, where the model wanted to say something else: None if the letters have no probability to speak
    of (:data:`LETTER_MASS`), or the same. Raises ValueError as :func:`log_odds_of` does."""
    log_odds = log_odds_of(logprob_a, logprob_b)
    if math.exp(logprob_a) + math.exp(logprob_b) < LETTER_MASS or log_odds == 0:
        return None
    return 0 if log_odds > 0 else 1


def logit(p: float) -> float:
    """Log-odds of a probability in nats; infinite for 0 and 1."""
    return -math.inf if p <= 0 else math.inf if p >= 1 else math.log(p) - math.log1p(-p)


def sigmoid(log_odds: float) -> float:
    """The probability of log-odds in nats, stable for large arguments."""
    if log_odds >= 0:
        return 1.0 / (1.0 + math.exp(-log_odds))
    odds = math.exp(log_odds)
    return odds / (1.0 + odds)
