"""Verdict RL without an engine: what traces earn, what is learned from, which pairs a step asks about."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from genrm_rl.algorithms.verdict_rewards import TraceOutcome, share_right_in_both, verdict_rewards
from genrm_rl.bootstrap.own_traces import by_pair, step_pairs, trace_numbers
from genrm_rl.bootstrap.verdict_rl import learned_answers, nothing_learned, policy_settings, reward_orders
from genrm_rl.config import BootstrapConfig, VerdictRLConfig
from genrm_rl.judging.types import Trace, Verdict
from genrm_rl.learners.experience import SampledAnswer

RIGHT, WRONG = TraceOutcome(True, True, 0.5), TraceOutcome(False, True, 0.5)
SILENT, LATE = TraceOutcome(False, False, 1.0), TraceOutcome(False, False, 0.0, masked=True)
LABELS: dict[str, Any] = {"p": "A"}
outcomes = st.lists(st.sampled_from([RIGHT, WRONG, SILENT, LATE]), min_size=1, max_size=6)


def trace(swapped: bool, index: int, verdict: Verdict, length: int = 3) -> Trace:
    tokens = tuple(range(length))
    return Trace(
        f"{swapped}/{index}", "p", swapped, "cot", "", "", verdict, None, (7, 8), tokens, "stop", "base", 1.0, 1.0, 0,
        index, logprobs_T=(-1.0,) * length,
    )  # fmt: skip


def rewarded(first: str, second: str, **settings: Any):
    """Both orders of a pair whose better answer is A; per trace a verdict, `-` for none, `x` for a failure."""
    verdicts = {"A": Verdict.PREFERS_A, "B": Verdict.PREFERS_B, "-": Verdict.UNPARSEABLE, "x": Verdict.JUDGE_FAILED}
    traces = [
        trace(swapped, i, verdicts[v]) for swapped, word in ((False, first), (True, second)) for i, v in enumerate(word)
    ]
    config = VerdictRLConfig(**settings)
    return reward_orders(*by_pair(traces)["p"], LABELS, 6, config), config


def learned(pair: Any, config: VerdictRLConfig) -> list[SampledAnswer]:
    return [answer for order in pair for answer in learned_answers(order, config)]


def test_one_order_alone_earns_nothing() -> None:
    """A judge that always names the first answer is right in one order, and gets no more than one that never is."""
    (first, second), _ = rewarded("AAAA", "AAAA")
    assert first.rewards == second.rewards == [0.0] * 4


def test_a_right_trace_earns_the_share_of_right_ones_in_the_other_order() -> None:
    (first, second), _ = rewarded("AAAB", "BBAA")
    assert first.rewards == [0.5, 0.5, 0.5, 0.0] and second.rewards == [0.75, 0.75, 0.0, 0.0]


@given(outcomes, outcomes)
def test_both_orders_earn_the_same_on_average_and_it_is_the_share_right_in_both(first, second) -> None:
    left, right = (
        [reward for reward in verdict_rewards(a, b, 0.0, 0.0) if reward is not None]
        for a, b in ((first, second), (second, first))
    )
    both = share_right_in_both(first, second)
    if both is None:
        assert not (left and right)
    else:
        assert sum(left) / len(left) == pytest.approx(both) == pytest.approx(sum(right) / len(right))


def test_a_trace_without_a_verdict_pays_and_long_ones_pay_when_asked_to() -> None:
    (first, _), _ = rewarded("A-", "BB", format_penalty=0.25)
    assert first.rewards == [1.0, -0.25]
    (first, _), _ = rewarded("AB", "BB", length_penalty=0.2)
    assert first.rewards == [pytest.approx(0.9), pytest.approx(-0.1)], "3 of 6 tokens pay half"


@given(outcomes, outcomes)
def test_what_failed_or_was_late_earns_nothing_and_changes_no_other_reward(first, second) -> None:
    with_late = verdict_rewards([LATE, *first], [*second, LATE], 0.5, 0.1)
    assert with_late[0] is None
    assert with_late[1:] == verdict_rewards(first, second, 0.5, 0.1)


def test_an_order_that_failed_as_a_whole_leaves_nothing_to_learn_in_either() -> None:
    (first, second), config = rewarded("AAB-", "xxxx")
    assert first.rewards == second.rewards == [None] * 4
    assert learned((first, second), config) == []


@pytest.mark.parametrize("advantage", ["group_norm", "dr_grpo", "rloo"])
def test_masked_traces_and_orders_without_spread_are_not_learned_from(advantage: str) -> None:
    pair, config = rewarded("AAAA", "BBAx", advantage=advantage)
    answers = learned(pair, config)
    assert [answer.shaped > 0 for answer in answers] == [True, True, False], "the first order is right in every trace"
    assert sum(answer.shaped for answer in answers) == pytest.approx(0)
    assert all(len(answer.engine_logp_T) == len(answer.completion_ids) for answer in answers)


def numbers(first: str, second: str) -> dict[str, Any]:
    pair, _ = rewarded(first, second)
    return trace_numbers([(pair[0].traces, pair[1].traces)], LABELS, 6)


def test_numbers_of_a_step() -> None:
    row = numbers("AAB-", "BBBx")
    assert row["right_in_both"] == pytest.approx(0.5) and row["masked_share"] == pytest.approx(1 / 8)
    assert row["verdict_share"] == pytest.approx(6 / 7) and row["tokens"] == 24
    empty = numbers("xx", "xx")
    assert empty["right_in_both"] is None and empty["masked_share"] == 1.0
    assert "(4 traces, 100.0% failed or late, no trace with a verdict)" in nothing_learned(empty, 4)


@given(st.integers(1, 9), st.integers(1, 12))
def test_steps_go_through_all_pairs_before_any_comes_again(count: int, total: int) -> None:
    pairs: Any = [SimpleNamespace(id=f"p{i}") for i in range(total)]
    steps = [[pair.id for pair in step_pairs(pairs, step, count, 0)] for step in range(12)]
    assert all(len(set(ids)) == len(ids) == min(count, total) for ids in steps)
    whole = total // min(count, total)
    assert len({name for ids in steps[:whole] for name in ids}) == whole * min(count, total)
    assert steps == [[pair.id for pair in step_pairs(pairs[::-1], step, count, 0)] for step in range(12)]


def test_a_verdict_rl_of_one_trace_or_from_no_judge_is_refused() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 2"):
        VerdictRLConfig(samples_per_order=1)
    later = {"methods": ("verdict_rl", "star_dpo"), "verdict_rl": {"start_from": "star_dpo"}}
    with pytest.raises(ValidationError, match="no judge that is trained before verdict_rl: base; choose one, or list"):
        BootstrapConfig(**later)
    BootstrapConfig(**later | {"methods": ("star_dpo", "verdict_rl")})


def test_updates_are_those_of_an_alignment_with_the_same_settings() -> None:
    settings = policy_settings(VerdictRLConfig(advantage="rloo", learning_rate=3e-5, kl_coefficient=0.1, minibatches=2))
    assert (settings.advantage, settings.learning_rate, settings.kl_coefficient) == ("rloo", 3e-5, 0.1)
    assert (settings.correction, settings.minibatches, settings.staleness) == ("truncate", 2, 0)


def test_log_probabilities_of_traces_survive_the_disk(tmp_path) -> None:
    from genrm_rl.rollout.trace_store import read_traces, write_traces

    kept = [trace(False, 0, Verdict.PREFERS_A), replace(trace(True, 1, Verdict.PREFERS_B), logprobs_T=())]
    assert read_traces(write_traces(tmp_path / "traces.parquet", kept)) == kept
