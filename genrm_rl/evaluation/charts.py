"""Charts of every page: a drawing with its title, what it shows in words, and its numbers as a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from genrm_rl.evaluation.svg import bar_figure, line_figure

Points = Sequence[tuple[float, float]]
DASH = "\u2013"


@dataclass(frozen=True, slots=True)
class Chart:
    """``note`` explains the quantity; ``columns`` and ``rows`` are the numbers, for whoever can't see the drawing."""

    name: str
    title: str
    note: str
    svg: Markup
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: its length, how its number is written, whether it is bad news, and what is measured."""

    value: float
    words: str
    bad: bool = False
    meaning: str = ""


def line_chart(
    name: str,
    title: str,
    note: str,
    axes: tuple[str, str],
    lines: Mapping[str, Points],
    *,
    flat: Mapping[str, float] | None = None,
    intervals: Mapping[str, Sequence[tuple[float, float, float]]] | None = None,
    nudge: float = 0.0,
) -> Chart | None:
    """Lines over the same x. ``axes`` are the labels of x and y, with units; ``flat`` are levels without an x;
    ``intervals`` are (x, low, high) of a line, ``nudge`` is as for the drawing. None without a finite point."""
    lines = {label: finite for label, points in lines.items() if (finite := finite_points(points))}
    if not lines:
        return None
    at = {label: dict(points) for label, points in lines.items()}
    xs = sorted({x for points in lines.values() for x, _ in points})
    flat = flat or {}
    return Chart(
        name=name,
        title=title,
        note=note,
        svg=Markup(line_figure(name, *axes, lines, flat=flat, bands=intervals, nudge=nudge)),
        columns=(axes[0], *(label or axes[1] for label in lines), *flat),
        rows=tuple(
            (number(x), *(number(at[label].get(x)) for label in lines), *(number(level) for level in flat.values()))
            for x in xs
        ),
    )


def bar_chart(
    name: str,
    title: str,
    note: str,
    axes: tuple[str, str],
    bars: Mapping[str, Bar],
    *,
    limit: float | None = None,
) -> Chart | None:
    """Lying bars. ``axes`` say what the bars are and what their length is, with its unit; ``limit`` is what a bar may
    reach. None without bars."""
    if not bars:
        return None
    drawn = bar_figure(
        name,
        axes[1],
        {label: bar.value for label, bar in bars.items()},
        bad={label for label, bar in bars.items() if bar.bad},
        limit=limit,
    )
    columns, rows = axes, [(label, bar.words) for label, bar in bars.items()]
    if any(bar.meaning for bar in bars.values()):
        columns, rows = (*axes, "what it is"), [(*row, bars[row[0]].meaning) for row in rows]
    return Chart(name, title, note, Markup(drawn), columns, tuple(rows))


def gate_chart(rounds: Mapping[str, Sequence[Mapping[str, Any]]]) -> Chart | None:
    """Rows of a report's learning curve by the label of their line."""
    return line_chart(
        "gate",
        "Judges at the gate",
        "Right judgments on held-out pairs after each round, with 95 % intervals; round 0 is the judge before "
        "training. A round is promoted if it is better than its parent on the same pairs.",
        ("round", "right, %"),
        {name: [(row["iteration"], 100 * row["accuracy_strict"]) for row in rows] for name, rows in rounds.items()},
        intervals={
            name: [(row["iteration"], *(100 * end for end in row["ci95"])) for row in rows if row["ci95"]]
            for name, rows in rounds.items()
        },
        nudge=0.04,
    )


def finite_points(points: Points) -> list[tuple[float, float]]:
    """Those whose number is one: a curve has a gap where nothing was measured."""
    return [(x, y) for x, y in points if y is not None and math.isfinite(y)]


def number(value: float | None) -> str:
    """Four significant digits, or a dash."""
    return DASH if value is None else f"{value:.4g}"


def present(*charts: Chart | None) -> list[Chart]:
    """The charts that have something to show."""
    return [chart for chart in charts if chart is not None]
