"""The drill of a failing judge: its faults are drawn by the request alone, and its audit finds what nobody gave."""

from __future__ import annotations

import math
from dataclasses import replace

from genrm_rl.generation import GenerationResult
from genrm_rl.judging.folding import fold
from genrm_rl.judging.types import Judgment, Verdict
from genrm_rl.rewards.rules import score
from genrm_rl.serving.replicas.faulty_replica import (
    ORDER_LOST,
    VOTE_FAULTS,
    FaultAudit,
    audit_judgments,
    audit_rewards,
    fault_of,
    spoiled,
)
from tests.unit.judging_cases import trace

A, B, NONE = Verdict.PREFERS_A, Verdict.PREFERS_B, Verdict.UNPARSEABLE
WHOLE = fold([trace(A, 0.9), trace(B, 0.2, swapped=True)])
HALF = [trace(A, 0.99), trace(NONE, swapped=True)]


def test_a_lost_order_is_lost_again_and_faults_are_the_same_every_time() -> None:
    ids = [f"serve/v1/cot/p{number}/{order}/0" for number in range(400) for order in ("ab", "ba")]
    found = [fault_of(f"{name}#{number}", 0.3, 1) for number, name in enumerate(ids)]
    assert found == [fault_of(name, 0.3, 1) for name in ids] and set(found) == {None, ORDER_LOST, *VOTE_FAULTS}
    lost = [name for name, fault in zip(ids, found, strict=True) if fault == ORDER_LOST]
    assert all(fault_of(f"{name}/again#7", 0.3, 1) == ORDER_LOST for name in lost)
    assert not any(fault_of(name, 0.0, 1) for name in ids)


def test_spoiled_answers_keep_their_shape() -> None:
    whole = GenerationResult("r", (5, 6, 7, 8), "", "stop", ((-1.0, -2.0),) * 4, "v")
    for fault in (*VOTE_FAULTS, ORDER_LOST):
        broken = spoiled(whole, fault)
        assert len(broken.token_ids) == len(broken.logprobs_TK) and broken != whole
    assert math.isnan(spoiled(whole, "no_numbers").logprobs_TK[0][0])


def test_what_one_order_gave_is_found() -> None:
    audit = FaultAudit()
    made_up = replace(fold(HALF), verdict=A, p_a=0.99)
    leaning = replace(fold([trace(A, 0.9), trace(A, 0.8, swapped=True)]), verdict=A, p_a=0.55)
    audit_judgments([WHOLE, fold(HALF), made_up, leaning], audit)
    assert (audit.judgments, audit.whole, dict(audit.missing)) == (4, 3, {"one_order": 1})
    assert audit.from_one_order == [made_up.pair_id] and audit.contradictions_with_a_winner == [leaning.pair_id]


def test_a_reward_of_half_a_judgment_is_found() -> None:
    def rewards(judgments: dict[tuple[int, int], Judgment]) -> FaultAudit:
        audit = FaultAudit()
        outcomes = {match: judgment.p_a for match, judgment in judgments.items()}
        audit_rewards("round_robin", score("round_robin", 2, outcomes), judgments, "q", audit)
        return audit

    assert rewards({(0, 1): WHOLE}).rewards == 2 and not rewards({(0, 1): WHOLE}).nobody_gave
    assert rewards({(0, 1): fold(HALF)}).masked == {"not_judged": 2}
    made_up = replace(fold(HALF), verdict=A, p_a=0.99)
    assert rewards({(0, 1): made_up}).nobody_gave == ["q, place 0", "q, place 1"]
