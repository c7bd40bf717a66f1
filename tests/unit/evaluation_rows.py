"""Short-hand for judgment rows: ``row("p1", "A", "AB")`` is a pair labelled A, judged A in order ab, B in order ba."""

from __future__ import annotations

from typing import Any

from genrm_rl.evaluation.records import JudgmentRecord, Vote
from genrm_rl.judging.types import Verdict

VERDICTS = {
    "A": Verdict.PREFERS_A,
    "B": Verdict.PREFERS_B,
    "?": Verdict.UNPARSEABLE,
    "/": Verdict.TRUNCATED,
    "=": Verdict.ABSTAINED,
    "-": None,
}


def row(pair_id: str, label: str, verdicts: str, p_a: float | None = None, **changes: Any) -> JudgmentRecord:
    """``verdicts`` are the canonical verdicts of order ab and ba; ``=`` is a tie, ``-`` an order that was not asked."""
    fields: dict[str, Any] = {
        "judge": "judge", "test_set": "id", "decoding": "sampled", "pair_id": pair_id, "label": label,
        "verdict_ab": VERDICTS[verdicts[0]], "verdict_ba": VERDICTS[verdicts[1]], "p_a": p_a,
        "tie_ab": verdicts[0] == "=", "tie_ba": verdicts[1] == "=", "chars_chosen": 10, "chars_rejected": 10,
    }  # fmt: skip
    return JudgmentRecord(**(fields | changes))


def votes(letters: str, probabilities: list[float | None] | None = None) -> tuple[Vote, ...]:
    """Canonical votes of one order from letters as in :data:`VERDICTS`."""
    given = probabilities or [None] * len(letters)
    return tuple(Vote(VERDICTS[letter] or Verdict.JUDGE_FAILED, p) for letter, p in zip(letters, given, strict=True))
