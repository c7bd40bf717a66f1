"""The comparison table for a terminal."""

from __future__ import annotations

import io

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from genrm_rl.evaluation.schema import DifferenceRow, Report
from genrm_rl.evaluation.schema_results import ResultRow
from genrm_rl.evaluation.view import (
    COLUMNS,
    ComparisonLine,
    comparison_blocks,
    difference,
    direction,
    judge_label,
    percent,
)

STYLES = {"better": "green", "worse": "red", "unclear": ""}


WIDE, MEDIUM = 112, 98  # characters from which all intervals fit, and those of the accuracies


def comparison_table(report: Report, *, width: int = 120) -> str:
    """Judges by test set in plain text: percent right with 95 % interval, and difference to the baseline.

    No colours or control codes, so that it can go to a log as well.
    """
    buffer = io.StringIO()
    console = Console(file=buffer, width=width, color_system=None, force_terminal=False)
    console.print(comparison_grid(report, width=width))
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines())


def comparison_grid(report: Report, *, width: int = 120) -> Table:
    """The same as a rich table for a console of ``width`` characters, coloured where the console is."""
    blocks = comparison_blocks(report)
    columns = [c for c in COLUMNS if any(c in block.columns for block in blocks)]
    title = f"Right judgments in % [95 % interval], difference to {judge_label(report, report.baseline)} in points"
    table = Table(title=title, box=SIMPLE, pad_edge=False, title_justify="left")
    table.add_column("", no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
        table.add_column("difference", justify="right", no_wrap=True)
    table.add_column("ties", justify="right", no_wrap=True)
    table.add_column("right in\nboth", justify="right", no_wrap=True)
    for block in blocks:
        table.add_row(Text(block.label, style="bold"))
        for i, line in enumerate(block.lines):
            cells: list[str | Text] = [f"  {line.label}"]
            for column in columns:
                cells.append(_share(line.deterministic or line.results.get(column), interval=width >= MEDIUM))
                cells.append(_delta(line.differences.get(column), interval=width >= WIDE))
            row = _main_row(line)
            cells += [percent(row.tie_rate), percent(row.right_in_both)]
            table.add_row(*cells, end_section=i == len(block.lines) - 1)
    return table


def _main_row(line: ComparisonLine) -> ResultRow:
    return line.deterministic or next(iter(line.results.values()))


def _share(row: ResultRow | None, *, interval: bool) -> str:
    if row is None or not interval:
        return percent(row.accuracy_strict if row else None)
    return f"{percent(row.accuracy_strict)} [{percent(row.ci95[0])}, {percent(row.ci95[1])}]"


def _delta(row: DifferenceRow | None, *, interval: bool) -> Text:
    if row is None:
        return Text("")
    return Text(difference(row.difference, row.ci95 if interval else None), style=STYLES[direction(row)])
