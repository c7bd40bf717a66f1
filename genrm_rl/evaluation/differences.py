"""Two judges on the same pairs: the paired difference, its interval over prompts, and an exact test of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from genrm_rl.errors import DataError
from genrm_rl.evaluation.counts import Array, PairCounts, check_one_suite, count_pairs, prompts_of
from genrm_rl.evaluation.intervals import LEVEL, paired_difference, sign_flip_test
from genrm_rl.evaluation.records import JudgmentRecord
from genrm_rl.evaluation.schema import DifferenceRow, Metric
from genrm_rl.preferences.types import Slot


def compare(
    judge: Sequence[JudgmentRecord],
    baseline: Sequence[JudgmentRecord],
    *,
    resamples: int,
    seed: int = 0,
    metric: Metric = "accuracy_strict",
    level: float = LEVEL,
) -> DifferenceRow | None:
    """Judge minus baseline on the pairs that both judged: bootstrap over prompts, and McNemar's test over prompts of
    the same decisions that the metric counts (:func:`~genrm_rl.evaluation.intervals.sign_flip_test`).

    None if the metric does not exist for one of them (position metrics of an order-free judge). Raises DataError if
    they share no pair, judged different test sets, or disagree about a label.
    """
    return _difference(_Suite.of(judge), _Suite.of(baseline), metric, resamples, seed, level)


def compare_all(
    suites: Sequence[Sequence[JudgmentRecord]],
    *,
    resamples: int,
    seed: int = 0,
    metrics: Iterable[Metric] = ("accuracy_strict", "accuracy_folded", "right_in_both"),
) -> tuple[DifferenceRow, ...]:
    """Every judge minus every judge listed before it, per test set and decoding.

    Deterministic judges meet every decoding. ``suites`` holds one sequence of rows per judge, test set and decoding,
    what the others are compared with first.
    """
    counted, metrics = [_Suite.of(records) for records in suites], tuple(metrics)
    rows = []
    for i, x in enumerate(counted):
        for y in counted[:i]:
            decodings = {x.first.decoding, y.first.decoding}
            comparable = len(decodings) == 1 or "deterministic" in decodings
            if x.first.judge != y.first.judge and x.first.test_set == y.first.test_set and comparable:
                found = [_difference(x, y, metric, resamples, seed, LEVEL) for metric in metrics]
                rows += [row for row in found if row is not None]
    return tuple(rows)


@dataclass(frozen=True, slots=True)
class _Suite:
    """The rows of one judge, test set and decoding, counted once for all comparisons."""

    first: JudgmentRecord
    index: dict[str, int]
    labels: tuple[Slot, ...]
    prompts: list[str]
    counts: PairCounts

    @classmethod
    def of(cls, records: Sequence[JudgmentRecord]) -> _Suite:
        first = check_one_suite(records)
        index = {record.pair_id: i for i, record in enumerate(records)}
        return cls(first, index, tuple(record.label for record in records), prompts_of(records), count_pairs(records))


def _difference(x: _Suite, y: _Suite, metric: Metric, resamples: int, seed: int, level: float) -> DifferenceRow | None:
    common = _common_pairs(x, y)
    prompts = [x.prompts[i] for i, _ in common]
    x_counts, y_counts = x.counts.take([i for i, _ in common]), y.counts.take([j for _, j in common])
    x_ratio, y_ratio = x_counts.by_prompt(prompts).ratio(metric), y_counts.by_prompt(prompts).ratio(metric)
    if x_ratio[1].sum() == 0 or y_ratio[1].sum() == 0:
        return None
    difference, interval = paired_difference(*x_ratio, *y_ratio, resamples=resamples, seed=seed, level=level)
    apart_C = _apart(x_counts.ratio(metric), y_counts.ratio(metric), prompts)
    return DifferenceRow(
        judge=x.first.judge,
        baseline=y.first.judge,
        test_set=x.first.test_set,
        decoding=x.first.decoding,
        baseline_decoding=y.first.decoding,
        metric=metric,
        n=len(common),
        prompts=len(apart_C),
        difference=difference,
        ci95=interval,
        prompts_judge_better=int((apart_C > 0).sum()),
        prompts_baseline_better=int((apart_C < 0).sum()),
        mcnemar_p=sign_flip_test(apart_C),
    )


def _common_pairs(x: _Suite, y: _Suite) -> list[tuple[int, int]]:
    """Positions of the pairs that both judged."""
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
    return common


def _apart(x: tuple[Array, Array], y: tuple[Array, Array], prompts: Sequence[str]) -> Array:
    """By prompt: what x gets more than y, each pair as the share of its decisions that the metric counts."""
    shares = [np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0) for top, bottom in (x, y)]
    code_N = np.unique(np.asarray(prompts), return_inverse=True)[1]
    return np.bincount(code_N, weights=shares[0] - shares[1])
