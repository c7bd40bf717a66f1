"""The published benchmarks by name: their rule, their headline, and the names of their leaderboards' JSON. Pure.

>>> SUITES["rewardbench2"].headline
'mean of the subsets'
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from genrm_rl.config.bootstrap import Scoring
from genrm_rl.evaluation.schema_results import BenchmarkScore, ResultRow
from genrm_rl.judging.judge import Judge

Figures = dict[str, float]
MODEL_TYPES = {
    "generative": "Generative RM",
    "points": "Generative RM",
    "bradley_terry": "Seq. Classifier",
    "pairrm": "Custom Classifier",
}


@dataclass(frozen=True, slots=True)
class Suite:
    """One benchmark. ``ties`` says whether rows without a winner are among its questions, ``figures`` names its scores
    as its own scripts do."""

    title: str
    scoring: Scoring
    headline: str
    figures: Callable[[BenchmarkScore], Figures]
    ties: Literal["leave_out", "test"] = "leave_out"


def _sections(score: BenchmarkScore) -> Figures:
    return dict(score.sections)


def _with_overall(name: str) -> Callable[[BenchmarkScore], Figures]:
    return lambda score: {name: score.overall} | score.sections | score.detail


def _rm_bench(score: BenchmarkScore) -> Figures:
    levels = {f"{name}_acc": value for name, value in score.detail.items()}
    return score.sections | levels | {"total_avg_acc": score.overall}


SUITES: dict[str, Suite] = {
    "rewardbench": Suite("RewardBench", "rewardbench", "mean of the sections", lambda score: dict(score.detail)),
    "rewardbench2": Suite("RewardBench 2", "rewardbench2", "mean of the subsets", _sections),
    "rm_bench": Suite("RM-Bench", "rm_bench", "mean of the domains", _rm_bench),
    "judgebench": Suite("JudgeBench", "judgebench", "pairs won over both orders", _with_overall("overall")),
    "rmb": Suite("RMB", "rmb", "mean of the goals", _with_overall("overall")),
    "ppe": Suite("PPE", "ppe", "mean accuracy of the categories", _with_overall("accuracy")),
    "pandalm": Suite("PandaLM", "pandalm", "accuracy over first, second, tie", _with_overall("accuracy"), "test"),
    "autoj": Suite("Auto-J", "auto_j", "agreement in both orders", _with_overall("agreement"), "test"),
}


def leaderboard(suite: Suite, judge: Judge, rows: Sequence[ResultRow]) -> dict[str, Any]:
    """What the benchmark's leaderboard reads: the model and its scores (shares). Of several files, each by its name,
    and the mean of their headlines."""
    facts: dict[str, Any] = {"model": judge.version, "model_type": MODEL_TYPES[judge.kind]}
    by_set = {row.test_set: suite.figures(row.benchmark) for row in rows if row.benchmark is not None}
    if len(by_set) == 1:
        return facts | next(iter(by_set.values()))
    return facts | {"overall": overall(rows), "sets": by_set}


def overall(rows: Sequence[ResultRow]) -> float:
    """The headline of one file; the mean of those of several."""
    scores = [row.benchmark.overall for row in rows if row.benchmark is not None]
    return sum(scores) / len(scores)


def headline(suite: Suite, rows: Sequence[ResultRow]) -> str:
    """The benchmark's own figure in words, the way it is made, and position consistency beside it."""
    how = suite.headline if len(rows) == 1 else f"mean of {len(rows)} files, each the {suite.headline}"
    asked = [row.consistent for row in rows if row.consistent is not None]
    beside = (
        f"both orders agree on {100 * sum(asked) / len(asked):.1f} % of the pairs"
        if asked
        else "the judge has no order that could matter"
    )
    return f"{suite.title}: {100 * overall(rows):.1f} ({how}); {beside}"


def cost(rows: Sequence[ResultRow]) -> str:
    """Judgments and what one of them takes."""
    judgments = sum(row.judgments for row in rows)
    read, written = (sum(getattr(row, key) or 0 for row in rows) for key in ("prompt_tokens", "completion_tokens"))
    return (
        f"{judgments:,} judgments of {sum(row.n for row in rows):,} pairs, {(read + written) / judgments:,.0f} tokens "
        f"each ({read / judgments:,.0f} read, {written / judgments:,.0f} written)"
    )
