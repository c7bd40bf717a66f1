"""One self-contained HTML page from a report: no network, no external fonts or scripts, readable without JavaScript.

Trace texts come from data and models, so the template escapes everything; only our own figures and style sheet are
inserted as markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from genrm_rl.evaluation import view
from genrm_rl.evaluation.charts import Bar, Chart, bar_chart, present
from genrm_rl.evaluation.glossary import explain
from genrm_rl.evaluation.pages import page_environment
from genrm_rl.evaluation.plots import (
    calibration_panel,
    fit_curve_plot,
    forest_plot,
    judge_order,
    learning_curve_plot,
    majority_plot,
)
from genrm_rl.evaluation.probe_charts import probe_chart
from genrm_rl.evaluation.schema import ExampleTrace, Report, StageRow
from genrm_rl.evaluation.svg import SERIES

MOST_TRACES = 400  # traces on the page; the JSON keeps all
OUTCOME_WORDS = {"right": "right", "wrong": "wrong", "non_verdict": "no verdict"}


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing and the sentence below it."""

    svg: Markup
    caption: str


@dataclass(frozen=True, slots=True)
class StageGroup:
    """Stages of one method and phase, added up."""

    method: str
    phase: str
    stages: int
    seconds: float
    prompt_tokens: int | None
    completion_tokens: int | None
    trained_tokens: int | None
    share: float


def render_html(report: Report) -> str:
    """The page. Raises jinja2 errors only for a broken template: every report that validates can be shown."""
    order = judge_order(report)
    return (
        page_environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            blocks=[
                (block, Figure(Markup(forest_plot(report, block)), ""))
                for block in view.comparison_blocks(report)
                if block.lines
            ],
            judge_label=lambda name: view.judge_label(report, name),
            set_label=lambda name: view.test_set_label(report, name),
            series=lambda name: order.get(name, 0) % SERIES,
            facts=_facts(report),
            learning_figure=_learning_figure(report),
            fit_figures=_fit_figures(report),
            calibration_figures=_calibration_figures(report),
            calibration_set=view.test_set_label(report, _calibration_set(report) or ""),
            majority_figures=_majority_figures(report),
            majority_rows=[row for row in report.results if row.majority_curve],
            category_rows=[row for row in report.results if row.by_category],
            benchmark_rows=[row for row in report.results if row.benchmark],
            baseline_differences=[row for row in report.differences if row.baseline == report.baseline],
            other_differences=[row for row in report.differences if row.baseline != report.baseline],
            probe_kinds=list(dict.fromkeys(row.probe for row in report.probes)),
            probe_cells={(row.judge, row.probe): row for row in report.probes},
            reasons=list(dict.fromkeys(reason for row in report.selection for reason in row.reasons)),
            stage_groups=stage_groups(report.stages),
            traces=_spread(report.traces, MOST_TRACES),
            trace_judges=list(dict.fromkeys(trace.judge for trace in report.traces)),
            outcome_words=OUTCOME_WORDS,
            glance=_glance(report),
        )
    )


def stage_groups(stages: Sequence[StageRow]) -> tuple[StageGroup, ...]:
    """Stages by method and phase in order of appearance; a phase is the last part of a path-like stage name."""
    groups: dict[tuple[str, str], list[StageRow]] = {}
    for stage in stages:
        area, last = stage.name.partition("/")[0], stage.name.rpartition("/")[2]
        phase = {"evaluation": "evaluation", "probes": "probe gate"}.get(area, last)
        groups.setdefault((stage.method, phase), []).append(stage)
    longest = max((sum(row.seconds for row in rows) for rows in groups.values()), default=0.0)
    return tuple(
        StageGroup(
            method=method,
            phase=phase,
            stages=len(rows),
            seconds=sum(row.seconds for row in rows),
            prompt_tokens=_total(row.prompt_tokens for row in rows),
            completion_tokens=_total(row.completion_tokens for row in rows),
            trained_tokens=_total(row.trained_tokens for row in rows),
            share=sum(row.seconds for row in rows) / longest if longest else 0.0,
        )
        for (method, phase), rows in groups.items()
    )


def _facts(report: Report) -> list[tuple[str, str]]:
    """The line of short facts under the headline."""
    pairs = sum(test_set.pairs for test_set in report.test_sets)
    generated = _total(stage.completion_tokens for stage in report.stages)
    rounds = max((row.iteration for row in report.learning_curve), default=0)
    judges = sum(judge.kind != "baseline" for judge in report.judges)
    facts = [("judges", str(judges)), ("test sets", f"{len(report.test_sets)} ({view.count(pairs)} pairs)")]
    if rounds:
        facts.append(("rounds", str(rounds)))
    if report.run.seconds is not None:
        facts.append(("time", view.duration(report.run.seconds)))
    if generated:
        facts.append(("generated", f"{view.compact_count(generated)} tokens"))
    if report.run.seed is not None:
        facts.append(("seed", str(report.run.seed)))
    return facts


def _glance(report: Report) -> list[Chart]:
    """Position consistency, probes of every trained judge, and the time."""
    limits = {row.judge: row.limit for row in report.probes}
    probes = [
        probe_chart(
            f"probes-{judge}",
            f"Null answers against {view.judge_label(report, judge)}",
            {row.probe: (row.wins, row.n) for row in report.probes if row.judge == judge},
            limit,
        )
        for judge, limit in limits.items()
    ]
    return present(_ties_chart(report), *probes, seconds_chart(report.stages))


def _ties_chart(report: Report) -> Chart | None:
    """Contradicting orders on the first test set, by judge and decoding."""
    if not report.test_sets:
        return None
    name = report.test_sets[0].name
    bars = {
        f"{view.judge_label(report, row.judge)}, {row.decoding}": Bar(
            100 * row.flip_rate, f"{view.percent(row.flip_rate)} %"
        )
        for row in report.results
        if row.test_set == name and row.flip_rate is not None
    }
    meaning = f" ({explain(name)})" if explain(name) else ""
    note = (
        f"Pairs of the test set \u201c{view.test_set_label(report, name)}\u201d{meaning} with a verdict in both orders "
        "whose verdicts contradict each other: the position decided, and the judgment is a tie. Lower is better."
    )
    return bar_chart("ties", "Does the position decide?", note, ("judge", "contradicting pairs, %"), bars)


def seconds_chart(stages: Sequence[StageRow]) -> Chart | None:
    """Seconds by phase, all methods together."""
    spent: dict[str, float] = {}
    for group in stage_groups(stages):
        spent[view.words(group.phase)] = spent.get(view.words(group.phase), 0.0) + group.seconds
    bars = {phase: Bar(seconds, f"{seconds:.1f}") for phase, seconds in spent.items()}
    note = "Seconds of every finished stage of the run, by phase, all methods together."
    return bar_chart("phase-seconds", "Where the time went", note, ("phase", "seconds"), bars)


def _learning_figure(report: Report) -> Figure | None:
    if not report.learning_curve:
        return None
    caption = "Filled: the round became the current judge. Hollow: it did not pass the gate. Bars: 95 % intervals."
    return Figure(Markup(learning_curve_plot(report)), caption)


def _fit_figures(report: Report) -> list[Figure]:
    figures = []
    for curve in report.fit_curves:
        taken = (
            "no loss was a number"
            if curve.best_step is None
            else f"the weights of step {curve.best_step} are the judge"
        )
        caption = f"{view.judge_label(report, curve.method)}: {taken}"
        figures.append(Figure(Markup(fit_curve_plot(report, curve)), caption))
    return figures


def _calibration_set(report: Report) -> str | None:
    """The first test set on which any judge stated probabilities."""
    measured = {row.test_set for row in report.results if row.calibration}
    return next((test_set.name for test_set in report.test_sets if test_set.name in measured), None)


def _calibration_figures(report: Report) -> list[Figure]:
    """One panel per judge on that test set, all decodings in it."""
    name = _calibration_set(report)
    figures = []
    for judge in report.judges:
        rows = [r for r in report.results if (r.judge, r.test_set) == (judge.name, name) and r.calibration]
        if rows and judge.kind != "baseline":
            errors = ", ".join(f"{row.decoding} {view.decimals(row.ece)}" for row in rows)
            caption = f"{view.judge_label(report, judge.name)}. ECE: {errors}"
            figures.append(Figure(Markup(calibration_panel(report, judge.name, rows)), caption))
    return figures


def _majority_figures(report: Report) -> list[Figure]:
    figures = []
    for test_set in report.test_sets:
        rows = [row for row in report.results if row.test_set == test_set.name and len(row.majority_curve) > 1]
        if rows:
            label = view.test_set_label(report, test_set.name)
            pairs = rows[0].majority_curve[0].pairs
            caption = f"\u201c{label}\u201d, {pairs} pairs. A tied vote counts one half; bands: 95 % intervals."
            figures.append(Figure(Markup(majority_plot(report, label, rows)), caption))
    return figures


def _spread(traces: Sequence[ExampleTrace], most: int) -> list[ExampleTrace]:
    """At most ``most`` traces, evenly spread over the list, so that no judge is cut off."""
    if len(traces) <= most:
        return list(traces)
    return [traces[i * len(traces) // most] for i in range(most)]


def _total(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
