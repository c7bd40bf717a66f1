"""Sums of what was judged: a rate that nothing was measured for is None."""

from __future__ import annotations

from genrm_rl.judging.folding import fold
from genrm_rl.judging.types import Verdict
from genrm_rl.serving.contracts import Cost, Judged
from genrm_rl.serving.operations.totals import Totals
from tests.unit.judging_cases import trace


def test_totals_add_up_and_have_no_rate_before_the_first_prompt() -> None:
    totals = Totals()
    judgment = fold([trace(Verdict.PREFERS_A, 0.9)])
    totals.add([Judged(judgment, True, Cost(), "v")])
    assert totals.reply("v", 3).prefix_cache_hit_rate is None
    totals.add([Judged(judgment, False, Cost(votes_asked=2, prompt_tokens=80, cached_prompt_tokens=32), "v")] * 2)
    reply = totals.reply("v", 3)
    assert (reply.judgments, reply.cached_judgments, reply.pending_comparisons) == (3, 1, 3)
    assert reply.cost == Cost(votes_asked=4, prompt_tokens=160, cached_prompt_tokens=64)
    assert reply.prefix_cache_hit_rate == 0.4
