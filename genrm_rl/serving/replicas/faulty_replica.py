"""A judge that fails on purpose, vote by vote: for drills, never served.

:class:`FaultyReplica` is the replica that the service runs, with an engine whose answers are spoiled after the fact, by
a draw that depends on the request alone. :func:`audit_judgments` and :func:`audit_rewards` look for what nobody gave.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from genrm_rl.choices import Rule
from genrm_rl.generation import GenerationRequest, GenerationResult
from genrm_rl.judging.requests import derive_seed
from genrm_rl.judging.types import Judgment
from genrm_rl.rewards.rules import Score, score
from genrm_rl.rewards.types import Mask, Match
from genrm_rl.serving.replicas.judge_replica import JudgeReplica, ServedJudge

VOTE_FAULTS = ("failed", "late", "cut", "silent", "no_letter", "no_numbers")
ORDER_LOST = "order_lost"  # every vote of one order fails, also when it is asked again: half a judgment


class FaultyReplica(JudgeReplica):
    """Spoils a share ``rate`` of the votes, and as large a share of whole orders."""

    def __init__(self, served: ServedJudge, rate: float, seed: int) -> None:
        super().__init__(served)
        self._rate, self._seed = rate, seed
        self._faults: Counter[str] = Counter()

    async def faults(self) -> dict[str, int]:
        """How often each fault was served."""
        return dict(self._faults)

    async def _answer(self, request: GenerationRequest, expires: float) -> GenerationResult:
        result = await super()._answer(request, expires)
        fault = fault_of(request.request_id, self._rate, self._seed)
        if fault is None:
            return result
        self._faults[fault] += 1
        return spoiled(result, fault)


def fault_of(request_id: str, rate: float, seed: int) -> str | None:
    """The fault that this request meets. ``purpose/version/form/pair/order/...``: the order's own draw comes first."""
    name = request_id.rpartition("#")[0] or request_id
    order = next(name[: name.index(mark) + len(mark)] for mark in ("/ab/", "/ba/") if mark in name)
    if _share(seed, "order", order) < rate:
        return ORDER_LOST
    return (
        VOTE_FAULTS[derive_seed(seed, "kind", name) % len(VOTE_FAULTS)] if _share(seed, "vote", name) < rate else None
    )


def spoiled(result: GenerationResult, fault: str) -> GenerationResult:
    """A result after something went wrong with it. Other faults than these leave an empty text."""
    if fault in ("failed", "late"):
        reason = "failed" if fault == "failed" else "deadline"
        return replace(result, token_ids=(), text="", finish_reason=reason, logprobs_TK=(), error="on purpose")
    if fault == "no_numbers":
        return replace(result, logprobs_TK=tuple((math.nan,) * len(row) for row in result.logprobs_TK))
    kept = {"cut": len(result.token_ids) // 2, "no_letter": max(0, len(result.token_ids) - 2)}.get(fault, 0)
    finish = "length" if fault == "cut" else "stop"
    return replace(
        result, token_ids=result.token_ids[:kept], logprobs_TK=result.logprobs_TK[:kept], finish_reason=finish
    )


@dataclass
class FaultAudit:
    """Counts over judgments and rewards; the last three have to be empty."""

    judgments: int = 0
    whole: int = 0
    ties: int = 0
    missing: Counter[str] = field(default_factory=Counter)
    rewards: int = 0
    masked: Counter[str] = field(default_factory=Counter)
    from_one_order: list[str] = field(default_factory=list)
    contradictions_with_a_winner: list[str] = field(default_factory=list)
    nobody_gave: list[str] = field(default_factory=list)


def audit_judgments(judgments: Iterable[Judgment], audit: FaultAudit) -> None:
    """Count judgments, and name those with a P(A) that only one order, or two that contradict each other, can have
    given."""
    for judgment in judgments:
        audit.judgments += 1
        audit.ties += judgment.tie
        if judgment.p_a is None:
            audit.missing[str(judgment.verdict)] += 1
            continue
        audit.whole += 1
        if judgment.traces and not _spoke_in_both(judgment):
            audit.from_one_order.append(judgment.pair_id)
        if judgment.consistent is False and judgment.p_a != 0.5:
            audit.contradictions_with_a_winner.append(judgment.pair_id)


def audit_rewards(
    rule: Rule, found: Sequence[Score], judgments: Mapping[Match, Judgment], name: str, audit: FaultAudit
) -> None:
    """Compare the rewards of one group with what the rule makes of those judgments alone that both orders gave."""
    truth = {
        match: judgment.p_a if not judgment.traces or _spoke_in_both(judgment) else None
        for match, judgment in judgments.items()
    }
    for place, (value, given) in enumerate(zip(found, score(rule, len(found), truth), strict=True)):
        if isinstance(value, Mask):
            audit.masked[str(value)] += 1
            continue
        audit.rewards += 1
        if value != given:
            audit.nobody_gave.append(f"{name}, place {place}")


def _spoke_in_both(judgment: Judgment) -> bool:
    return {trace.swapped for trace in judgment.traces if trace.verdict.is_verdict} == {False, True}


def _share(*parts: object) -> float:
    return derive_seed(*parts) / 2**31
