"""From report rows to what a reader sees: labels, numbers in words, and the comparison table. Pure, no markup."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from genrm_rl.evaluation.schema import DifferenceRow, Report
from genrm_rl.evaluation.schema_results import Decoding, ResultRow

MINUS, NBSP = "\u2212", "\u00a0"
LABELS = {
    "llm_judge": "Untrained judge",
    "bradley_terry": "Bradley-Terry",
    "pairrm": "PairRM",
    "genrm_direct": "GenRM direct",
    "genrm_points": "GenRM points",
    "star_sft": "STaR-SFT",
    "star_dpo": "STaR-DPO",
    "star_rationalizer": "STaR-Rationalizer",
    "star_rationalizer_dpo": "STaR-Rationalizer-DPO",
    "verdict_rl": "Verdict RL",
    "self_distilled": "Self-distilled",
}
COLUMNS: tuple[Decoding, ...] = ("sampled", "greedy")


@dataclass(frozen=True, slots=True)
class ComparisonLine:
    """One judge on one test set: what was measured per column, and its difference to the baseline.

    ``deterministic`` stands for both columns when the judge samples nothing.
    """

    judge: str
    label: str
    is_baseline: bool
    results: dict[str, ResultRow]
    deterministic: ResultRow | None
    differences: dict[str, DifferenceRow]


@dataclass(frozen=True, slots=True)
class ComparisonBlock:
    """All judges on one test set. ``columns`` are the decodings that anything was measured with."""

    name: str
    label: str
    pairs: int
    note: str
    columns: tuple[Decoding, ...]
    lines: tuple[ComparisonLine, ...]


def judge_label(report: Report, name: str) -> str:
    """The name of a judge for people."""
    for judge in report.judges:
        if judge.name == name and judge.label:
            return judge.label
    return LABELS.get(name, name)


def test_set_label(report: Report, name: str) -> str:
    """The name of a test set for people."""
    for test_set in report.test_sets:
        if test_set.name == name and test_set.label:
            return test_set.label
    return name


test_set_label.__test__ = False  # type: ignore[attr-defined]  # not a pytest function


def find_result(report: Report, judge: str, test_set: str, decoding: str) -> ResultRow | None:
    """The row of one judge, test set and decoding, if it was measured."""
    for row in report.results:
        if (row.judge, row.test_set, row.decoding) == (judge, test_set, decoding):
            return row
    return None


def baseline_difference(
    report: Report, judge: str, test_set: str, column: str, metric: str = "accuracy_strict"
) -> DifferenceRow | None:
    """Judge minus baseline in one column of the table; a deterministic side belongs to every column."""
    for row in report.differences:
        same = (row.judge, row.baseline, row.test_set, row.metric) == (judge, report.baseline, test_set, metric)
        fits = all(decoding in (column, "deterministic") for decoding in (row.decoding, row.baseline_decoding))
        if same and fits:
            return row
    return None


def comparison_blocks(report: Report) -> tuple[ComparisonBlock, ...]:
    """The comparison table, one block per test set, judges in the report's order; unmeasured judges are left out."""
    blocks = []
    for test_set in report.test_sets:
        rows = [row for row in report.results if row.test_set == test_set.name]
        columns = tuple(column for column in COLUMNS if any(row.decoding == column for row in rows)) or ("greedy",)
        lines = [_line(report, judge.name, test_set.name, columns) for judge in report.judges]
        blocks.append(
            ComparisonBlock(
                name=test_set.name,
                label=test_set_label(report, test_set.name),
                pairs=test_set.pairs,
                note=test_set.note,
                columns=columns,
                lines=tuple(line for line in lines if line.results or line.deterministic),
            )
        )
    return tuple(blocks)


def _line(report: Report, judge: str, test_set: str, columns: Sequence[Decoding]) -> ComparisonLine:
    found = {column: find_result(report, judge, test_set, column) for column in columns}
    differences = {column: baseline_difference(report, judge, test_set, column) for column in columns}
    return ComparisonLine(
        judge=judge,
        label=judge_label(report, judge),
        is_baseline=judge == report.baseline,
        results={column: row for column, row in found.items() if row is not None},
        deterministic=find_result(report, judge, test_set, "deterministic"),
        differences={column: row for column, row in differences.items() if row is not None},
    )


def percent(share: float | None, digits: int = 1) -> str:
    """``0.831`` as ``83.1``; undefined as an en dash."""
    return "\u2013" if share is None else f"{100 * share:.{digits}f}"


def percent_interval(interval: Sequence[float] | None) -> str:
    """``(0.80, 0.86)`` as ``80.0–86.0``; empty if there is none."""
    return "" if interval is None else f"{percent(interval[0])}\u2013{percent(interval[1])}"


def points(difference: float | None, digits: int = 1) -> str:
    """A difference of shares in percentage points, always signed: ``+21.9``, ``\u22123.0``, ``0.0``."""
    if difference is None:
        return "\u2013"
    text = f"{abs(100 * difference):.{digits}f}"
    if float(text) == 0:
        return text
    return ("+" if difference > 0 else MINUS) + text


def points_interval(interval: Sequence[float] | None) -> str:
    """``(-0.01, 0.05)`` as ``\u22121.0 to +5.0``."""
    return "" if interval is None else f"{points(interval[0])}{NBSP}to {points(interval[1])}"


def difference(value: float | None, interval: Sequence[float] | None) -> str:
    """``+2.1 [\u22121.0, +5.0]``, in points."""
    shown = "" if interval is None else f" [{points(interval[0])}, {points(interval[1])}]"
    return f"{points(value)}{shown}"


def direction(row: DifferenceRow) -> str:
    """``better`` or ``worse`` if the interval leaves out zero, else ``unclear``."""
    return way(row.ci95)


def way(ci95: Sequence[float]) -> str:
    """As :func:`direction`, of an interval."""
    if ci95[0] > 0:
        return "better"
    return "worse" if ci95[1] < 0 else "unclear"


WAYS = {"better": "better than before", "worse": "worse than before", "unclear": "not clearly better than before"}


def verdict(intervals: Sequence[Sequence[float]]) -> str:
    """What several 95 % intervals of a difference say together."""
    ways = {way(interval) for interval in intervals}
    if not ways:
        return "not compared yet"
    if len(ways - {"unclear"}) == 2:
        return "better in some respects and worse in others"
    clear = next(iter(ways - {"unclear"}), "unclear")
    return WAYS[clear] + (", not clearly everywhere" if clear == "better" and "unclear" in ways else "")


def change(before: float, after: float, difference: float, ci95: Sequence[float]) -> str:
    """``59.7 % to 65.3 % (+5.7 points, 95 % interval +2.0 to +9.3)``."""
    interval = f"95{NBSP}% interval {points_interval(ci95)}"
    return f"{percent(before)}{NBSP}% to {percent(after)}{NBSP}% ({points(difference)} points, {interval})"


def change_of(row: Mapping[str, Any]) -> str:
    """:func:`change` of a row of differences."""
    return change(row["before"], row["after"], row["difference"], row["ci95"])


def count(number: float | None) -> str:
    """``12345`` as ``12,345``; undefined as an en dash."""
    return "\u2013" if number is None else f"{number:,.0f}"


def compact_count(number: float | None) -> str:
    """``1234567`` as ``1.2 M``."""
    if number is None:
        return "\u2013"
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:.1f}{NBSP}{unit}"
    return f"{number:.0f}"


def duration(seconds: float | None) -> str:
    """``95.2`` as ``1 min 35 s``."""
    if seconds is None:
        return "\u2013"
    if seconds < 10:
        return f"{seconds:.1f}{NBSP}s"
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    parts = [(hours, "h"), (minutes, "min"), (rest, "s")]
    shown = [(n, unit) for n, unit in parts if n][:2]
    return f"{NBSP}".join(f"{n}{NBSP}{unit}" for n, unit in shown)


def decimals(value: float | None, digits: int = 3) -> str:
    """A plain number, or an en dash."""
    return "\u2013" if value is None else f"{value:.{digits}f}"


def p_value(value: float | None) -> str:
    """A p-value, without claiming more digits than anybody needs."""
    if value is None:
        return "\u2013"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def words(code: str) -> str:
    """``wrong_verdict`` as ``wrong verdict``, ``prefers_a`` as ``prefers A``."""
    return {"prefers_a": "prefers A", "prefers_b": "prefers B"}.get(code, code.replace("_", " "))


def slug(name: str) -> str:
    """``name`` as it may stand in an id."""
    return re.sub(r"[^A-Za-z0-9-]", "-", name)
