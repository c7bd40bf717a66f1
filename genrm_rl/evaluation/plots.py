"""The plots of the report: judges against each other, learning curves, calibration, votes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from genrm_rl.evaluation.schema import FitCurve, Report
from genrm_rl.evaluation.schema_results import ResultRow
from genrm_rl.evaluation.svg import DASHES, MARKERS, SENTINELS, SERIES, line_figure, svg
from genrm_rl.evaluation.view import ComparisonBlock, judge_label


def judge_order(report: Report) -> dict[str, int]:
    """Judge name to series number, the baseline first, so that a judge has one colour on the whole page."""
    names = [report.baseline, *(judge.name for judge in report.judges if judge.name != report.baseline)]
    return {name: i for i, name in enumerate(names)}


def forest_plot(report: Report, block: ComparisonBlock) -> str:
    """Accuracy with interval of every judge on one test set: sampled filled, greedy hollow."""
    order = judge_order(report)
    height = 0.62 + 0.44 * max(1, len(block.lines))

    def draw(axes: Axes) -> None:
        low = 1.0
        for y, line in enumerate(block.lines):
            marks = [(line.deterministic, 0.0, True)] if line.deterministic else []
            offsets = (
                {"sampled": -0.14, "greedy": 0.14} if len(block.columns) == 2 else dict.fromkeys(block.columns, 0.0)
            )
            marks += [(row, offsets[column], column == "sampled") for column, row in line.results.items()]
            for row, offset, filled in marks:
                if row is not None:
                    _interval_mark(axes, row, y + offset, order[line.judge], filled=filled)
                    low = min(low, row.ci95[0])
        axes.axvline(50, color=SENTINELS["muted"], linewidth=1, linestyle=(0, (2, 2)))
        axes.set_yticks(range(len(block.lines)), [line.label for line in block.lines], color=SENTINELS["ink"])
        axes.set_ylim(len(block.lines) - 0.5, -0.5)
        axes.set_xlim(min(45.0, math.floor(20 * low) * 5), 100.5)
        axes.set_xlabel("right judgments (each order counts), %")
        axes.grid(axis="x")

    summary = "; ".join(
        f"{line.label} {100 * row.accuracy_strict:.1f} percent {row.decoding}, {100 * row.tie_rate:.1f} percent ties"
        for line in block.lines
        for row in (*line.results.values(), *([line.deterministic] if line.deterministic else []))
    )
    return svg(f"forest-{block.name}", f"Accuracy with 95 percent intervals on {block.label}: {summary}", height, draw)


def learning_curve_plot(report: Report) -> str:
    """Gate accuracy by iteration and method; rounds that were not promoted are hollow."""
    order = judge_order(report)
    methods = [name for name in order if any(row.method == name for row in report.learning_curve)]
    rows = {m: sorted((r for r in report.learning_curve if r.method == m), key=lambda r: r.iteration) for m in methods}

    def draw(axes: Axes) -> None:
        for shift, method in enumerate(methods):
            series = order[method] % SERIES
            nudge = 0.04 * (shift - (len(methods) - 1) / 2)
            x = [row.iteration + nudge for row in rows[method]]
            y = [100 * row.accuracy_strict for row in rows[method]]
            color = SENTINELS[f"series-{series}"]
            axes.plot(x, y, color=color, linestyle=DASHES[series], zorder=2)
            for row, x_row, y_row in zip(rows[method], x, y, strict=True):
                face = color if row.promoted or row.iteration == 0 else SENTINELS["surface"]
                if row.ci95:
                    axes.vlines(x_row, 100 * row.ci95[0], 100 * row.ci95[1], color=color, linewidth=1.2, zorder=1)
                axes.plot(x_row, y_row, marker=MARKERS[series], color=color, markerfacecolor=face, zorder=3)
        last = max(row.iteration for row in report.learning_curve)
        axes.set_xticks(range(last + 1), ["start", *(str(i) for i in range(1, last + 1))])
        axes.set_xlabel("iteration")
        axes.set_ylabel("right at the gate, %")
        axes.grid(axis="y")
        _legend(axes, [(judge_label(report, method), order[method]) for method in methods])

    summary = "; ".join(
        f"{judge_label(report, m)}: " + ", ".join(f"{100 * row.accuracy_strict:.1f}" for row in rows[m])
        for m in methods
    )
    return svg("learning-curve", f"Accuracy at the gate by iteration, in percent. {summary}", 3.5, draw)


def fit_curve_plot(report: Report, curve: FitCurve) -> str:
    """Loss of one fit on what it learns from and on the gate's pairs; the step whose weights were taken is marked."""
    named = {"training pairs": curve.train_loss, "gate's pairs": curve.held_out_loss}
    lines = {
        f"{judge_label(report, curve.method)}, {name}": [
            (x, y) for x, y in zip(curve.steps, losses, strict=True) if y is not None
        ]
        for name, losses in named.items()
    }
    return line_figure(f"fit-{curve.method}", "optimizer steps", "loss", lines, mark=curve.best_step)


def calibration_panel(report: Report, judge: str, rows: Sequence[ResultRow]) -> str:
    """Reliability of one judge on one test set, a line per decoding: stated P(A) against the share of A."""
    series = judge_order(report)[judge] % SERIES
    color = SENTINELS[f"series-{series}"]

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=SENTINELS["muted"], linewidth=1, linestyle=(0, (2, 2)))
        for row in rows:
            bins = [b for b in row.calibration if b.mean_p is not None and b.share_a is not None]
            x, y = [b.mean_p for b in bins], [b.share_a for b in bins]
            largest = max((b.n for b in bins), default=1)
            hollow = row.decoding == "greedy"
            axes.plot(x, y, color=color, linestyle=(0, (3, 2)) if hollow else "-", linewidth=1.4)
            face = SENTINELS["surface"] if hollow else color
            axes.scatter(x, y, s=[10 + 60 * b.n / largest for b in bins], facecolor=face, edgecolor=color, zorder=3)
        axes.set_xlim(-0.04, 1.04)
        axes.set_ylim(-0.04, 1.04)
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
        axes.set_xlabel("stated P(A)")
        axes.set_ylabel("share of A")
        axes.grid()

    summary = ", ".join(f"{row.decoding} error {row.ece:.3f}" for row in rows if row.ece is not None)
    description = f"Calibration of {judge_label(report, judge)}: expected calibration {summary}"
    return svg(f"calibration-{judge}", description, 2.5, draw, width_in=2.6)


def majority_plot(report: Report, test_set: str, rows: Sequence[ResultRow]) -> str:
    """Accuracy of the majority against the number of votes, with intervals as bands."""
    order = judge_order(report)
    ticks = sorted({point.k for row in rows for point in row.majority_curve})

    def draw(axes: Axes) -> None:
        axes.set_xscale("log", base=2)
        for row in rows:
            series = order[row.judge] % SERIES
            color = SENTINELS[f"series-{series}"]
            k = [point.k for point in row.majority_curve]
            y = [100 * point.accuracy_flexible for point in row.majority_curve]
            axes.plot(k, y, color=color, linestyle=DASHES[series], marker=MARKERS[series])
            low, high = zip(*(point.ci95 for point in row.majority_curve), strict=True)
            axes.fill_between(k, [100 * v for v in low], [100 * v for v in high], color=color, alpha=0.12, linewidth=0)
        axes.set_xticks(ticks, [str(k) for k in ticks])
        axes.minorticks_off()
        axes.set_xlabel("votes per order, k")
        axes.set_ylabel("right by majority, %")
        axes.grid(axis="y")
        _legend(axes, [(judge_label(report, row.judge), order[row.judge]) for row in rows])

    summary = "; ".join(
        f"{judge_label(report, row.judge)}: "
        + ", ".join(f"k={point.k} {100 * point.accuracy_flexible:.1f}" for point in row.majority_curve)
        for row in rows
    )
    return svg("majority", f"Majority vote on {test_set}, percent right. {summary}", 3.5, draw)


def _interval_mark(axes: Axes, row: ResultRow, y: float, series: int, *, filled: bool) -> None:
    color = SENTINELS[f"series-{series % SERIES}"]
    axes.hlines(y, 100 * row.ci95[0], 100 * row.ci95[1], color=color, linewidth=2)
    face = color if filled else SENTINELS["surface"]
    axes.plot(
        100 * row.accuracy_strict, y, marker=MARKERS[series % SERIES], color=color, markerfacecolor=face, zorder=3
    )


def _legend(axes: Axes, entries: Sequence[tuple[str, int]]) -> None:
    handles = []
    for label, number in entries:
        series = number % SERIES
        color = SENTINELS[f"series-{series}"]
        handles.append(Line2D([], [], color=color, marker=MARKERS[series], linestyle=DASHES[series], label=label))
    axes.legend(
        handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, handlelength=2.6, columnspacing=1.2
    )
