"""Several runs of one comparison (seeds) as one table: pooled pairs, and the spread over seeds beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from genrm_rl.evaluation.differences import compare
from genrm_rl.evaluation.measure import RECORDS
from genrm_rl.evaluation.metrics import summarise
from genrm_rl.evaluation.records import JudgmentRecord, read_records
from genrm_rl.evaluation.schema import DifferenceRow, ResultRow

Suite = tuple[str, str, str]  # judge, test set, decoding (or "majority")


@dataclass(frozen=True, slots=True)
class PooledRow:
    """One judge on one test set over all seeds. ``by_seed`` is accuracy_strict of each; ``result`` pools their
    pairs."""

    result: ResultRow
    by_seed: tuple[float, ...]
    difference: DifferenceRow | None


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
        pooled[suite] = PooledRow(
            result,
            tuple(summarise(found[suite], resamples=100, by_category=False).accuracy_strict for found in by_run),
            _difference(suite, by_run, records, baseline, resamples, seed),
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
) -> DifferenceRow | None:
    judge, test_set, decoding = suite
    other = (baseline, test_set, decoding if decoding != "deterministic" else "sampled")
    if judge == baseline or not all(other in found for found in by_run):
        return None
    return compare(records, concatenate(found[other] for found in by_run), resamples=resamples, seed=seed)
