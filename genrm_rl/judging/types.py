"""Verdicts, traces and judgments: what a judge says about a comparison."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from genrm_rl.preferences.types import Slot

Form = Literal["direct", "cot", "rationalize"]


class Verdict(StrEnum):
    """What one judgment came to. Anything but the first two is a named non-verdict, never a number."""

    PREFERS_A = "prefers_a"
    PREFERS_B = "prefers_b"
    ABSTAINED = "abstained"
    UNPARSEABLE = "unparseable"
    TRUNCATED = "truncated"
    TIMED_OUT = "timed_out"
    JUDGE_FAILED = "judge_failed"

    @property
    def slot(self) -> Slot | None:
        """``A`` or ``B``, or None for a non-verdict."""
        return {"prefers_a": "A", "prefers_b": "B"}.get(self.value)  # type: ignore[return-value]

    @property
    def is_verdict(self) -> bool:
        """Whether an answer was preferred at all."""
        return self.slot is not None

    @classmethod
    def of(cls, slot: Slot) -> Verdict:
        """The verdict that prefers ``slot``."""
        return cls.PREFERS_A if slot == "A" else cls.PREFERS_B

    def swap(self) -> Verdict:
        """The same verdict about the exchanged comparison; non-verdicts stay what they are."""
        return {Verdict.PREFERS_A: Verdict.PREFERS_B, Verdict.PREFERS_B: Verdict.PREFERS_A}.get(self, self)


@dataclass(frozen=True, slots=True)
class Trace:
    """One sampled judgment of one comparison in one order.

    ``p_a`` is P(slot A wins) from the log-probabilities of the two verdict tokens *in this order*, or None for a
    non-verdict. ``verdict`` is in this order too; :meth:`Judgment` folds both orders into the canonical one.
    """

    trace_id: str
    pair_id: str
    swapped: bool
    form: Form
    text: str
    rationale: str
    verdict: Verdict
    p_a: float | None
    prompt_token_ids: tuple[int, ...]
    completion_token_ids: tuple[int, ...]
    finish_reason: str
    judge_version: str
    temperature: float
    top_p: float
    seed: int
    sample_index: int

    @property
    def canonical_verdict(self) -> Verdict:
        """The verdict in the pair's canonical orientation."""
        return self.verdict.swap() if self.swapped else self.verdict

    @property
    def canonical_p_a(self) -> float | None:
        """P(canonical A wins), or None."""
        if self.p_a is None:
            return None
        return 1.0 - self.p_a if self.swapped else self.p_a


@dataclass(frozen=True, slots=True)
class Judgment:
    """All traces of one comparison folded together, in the pair's canonical orientation.

    ``verdict_ab`` and ``verdict_ba`` are the folded verdicts of each order (already canonical; None if that order was
    not asked). ``consistent`` is None unless both orders gave a verdict. ``p_a`` is the mean over orders of the mean
    over votes of P(canonical A wins); None if no trace gave a verdict. ``votes`` counts the traces that gave one.
    """

    pair_id: str
    verdict: Verdict
    p_a: float | None
    verdict_ab: Verdict | None
    verdict_ba: Verdict | None
    consistent: bool | None
    votes: int
    tie: bool = False
    traces: tuple[Trace, ...] = field(default=(), repr=False)
