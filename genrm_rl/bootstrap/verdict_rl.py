"""A judge trained by reinforcement learning on its own verdicts: the judge is the policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from genrm_rl.algorithms.advantages import has_spread, shape_group
from genrm_rl.algorithms.verdict_rewards import verdict_rewards
from genrm_rl.bootstrap.on_policy import OwnTraces, learn_on_policy
from genrm_rl.bootstrap.own_traces import Numbers, by_pair, describe, mean, outcome_of, trace_numbers
from genrm_rl.config import VerdictRLConfig
from genrm_rl.config.alignment import PPOConfig
from genrm_rl.judging.judge import Judge
from genrm_rl.judging.types import Trace
from genrm_rl.learners.experience import SampledAnswer
from genrm_rl.preferences.types import PreferencePair, Slot, labels_of
from genrm_rl.rollout.judge_engine import JudgeEngine
from genrm_rl.runtime.console import say_on
from genrm_rl.runtime.tracking import MetricSink

if TYPE_CHECKING:
    from genrm_rl.learners.group import LearnerGroup
    from genrm_rl.learners.policy_updates import PolicyUpdates

EMPTY = (
    "never did two traces of a pair in one order earn different rewards; raise bootstrap.verdict_rl.samples_per_order, "
    "or start from a judge that is sometimes right in both orders (bootstrap.verdict_rl.start_from)"
)


def run_verdict_rl(start: Judge, pairs: Sequence[PreferencePair], engine: JudgeEngine, sink: MetricSink) -> Judge:
    """Train from ``start``'s weights and keep the checkpoint. Raises NothingToLearn if no step had a group of traces
    with different rewards."""
    config, labels, longest = engine.config.bootstrap.verdict_rl, labels_of(pairs), engine.encoder.max_tokens("cot")

    def lesson_of(groups: Mapping[str, LearnerGroup]) -> VerdictLesson:
        from genrm_rl.learners.policy_updates import new_updates

        updates = new_updates(
            groups["policy"],
            groups["reference"],
            None,
            policy_settings(config),
            temperature=1.0,
            seed=engine.config.run.seed,
            max_skipped=engine.config.learner.max_skipped,
        )
        return VerdictLesson(labels, longest, config, updates, say_on(engine.console))

    models = {"policy": True, "reference": False}
    return learn_on_policy(OwnTraces("verdict_rl", config, models, lesson_of, EMPTY), start, pairs, engine, sink)


@dataclass
class VerdictLesson:
    """A policy-gradient step on the rewards of a step's traces; ``longest`` is the generation limit in tokens."""

    labels: Mapping[str, Slot | None]
    longest: int
    config: VerdictRLConfig
    updates: PolicyUpdates
    say: Callable[[str], None]

    def learn(self, step: int, traces: Sequence[Trace]) -> Numbers:
        """See :class:`~genrm_rl.bootstrap.on_policy.Lesson`."""
        labels, longest = self.labels, self.longest
        groups = list(by_pair(traces).values())
        orders = [order for pair in groups for order in reward_orders(*pair, labels, longest, self.config)]
        answers = [answer for order in orders for answer in learned_answers(order, self.config)]
        row = trace_numbers(groups, labels, longest)
        metrics = self.updates.learn(step, answers, lambda: nothing_learned(row, len(traces)), self.say)
        return row | {
            "reward": mean([reward for order in orders for reward in order.rewards if reward is not None]),
            "groups_with_spread": mean([has_spread(order.rewards) for order in orders]),
            **{f"train/{name}": value for name, value in metrics.items()},
            "train/tokens": float(sum(len(answer.prompt_ids) + len(answer.completion_ids) for answer in answers)),
        }

    def describe(self, row: Numbers) -> str:
        """See :class:`~genrm_rl.bootstrap.on_policy.Lesson`."""
        reward = [f"reward {row['reward']:.3f}"] if row["reward"] is not None else ["no reward"]
        kl = [f"KL {row['train/kl_reference']:.4f}"] if "train/kl_reference" in row else []
        return ", ".join([*reward, *describe(row), *kl])


@dataclass(frozen=True, slots=True)
class RewardedOrder:
    """Traces of one pair in one order with their rewards (None: masked), [G] each."""

    traces: list[Trace]
    rewards: list[float | None]


def policy_settings(config: VerdictRLConfig) -> PPOConfig:
    """The settings of an alignment that computes the same updates."""
    return PPOConfig(
        advantage=config.advantage,
        steps=config.steps,
        prompts_per_step=2 * config.pairs_per_step,
        samples_per_prompt=config.samples_per_order,
        minibatches=config.minibatches,
        learning_rate=config.learning_rate,
        warmup=config.warmup,
        kl_coefficient=config.kl_coefficient,
    )


def reward_orders(
    first: list[Trace], second: list[Trace], labels: Mapping[str, Slot | None], longest: int, config: VerdictRLConfig
) -> tuple[RewardedOrder, RewardedOrder]:
    """Both orders of one pair, rewarded."""
    left, right = ([outcome_of(trace, labels, longest) for trace in order] for order in (first, second))
    penalties = (config.format_penalty, config.length_penalty)
    return (
        RewardedOrder(first, verdict_rewards(left, right, *penalties)),
        RewardedOrder(second, verdict_rewards(right, left, *penalties)),
    )


def learned_answers(order: RewardedOrder, config: VerdictRLConfig) -> list[SampledAnswer]:
    """What is learned from. Each order is a group of its own: its traces answer the same prompt, and no reward depends
    on another trace of the group, so that a baseline of the others (rloo) is unbiased."""
    return [
        SampledAnswer(trace.prompt_token_ids, trace.completion_token_ids, trace.logprobs_T, shaped)
        for trace, shaped in zip(order.traces, shape_group(order.rewards, config.advantage), strict=True)
        if shaped is not None
    ]


def nothing_learned(row: Numbers, traces: int) -> str:
    """Why a step has nothing to learn from."""
    verdicts = "no trace" if row["verdict_share"] is None else f"{row['verdict_share']:.1%} of the others"
    return (
        f"no traces of a pair in one order have different rewards ({traces} traces, {row['masked_share']:.1%} failed "
        f"or late, {verdicts} with a verdict)"
    )
