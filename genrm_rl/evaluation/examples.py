"""Judgments to read: a balanced sample of right, wrong and verdictless traces."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

from genrm_rl.evaluation.schema import ExampleTrace, Outcome
from genrm_rl.evaluation.schema_results import Decoding
from genrm_rl.judging.types import Trace
from genrm_rl.preferences.types import PreferencePair

OUTCOMES: tuple[Outcome, ...] = ("right", "wrong", "non_verdict")


def example_from_trace(
    pair: PreferencePair, trace: Trace, *, judge: str, test_set: str = "", decoding: Decoding | None = None
) -> ExampleTrace:
    """One trace with the comparison it judged, in the order in which the judge saw it."""
    shown = pair.comparison(swapped=trace.swapped)
    label = "tie" if pair.tie else pair.label(swapped=trace.swapped)
    if trace.verdict.slot is None:
        outcome: Outcome = "non_verdict"
    else:
        outcome = "right" if trace.verdict.slot == label else "wrong"
    return ExampleTrace(
        trace_id=trace.trace_id,
        judge=judge,
        test_set=test_set,
        decoding=decoding,
        outcome=outcome,
        pair_id=pair.id,
        category=pair.category,
        prompt="\n\n".join(_turn(turn.role, turn.content, len(pair.prompt)) for turn in pair.prompt),
        response_a=shown.response_a,
        response_b=shown.response_b,
        label=label,
        verdict=trace.verdict.value,
        p_a=trace.p_a,
        text=trace.text,
    )


def choose_examples(
    traces: Iterable[tuple[PreferencePair, Trace]],
    *,
    judge: str,
    limit: int,
    seed: int,
    test_set: str = "",
    decoding: Decoding | None = None,
) -> tuple[ExampleTrace, ...]:
    """At most ``limit`` traces drawn with ``seed``, the outcomes in turn, so that the rare ones are seen too."""
    examples = [
        example_from_trace(pair, trace, judge=judge, test_set=test_set, decoding=decoding) for pair, trace in traces
    ]
    examples.sort(key=lambda example: example.trace_id)
    random.Random(seed).shuffle(examples)
    return _in_turn([[e for e in examples if e.outcome == outcome] for outcome in OUTCOMES], limit)


def _in_turn(groups: Sequence[Sequence[ExampleTrace]], limit: int) -> tuple[ExampleTrace, ...]:
    longest = max((len(group) for group in groups), default=0)
    turns = [group[i] for i in range(longest) for group in groups if i < len(group)]
    return tuple(sorted(turns[:limit], key=lambda example: OUTCOMES.index(example.outcome)))


def _turn(role: str, content: str, turns: int) -> str:
    return content if turns == 1 else f"{role}: {content}"
