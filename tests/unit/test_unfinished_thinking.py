"""Thinking that never ends: counted under its own name wherever judgments and rewards are counted."""

from __future__ import annotations

from dataclasses import replace

from genrm_rl.alignment.answers import Answer, JudgedAnswer
from genrm_rl.alignment.experience import nothing_learned
from genrm_rl.alignment.lost import lost_share
from genrm_rl.bootstrap.select import Reason, pair_traces, select_traces
from genrm_rl.config import SelectionConfig
from genrm_rl.config.alignment import PPOConfig, SamplingConfig
from genrm_rl.judging.folding import fold, no_answer
from genrm_rl.judging.thoughts import lacks_answer
from genrm_rl.judging.types import Verdict
from genrm_rl.rewards.replies import read_rewards
from genrm_rl.rewards.types import Mask, RewardRecord
from genrm_rl.serving.contracts import Cost, GroupIn, Judged, JudgmentOut, RewardOut, RewardsReply
from genrm_rl.serving.desk.replies import with_unfinished
from genrm_rl.serving.operations.metrics import ServiceMetrics
from tests.unit.judging_cases import comparison, trace

ENDLESS = " <think>\n3 or"
CUT = (Verdict.TRUNCATED, Verdict.TRUNCATED_THINKING)


def test_responses_without_an_answer_are_masked_in_their_places() -> None:
    group = GroupIn(prompt="q", responses=[ENDLESS, "3", "<think>hm</think>4", ENDLESS])
    assert group.answers == ["3", "<think>hm</think>4"]
    found = [RewardOut(reward=value, mask=None, judgments=["j"]) for value in (0.25, 0.75)]
    rewards = with_unfinished(group, found)
    assert [each.reward for each in rewards] == [None, 0.25, 0.75, None]
    judgment = JudgmentOut.of(Judged(fold([trace(Verdict.PREFERS_A, 0.9)]), False, Cost(), "v"), rationales=False)
    judgment = judgment.model_copy(update={"id": "j"})
    reply = RewardsReply(judge_version="v", seconds=0.0, groups=[rewards], judgments=[judgment])
    _, (records,), _ = read_rewards(reply.model_dump_json(), [4])
    assert [record.mask for record in records] == [Mask.UNFINISHED_THINKING, None, None, Mask.UNFINISHED_THINKING]


def test_a_comparison_without_one_of_its_answers_is_no_judgment() -> None:
    assert lacks_answer(comparison(a=ENDLESS)) and lacks_answer(comparison(b=ENDLESS))
    assert not lacks_answer(comparison(a="<think>x</think>3", b="a <think> tag"))
    judged = JudgmentOut.of(Judged(no_answer("p"), False, Cost(), "v"), rationales=True)
    assert (judged.verdict, judged.p_a, judged.tie, judged.consistent, judged.votes) == (
        "no_answer",
        None,
        False,
        None,
        0,
    )


def test_metrics_and_selection_tell_thinking_that_was_cut_off_from_judgments_that_were() -> None:
    cut = [replace(trace(kind), completion_token_ids=(index,), trace_id=str(index)) for index, kind in enumerate(CUT)]
    metrics = ServiceMetrics(lambda: 0.0)
    metrics.judged([Judged(fold([one]), False, Cost(), "v") for one in cut])
    metrics.rewarded([RewardOut(reward=None, mask=Mask.UNFINISHED_THINKING, judgments=[])])
    page = metrics.page().decode()
    for kind in CUT:
        assert f'genrm_rl_votes_total{{verdict="{kind}"}} 1.0' in page
    assert 'genrm_rl_masked_rewards_total{mask="unfinished_thinking"} 1.0' in page
    right = replace(trace(Verdict.PREFERS_A, 0.9), completion_token_ids=(9,), trace_id="9")
    labels, config = {"p0": "A"}, SelectionConfig(unparseable_as_rejected=True, balance=False, pairs_per_order=4)
    chosen = select_traces([*cut, right], labels, config, 0)  # type: ignore[arg-type]
    assert {item.trace.trace_id: item.reason for item in chosen} == {
        "0": Reason.TRUNCATED, "1": Reason.TRUNCATED_THINKING, "9": Reason.KEPT,
    }  # fmt: skip
    rejected = {pair.rejected.verdict for pair in pair_traces(chosen, labels, config, 0)}  # type: ignore[arg-type]
    assert rejected and rejected <= set(CUT)


def test_a_step_of_nothing_but_endless_thinking_says_what_to_change_and_lost_no_reward() -> None:
    answer = Answer("p", 0, (1, 2), ENDLESS, (-1.0, -1.0), "length", "base")
    group = [JudgedAnswer(answer, RewardRecord(None, Mask.UNFINISHED_THINKING, (), "v"))] * 2
    said = nothing_learned([group], PPOConfig(), SamplingConfig(truncated="keep", max_tokens=2))
    assert said.startswith("all 2 answers ended before their thinking did; raise sampling.max_tokens (2)")
    assert lost_share([group])[0] == 0
