"""Metrics of one judge on one test set, computed from :class:`JudgmentRecord` rows. Pure; undefined is None, never 0.

Three ways of counting, all reported: *per order* (each order of a pair is one judgment: accuracy_strict,
accuracy_flexible, accuracy_decided), *both orders* (right_in_both: both verdicts are right; consistent: both name the
same answer, right or wrong) and *folded* (one decision per pair, as rewards use it: a tie counts one half, a pair
without a judgment nothing). All intervals are over prompts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genrm_rl.errors import DataError
from genrm_rl.evaluation.calibration import (
    brier_score,
    calibration_bins,
    expected_calibration_error,
)
from genrm_rl.evaluation.counts import PairCounts, check_one_suite, count_pairs, prompts_of, share
from genrm_rl.evaluation.intervals import bootstrap_interval
from genrm_rl.evaluation.majority import majority_curve
from genrm_rl.evaluation.records import JudgmentRecord
from genrm_rl.evaluation.schema import Metric
from genrm_rl.evaluation.schema_results import CategoryRow, LengthBias, ResultRow
from genrm_rl.evaluation.scoring import Scoring, score_benchmark
from genrm_rl.judging.types import Verdict
from genrm_rl.preferences.types import Slot


def summarise(
    records: Sequence[JudgmentRecord],
    *,
    resamples: int,
    seed: int = 0,
    scoring: Scoring = "pairs",
    by_category: bool = True,
    majority_records: Sequence[JudgmentRecord] | None = None,
) -> ResultRow:
    """All metrics of one judge on one test set with one decoding.

    ``majority_records`` are the rows behind the maj@k curve where it was measured on fewer pairs with more votes; by
    default the curve comes from the votes of ``records``.

    Raises DataError for no rows, rows of several judges, test sets or decodings, or a pair that is judged twice.
    """
    first = check_one_suite(records)
    counts = count_pairs(records)
    by_prompt = counts.by_prompt(prompts_of(records))
    orders = [order for record in records for order in _orders(record)]
    order_free = all(record.order_free for record in records)

    def interval(metric: Metric) -> tuple[float, float] | None:
        return bootstrap_interval(*by_prompt.ratio(metric), resamples=resamples, seed=seed)

    strict_interval = interval("accuracy_strict")
    if strict_interval is None:
        raise DataError(f"judge {first.judge} on {first.test_set}: no judgments to measure")
    return ResultRow(
        judge=first.judge,
        test_set=first.test_set,
        decoding=first.decoding,
        n=len(records),
        prompts=len(by_prompt.pairs_N),
        votes=max([1, *(max(len(r.votes_ab), len(r.votes_ba)) for r in records)]),
        accuracy_strict=_required(counts, "accuracy_strict"),
        ci95=strict_interval,
        accuracy_flexible=_required(counts, "accuracy_flexible"),
        accuracy_decided=counts.value("accuracy_decided"),
        accuracy_folded=_required(counts, "accuracy_folded"),
        accuracy_folded_ci95=interval("accuracy_folded"),
        tie_rate=_required(counts, "tie_rate"),
        unjudged_rate=_required(counts, "unjudged_rate"),
        unjudged=_unjudged(records),
        right_in_both=counts.value("right_in_both"),
        right_in_both_ci95=interval("right_in_both"),
        consistent=counts.value("consistent"),
        flip_rate=_flip_rate(records),
        first_position_rate=None if order_free else _first_position_rate(orders),
        **_verdicts(orders),
        **_calibration(records),
        length=_length_bias(records, counts),
        completion_tokens=_total([r.completion_tokens for r in records]),
        prompt_tokens=_total([r.prompt_tokens for r in records]),
        by_category=_by_category(records, resamples, seed) if by_category else (),
        majority_curve=majority_curve(
            records if majority_records is None else majority_records, resamples=resamples, seed=seed
        ),
        benchmark=None if scoring == "pairs" else score_benchmark(records, scoring, seed=seed),
    )


def _calibration(records: Sequence[JudgmentRecord]) -> dict[str, Any]:
    """How far P(A) can be believed, by the fields of a row; of pairs with a P(A) and a label."""
    stated = [(r.p_a, r.label == "A") for r in records if r.p_a is not None and r.label is not None]
    p_M = np.asarray([p for p, _ in stated], dtype=np.float64)
    is_a_M = np.asarray([is_a for _, is_a in stated], dtype=np.float64)
    return {
        "n_with_probability": len(stated),
        "ece": expected_calibration_error(p_M, is_a_M),
        "brier": brier_score(p_M, is_a_M),
        "calibration": calibration_bins(p_M, is_a_M) if stated else (),
    }


def _total(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


@dataclass(frozen=True, slots=True)
class _Order:
    """One judged order: the canonical verdict and which canonical slot was shown first."""

    verdict: Verdict
    tie: bool
    label: Slot | None
    shown_first: Slot


def _orders(record: JudgmentRecord) -> list[_Order]:
    asked = [(record.verdict_ab, record.tie_ab, "A"), (record.verdict_ba, record.tie_ba, "B")]
    return [_Order(verdict, tie, record.label, first) for verdict, tie, first in asked if verdict is not None]  # type: ignore[arg-type]


def _required(counts: PairCounts, metric: Metric) -> float:
    numerator, denominator = counts.ratio(metric)
    return float(numerator.sum() / denominator.sum())


def _flip_rate(records: Sequence[JudgmentRecord]) -> float | None:
    slots = [
        (r.verdict_ab.slot, r.verdict_ba.slot) for r in records if r.verdict_ab is not None and r.verdict_ba is not None
    ]
    decided = [(first, second) for first, second in slots if first is not None and second is not None]
    return sum(first != second for first, second in decided) / len(decided) if decided else None


def _first_position_rate(orders: Sequence[_Order]) -> float | None:
    decided = [order for order in orders if order.verdict.slot is not None]
    return sum(order.verdict.slot == order.shown_first for order in decided) / len(decided) if decided else None


def _verdicts(orders: Sequence[_Order]) -> dict[str, Any]:
    """How many judgments there are and which have no verdict, by the fields of a row."""
    missing = Counter("tie" if order.tie else order.verdict.value for order in orders if order.verdict.slot is None)
    return {
        "judgments": len(orders),
        "non_verdict_rate": missing.total() / len(orders),
        "non_verdicts": {kind: count / len(orders) for kind, count in sorted(missing.items())},
    }


def _unjudged(records: Sequence[JudgmentRecord]) -> dict[str, float]:
    kinds = Counter((r.verdict or Verdict.UNPARSEABLE).value for r in records if r.p_a is None)
    return {kind: count / len(records) for kind, count in sorted(kinds.items())}


def _length_bias(records: Sequence[JudgmentRecord], counts: PairCounts) -> LengthBias | None:
    longer_N = np.asarray(
        [0 if r.label is None else np.sign(r.chars_chosen - r.chars_rejected) for r in records], dtype=np.float64
    )
    if not longer_N.any():
        return None
    orders = [(order, longer) for r, longer in zip(records, longer_N, strict=True) for order in _orders(r)]
    # A verdict prefers the longer answer if it is right and the chosen one is longer, or wrong and the chosen one is
    # shorter.
    preferred = [
        (order.verdict.slot == order.label) == (longer > 0)
        for order, longer in orders
        if longer != 0 and order.verdict.slot is not None
    ]
    unequal = longer_N != 0
    return LengthBias(
        pairs=int(unequal.sum()),
        prefers_longer=sum(preferred) / len(preferred) if preferred else None,
        chosen_is_longer=float((longer_N > 0).sum() / unequal.sum()),
        accuracy_chosen_longer=share(counts.strict_N[longer_N > 0], counts.judgments_N[longer_N > 0]),
        accuracy_chosen_shorter=share(counts.strict_N[longer_N < 0], counts.judgments_N[longer_N < 0]),
    )


def _by_category(records: Sequence[JudgmentRecord], resamples: int, seed: int) -> tuple[CategoryRow, ...]:
    groups: dict[str, list[JudgmentRecord]] = {}
    for record in records:
        groups.setdefault(record.category, []).append(record)
    if len(groups) < 2:
        return ()
    rows = []
    for category, members in sorted(groups.items()):
        counts = count_pairs(members)
        by_prompt = counts.by_prompt(prompts_of(members))
        interval = bootstrap_interval(*by_prompt.ratio("accuracy_strict"), resamples=resamples, seed=seed)
        rows.append(
            CategoryRow(
                category=category,
                n=len(members),
                accuracy_strict=_required(counts, "accuracy_strict"),
                right_in_both=counts.value("right_in_both"),
                tie_rate=_required(counts, "tie_rate"),
                ci95=interval,  # type: ignore[arg-type]  # every pair has a judgment, so the interval exists
            )
        )
    return tuple(rows)
