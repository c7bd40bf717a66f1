"""Charts of an alignment's page: right answers and the judge's liking by step, the steps, probes."""

from __future__ import annotations

from typing import Any

from genrm_rl.evaluation.charts import Chart, line_chart, present
from genrm_rl.evaluation.probe_charts import probe_chart
from genrm_rl.evaluation.step_charts import step_charts


def alignment_charts(report: dict[str, Any], limit: float) -> list[Chart]:
    """In the order in which people look. ``limit``: share of its judgments that a null answer may win."""
    # JSON has no whole numbers as keys
    masked = {int(step): shares for step, shares in report["missing_rewards"].get("by_step", {}).items()}
    return present(gold_chart(report), *step_charts(report["steps"], masked), probes_chart(report, limit))


def gold_chart(report: dict[str, Any]) -> Chart | None:
    """Proxy against gold by step: how often the judge prefers the policy to its start, and how often it is right."""
    lines, intervals = {}, {}
    rows = sorted(report["evaluation"], key=lambda row: row["step"])
    for name, decoding in dict.fromkeys((row["set"], row["decoding"]) for row in rows):
        mine = [row for row in rows if (row["set"], row["decoding"]) == (name, decoding)]
        gold = [row for row in mine if row["gold_accuracy"] is not None]
        if gold:
            label = f"{name}, {decoding}: right"
            lines[label] = [(row["step"], 100 * row["gold_accuracy"]) for row in gold]
            intervals[label] = [(row["step"], *(100 * end for end in row["gold_ci95"])) for row in gold]
        proxy = [(row["step"], 100 * row["proxy_win_rate"]) for row in mine if row.get("proxy_win_rate") is not None]
        if proxy:
            lines[f"{name}, {decoding}: judge prefers it to the start"] = [(0, 50.0), *proxy]
    note = (
        "Answers to held-out questions that a verifier finds right, with 95 % intervals, and how often the rewarding "
        "judge prefers them to the starting policy's (50 % is no preference). A liking that rises while right answers "
        "do not is the judge being exploited."
    )
    return line_chart(
        "gold-held-out", "Right answers, held out", note, ("step", "%"), lines, intervals=intervals
    )  # fmt: skip


def probes_chart(report: dict[str, Any], limit: float) -> Chart | None:
    """The last probes."""
    if not report["probes"]:
        return None
    last = report["probes"][-1]
    wins = {kind: (cell["wins"], cell["judged"]) for kind, cell in last["probes"].items()}
    return probe_chart("probes", f"Null answers after step {last['step']}", wins, limit)
