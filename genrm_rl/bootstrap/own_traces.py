"""Traces of a judge that learns from its own: which pairs a step asks about, and what became of the traces (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genrm_rl.algorithms.verdict_rewards import TraceOutcome, share_right_in_both
from genrm_rl.bootstrap.select import is_correct
from genrm_rl.judging.types import Trace, Verdict
from genrm_rl.preferences.types import PreferencePair, Slot, content_hash

MASKED = (Verdict.TIMED_OUT, Verdict.JUDGE_FAILED)
Numbers = dict[str, Any]
BothOrders = tuple[list[Trace], list[Trace]]


def step_pairs(pairs: Sequence[PreferencePair], step: int, count: int, seed: int) -> list[PreferencePair]:
    """The pairs of a step: passes over all pairs, each in a seeded order of its own; no pair twice in one step."""
    count = min(count, len(pairs))
    chosen: dict[str, PreferencePair] = {}
    turn, place = divmod(step * count, len(pairs))
    while len(chosen) < count:
        for pair in sorted(pairs, key=lambda pair: content_hash(seed, "step", turn, pair.id))[place:]:
            if len(chosen) < count:
                chosen.setdefault(pair.id, pair)
        turn, place = turn + 1, 0
    return list(chosen.values())


def by_pair(traces: Sequence[Trace]) -> dict[str, BothOrders]:
    """Traces by pair and order, by sample number; pairs in the order of their ids."""
    groups: dict[str, BothOrders] = {}
    for trace in sorted(traces, key=lambda trace: (trace.pair_id, trace.sample_index)):
        groups.setdefault(trace.pair_id, ([], []))[trace.swapped].append(trace)
    return groups


def is_masked(trace: Trace) -> bool:
    """Whether a trace says nothing about the judge, because it failed or was late."""
    return trace.verdict in MASKED or not trace.completion_token_ids


def outcome_of(trace: Trace, labels: Mapping[str, Slot | None], longest: int) -> TraceOutcome:
    """What became of a trace; ``longest`` is the generation limit in tokens."""
    return TraceOutcome(
        right=is_correct(trace, labels),
        has_verdict=trace.verdict.is_verdict,
        length=len(trace.completion_token_ids) / longest,
        masked=is_masked(trace),
    )


def trace_numbers(groups: Sequence[BothOrders], labels: Mapping[str, Slot | None], longest: int) -> Numbers:
    """Numbers of a step's traces; masked ones count in their share alone."""
    outcomes = [[[outcome_of(trace, labels, longest) for trace in order] for order in pair] for pair in groups]
    every = [outcome for pair in outcomes for order in pair for outcome in order]
    known = [outcome for outcome in every if not outcome.masked]
    both = [share_right_in_both(first, second) for first, second in outcomes]
    tokens = sum(len(trace.completion_token_ids) for pair in groups for order in pair for trace in order)
    return {
        "right": mean([outcome.right for outcome in known]),
        "right_in_both": mean([share for share in both if share is not None]),
        "verdict_share": mean([outcome.has_verdict for outcome in known]),
        "masked_share": 1.0 - len(known) / len(every),
        "tokens_mean": tokens / len(every),
        "tokens": float(tokens),
    }


def describe(row: Numbers) -> list[str]:
    """The numbers of :func:`trace_numbers` for the person who watches."""
    both, verdicts = row["right_in_both"], row["verdict_share"]
    return [
        *([f"right in both orders {both:.1%}"] if both is not None else []),
        *([f"with a verdict {verdicts:.1%}"] if verdicts is not None else []),
        *([f"masked {row['masked_share']:.1%}"] if row["masked_share"] else []),
        f"{row['tokens_mean']:.1f} tokens",
    ]


def mean(values: Sequence[float | bool]) -> float | None:
    """None without values."""
    return sum(values) / len(values) if values else None
