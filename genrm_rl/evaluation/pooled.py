"""Several runs of one comparison (seeds) as one table: pooled pairs, in intervals that hold the spread over seeds.

Resampling prompts alone takes the trained judges as given; another seed of training gives another judge. So the
intervals of pooled figures are those over prompts, widened to Student's interval over the seeds where that is wider
(:func:`~genrm_rl.evaluation.intervals.over_seeds`); ``within_ci95`` keeps the former.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from genrm_rl.evaluation.differences import compare
from genrm_rl.evaluation.intervals import over_seeds
from genrm_rl.evaluation.metrics import summarise
from genrm_rl.evaluation.records import RECORDS, JudgmentRecord, read_records
from genrm_rl.evaluation.schema import DifferenceRow
from genrm_rl.evaluation.schema_results import ResultRow

Suite = tuple[str, str, str]  # judge, test set, decoding (or "majority")


@dataclass(frozen=True, slots=True)
class PooledRow:
    """One judge on one test set over all seeds. ``result`` and ``difference`` pool their pairs, with intervals that
    hold the seeds' spread; ``by_seed`` and ``difference_by_seed`` are accuracy_strict and its difference in each run,
    ``within_ci95`` and ``difference_within_ci95`` the intervals over prompts alone."""

    result: ResultRow
    by_seed: tuple[float, ...]
    within_ci95: tuple[float, float]
    difference: DifferenceRow | None
    difference_by_seed: tuple[float, ...] = ()
    difference_within_ci95: tuple[float, float] | None = None


def read_suites(run: Path) -> dict[Suite, list[JudgmentRecord]]:
    """Every judgment file of a run."""
    found: dict[Suite, list[JudgmentRecord]] = {}
    for file in sorted((run / "evaluation").glob(f"*/*/*/judgments/{RECORDS}")):
        judge, test_set, decoding = file.parent.parent.relative_to(run / "evaluation").parts
        found[(judge, test_set, decoding)] = read_records(file)
    return found


def pool_runs(runs: Sequence[Path], *, baseline: str, resamples: int, seed: int) -> dict[Suite, PooledRow]:
    """Pool the judgments of ``runs`` (same config, other seeds). A pair that two seeds drew counts once for each.

    Differences are taken to ``baseline`` in the same decoding; for judges with one decoding only, to the sampled
    baseline.
    """
    by_run = [read_suites(run) for run in runs]
    pooled: dict[Suite, PooledRow] = {}
    for suite in by_run[0]:
        if suite[2] == "majority" or not all(suite in found for found in by_run):
            continue
        records = concatenate(found[suite] for found in by_run)
        result = summarise(records, resamples=resamples, seed=seed, by_category=False)
        result = _with_curve(result, suite, by_run, resamples, seed)
        by_seed = tuple(summarise(found[suite], resamples=100, by_category=False).accuracy_strict for found in by_run)
        low, high = over_seeds(by_seed, result.ci95)[0]
        difference, apart = _difference(suite, by_run, records, baseline, resamples, seed)
        pooled[suite] = PooledRow(
            result.model_copy(update={"ci95": (max(0.0, low), min(1.0, high))}),
            by_seed,
            result.ci95,
            difference and difference.model_copy(update={"ci95": over_seeds(apart, difference.ci95)[0]}),
            apart,
            difference and difference.ci95,
        )
    return pooled


def concatenate(runs: Sequence[Sequence[JudgmentRecord]] | object) -> list[JudgmentRecord]:
    """Rows of several runs, pair ids made unique by the run's number."""
    return [
        replace(record, pair_id=f"{number}:{record.pair_id}")
        for number, records in enumerate(runs)  # type: ignore[arg-type]
        for record in records
    ]


def _with_curve(
    result: ResultRow, suite: Suite, by_run: Sequence[Mapping[Suite, list[JudgmentRecord]]], resamples: int, seed: int
) -> ResultRow:
    voted = (suite[0], suite[1], "majority")
    if suite[2] != "sampled" or not all(voted in found for found in by_run):
        return result
    curve = summarise(concatenate(found[voted] for found in by_run), resamples=resamples, seed=seed, by_category=False)
    return result.model_copy(update={"majority_curve": curve.majority_curve})


def _difference(
    suite: Suite,
    by_run: Sequence[Mapping[Suite, list[JudgmentRecord]]],
    records: list[JudgmentRecord],
    baseline: str,
    resamples: int,
    seed: int,
) -> tuple[DifferenceRow | None, tuple[float, ...]]:
    """The pooled difference to the baseline, its interval over prompts alone, and the difference of each run."""
    judge, test_set, decoding = suite
    other = (baseline, test_set, decoding if decoding != "deterministic" else "sampled")
    if judge == baseline or not all(other in found for found in by_run):
        return None, ()
    pooled = compare(records, concatenate(found[other] for found in by_run), resamples=resamples, seed=seed)
    alone = [compare(found[suite], found[other], resamples=100) for found in by_run]
    return pooled, tuple(row.difference for row in alone if row is not None)
