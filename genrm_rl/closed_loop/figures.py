"""Charts of a loop's page: judge and policy turn by turn, the steps of its alignments, the served judge, the time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genrm_rl.evaluation.baselines import INFOS
from genrm_rl.evaluation.charts import Bar, Chart, bar_chart, line_chart, present
from genrm_rl.evaluation.glossary import explain
from genrm_rl.evaluation.probe_charts import probe_chart
from genrm_rl.evaluation.schema import Report
from genrm_rl.evaluation.step_charts import CURVES, by_reason, step_chart, step_points
from genrm_rl.evaluation.view import judge_label, words

Turn = Mapping[str, Any]
AT_A_GLANCE = ("reward", "gold", "kl", "length", "entropy", "masked", "contradiction")
STAGE_WORDS = {
    "bootstrap": "first judges",
    "align": "align the policy",
    "comparisons": "new comparisons",
    "labels": "label them",
    "judge": "next judge",
    "gate": "gate",
}


def judge_charts(report: Mapping[str, Any], bootstrap: Report | None) -> list[Chart]:
    """Right judgments by turn beside what any judge has to beat, contradictions, calibration, probes."""
    turns = [turn for turn in report["turns"] if turn["judge"]]
    sets = dict.fromkeys((row["set"], row["decoding"]) for turn in turns for row in turn["judge"])
    charts = [_judge_chart(turns, name, decoding, bootstrap) for name, decoding in sets]
    served = report["served"] or {}
    record = served.get("probes")
    tallies = {} if record is None else {kind: _wins(tally) for kind, tally in record["tallies"].items()}
    limit = 0.0 if record is None else record["limit"]
    return present(
        _gate_chart(report["turns"]),
        *charts,
        _ties_chart(turns, sets),
        calibration_chart(served.get("calibration") or {}),
        probe_chart("probes", "Null answers against the served judge", tallies, limit) if tallies else None,
    )


def policy_charts(report: Mapping[str, Any]) -> list[Chart]:
    """Right answers by turn, and the steps of every turn over each other."""
    turns = [turn for turn in report["turns"] if turn["steps"]]
    charts = [_policy_chart([turn for turn in turns if turn["policy"]])]
    for curve in (curve for curve in CURVES if curve.name in AT_A_GLANCE):
        lines = {}
        for turn in turns:
            before = "" if len(turns) == 1 else f"turn {turn['turn']}"
            for label, key in curve.keys.items():
                lines[" ".join(filter(None, (before, label)))] = step_points(turn["steps"], key, curve.scale)
            if curve.name == "masked":
                masked = {int(step): shares for step, shares in turn["masked"].items()}
                lines |= {f"{before} {reason}".strip(): points for reason, points in by_reason(masked).items()}
        if not curve.rare or any(y for points in lines.values() for _, y in points):
            charts.append(step_chart(curve, lines))
    return present(*charts)


def loop_charts(report: Mapping[str, Any]) -> list[Chart]:
    """What became of the new comparisons, and where the time went."""
    labels = [turn["stages"]["labels"] for turn in report["turns"] if "labels" in turn["stages"]]
    return present(_labels_chart(labels[-1]) if labels else None, _seconds_chart(report["turns"]))


def calibration_chart(calibration: Mapping[str, Any]) -> Chart | None:
    """Stated P(A) against what the labels say, by test set."""
    if not calibration:
        return None
    lines = {"what it says is so": [(0.0, 0.0), (1.0, 1.0)]} | calibration
    note = (
        "P(A) is how sure the judge says it is that answer A is better; the height is how often A was the better one, "
        "in ten bins. On the diagonal a judge is as sure as it should be; steeper is too modest, flatter too sure."
    )
    return line_chart(
        "calibration", "Is the served judge as sure as it should be?", note, ("stated P(A)", "share of A"), lines
    )


def _judge_chart(turns: list[Turn], name: str, decoding: str, bootstrap: Report | None) -> Chart | None:
    mine = [(turn["turn"], row) for turn in turns for row in turn["judge"]]
    rows = [(turn, row) for turn, row in mine if (row["set"], row["decoding"]) == (name, decoding)]
    points = {turn - 1: row["before"] for turn, row in rows[:1]} | {turn: row["after"] for turn, row in rows}
    ends = {turn - 1: row["intervals"][0] for turn, row in rows[:1]} | {turn: row["intervals"][1] for turn, row in rows}
    flat = {} if bootstrap is None else _to_beat(bootstrap, name, decoding)
    meaning = f" ({explain(name)})" if explain(name) else ""
    note = (
        f"Right judgments on the test pairs \u201c{name}\u201d{meaning}, {decoding}, with 95 % intervals: turn 0 is "
        "the judge that the loop began with. Dotted levels need no training by the loop: a judge has to beat them."
    )
    return line_chart(
        f"judge-{name}-{decoding}",
        f"Judge on {name}",
        note,
        ("turn", "right, %"),
        {"judge": [(turn, 100 * value) for turn, value in points.items()]},
        flat=flat,
        intervals={"judge": [(turn, 100 * low, 100 * high) for turn, (low, high) in ends.items()]},
    )


def _to_beat(bootstrap: Report, name: str, decoding: str) -> dict[str, float]:
    """The untrained judge and the two baselines without a language model, in percent."""
    wanted = (bootstrap.baseline, *(info.name for info in INFOS))
    return {
        judge_label(bootstrap, row.judge): 100 * row.accuracy_strict
        for row in bootstrap.results
        if row.judge in wanted and row.test_set == name and row.decoding in (decoding, "deterministic")
    }


def _gate_chart(turns: list[Turn]) -> Chart | None:
    gates = {turn["turn"]: turn["stages"]["gate"] for turn in turns if turn["stages"].get("gate", {}).get("accuracy")}
    lines = {
        name: [(turn, 100 * gate["accuracy"][place]) for turn, gate in gates.items()]
        for place, name in enumerate(("judge before", "new judge"))
    }
    intervals = {
        name: [(turn, *(100 * end for end in gate["ci95"][place])) for turn, gate in gates.items()]
        for place, name in enumerate(lines)
    }
    note = (
        "Both judges on the same held-out pairs, both orders folded, with 95 % intervals. The new one is served if the "
        "interval of the difference lies above zero."
    )
    return line_chart("gate", "At the gate", note, ("turn", "right, %"), lines, intervals=intervals, nudge=0.06)


def _ties_chart(turns: list[Turn], sets: Mapping[tuple[str, str], Any]) -> Chart | None:
    lines: dict[str, list[tuple[float, float]]] = {}
    for name, decoding in sets:
        for turn in turns:
            for row in turn["judge"]:
                if (row["set"], row["decoding"]) == (name, decoding):
                    line = lines.setdefault(f"{name}, {decoding}", [(turn["turn"] - 1, 100 * row["ties"][0])])
                    line.append((turn["turn"], 100 * row["ties"][1]))
    note = (
        "Pairs on which the judge names another winner when the answers change places. It is a tie then: the position "
        "decided. Lower is more consistent."
    )
    return line_chart("ties", "Does the position decide?", note, ("turn", "contradicting pairs, %"), lines)


def _policy_chart(turns: list[Turn]) -> Chart | None:
    lines: dict[str, list[tuple[float, float]]] = {}
    for turn in turns:
        for row in turn["policy"]:
            line = lines.setdefault(f"{row['set']}, {row['decoding']}", [(turn["turn"] - 1, 100 * row["before"])])
            line.append((turn["turn"], 100 * row["after"]))
    note = (
        "Answers to held-out questions that a verifier finds right; it gives no reward. Turn 0 is the policy that the "
        "loop began with. Differences and their intervals stand in the table of the turn."
    )
    return line_chart("policy", "Right answers, held out", note, ("turn", "right, %"), lines)


def _labels_chart(facts: Mapping[str, Any]) -> Chart | None:
    by = {"ai": "labelled by the judge", "human": "labelled by people"}
    counts = {by[who]: count for who, count in facts["labelled"].items()}
    counts |= {f"left out: {words(reason)}": count for reason, count in facts["unlabelled"].items()}
    note = (
        "Comparisons of the policy's new answers in the last turn, by what became of them; only labelled ones are "
        "learned from."
    )
    bars = {label: Bar(count, str(count)) for label, count in counts.items()}
    return bar_chart("labels", "What became of the new comparisons", note, ("outcome", "comparisons"), bars)


def _seconds_chart(turns: list[Turn]) -> Chart | None:
    bars = {}
    for name, label in STAGE_WORDS.items():
        spent = sum(turn["stages"].get(name, {}).get("seconds", 0.0) for turn in turns)
        if spent:
            bars[label] = Bar(spent, f"{spent:.1f}")
    return bar_chart(
        "loop-seconds", "Where the time went", "Seconds of each part, all turns together.", ("part", "seconds"), bars
    )


def _wins(tally: Mapping[str, int]) -> tuple[int, int]:
    return tally["wins"], sum(tally[key] for key in ("wins", "ties", "losses", "no_verdict"))
