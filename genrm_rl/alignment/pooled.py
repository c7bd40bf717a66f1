"""Several alignment runs of one kind (seeds) as one: what changed between the starting and the final policy."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genrm_rl.alignment.measure import ANSWERS_FILE
from genrm_rl.alignment.statistics import mean
from genrm_rl.errors import DataError
from genrm_rl.evaluation.intervals import over_seeds, paired_difference
from genrm_rl.preferences.world.style import style_of
from genrm_rl.runtime.storage import is_complete, read_json

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """A share before and after, on the same N questions. ``ci95`` holds what the questions and the runs leave open: the
    percentile interval over questions (``within_ci95``), widened to Student's interval over the runs where that is
    wider."""

    n: int
    before: float
    after: float
    difference: float
    ci95: tuple[float, float]
    within_ci95: tuple[float, float]
    by_run: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class PooledSet:
    """One test set with one decoding over all runs: right answers (all, by family, by run), and the style cue."""

    name: str
    decoding: str
    gold: Change
    by_family: dict[str, Change]
    by_run: tuple[float, ...]
    cue: Change
    kl_nats: float | None
    tokens_before: float | None
    tokens_after: float | None


def pool_runs(runs: Sequence[Path], *, resamples: int = 2000, seed: int = 0) -> list[PooledSet]:
    """All test sets of finished runs. Raises DataError if a run is not finished or has none of the others' sets."""
    reports = [read_report(run) for run in runs]
    return [_pooled(runs, reports, row["set"], row["decoding"], resamples, seed) for row in reports[0]["differences"]]


def read_report(run: Path) -> Row:
    """``report.json`` of a finished alignment run. Raises DataError without one."""
    if not (run / "report.json").is_file() or not is_complete(run / "policy"):
        raise DataError(f"{run} is no finished alignment run; run it to its end with the same run id")
    return read_json(run / "report.json")


def read_answers(run: Path, step: int, name: str, decoding: str) -> list[Row]:
    """Measured answers, in the order of the questions. Raises DataError if this was not measured."""
    path = run / f"evaluation/{step:05d}/{name}/{decoding}/{ANSWERS_FILE}"
    if not path.is_file():
        raise DataError(f"{path} is missing; pool runs with the same test sets and decodings")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _pooled(
    runs: Sequence[Path], reports: Sequence[Row], name: str, decoding: str, resamples: int, seed: int
) -> PooledSet:
    before: list[list[Row]] = []
    after: list[list[Row]] = []
    facts: list[Row] = []
    for run, report in zip(runs, reports, strict=True):
        last = max(row["step"] for row in report["evaluation"])
        before.append(read_answers(run, 0, name, decoding))
        after.append(read_answers(run, last, name, decoding))
        facts += [r for r in report["evaluation"] if (r["set"], r["decoding"]) == (name, decoding)]

    def change(of: Callable[[Row], bool], family: str | None = None) -> Change:
        pairs = [
            (number, json.dumps(old["prompt"], sort_keys=True), float(of(old)), float(of(new)))
            for number, (first, final) in enumerate(zip(before, after, strict=True))
            for old, new in zip(first, final, strict=True)
            if family is None or _family(old) == family
        ]
        return _change(pairs, resamples, seed)

    gold = change(_right)
    families = sorted({_family(row) for rows in before for row in rows})
    return PooledSet(
        name,
        decoding,
        gold,
        {family: change(_right, family) for family in families},
        gold.by_run,
        change(_cue),
        mean([row["kl_nats"] for row in facts if row["step"]]),
        mean([row["tokens_mean"] for row in facts if not row["step"]]),
        mean([row["tokens_mean"] for row in facts if row["step"]]),
    )


def compare_arms(
    runs: Sequence[Path], others: Sequence[Path], *, resamples: int = 2000, seed: int = 0
) -> dict[tuple[str, str], Change]:
    """Right answers of the final policies of ``runs`` (before) and ``others`` (after), seed by seed on the same
    questions, by test set and decoding. Raises DataError as :func:`pool_runs` does."""
    found = {}
    reports = [read_report(run) for run in (*runs, *others)]
    last = max(row["step"] for row in reports[0]["evaluation"])
    for name, decoding in [(row["set"], row["decoding"]) for row in reports[0]["differences"]]:
        pairs = [
            (number, json.dumps(old["prompt"], sort_keys=True), float(_right(old)), float(_right(new)))
            for number, both in enumerate(zip(runs, others, strict=True))
            for old, new in zip(*(read_answers(run, last, name, decoding) for run in both), strict=True)
        ]
        found[name, decoding] = _change(pairs, resamples, seed)
    return found


def _change(pairs: Sequence[tuple[int, str, float, float]], resamples: int, seed: int) -> Change:
    """From (run, question, before, after). A question that several runs were asked is resampled as one."""
    run_N, question_N, before_N, after_N = (np.asarray(column) for column in zip(*pairs, strict=True))
    code_N = np.unique(question_N, return_inverse=True)[1]
    before_C, after_C, asked_C = (
        np.bincount(code_N, weights=each) for each in (before_N, after_N, np.ones(len(pairs)))
    )
    difference, within = paired_difference(after_C, asked_C, before_C, asked_C, resamples=resamples, seed=seed)
    by_run = tuple(float((after_N - before_N)[run_N == number].mean()) for number in np.unique(run_N))
    interval = over_seeds(by_run, within)[0]
    return Change(len(pairs), float(before_N.mean()), float(after_N.mean()), difference, interval, within, by_run)


def _right(row: Row) -> bool:
    return bool(row["right"])


def _cue(row: Row) -> bool:
    return bool(style_of(row["text"]).suffix)


def _family(row: Row) -> str:
    """Family of a task-world question: its first word."""
    return row["prompt"][-1]["content"].split()[0]
