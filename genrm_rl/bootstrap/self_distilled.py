"""A judge that learns from itself when told the answer: on-policy self-distillation (arXiv 2601.18734).

The student writes traces under its own prompt. The teacher is the same judge with the label in its prompt, and with
what the annotators wrote where the pair has it; at each token of the student's trace it says what it would have written
next, and the student moves there. Nothing that the teacher writes is learned from, so the hint can't be copied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from genrm_rl.bootstrap.examples import told_reasons
from genrm_rl.bootstrap.on_policy import OwnTraces, learn_on_policy
from genrm_rl.bootstrap.own_traces import Numbers, by_pair, describe, is_masked, trace_numbers
from genrm_rl.config import SelfDistilledConfig
from genrm_rl.judging.encoding import JudgeEncoder
from genrm_rl.judging.judge import Judge
from genrm_rl.judging.types import Trace
from genrm_rl.learners.distillation import DistilledExample, SupportDistillation
from genrm_rl.learners.experience import minibatches
from genrm_rl.learners.objectives import completion_tokens
from genrm_rl.learners.schedule import warmed_up
from genrm_rl.learners.skips import Skips
from genrm_rl.preferences.types import PreferencePair, labels_of
from genrm_rl.rollout.judge_engine import JudgeEngine
from genrm_rl.runtime.tracking import MetricSink

if TYPE_CHECKING:
    from genrm_rl.learners.group import Frozen, LearnerGroup

EMPTY = "all traces failed or were late; see the engines' messages"


def run_self_distilled(start: Judge, pairs: Sequence[PreferencePair], engine: JudgeEngine, sink: MetricSink) -> Judge:
    """Train from ``start``'s weights and keep the checkpoint. Raises NothingToLearn if no step had a trace that did not
    fail."""
    config, by_id = engine.config.bootstrap.self_distilled, {pair.id: pair for pair in pairs}
    models = {"policy": True} | ({"teacher": False} if config.teacher == "start" else {})

    def lesson_of(groups: Mapping[str, LearnerGroup]) -> HintLesson:
        policy, skips = groups["policy"], Skips(engine.config.learner.max_skipped)
        teacher = groups.get("teacher", policy)
        return HintLesson(by_id, engine.encoder, config, engine.config.run.seed, policy, teacher, skips)

    return learn_on_policy(OwnTraces("self_distilled", config, models, lesson_of, EMPTY), start, pairs, engine, sink)


@dataclass
class HintLesson:
    """A step towards the teacher on a step's traces of ``pairs`` (by id)."""

    pairs: Mapping[str, PreferencePair]
    encoder: JudgeEncoder
    config: SelfDistilledConfig
    seed: int
    policy: LearnerGroup
    teacher: Frozen
    skips: Skips

    def learn(self, step: int, traces: Sequence[Trace]) -> Numbers:
        """See :class:`~genrm_rl.bootstrap.on_policy.Lesson`."""
        labels, longest = labels_of(self.pairs[trace.pair_id] for trace in traces), self.encoder.max_tokens("cot")
        kept = [trace for trace in traces if not is_masked(trace)]
        skipped, rows = self.skips.total, []
        parts = minibatches(self.examples(kept), self.config.minibatches, seed=f"{self.seed}/{step}")
        rate = warmed_up(self.config.learning_rate, step, self.config.warmup)
        for part in parts:
            done = self.policy.step(part, SupportDistillation(), learning_rate=rate)
            if self.skips.see(done, f"step {step + 1}: the judge's update"):
                rows.append({"loss": done.loss, "grad_norm": done.grad_norm, **done.metrics})
        row = trace_numbers(list(by_pair(traces).values()), labels, longest)
        means = {f"train/{name}": float(np.mean([each[name] for each in rows])) for name in (rows[0] if rows else ())}
        tokens = sum(len(trace.prompt_token_ids) + len(trace.completion_token_ids) for trace in kept)
        return (
            row
            | means
            | {
                "train/empty": float(not rows),
                "train/skipped_updates": float(self.skips.total - skipped),
                "train/tokens": float(tokens),
            }
        )

    def examples(self, traces: Sequence[Trace]) -> list[DistilledExample]:
        """The traces with what the teacher would have written at each of their tokens."""
        segments = [completion_tokens(self.hinted(trace), trace.completion_token_ids) for trace in traces]
        said = self.teacher.most_likely(segments, self.config.top_k) if traces else []
        return [
            DistilledExample(trace.prompt_token_ids, trace.completion_token_ids, ids_TK, logp_TK)
            for trace, (ids_TK, logp_TK) in zip(traces, said, strict=True)
        ]

    def hinted(self, trace: Trace) -> tuple[int, ...]:
        """The prompt that tells the teacher which answer is better, in the trace's order, and the annotators' reasons,
        of which as many are told, the first ones, as the context holds."""
        pair, encoder = self.pairs[trace.pair_id], self.encoder
        comparison, label = pair.comparison(swapped=trace.swapped), pair.label(swapped=trace.swapped)
        reasons = told_reasons(pair.rationales, label)
        for count in reversed(range(len(reasons) + 1)):
            ids = encoder.prompt_ids(comparison, "rationalize", label, reasons[:count])
            if len(ids) + encoder.tokens_after("rationalize") <= encoder.max_context:
                break
        return ids

    def describe(self, row: Numbers) -> str:
        """See :class:`~genrm_rl.bootstrap.on_policy.Lesson`."""
        kl = [f"KL to the teacher {row['train/kl_teacher']:.4f}"] if "train/kl_teacher" in row else []
        return ", ".join([*describe(row), *kl])
