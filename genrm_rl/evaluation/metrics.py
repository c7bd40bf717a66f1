"""Metrics of one judge on one test set, computed from :class:`JudgmentRecord` rows. Pure; undefined is None, never 0.

Three ways of counting, all reported: *per order* (each order of a pair is one judgment: accuracy_strict and
accuracy_flexible), *consistent* (a pair counts only if both orders are right) and *folded* (one decision per pair from
P(A) averaged over both orders).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from genrm_rl.errors import DataError
from genrm_rl.evaluation.calibration import (
    brier_score,
    calibration_bins,
    expected_calibration_error,
)
from genrm_rl.evaluation.intervals import (
    bootstrap_interval,
    mcnemar_exact,
    paired_difference,
)
from genrm_rl.evaluation.majority import majority_curve
from genrm_rl.evaluation.records import JudgmentRecord
from genrm_rl.evaluation.schema import CategoryRow, DifferenceRow, LengthBias, ResultRow
from genrm_rl.evaluation.scoring import Scoring, score_benchmark
from genrm_rl.judging.types import Verdict
from genrm_rl.preferences.types import Slot

Array = NDArray[np.float64]
DIFFERENCE_METRICS = ("accuracy_strict", "accuracy_flexible", "accuracy_folded", "position_consistent")


@dataclass(frozen=True, slots=True)
class PairCounts:
    """Per pair (N): what ratios are made of. Judgments of a pair are summed, so that it can be resampled whole."""

    judgments_N: Array
    strict_N: Array
    flexible_N: Array
    both_asked_N: Array
    both_right_N: Array
    has_p_N: Array
    folded_N: Array

    def ratio(self, metric: str) -> tuple[Array, Array]:
        """Numerator and denominator of a metric. Raises KeyError for a metric that is no ratio over pairs."""
        return {
            "accuracy_strict": (self.strict_N, self.judgments_N),
            "accuracy_flexible": (self.flexible_N, self.judgments_N),
            "accuracy_folded": (self.folded_N, self._probability_pairs()),
            "position_consistent": (self.both_right_N, self.both_asked_N),
        }[metric]

    def take(self, index: Sequence[int]) -> PairCounts:
        """The counts of some pairs, in the given order."""
        return PairCounts(*(getattr(self, f.name)[list(index)] for f in fields(self)))

    def _probability_pairs(self) -> Array:
        """All pairs if any has a P(A): one without is a wrong decision. If none has one there is no metric."""
        return np.ones_like(self.has_p_N) if self.has_p_N.any() else np.zeros_like(self.has_p_N)


def count_pairs(records: Sequence[JudgmentRecord]) -> PairCounts:
    """Reduce rows to per-pair counts. Raises DataError when a row was asked in neither order."""
    columns = [_pair_row(record) for record in records]
    return PairCounts(*np.asarray(columns, dtype=np.float64).reshape(-1, 7).T)


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
    first = _check_one_suite(records)
    counts = count_pairs(records)
    orders = [order for record in records for order in _orders(record)]
    order_free = all(record.order_free for record in records)

    def interval(metric: str) -> tuple[float, float] | None:
        return bootstrap_interval(*counts.ratio(metric), resamples=resamples, seed=seed)

    strict_interval = interval("accuracy_strict")
    if strict_interval is None:
        raise DataError(f"judge {first.judge} on {first.test_set}: no judgments to measure")
    probabilities = [(r.p_a, r.label == "A") for r in records if r.p_a is not None]
    p_M = np.asarray([p for p, _ in probabilities], dtype=np.float64)
    is_a_M = np.asarray([is_a for _, is_a in probabilities], dtype=np.float64)
    tokens = [r.completion_tokens for r in records if r.completion_tokens is not None]
    missing = _non_verdicts(orders)
    return ResultRow(
        judge=first.judge,
        test_set=first.test_set,
        decoding=first.decoding,
        n=len(records),
        judgments=len(orders),
        votes=max([1, *(max(len(r.votes_ab), len(r.votes_ba)) for r in records)]),
        accuracy_strict=_required(counts, "accuracy_strict"),
        ci95=strict_interval,
        accuracy_flexible=_required(counts, "accuracy_flexible"),
        accuracy_folded=_ratio(*counts.ratio("accuracy_folded")),
        accuracy_folded_ci95=interval("accuracy_folded"),
        position_consistent=_ratio(*counts.ratio("position_consistent")),
        position_consistent_ci95=interval("position_consistent"),
        flip_rate=_flip_rate(records),
        first_position_rate=None if order_free else _first_position_rate(orders),
        non_verdict_rate=sum(missing.values()) / len(orders),
        non_verdicts={kind: count / len(orders) for kind, count in sorted(missing.items())},
        n_with_probability=len(probabilities),
        ece=expected_calibration_error(p_M, is_a_M),
        brier=brier_score(p_M, is_a_M),
        calibration=calibration_bins(p_M, is_a_M) if probabilities else (),
        length=_length_bias(records, counts),
        completion_tokens=sum(tokens) if tokens else None,
        by_category=_by_category(records, resamples, seed) if by_category else (),
        majority_curve=majority_curve(
            records if majority_records is None else majority_records, resamples=resamples, seed=seed
        ),
        benchmark=None if scoring == "pairs" else score_benchmark(records, scoring, seed=seed),
    )


def compare(
    judge: Sequence[JudgmentRecord],
    baseline: Sequence[JudgmentRecord],
    *,
    resamples: int,
    seed: int = 0,
    metric: str = "accuracy_strict",
) -> DifferenceRow | None:
    """Judge minus baseline on the pairs that both judged, paired bootstrap over pairs, McNemar on the folded decisions.

    None if the metric does not exist for one of them (position metrics of an order-free judge). Raises DataError if
    they share no pair, judged different test sets, or disagree about a label.
    """
    return _difference(_Suite.of(judge), _Suite.of(baseline), metric, resamples, seed)


def compare_all(
    suites: Sequence[Sequence[JudgmentRecord]],
    *,
    resamples: int,
    seed: int = 0,
    metrics: Iterable[str] = ("accuracy_strict", "position_consistent"),
) -> tuple[DifferenceRow, ...]:
    """Every judge minus every judge listed before it, per test set and decoding.

    Deterministic judges meet every decoding. ``suites`` holds one sequence of rows per judge, test set and decoding,
    the untrained judge first.
    """
    counted, metrics = [_Suite.of(records) for records in suites], tuple(metrics)
    rows = []
    for i, x in enumerate(counted):
        for y in counted[:i]:
            decodings = {x.first.decoding, y.first.decoding}
            comparable = len(decodings) == 1 or "deterministic" in decodings
            if x.first.judge != y.first.judge and x.first.test_set == y.first.test_set and comparable:
                found = [_difference(x, y, metric, resamples, seed) for metric in metrics]
                rows += [row for row in found if row is not None]
    return tuple(rows)


@dataclass(frozen=True, slots=True)
class _Suite:
    """The rows of one judge, test set and decoding, counted once for all comparisons."""

    first: JudgmentRecord
    index: dict[str, int]
    labels: tuple[Slot, ...]
    counts: PairCounts

    @classmethod
    def of(cls, records: Sequence[JudgmentRecord]) -> _Suite:
        first = _check_one_suite(records)
        index = {record.pair_id: i for i, record in enumerate(records)}
        return cls(first, index, tuple(record.label for record in records), count_pairs(records))


def _difference(x: _Suite, y: _Suite, metric: str, resamples: int, seed: int) -> DifferenceRow | None:
    if x.first.test_set != y.first.test_set:
        raise DataError(
            f"can't compare {x.first.judge} on {x.first.test_set} with {y.first.judge} on {y.first.test_set}"
        )
    common = [(i, y.index[pair_id]) for pair_id, i in x.index.items() if pair_id in y.index]
    if not common:
        raise DataError(
            f"{x.first.judge} and {y.first.judge} share no pair of {x.first.test_set}, so there is no difference"
        )
    for i, j in common:
        if x.labels[i] != y.labels[j]:
            pair_id = list(x.index)[i]
            raise DataError(f"pair {pair_id}: {x.first.judge} and {y.first.judge} were scored against different labels")
    x_counts, y_counts = x.counts.take([i for i, _ in common]), y.counts.take([j for _, j in common])
    x_ratio, y_ratio = x_counts.ratio(metric), y_counts.ratio(metric)
    if x_ratio[1].sum() == 0 or y_ratio[1].sum() == 0:
        return None
    difference, interval = paired_difference(*x_ratio, *y_ratio, resamples=resamples, seed=seed)
    only_x, only_y = _discordant(x_counts, y_counts)
    return DifferenceRow(
        judge=x.first.judge,
        baseline=y.first.judge,
        test_set=x.first.test_set,
        decoding=x.first.decoding,
        baseline_decoding=y.first.decoding,
        metric=metric,  # type: ignore[arg-type]
        n=len(common),
        difference=difference,
        ci95=interval,
        judge_only_right=only_x,
        baseline_only_right=only_y,
        mcnemar_p=mcnemar_exact(only_x, only_y),
    )


def _check_one_suite(records: Sequence[JudgmentRecord]) -> JudgmentRecord:
    if not records:
        raise DataError("no judgments to measure: the test set is empty")
    suites = {(r.judge, r.test_set, r.decoding) for r in records}
    if len(suites) > 1:
        raise DataError(f"judgments of several suites can't be measured as one: {sorted(suites)}")
    if len({r.pair_id for r in records}) != len(records):
        twice = next(pair_id for pair_id, count in Counter(r.pair_id for r in records).items() if count > 1)
        raise DataError(
            f"{records[0].judge} on {records[0].test_set}: pair {twice} is judged "
            "twice; remove the copy from the test set"
        )
    return records[0]


@dataclass(frozen=True, slots=True)
class _Order:
    """One judged order: the canonical verdict and which canonical slot was shown first."""

    verdict: Verdict
    tie: bool
    label: Slot
    shown_first: Slot


def _orders(record: JudgmentRecord) -> list[_Order]:
    asked = [(record.verdict_ab, record.tie_ab, "A"), (record.verdict_ba, record.tie_ba, "B")]
    return [_Order(verdict, tie, record.label, first) for verdict, tie, first in asked if verdict is not None]  # type: ignore[arg-type]


def _pair_row(record: JudgmentRecord) -> tuple[float, ...]:
    slots = [verdict.slot for verdict in (record.verdict_ab, record.verdict_ba) if verdict is not None]
    if not slots:
        raise DataError(f"pair {record.pair_id} of {record.test_set} was judged in neither order by {record.judge}")
    right, undecided, both = slots.count(record.label), slots.count(None), len(slots) == 2
    folded = record.p_a is not None and record.p_a != 0.5 and (record.p_a > 0.5) == (record.label == "A")
    return (len(slots), right, right + 0.5 * undecided, both, both and right == 2, record.p_a is not None, folded)


def _ratio(numerator_N: Array, denominator_N: Array) -> float | None:
    total = float(denominator_N.sum())
    return float(numerator_N.sum()) / total if total > 0 else None


def _required(counts: PairCounts, metric: str) -> float:
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


def _non_verdicts(orders: Sequence[_Order]) -> Counter[str]:
    return Counter("tie" if order.tie else order.verdict.value for order in orders if order.verdict.slot is None)


def _length_bias(records: Sequence[JudgmentRecord], counts: PairCounts) -> LengthBias | None:
    longer_N = np.asarray([np.sign(r.chars_chosen - r.chars_rejected) for r in records], dtype=np.float64)
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
        accuracy_chosen_longer=_ratio(counts.strict_N[longer_N > 0], counts.judgments_N[longer_N > 0]),
        accuracy_chosen_shorter=_ratio(counts.strict_N[longer_N < 0], counts.judgments_N[longer_N < 0]),
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
        interval = bootstrap_interval(*counts.ratio("accuracy_strict"), resamples=resamples, seed=seed)
        rows.append(
            CategoryRow(
                category=category,
                n=len(members),
                accuracy_strict=_required(counts, "accuracy_strict"),
                position_consistent=_ratio(*counts.ratio("position_consistent")),
                ci95=interval,  # type: ignore[arg-type]  # every pair has a judgment, so the interval exists
            )
        )
    return tuple(rows)


def _discordant(x: PairCounts, y: PairCounts) -> tuple[int, int]:
    """Pairs that only x, and only y, decides rightly: by P(A), or in every order where there is none."""
    x_right = x.folded_N if x.has_p_N.any() else (x.strict_N == x.judgments_N).astype(np.float64)
    y_right = y.folded_N if y.has_p_N.any() else (y.strict_N == y.judgments_N).astype(np.float64)
    return int(((x_right > 0) & (y_right == 0)).sum()), int(((y_right > 0) & (x_right == 0)).sum())
