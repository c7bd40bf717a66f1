"""One judge trained in two ways: what its accuracy changed by, over several runs (seeds) of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from genrm_rl.evaluation.baselines import LEXICAL, LONGER
from genrm_rl.evaluation.counts import folded_points
from genrm_rl.evaluation.differences import compare
from genrm_rl.evaluation.intervals import over_seeds
from genrm_rl.evaluation.pooled import concatenate, read_suites

RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class AccuracyChange:
    """Folded accuracy of one judge on one test set before and after, pooled over the seeds; the paired difference with
    its interval over prompts and seeds, and by seed."""

    judge: str
    test_set: str
    decoding: str
    pairs: int
    before: float
    after: float
    difference: float
    ci95: tuple[float, float]
    by_seed: tuple[float, ...]

    def cells(self) -> str:
        """Before, after, difference with its interval, and by seed, in percent and points: cells of a Markdown row."""
        low, high = (100 * bound for bound in self.ci95)
        points = f"{100 * self.difference:+.1f} [{low:+.1f}, {high:+.1f}]"
        seeds = ", ".join(f"{100 * each:+.1f}" for each in self.by_seed)
        return f"{100 * self.before:.1f} | {100 * self.after:.1f} | {points} | {seeds}"


def accuracy_changes(before: Sequence[Path], after: Sequence[Path]) -> list[AccuracyChange]:
    """Of every judge that all runs measured on the same pairs, in every suite; the runs are in the order of their
    seeds. Baselines, which learn nothing, are left out."""
    old, new = ([read_suites(run) for run in runs] for runs in (before, after))
    suites = [suite for suite in (old[0] if old else {}) if suite[0] not in (LEXICAL, LONGER)]
    return [_change(suite, old, new) for suite in suites if all(suite in found for found in (*old, *new))]


def _change(suite: tuple[str, str, str], old: Sequence[dict], new: Sequence[dict]) -> AccuracyChange:
    first, second = (concatenate(found[suite] for found in side) for side in (old, new))
    row = compare(second, first, resamples=RESAMPLES, metric="accuracy_folded")
    by_seed = tuple(
        compare(after[suite], before[suite], resamples=100, metric="accuracy_folded").difference
        for before, after in zip(old, new, strict=True)
    )
    was = sum(folded_points(record) for record in first) / len(first)
    interval = over_seeds(by_seed, row.ci95)[0]
    return AccuracyChange(*suite, row.n, was, was + row.difference, row.difference, interval, by_seed)
