"""Which sampled traces a judge learns from: every trace gets one reason code (STaR's filter, made visible).

Pure functions over :class:`~genrm_rl.judging.types.Trace`; every tie is broken by a hash of (seed, trace id), so the
result depends on the set of traces and the seed alone, never on arrival order.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from genrm_rl.config import SelectionConfig
from genrm_rl.judging.types import Trace, Verdict
from genrm_rl.preferences.types import Slot, content_hash


class Reason(StrEnum):
    """Why a trace was kept or left out."""

    KEPT = "kept"
    WRONG_VERDICT = "wrong_verdict"
    UNPARSEABLE = "unparseable"
    TRUNCATED = "truncated"
    TRUNCATED_THINKING = "truncated_thinking"
    ABSTAINED = "abstained"
    FAILED = "failed"
    DUPLICATE = "duplicate"
    ONE_ORDER = "one_order"
    QUOTA_REACHED = "quota_reached"
    BALANCED_OUT = "balanced_out"


NON_VERDICT_REASONS: Mapping[Verdict, Reason] = {
    Verdict.UNPARSEABLE: Reason.UNPARSEABLE,
    Verdict.TRUNCATED: Reason.TRUNCATED,
    Verdict.TRUNCATED_THINKING: Reason.TRUNCATED_THINKING,
    Verdict.ABSTAINED: Reason.ABSTAINED,
    Verdict.TIMED_OUT: Reason.FAILED,
    Verdict.JUDGE_FAILED: Reason.FAILED,
}


@dataclass(frozen=True, slots=True)
class TraceSelection:
    """One trace and the reason code it got."""

    trace: Trace
    reason: Reason


@dataclass(frozen=True, slots=True)
class TracePair:
    """A correct and an incorrect trace of the same comparison and order: one DPO pair (paper, Eq. 9)."""

    chosen: Trace
    rejected: Trace


Labels = Mapping[str, Slot | None]  # pair id -> canonical chosen slot, None of a pair that is a tie


def is_correct(trace: Trace, labels: Labels) -> bool:
    """True if the verdict matches the label, in the trace's own order."""
    label = labels[trace.pair_id]
    return trace.canonical_verdict is (Verdict.TIED if label is None else Verdict.of(label))


def select_traces(traces: Iterable[Trace], labels: Labels, config: SelectionConfig, seed: int) -> list[TraceSelection]:
    """Give every trace its reason code; the kept ones are what SFT learns from.

    Per comparison and order: verdict must match the label (with ``both_orders``, that of another trace in the other
    order too), texts must differ, at most ``max_kept_per_order`` stay. Then the verdict letters are balanced by leaving
    out surplus traces of the more frequent letter.
    """
    chosen: list[TraceSelection] = []
    groups = _by_comparison_and_order(traces)
    right = {(trace.pair_id, trace.swapped) for group in groups for trace in group if is_correct(trace, labels)}
    for group in groups:
        seen: set[tuple[int, ...]] = set()
        kept = 0
        for trace in _shuffled(group, seed):
            reason = _reason(trace, labels, seen, kept, config)
            if reason is Reason.KEPT and config.both_orders and (trace.pair_id, not trace.swapped) not in right:
                reason = Reason.ONE_ORDER
            if reason is Reason.KEPT:
                seen.add(trace.completion_token_ids)
                kept += 1
            chosen.append(TraceSelection(trace, reason))
    surplus = _surplus([item.trace for item in chosen if item.reason is Reason.KEPT], seed) if config.balance else set()
    return [
        TraceSelection(item.trace, Reason.BALANCED_OUT) if item.trace.trace_id in surplus else item
        for item in sorted(chosen, key=lambda item: item.trace.trace_id)
    ]


def pair_traces(
    selections: Sequence[TraceSelection], labels: Labels, config: SelectionConfig, seed: int
) -> list[TracePair]:
    """DPO pairs: a correct against an incorrect trace of the same comparison and order.

    Balanced by the chosen verdict's letter, so that the pairs teach no position. A non-verdict may be the rejected side
    if ``unparseable_as_rejected``; an engine failure never is, because it says nothing about the judge.
    """
    good: dict[tuple[str, bool], list[Trace]] = defaultdict(list)
    bad: dict[tuple[str, bool], list[Trace]] = defaultdict(list)
    usable = {Reason.WRONG_VERDICT}
    if config.unparseable_as_rejected:
        usable |= {Reason.UNPARSEABLE, Reason.TRUNCATED, Reason.TRUNCATED_THINKING, Reason.ABSTAINED}
    for item in selections:
        key = (item.trace.pair_id, item.trace.swapped)
        if item.reason in usable:
            bad[key].append(item.trace)
        elif item.reason not in (Reason.DUPLICATE, Reason.ONE_ORDER) and is_correct(item.trace, labels):
            good[key].append(item.trace)
    pairs: list[TracePair] = []
    for key in sorted(good.keys() & bad.keys()):
        lefts, rights = _shuffled(good[key], seed), _shuffled(_distinct(bad[key]), seed)
        pairs += [TracePair(left, right) for left, right in zip(lefts, rights, strict=False)][: config.pairs_per_order]
    if config.balance:
        surplus = _surplus([pair.chosen for pair in pairs], seed)
        pairs = [pair for pair in pairs if pair.chosen.trace_id not in surplus]
    return pairs


def without_correct_trace(traces: Iterable[Trace], labels: Labels) -> set[tuple[str, bool]]:
    """(pair id, swapped) of the comparisons whose sampled traces are all wrong: candidates for rationalisation."""
    outcome: dict[tuple[str, bool], bool] = defaultdict(bool)
    for trace in traces:
        outcome[(trace.pair_id, trace.swapped)] |= is_correct(trace, labels)
    return {key for key, any_correct in outcome.items() if not any_correct}


def count_reasons(selections: Iterable[TraceSelection]) -> dict[str, int]:
    """Traces per reason code, every code listed."""
    counts = Counter(item.reason for item in selections)
    return {reason.value: counts.get(reason, 0) for reason in Reason}


def _reason(trace: Trace, labels: Labels, seen: set[tuple[int, ...]], kept: int, config: SelectionConfig) -> Reason:
    if not trace.verdict.is_verdict:
        return NON_VERDICT_REASONS[trace.verdict]
    if not is_correct(trace, labels):
        return Reason.WRONG_VERDICT
    if trace.completion_token_ids in seen:
        return Reason.DUPLICATE
    if kept >= config.max_kept_per_order:
        return Reason.QUOTA_REACHED
    return Reason.KEPT


def _by_comparison_and_order(traces: Iterable[Trace]) -> list[list[Trace]]:
    groups: dict[tuple[str, bool], list[Trace]] = defaultdict(list)
    for trace in traces:
        groups[(trace.pair_id, trace.swapped)].append(trace)
    return [groups[key] for key in sorted(groups)]


def _shuffled(traces: Iterable[Trace], seed: int) -> list[Trace]:
    return sorted(traces, key=lambda trace: content_hash(seed, trace.trace_id))


def _distinct(traces: Iterable[Trace]) -> list[Trace]:
    first: dict[tuple[int, ...], Trace] = {}
    for trace in sorted(traces, key=lambda trace: trace.trace_id):
        first.setdefault(trace.completion_token_ids, trace)
    return list(first.values())


def _surplus(kept: Sequence[Trace], seed: int) -> set[str]:
    """Ids of the traces to leave out so that both verdict letters are equally frequent; a tie has no letter."""
    letters: dict[str, list[Trace]] = {"A": [], "B": []}
    for trace in kept:
        if trace.verdict.slot is not None:
            letters[trace.verdict.slot].append(trace)
    few, many = sorted(letters.values(), key=len)
    return {trace.trace_id for trace in _shuffled(many, seed)[len(few) :]}


def reason_codes(selections: Iterable[TraceSelection]) -> list[tuple[str, str]]:
    """(trace id, reason code) of each, as they are kept beside the examples."""
    return [(item.trace.trace_id, item.reason.value) for item in selections]
