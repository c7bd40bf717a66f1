"""The result in plain words, good and bad, derived from nothing but the rows of the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from genrm_rl.evaluation.schema import DifferenceRow, Report
from genrm_rl.evaluation.schema_results import ResultRow
from genrm_rl.evaluation.view import (
    COLUMNS,
    NBSP,
    baseline_difference,
    count,
    direction,
    find_result,
    judge_label,
    percent,
    points,
    test_set_label,
    words,
)

PERCENT = f"{NBSP}%"
NON_VERDICT_LIMIT = 0.01  # a share above it is news
UNTRAINED = "llm_judge"
MOST_PLACES = 4  # comparisons that one sentence names


def complete(report: Report) -> Report:
    """The report with its headline and cautions, computed anew from its rows."""
    return report.model_copy(update={"headline": headline(report), "cautions": cautions(report)})


def headline(report: Report) -> str:
    """The trained judge that the gate likes best against the untrained one; a second line for the scalar judges, the
    baselines and the other test sets."""
    home = _home(report)
    if home is None:
        return "Nothing was measured."
    test_set, column = home
    best = _best_trained(report, test_set, column)
    base = find_result(report, report.baseline, test_set, column)
    if best is None:
        alone = [f"{_says(report, base)}."] if base else []
        trained = base is not None and report.baseline != UNTRAINED  # a run of one method has nobody to compare it with
        return " ".join(alone if trained else [*alone, "No trained judge was measured."])
    difference = baseline_difference(report, best.judge, test_set, column)
    tail = f": {_points_words(difference)}" if difference else ""
    sentences = [f"{_versus(report, best, base)}{tail}."]
    sentences += _other_decoding(report, best, test_set, column)
    beside = _scalar_beside(report, best, test_set) + _elsewhere(report, best, test_set, column)
    return "\n".join(" ".join(part) for part in (sentences, beside) if part)


def cautions(report: Report) -> tuple[str, ...]:
    """The bad news: failed probe gates, baselines that were not beaten, worse or unclear differences, rounds that were
    not promoted, missing verdicts, failed parity."""
    return (
        *failed_probes(report),
        *unbeaten(report),
        *_bad_differences(report),
        *_unpromoted(report),
        *_missing_verdicts(report),
        *(f"The parity probe of weights {row.version} failed." for row in report.sync if not row.passed),
    )


def failed_probes(report: Report) -> tuple[str, ...]:
    """One sentence per judge that prefers null answers to real ones too often."""
    sentences = []
    for judge in report.judges:
        rows = [row for row in report.probes if row.judge == judge.name and not row.passed]
        rows.sort(key=lambda row: -row.wins / row.n)
        if rows:
            found = ", ".join(f"{words(row.probe)} {row.wins} of {row.n}" for row in rows)
            sentences.append(
                f"{judge_label(report, judge.name)} fails the probe gate: null answers beat real ones in more than "
                f"{100 * rows[0].limit:g}{PERCENT} of greedy judgments ({found})."
            )
    return tuple(sentences)


def unbeaten(report: Report) -> tuple[str, ...]:
    """One sentence per trained judge and baseline that it does not beat everywhere: the lower bound of the paired
    difference of folded accuracies is not above zero."""
    judges = [judge for judge in report.judges if judge.kind != "baseline" and judge.name != report.baseline]
    baselines = [judge for judge in report.judges if judge.kind == "baseline"]
    found = (
        not_beaten(
            judge_label(report, judge.name),
            _in_sentence(report, baseline.name),
            [row for row in report.differences if (row.judge, row.baseline) == (judge.name, baseline.name)],
            lambda row: _place(report, row),
        )
        for judge in judges
        for baseline in baselines
    )
    return tuple(sentence for sentence in found if sentence)


def not_beaten(judge: str, baseline: str, rows: Sequence[DifferenceRow], place: Callable[[DifferenceRow], str]) -> str:
    """The sentence for the differences of one judge to one baseline; empty where the judge is better in all."""
    folded = [row for row in rows if row.metric == "accuracy_folded"]
    failed = [row for row in folded if direction(row) != "better"]
    if not failed:
        return ""
    shown = ", ".join(place(row) for row in failed[:MOST_PLACES])
    more = f" and {len(failed) - MOST_PLACES} more" if len(failed) > MOST_PLACES else ""
    return (
        f"{judge} does not beat {baseline} in {len(failed)} of {len(folded)} comparisons: {shown} points{more} "
        "(both orders folded; the interval is not above zero)."
    )


def _home(report: Report) -> tuple[str, str] | None:
    """The test set and column that the headline speaks of: in distribution and sampled where there is a choice."""
    ordered = sorted(report.test_sets, key=lambda test_set: test_set.distribution != "in")
    for test_set in ordered:
        for column in (*COLUMNS, "deterministic"):
            if any(row.test_set == test_set.name and row.decoding == column for row in report.results):
                return test_set.name, column
    return None


def _best_trained(report: Report, test_set: str, column: str) -> ResultRow | None:
    """The trained judge that did best at the gate, whose pairs are not those reported here; one that was promoted is
    preferred to one that was not, and both to judges that pass no gate, of which the first that writes reasons is
    taken. Never the best on the test set: its figure would be too good."""
    judges = {judge.name: judge for judge in report.judges}
    gates = {(row.method, row.iteration): row for row in report.learning_curve if row.iteration}
    rows = [
        row
        for row in report.results
        if row.test_set == test_set
        and row.decoding in (column, "deterministic")
        and row.judge != report.baseline
        and not _is_baseline(report, row.judge)
    ]

    def rank(row: ResultRow) -> tuple[bool, float, bool]:
        judge = judges.get(row.judge)
        gate = gates.get((row.judge, judge.iteration or 0)) if judge else None
        at_gate = (
            -1.0 if gate is None else gate.accuracy_strict if gate.accuracy_folded is None else gate.accuracy_folded
        )
        return gate is not None and gate.promoted, at_gate, judge is not None and judge.kind == "generative"

    return max(rows, key=rank, default=None)


def _says(report: Report, row: ResultRow) -> str:
    how = {"sampled": ", sampled,", "greedy": ", decoded greedily,"}.get(row.decoding, "")
    orders = " in both orders" if row.judgments == 2 * row.n else ""
    return (
        f"On {_quoted(report, row.test_set)} ({count(row.n)} held-out pairs{orders}) "
        f"{judge_label(report, row.judge)}{how} judges {_share_words(row)} of {count(row.judgments)} comparisons right"
    )


def _versus(report: Report, best: ResultRow, base: ResultRow | None) -> str:
    if base is None:
        return _says(report, best)
    return f"{_says(report, best)}, {_in_sentence(report, base.judge)} {_share_words(base)}"


def _share_words(row: ResultRow) -> str:
    low, high = (percent(bound) for bound in row.ci95)
    return f"{percent(row.accuracy_strict)}{PERCENT} [{low}, {high}]"


def _quoted(report: Report, test_set: str) -> str:
    return f"\u201c{test_set_label(report, test_set)}\u201d"


def _in_sentence(report: Report, judge: str) -> str:
    """``Untrained judge`` as ``the untrained judge``, ``LLM judge`` as ``the LLM judge``; other names stay."""
    label = judge_label(report, judge)
    if judge != report.baseline and not _is_baseline(report, judge):
        return label
    return f"the {label[0].lower()}{label[1:]}" if label[1:2].islower() else f"the {label}"


def _points_words(difference: DifferenceRow) -> str:
    low, high = (points(bound) for bound in difference.ci95)
    tail = {
        "better": "",
        "worse": " (training made the judge worse)",
        "unclear": " (too small to be told from chance with this many pairs)",
    }[direction(difference)]
    return f"{points(difference.difference)} points [{low}, {high}]{tail}"


def _other_decoding(report: Report, best: ResultRow, test_set: str, column: str) -> list[str]:
    sentences = []
    for other in COLUMNS:
        row, base = (find_result(report, name, test_set, other) for name in (best.judge, report.baseline))
        difference = baseline_difference(report, best.judge, test_set, other)
        if other != column and row is not None and base is not None and difference is not None:
            how = "Greedy" if other == "greedy" else "Sampled"
            sentences.append(
                f"{how}: {percent(row.accuracy_strict)}{PERCENT} against "
                f"{percent(base.accuracy_strict)}{PERCENT}, "
                f"{_points_words(difference)}."
            )
    return sentences


def _scalar_beside(report: Report, best: ResultRow, test_set: str) -> list[str]:
    rows = [row for row in report.results if (row.test_set, row.decoding) == (test_set, "deterministic")]
    simple = [row for row in rows if _is_baseline(report, row.judge)]
    others = [row for row in rows if row.judge != best.judge and row not in simple]
    return [
        f"{title}: {', '.join(f'{judge_label(report, row.judge)} {_share_words(row)}' for row in some)}."
        for title, some in (("Without reasoning", others), ("Without a language model", simple))
        if some
    ]


def _is_baseline(report: Report, name: str) -> bool:
    """Whether a judge is one of the rules that a judge has to beat."""
    return any(judge.name == name and judge.kind == "baseline" for judge in report.judges)


def _elsewhere(report: Report, best: ResultRow, home: str, column: str) -> list[str]:
    found = []
    for test_set in report.test_sets:
        difference = baseline_difference(report, best.judge, test_set.name, column)
        if test_set.name != home and difference is not None:
            low, high = (points(bound) for bound in difference.ci95)
            found.append(f"{points(difference.difference)} [{low}, {high}] on {_quoted(report, test_set.name)}")
    return [f"Elsewhere the difference is {', '.join(found)}."] if found else []


def _bad_differences(report: Report) -> list[str]:
    """One sentence per judge that is worse than the untrained one somewhere, or can't be told from it."""
    sentences = []
    for judge in report.judges:
        rows = [
            row
            for row in report.differences
            if row.judge == judge.name and row.baseline == report.baseline and row.metric == "accuracy_strict"
        ]
        worse = sorted((row for row in rows if direction(row) == "worse"), key=lambda row: row.difference)
        unclear = [row for row in rows if direction(row) == "unclear"]
        base, total = _in_sentence(report, report.baseline), f"of {len(rows)} comparisons"
        if worse:
            also = f"; in {len(unclear)} of the others zero is inside the interval" if unclear else ""
            sentences.append(
                f"{judge_label(report, judge.name)} is worse than {base} in {len(worse)} {total}: "
                f"{_places(report, worse)}{also}."
            )
        elif unclear:
            sentences.append(
                f"{judge_label(report, judge.name)} can\u2019t be told from {base} in {len(unclear)} {total}: "
                f"{_places(report, unclear)}; zero is inside the interval."
            )
    return sentences


def _places(report: Report, rows: list[DifferenceRow]) -> str:
    more = f" and {len(rows) - MOST_PLACES} more" if len(rows) > MOST_PLACES else ""
    return f"{', '.join(_place(report, row) for row in rows[:MOST_PLACES])} points{more}"


def _place(report: Report, row: DifferenceRow) -> str:
    return f"{_quoted(report, row.test_set)} {_column(row)} {points(row.difference)}"


def _column(row: DifferenceRow) -> str:
    return row.decoding if row.decoding != "deterministic" else row.baseline_decoding


def _unpromoted(report: Report) -> list[str]:
    sentences = []
    for method in dict.fromkeys(row.method for row in report.learning_curve):
        trained = [row for row in report.learning_curve if row.method == method and row.iteration > 0]
        refused = [str(row.iteration) for row in trained if not row.promoted]
        if refused:
            rounds = f"round {refused[0]}" if len(refused) == 1 else f"rounds {', '.join(refused)}"
            sentences.append(
                f"{judge_label(report, method)}: {rounds} of {len(trained)} did not pass the gate and was not promoted."
            )
    return sentences


def _missing_verdicts(report: Report) -> list[str]:
    """One sentence per judge, about the test set and decoding where most verdicts are missing."""
    sentences = []
    for judge in report.judges:
        rows = [row for row in report.results if row.judge == judge.name]
        worst = max(rows, key=lambda row: row.non_verdict_rate, default=None)
        if worst is not None and worst.non_verdict_rate > NON_VERDICT_LIMIT:
            kinds = ", ".join(f"{percent(share)}{PERCENT} {words(kind)}" for kind, share in worst.non_verdicts.items())
            sentences.append(
                f"{judge_label(report, judge.name)} gives no verdict in up to "
                f"{percent(worst.non_verdict_rate)}{PERCENT} "
                f"of its judgments ({_quoted(report, worst.test_set)}, {worst.decoding}: {kinds}); they count as wrong."
            )
    return sentences
