"""A bootstrap, or a measurement, that goes on: rounds at the gate, losses of fits, stages. Figures come at the end."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from genrm_rl.bootstrap.summary import gate_rows, stage_rows
from genrm_rl.evaluation.charts import gate_chart, line_chart, present
from genrm_rl.evaluation.html import seconds_chart
from genrm_rl.evaluation.pages import page_environment
from genrm_rl.evaluation.schema import StageRow
from genrm_rl.evaluation.view import LABELS, change, verdict
from genrm_rl.learners.fit import HISTORY_FILE
from genrm_rl.runtime.results import settings_of
from genrm_rl.runtime.storage import is_complete, read_json, read_json_lines

JOBS = {"evaluate": "Judge evaluation", "benchmark": "Benchmark", "best-of": "Best of n"}


def progress_report(run: Path) -> dict[str, Any]:
    """What is finished so far."""
    provenance = read_json(run / "provenance.json")
    folders = sorted((run / "methods").glob("*/round*/checkpoint"))
    fits = {
        f"{LABELS.get(folder.parents[1].name, folder.parents[1].name)}, {folder.parent.name}": read_json_lines(file)
        for folder in folders
        if is_complete(folder) and (file := folder / HISTORY_FILE).is_file()
    }
    gates = sorted(path for path in (run / "methods").glob("*/round*/gate") if is_complete(path))
    return {
        "kind": "progress",
        "job": next(
            (words for job, words in JOBS.items() if job in provenance["command"].split()[:2]), "Judge bootstrap"
        ),
        "run": {key: provenance[key] for key in ("run_id", "seed", "created", "command", "code_revision")},
        "versions": provenance["versions"],
        "learning_curve": [row.model_dump(mode="json") for row in gate_rows(run)],
        "differences": [_difference(gate) for gate in gates],
        "fits": fits,
        "stages": [row.model_dump(mode="json") for row in stage_rows(run)],
        "config": settings_of(run),
    }


def _difference(gate: Path) -> dict[str, Any]:
    """Of a round's judge to its parent, with the figures of both."""
    row = read_json(gate / "difference.json")
    before, after = (read_json(gate / f"{who}.json")[row["metric"]] for who in ("parent", "candidate"))
    return row | {"baseline_accuracy": before, "accuracy": after}


def render_progress(report: dict[str, Any]) -> str:
    """The page."""
    return (
        page_environment("genrm_rl.pages")
        .get_template("progress.html.j2")
        .render(report=report, sentence=sentence(report), alarms=progress_alarms(report), charts=charts(report))
    )


def sentence(report: dict[str, Any]) -> str:
    """How far it is, and whether the last judge is better than the one before."""
    count = len(report["stages"])
    done = f"{count} stage{' is' if count == 1 else 's are'} finished"
    if report["job"] in JOBS.values():
        return f"{done}; the figures come at the end."
    rounds = [row for row in report["learning_curve"] if row["iteration"]]
    if not rounds or not report["differences"]:
        return f"{done}; no judge has come to the gate yet."
    last, row = rounds[-1], report["differences"][-1]
    name = LABELS.get(last["method"], last["method"])
    changes = change(row["baseline_accuracy"], row["accuracy"], row["difference"], row["ci95"])
    outcome = "was promoted" if last["promoted"] else "was not promoted"
    return (
        f"{done}; {name}, round {last['iteration']}, is {verdict([row['ci95']])} and {outcome}: right judgments on "
        f"{last['n']} gate pairs {changes}."
    )


def progress_alarms(report: dict[str, Any]) -> list[str]:
    """Losses that are no numbers."""
    return [
        f"Not finite in {fit}: the loss of step {row['step'] + 1}."
        for fit, rows in report["fits"].items()
        for row in rows[-1:]
        if not math.isfinite(row.get("loss", 0.0))
    ]


def charts(report: dict[str, Any]) -> list[Any]:
    """Rounds at the gate, losses, seconds."""
    methods = dict.fromkeys(row["method"] for row in report["learning_curve"])
    rounds = {
        LABELS.get(method, method): [row for row in report["learning_curve"] if row["method"] == method]
        for method in methods
    }
    losses = line_chart(
        "losses",
        "Losses of the fits",
        "Training loss of each optimizer step. What is fitted differs, so only a line's own course counts.",
        ("optimizer step", "loss"),
        {
            name: [(row["step"] + 1, row["loss"]) for row in rows if "loss" in row]
            for name, rows in report["fits"].items()
        },
    )
    time = seconds_chart([StageRow.model_validate(row) for row in report["stages"]])
    return present(gate_chart(rounds), losses, time)
