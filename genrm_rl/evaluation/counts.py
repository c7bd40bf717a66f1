"""Judgment rows reduced to numbers: what every ratio is made of, per pair and per prompt. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from genrm_rl.errors import DataError
from genrm_rl.evaluation.records import JudgmentRecord
from genrm_rl.evaluation.schema import Metric
from genrm_rl.judging.types import Verdict

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PairCounts:
    """Columns per pair (N), or, once summed by prompt, per prompt. Judgments of a pair are summed, so that it can be
    resampled whole. ``folded_N`` is 1 for a right decision from both orders, one half for a tie, else 0."""

    pairs_N: Array
    judgments_N: Array
    strict_N: Array
    flexible_N: Array
    decided_N: Array
    both_asked_N: Array
    both_right_N: Array
    agree_N: Array
    folded_N: Array
    ties_N: Array
    unjudged_N: Array

    def ratio(self, metric: Metric) -> tuple[Array, Array]:
        """Numerator and denominator of a metric. Raises KeyError for a metric that is no ratio over pairs."""
        return {
            "accuracy_strict": (self.strict_N, self.judgments_N),
            "accuracy_flexible": (self.flexible_N, self.judgments_N),
            "accuracy_decided": (self.strict_N, self.decided_N),
            "accuracy_folded": (self.folded_N, self.pairs_N),
            "right_in_both": (self.both_right_N, self.both_asked_N),
            "consistent": (self.agree_N, self.both_asked_N),
            "tie_rate": (self.ties_N, self.pairs_N),
            "unjudged_rate": (self.unjudged_N, self.pairs_N),
        }[metric]

    def value(self, metric: Metric) -> float | None:
        """The metric over all pairs; None where it does not exist."""
        return share(*self.ratio(metric))

    def take(self, index: Sequence[int] | NDArray[np.bool_]) -> PairCounts:
        """The counts of some pairs, in the given order."""
        return PairCounts(*(getattr(self, f.name)[np.asarray(index)] for f in fields(self)))

    def by_prompt(self, prompts: Sequence[str]) -> PairCounts:
        """Summed over the pairs of each prompt: what is resampled. ``prompts`` names the prompt of each pair."""
        code_N = np.unique(np.asarray(prompts), return_inverse=True)[1]
        return PairCounts(*(np.bincount(code_N, weights=getattr(self, f.name)) for f in fields(self)))


def count_pairs(records: Sequence[JudgmentRecord]) -> PairCounts:
    """Reduce rows to per-pair counts. Raises DataError when a row was asked in neither order."""
    columns = [_row(record) for record in records]
    return PairCounts(*np.asarray(columns, dtype=np.float64).reshape(-1, len(fields(PairCounts))).T)


def prompts_of(records: Sequence[JudgmentRecord]) -> list[str]:
    """The prompt of each row; a row that names none is a prompt of its own."""
    return [record.prompt_id or record.pair_id for record in records]


def share(numerator_N: Array, denominator_N: Array) -> float | None:
    """Ratio of the sums, or None of nothing."""
    total = float(denominator_N.sum())
    return float(numerator_N.sum()) / total if total > 0 else None


def check_one_suite(records: Sequence[JudgmentRecord]) -> JudgmentRecord:
    """The first row of one judge on one test set with one decoding. Raises DataError for anything else, and for a pair
    that is judged twice."""
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


def folded_points(record: JudgmentRecord) -> float:
    """What the folded judgment of a pair counts: 1 right, one half a tie, 0 wrong or without a judgment. Of a pair that
    is a tie, only a tie is right."""
    if record.p_a is None:
        return 0.0
    if record.label is None:
        return float(record.p_a == 0.5)
    return 0.5 if record.p_a == 0.5 else float((record.p_a > 0.5) == (record.label == "A"))


def orders_right(record: JudgmentRecord) -> int:
    """How many orders name the answer that the label names; of a pair that is a tie, how many say tie."""
    verdicts = [verdict for verdict in (record.verdict_ab, record.verdict_ba) if verdict is not None]
    if record.label is None:
        return verdicts.count(Verdict.ABSTAINED)
    return [verdict.slot for verdict in verdicts].count(record.label)


def _row(record: JudgmentRecord) -> tuple[float, ...]:
    slots = [verdict.slot for verdict in (record.verdict_ab, record.verdict_ba) if verdict is not None]
    if not slots:
        raise DataError(f"pair {record.pair_id} of {record.test_set} was judged in neither order by {record.judge}")
    right, undecided, both = orders_right(record), slots.count(None), len(slots) == 2
    if record.label is None:
        undecided -= right
    agree = both and slots[0] is not None and slots[0] == slots[1]
    return (
        1,
        len(slots),
        right,
        right + 0.5 * undecided,
        len(slots) - undecided,
        both,
        both and right == 2,
        agree,
        folded_points(record),
        record.p_a == 0.5,
        record.p_a is None,
    )
