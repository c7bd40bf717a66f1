"""Verdicts, traces and judgments: what a judge says about a comparison."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from genrm_rl.judging.probability import logit
from genrm_rl.preferences.types import Slot

Form = Literal["direct", "cot", "rationalize"]
Asked = Literal["direct", "cot", "points"]  # how people may have a language model judge


class Verdict(StrEnum):
    """What one judgment came to. Anything but the first three is a named non-verdict, never a number.

    ``TIED`` is said of one trace only, by a judge that may say so (``judge.ties``); a judgment that is a tie is
    ABSTAINED, as balanced votes are.
    ``TRUNCATED`` and ``TRUNCATED_THINKING``: the length limit came before the verdict, behind or inside the thinking.
    Two are said of judgments only, never of one trace: ``ONE_ORDER`` (one order gave a verdict and the other none) and
    ``NO_ANSWER`` (an answer whose thinking never ends, so that there was nothing to judge).
    """

    PREFERS_A = "prefers_a"
    PREFERS_B = "prefers_b"
    TIED = "tied"
    ABSTAINED = "abstained"
    UNPARSEABLE = "unparseable"
    TRUNCATED = "truncated"
    TRUNCATED_THINKING = "truncated_thinking"
    TIMED_OUT = "timed_out"
    JUDGE_FAILED = "judge_failed"
    ONE_ORDER = "one_order"
    NO_ANSWER = "no_answer"

    @property
    def slot(self) -> Slot | None:
        """``A`` or ``B``, or None for a non-verdict."""
        return {"prefers_a": "A", "prefers_b": "B"}.get(self.value)  # type: ignore[return-value]

    @property
    def is_verdict(self) -> bool:
        """Whether the judge decided: for an answer, or for a tie where it may."""
        return self.slot is not None or self is Verdict.TIED

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

    ``log_odds`` is the log-probability of A's verdict token less that of B's, in nats, *in this order*; ``p_a`` is the
    same as P(slot A wins), which is 0 or 1 where the log-odds still tell. Both are None for a non-verdict, and where
    the log-probabilities are not known. ``verdict`` is in this order too; :class:`Judgment` folds both orders into the
    canonical one. ``logprobs_T`` are the engine's log-probabilities of the sampled tokens, where they were asked for (a
    judge that learns from its own traces).
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
    log_odds: float | None = None
    logprobs_T: tuple[float, ...] = ()

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

    @property
    def canonical_log_odds(self) -> float | None:
        """Log-odds that canonical A wins, in nats, or None; from ``p_a`` where that is all that is known."""
        known = self.log_odds
        if known is None and self.p_a is not None:
            known = logit(self.p_a)
        return -known if known is not None and self.swapped else known


@dataclass(frozen=True, slots=True)
class Judgment:
    """All traces of one comparison folded together, in the pair's canonical orientation (see
    :func:`genrm_rl.judging.folding.fold`).

    ``p_a`` is P(canonical A wins): above one half where ``verdict`` prefers A, below where it prefers B, exactly one
    half where ``tie`` is set, and None where there is no judgment. ``verdict_ab`` and ``verdict_ba`` are the verdicts
    of each order (already canonical; None if that order was not asked). ``consistent`` is None unless both orders gave
    a verdict; with one vote per order, False always comes with a tie. ``votes`` counts the traces that gave a verdict.
    ``points`` are what A and B are worth by themselves, from judges that see one answer at a time.
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
    points: tuple[float, float] | None = None
